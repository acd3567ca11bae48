"""The commands of a guide in docs/, run as they stand there: in a copy of the checkout, in a namespace for tests."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tests.cluster.cluster import Cluster
from tests.docs.guides import commands
from utils.files import ROOT

NONE: Mapping[str, str] = MappingProxyType({})
# The namespace in the guide, where it is a word of its own.
NAMESPACE = re.compile(r"(?<![\w./-])ilab(?![\w./-])")


@dataclass(frozen=True)
class Guide:
    """A person who follows the guide.

    Attributes:
        folder: the checkout, with the namespace in its settings.
        namespace: what the guide calls ilab.
        page: the guide's file in docs/.
    """

    cluster: Cluster
    folder: Path
    namespace: str
    page: str = "kubernetes.md"

    def run(
        self, test: str, code: int = 0, replace: Mapping[str, str] = NONE, environment: Mapping[str, str] = NONE
    ) -> str:
        """Run the command block of a test in bash, and return all it said.

        Args:
            test: its name, which the mark above the block has.
            code: the exit code it must have.
            replace: names in it, and what they are here.
            environment: variables besides those of this process.

        Raises:
            AssertionError: it ended with another exit code.
        """
        (text,) = commands(self.page, test)
        text = NAMESPACE.sub(self.namespace, text)
        for name, here in replace.items():
            text = text.replace(name, here)
        variables = {"KUBECONFIG": str(self.folder / "kubeconfig"), "PATH": self._path(), **environment}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder,
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, f"{text}\n{done.stdout}"
        return done.stdout

    def editor(self, name: str, text: str) -> str:
        """A program for $EDITOR: a Python script that is given the file's path."""
        path = self.folder / name
        path.write_text(f"#!{sys.executable}\n{text}")
        path.chmod(0o755)
        return str(path)

    def _path(self) -> str:
        return os.pathsep.join(
            [
                str(self.folder / "bin"),
                str(Path(sys.executable).parent),
                str(self.cluster.kubectl_path.parent),
                os.environ["PATH"],
            ]
        )


def follow(cluster: Cluster, folder: Path, namespace: str, page: str = "kubernetes.md") -> Guide:
    """Set up a checkout in `folder` with these settings: the namespace, and the cluster's storage class."""
    for path in ROOT.iterdir():
        if path.name not in ("manifests", ".git", "dist"):
            (folder / path.name).symlink_to(path)
    shutil.copytree(ROOT / "manifests", folder / "manifests")
    (ROOT / "dist").mkdir(exist_ok=True)
    (folder / "dist").symlink_to(ROOT / "dist")
    shutil.copy(cluster.kubeconfig, folder / "kubeconfig")
    change_settings(folder, {"namespace": namespace, "storage-class": cluster.storage_class})
    return Guide(cluster, folder, namespace, page)


def change_settings(folder: Path, changes: dict[str, str]) -> None:
    """Change settings in a copy of manifests/, as a person with an editor would."""
    file = folder / "manifests/settings/settings.yaml"
    text = file.read_text()
    for key, value in changes.items():
        text, count = re.subn(rf"^  {re.escape(key)}: .*$", f'  {key}: "{value}"', text, flags=re.MULTILINE)
        assert count == 1, key
    file.write_text(text)

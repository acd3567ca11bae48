"""The commands of docs/kubernetes.md, run as they stand there: in a copy of the checkout, in a namespace for tests."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.cluster import Cluster
from tests.unit.docs.guides import commands
from utils.cli.compile import root

PAGE = "kubernetes.md"
# The namespace in the guide, where it is a word of its own.
NAMESPACE = re.compile(r"(?<![\w./-])ilab(?![\w./-])")


@dataclass(frozen=True)
class Guide:
    """A person who follows the guide.

    Attributes:
        folder: the checkout, with the namespace in its settings.
        namespace: what the guide calls ilab.
    """

    cluster: Cluster
    folder: Path
    namespace: str

    def run(self, test: str, number: int = 0, **environment: str) -> str:
        """Run a command block of a test (`number` counts them) in bash, and return its output.

        Raises:
            AssertionError: it failed; with all it said.
        """
        text = NAMESPACE.sub(self.namespace, commands(PAGE, test)[number])
        variables = {"KUBECONFIG": str(self.folder / "kubeconfig"), "PATH": self._path(), **environment}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def editor(self, name: str, text: str) -> str:
        """A program for $EDITOR: a Python script that is given the file's path."""
        path = self.folder / name
        path.write_text(f"#!{sys.executable}\n{text}")
        path.chmod(0o755)
        return str(path)

    def _path(self) -> str:
        return os.pathsep.join(
            [str(Path(sys.executable).parent), str(self.cluster.kubectl_path.parent), os.environ["PATH"]]
        )


def follow(cluster: Cluster, folder: Path, namespace: str) -> Guide:
    """Set up a checkout in `folder` with these settings: the namespace, and the cluster's storage class."""
    for path in root().iterdir():
        if path.name not in ("manifests", ".git", "dist"):
            (folder / path.name).symlink_to(path)
    shutil.copytree(root() / "manifests", folder / "manifests")
    (root() / "dist").mkdir(exist_ok=True)
    (folder / "dist").symlink_to(root() / "dist")
    shutil.copy(cluster.kubeconfig, folder / "kubeconfig")
    change_settings(folder, {"namespace": namespace, "storage-class": cluster.storage_class})
    return Guide(cluster, folder, namespace)


def change_settings(folder: Path, changes: dict[str, str]) -> None:
    """Change settings in a copy of manifests/, as a person with an editor would."""
    file = folder / "manifests/settings/settings.yaml"
    text = file.read_text()
    for key, value in changes.items():
        text, count = re.subn(rf"^  {re.escape(key)}: .*$", f'  {key}: "{value}"', text, flags=re.MULTILINE)
        assert count == 1, key
    file.write_text(text)

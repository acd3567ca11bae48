"""The Go programs of the cluster, built once from the pinned modules in tools/ and kept outside the repository."""

import hashlib
import json
import os
import shutil
from pathlib import Path

from tests.cluster.commands import run
from tests.cluster.errors import ClusterError
from tests.cluster.settings import CACHE

MODULES = Path(__file__).parent / "tools"
# Module folder: what is built there. `tool` means the tools that its go.mod names.
BUILDS = {"coredns": ".", "training-operator": "tool", "kubernetes": "tool"}


def tools_folder() -> Path:
    """Where this version of the programs is kept: bin/ and the training operator's manifests/."""
    digest = hashlib.sha256()
    for file in sorted(MODULES.glob("*/*")):
        digest.update(file.name.encode() + file.read_bytes())
    return CACHE / f"cluster-{digest.hexdigest()[:12]}"


def program(name: str) -> Path:
    """Path of a program that was built."""
    return tools_folder() / "bin" / name


def build_tools() -> None:
    """Build the programs unless they are there: about 10 minutes on 2 cores, 3 GB of Go's own caches."""
    folder = tools_folder()
    if folder.exists():
        return
    if not shutil.which("go"):
        raise ClusterError(
            "the cluster's programs can't be built",
            "Go is not installed",
            "install Go 1.26 or newer, or name a cluster in ILAB_TEST_KUBECONFIG",
        )
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "bin").mkdir(parents=True)
    for module, package in BUILDS.items():
        print(f"building {module}", flush=True)
        flags = f"-s -w {_version_flag(MODULES / module)}".strip()
        argv = ["nice", "go", "build", "-trimpath", "-ldflags", flags, "-o", f"{partial / 'bin'}{os.sep}", package]
        run(argv, cwd=MODULES / module, env={"CGO_ENABLED": "0"}, remedy="run it in tests/cluster/tools/" + module)
    operator = _module(MODULES / "training-operator", "github.com/kubeflow/training-operator")
    # The module cache is read-only; the copy must not be.
    run(["cp", "-r", "--no-preserve=mode", Path(operator["Dir"]) / "manifests", partial])
    partial.rename(folder)


def _version_flag(module: Path) -> str:
    """Kubernetes reports the version that the linker gave it."""
    if module.name != "kubernetes":
        return ""
    return f"-X k8s.io/component-base/version.gitVersion={_module(module, 'k8s.io/kubernetes')['Version']}"


def _module(folder: Path, name: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(run(["go", "list", "-m", "-json", name], cwd=folder))
    return found

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
KUBERNETES, OPERATOR, DNS, KUEUE = "kubernetes", "training-operator", "coredns", "kueue"
# Version of Kubeflow Trainer: its module, with the JobSet that it was made for.
TRAINERS = {"2.1": "trainer-2.1", "2.3": "trainer-2.3"}
TRAINER = os.environ.get("ILAB_TEST_TRAINER", "2.1")
"""The version that the cluster gets."""
WITH_KUEUE = bool(os.environ.get("ILAB_TEST_KUEUE"))
"""Whether Kueue is built and its test runs."""
# Module: what is built of it. `tool` means the tools that its go.mod names.
BUILDS = {DNS: ".", OPERATOR: "tool", KUBERNETES: "tool", TRAINERS[TRAINER]: "tool"}
if WITH_KUEUE:
    BUILDS[KUEUE] = "tool"
# Module: the manifests that come with it, as name: module of Go, folder there.
MANIFESTS = {
    OPERATOR: {"manifests": ("github.com/kubeflow/training-operator", "manifests")},
    KUEUE: {"config": ("sigs.k8s.io/kueue", "config")},
    **dict.fromkeys(
        TRAINERS.values(),
        {"manifests": ("github.com/kubeflow/trainer/v2", "manifests"), "jobset": ("sigs.k8s.io/jobset", "config")},
    ),
}


def module_folder(module: str) -> Path:
    """Where what is built of this state of a module is kept; manifests too."""
    digest = hashlib.sha256()
    for file in sorted((MODULES / module).iterdir()):
        digest.update(file.name.encode() + file.read_bytes())
    return CACHE / f"cluster-{module}-{digest.hexdigest()[:12]}"


def program(module: str, name: str) -> Path:
    """Path of a program that is built of a module."""
    return module_folder(module) / "bin" / name


def build_tools() -> None:
    """Build the programs that are not there: about 10 minutes on 2 cores, 3 GB of Go's own caches."""
    for module in BUILDS:
        if not module_folder(module).exists():
            _build(module)


def _build(module: str) -> None:
    if not shutil.which("go"):
        raise ClusterError(
            "the cluster's programs can't be built",
            "Go is not installed",
            "install Go 1.26 or newer, or name a cluster in ILAB_TEST_KUBECONFIG",
        )
    print(f"building {module}", flush=True)
    source, folder = MODULES / module, module_folder(module)
    partial = folder.with_name(f"{folder.name}.partial")  # a version has a dot, too
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "bin").mkdir(parents=True)
    flags = f"-s -w {_version_flag(source)}".strip()
    argv = ["nice", "go", "build", "-trimpath", "-ldflags", flags, "-o", f"{partial / 'bin'}{os.sep}", BUILDS[module]]
    run(argv, cwd=source, env={"CGO_ENABLED": "0"}, remedy=f"run it in {source}")
    for name, (go_module, where) in MANIFESTS.get(module, {}).items():
        # The module cache is read-only; the copy must not be.
        run(["cp", "-r", "--no-preserve=mode", Path(_module(source, go_module)["Dir"]) / where, partial / name])
    partial.rename(folder)


def _version_flag(module: Path) -> str:
    """Kubernetes reports the version that the linker gave it."""
    if module.name != KUBERNETES:
        return ""
    return f"-X k8s.io/component-base/version.gitVersion={_module(module, 'k8s.io/kubernetes')['Version']}"


def _module(folder: Path, name: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(run(["go", "list", "-m", "-json", name], cwd=folder))
    return found

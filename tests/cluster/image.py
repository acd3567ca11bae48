"""The one image of the cluster: a small Debian without Python, which stands for every image the pipeline names.

Interpreter and libraries come into the pods from this machine, see mounts.py.
"""

import hashlib
import json
import shutil
import tarfile
import tempfile
from pathlib import Path

from tests.cluster.commands import run
from tests.cluster.settings import CACHE, CONTAINERD_SOCKET
from utils import images

NAME = "localhost/ilab-base:1"
# What CPython, torch and llama.cpp load from the system, and git for data import.
PACKAGES = (
    *("ca-certificates", "git", "libbz2-1.0", "libcrypt1", "libexpat1", "libffi8", "libgomp1", "liblzma5"),
    *("libncursesw6", "libnsl2", "libreadline8", "libsqlite3-0", "libssl3", "libstdc++6", "libuuid1", "zlib1g"),
)
RELEASE = "bookworm"
# The user that UBI-based images run as. In the cluster any UID may take its place.
USER = "1001:0"
# Names under which the image is found without a pull.
STANDS_FOR = (images.INSTRUCTLAB, images.NOTEBOOK, images.WORKBENCH)


def image_archive() -> Path:
    """The image as an archive that containerd imports; built once, in about a minute."""
    recipe = json.dumps([NAME, PACKAGES, RELEASE, USER])
    archive = CACHE / f"cluster-image-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}.tar"
    if not archive.exists():
        print("building the base image", flush=True)
        with tempfile.TemporaryDirectory(prefix="ilab-image-") as folder:
            _build(Path(folder), archive)
    return archive


def _build(work: Path, archive: Path) -> None:
    root, layer = work / "root", work / "layer.tar"
    run(["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", RELEASE, root], env={"LC_ALL": "C"})
    for rubbish in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
        shutil.rmtree(root / rubbish, ignore_errors=True)
    # Pods run as any UID, and mounts may lie below the home directory of root.
    (root / "root").chmod(0o755)
    run(["tar", "--create", "--numeric-owner", "--exclude=./dev/*", "--file", layer, "--directory", root, "."])
    digest = hashlib.sha256(layer.read_bytes()).hexdigest()
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[run(["uname", "-m"]).strip()],
        "os": "linux",
        # The same image is the pause container, hence a command that does nothing.
        "config": {"User": USER, "Cmd": ["sleep", "infinity"], "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    (work / "config.json").write_text(json.dumps(config))
    index = [{"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}]
    (work / "manifest.json").write_text(json.dumps(index))
    partial = archive.with_suffix(".partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(partial, "w") as tar:
        for name in ("manifest.json", "config.json", "layer.tar"):
            tar.add(work / name, name)
    partial.rename(archive)


def import_image(archive: Path) -> None:
    """Hand the image to the cluster's containerd, under its own name and those it stands for."""
    images_command = ["ctr", "--address", str(CONTAINERD_SOCKET), "--namespace", "k8s.io", "images"]
    run([*images_command, "import", str(archive)])
    run([*images_command, "tag", "--force", NAME, *STANDS_FOR])

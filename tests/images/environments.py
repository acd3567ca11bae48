"""Local environments in place of the pipeline's images, made by the Makefile from our lock files."""

import hashlib
import os
from pathlib import Path

from utils import images
from utils.files import ROOT

REQUIREMENTS = ROOT / "requirements" / "images"
# Image to the files in `requirements/images` that are named after it.
NAMES = {images.NOTEBOOK: "notebook", images.INSTRUCTLAB: "instructlab"}


def packages_of(image: str) -> dict[str, str]:
    """Distribution name to version of everything that the image is known to contain."""
    lines = (REQUIREMENTS / f"{NAMES[image]}.list").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def environment(image: str) -> Path:
    """The environment's folder, in the image's versions; there when its file `ready` is."""
    name = NAMES[image]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ilab-pipeline"
    lock = REQUIREMENTS / f"{name}.txt"
    return cache / f"{name}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"

"""The stages' code on the run's volume: prerequisites bring it, all later tasks import from it."""

import hashlib
import os
import shutil
from pathlib import Path


def put_on_volume(data_dir: str) -> None:
    """Copy the code that this task carries to code/<digest, 12 digits>/, unless it is there and unchanged.

    A function that runs outside a compiled pipeline carries none: nothing happens.
    """
    digest = os.environ.get("ILAB_CODE_SHA256")
    if not digest:
        return
    target = Path(data_dir, "code", digest[:12])
    if tree_digest(target) == digest:
        return
    partial = target.with_name(f"{os.uname().nodename}.{os.getpid()}")
    shutil.copytree(Path(__file__).parents[2], partial, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def tree_digest(folder: Path) -> str:
    """SHA-256 over each file's name, without its folder, size and content, in the order of their paths."""
    files = sorted(folder.rglob("*.*"))
    texts = (f"/{file.name}/{file.stat().st_size}/".encode() + file.read_bytes() for file in files)
    return hashlib.sha256(b"".join(texts)).hexdigest()


def code_digest() -> str:
    """The first 12 digits of the digest of the code that runs; "" where it does not run from a run's volume."""
    folder = Path(__file__).parents[2]
    return folder.name if folder.parent.name == "code" else ""

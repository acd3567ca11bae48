"""The processes of pods: containers of the test cluster live in this machine's kernel."""

import os
import signal
from contextlib import suppress
from pathlib import Path


def processes(pod: str) -> list[Path]:
    """The processes of the pods whose name contains `pod`, in this machine's /proc: a pod's name is its HOSTNAME."""
    entries = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [entry for entry in entries if pod in _host(entry)]


def kill_processes(pod: str, part: bytes = b"python") -> None:
    """SIGKILL to the processes of a pod that have `part` in their command line, so not to what holds its network."""
    for entry in processes(pod):
        if part in read(entry / "cmdline"):
            with suppress(ProcessLookupError):
                os.kill(int(entry.name), signal.SIGKILL)


def read(file: Path) -> bytes:
    """A file of /proc; empty when its process has ended, or is nobody's business."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _host(entry: Path) -> str:
    found = (one for one in read(entry / "environ").split(b"\0") if one.startswith(b"HOSTNAME="))
    return next(found, b"").decode().removeprefix("HOSTNAME=")

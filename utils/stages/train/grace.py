"""Starts torchrun in a pod and lets its ranks save their state on SIGTERM: `python3 grace.py torchrun …`.

torchrun kills its ranks 30 s after SIGTERM, before torch 2.12 whatever one asks for. So SIGTERM goes to the ranks, and
torchrun never hears of it. Ranks that save (trainer.py) end when they have saved, others at once; torchrun then ends
with an error. How long they have is up to whoever sent SIGTERM (terminationGracePeriodSeconds).

It imports none of our modules, and runs in any Python from 3.9 on: torchrun may have another one.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

GRACE = __file__
"""Path of this program."""


def children(parent: int) -> list[int]:
    """Processes that a process has started and that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended just now
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(path.parent.name))
    return found


def end_ranks(torchrun: int) -> None:
    """SIGTERM to the ranks of a torchrun; to torchrun itself while it has none."""
    for pid in children(torchrun) or [torchrun]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def main(command: list[str]) -> int:
    """Run torchrun to its end; returns its exit code, as a shell does."""
    asked, process = False, None

    def stop(*_: object) -> None:
        nonlocal asked
        asked = True
        if process is not None:
            end_ranks(process.pid)

    signal.signal(signal.SIGTERM, stop)
    process = subprocess.Popen(command)
    if asked:  # while it was being started
        stop()
    code = process.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Kills a stage at each point where it changes something outside, starts it again, and compares what came of it.

The points are not chosen by hand: every file opened for writing (before, and emptied), every renaming, deletion,
folder, program, fsync and sync, every request and its answer. The process is forked, so libraries are imported once.
"""

import os
import shutil
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POINTS = os.environ.get("ILAB_KILL_POINTS", "12")
"""How many of a stage's points are tried, spread evenly: a number, or `all`."""
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "subprocess.Popen")


@dataclass
class Watched:
    """This process, which notes its points, and dies with its children at one of them.

    Attributes:
        folder: files elsewhere do not count.
        at: number of the point, from 1; 0 for none.
        notes: file for the points' names.
    """

    folder: str
    at: int
    notes: int
    count: int = 0
    asked: bool = False

    def point(self, name: str, before: Callable[[], object] = lambda: None) -> None:
        """A point; `before` is done before death."""
        self.count += 1
        os.write(self.notes, f"{name}\n".encode())
        if self.count == self.at:
            before()
            os.killpg(0, signal.SIGKILL)

    def audit(self, event: str, values: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(values[2], int) and values[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            path, flags = os.fsdecode(values[0]) if isinstance(values[0], str | bytes) else "", values[2]
            if path.startswith(self.folder) and self.at >= 0:
                self.point(f"open {path}")
                self.point(f"opened {path}", lambda: self.open(path, flags))
        elif event in CHANGES and self.at >= 0:
            self.point(f"{event} {values[0]!r}")

    def open(self, path: str, flags: int) -> None:
        self.at = -1
        os.open(path, flags)

    def replace(self, owner: Any, name: str, point: Callable[[], None], after: bool = False) -> None:
        """Let a function be a point, before it does its work or after."""
        real = getattr(owner, name)

        def called(*given: Any, **named: Any) -> Any:
            if not after:
                point()
            result = real(*given, **named)
            if after:
                point()
            return result

        setattr(owner, name, called)

    def request(self) -> None:
        self.asked = True
        self.point("request")

    def answer(self) -> None:
        if self.asked:
            self.asked = False
            self.point("answer")

    def watch(self) -> None:
        """From now on."""
        os.setsid()
        for name in ("fsync", "sync"):
            setattr(os, name, lambda *_, name=name: self.point(name))  # a kill loses no page of the system's cache
        for name in ("send", "sendall"):
            self.replace(socket.socket, name, self.request)
        for name in ("recv", "recv_into"):
            self.replace(socket.socket, name, self.answer, after=True)
        sys.addaudithook(self.audit)


def in_child(work: Callable[[], object], folder: Path, at: int = 0) -> tuple[int, list[str], str]:
    """Do work in a process of its own, which dies at a point: its exit status, the points' names, what it raised."""
    notes, raised = os.memfd_create("points"), os.memfd_create("raised")
    child = os.fork()
    if not child:
        status = 1
        try:
            Watched(str(folder), at, notes).watch()
            work()
            status = 0
        finally:
            os.write(raised, traceback.format_exc().encode())
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    texts = [os.pread(file, 1 << 24, 0).decode(errors="replace") for file in (notes, raised)]
    for file in (notes, raised):
        os.close(file)
    return status, texts[0].splitlines(), texts[1]


def chosen(total: int) -> list[int]:
    """The points that are tried, the last one always."""
    number = total if POINTS == "all" else min(int(POINTS), total)
    return sorted({total - i * total // number for i in range(number)})


def kill_faults(
    folder: Path, prepare: Callable[[], object], work: Callable[[], object], seen: Callable[[], object]
) -> tuple[int, list[str]]:
    """Kill work at its points, each time on a new folder, and start it again.

    Args:
        folder: what work changes; deleted before each try.
        prepare: makes the folder, and whatever else work needs, as before the first start.
        work: the stage.
        seen: what came of it.

    Returns:
        the number of points tried, and what went wrong at each.
    """

    def fresh() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        prepare()

    fresh()
    status, points, raised = in_child(work, folder)
    assert status == 0, raised
    wanted, faults = seen(), list[str]()
    numbers = chosen(len(points))
    for number in numbers:
        fresh()
        status, reached, raised = in_child(work, folder, number)
        what = f"killed at {number} of {len(points)}, {(reached or points)[-1]}"
        # With threads, one run has a point less than another: it ends before it is killed.
        if status != -signal.SIGKILL and status != 0:
            faults.append(f"{what}: ended with {status} before: {raised}")
            continue
        status, _, raised = in_child(work, folder)
        if status:
            faults.append(f"{what}: started again, it ended with {status}: {raised}")
        elif (made := seen()) != wanted:
            faults.append(f"{what}: {made} instead of {wanted}")
    return len(numbers), faults


def tree(folder: Path, *left_out: str) -> dict[str, bytes]:
    """Content of the files below a folder, but those whose path starts with one of these."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith(left_out)}

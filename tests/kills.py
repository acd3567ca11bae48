"""Kills a stage at each point where it changes something outside, or fills its disk from there on, starts it again,
and compares what came of it.

The points are not chosen by hand: every file opened for writing (before, and emptied), every write to one (half of it
done), every renaming, deletion, folder, program, fsync and sync, every request and its answer. The process is forked,
so libraries are imported once. A program that it starts can have points too: it calls `join`.
"""

import builtins
import errno
import fcntl
import importlib
import io
import json
import os
import re
import shutil
import signal
import socket
import sys
import tarfile
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

OPEN = open
POINTS = os.environ.get("ILAB_KILL_POINTS", "12")
"""How many of a stage's points are tried, spread evenly: a number, or `all`."""
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "subprocess.Popen")
FILLS = ("open ", "write ", "os.mkdir ")
"""How the names of points begin at which a full disk shows."""
PROGRAMS = "ILAB_KILLS"
"""Environment variable: what `join` needs."""
TOLD = re.compile(
    r"SystemExit: error: (?:(/.*) can't be written\n  cause: the disk is full: .*"
    r"|the model server ended with 1; its log is (/.*)\n  cause: (?s:.*No space left.*)\n    the disk is full)"
    r"\n  next: make room .*\n$"
)
"""A stage that a full disk ended, or its model server, whose message names the file as well."""


@dataclass
class Watched:
    """This process, which notes its points, and dies with its children at one of them, or finds its disk full.

    Attributes:
        folder: files elsewhere do not count.
        at: number of the point, from 1; 0 for none.
        notes: file for the points' names, which all processes of a stage append to.
        full: from the point on nothing more can be written below the folder.
        group: process group of the stage; 0 for this one.
    """

    folder: str
    at: int
    notes: int
    full: bool = False
    group: int = 0
    asked: bool = False
    paused: bool = False

    def point(self, name: str, before: Callable[[], object] = lambda: None) -> None:
        """A point; `before` is done before death.

        Raises:
            OSError: the disk is full.
        """
        os.write(self.notes, f"{name}\n".encode())
        number = os.pread(self.notes, 1 << 24, 0).count(b"\n")
        if self.full:
            if self.at and number >= self.at and name.startswith(FILLS):
                if number == self.at:
                    before()
                written = name.startswith("write ")  # whose error names no file
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *([] if written else [name.partition(" ")[2]]))
        elif number == self.at:
            before()
            for group in (self.group, 0):
                os.killpg(group, signal.SIGKILL)

    def audit(self, event: str, values: tuple[Any, ...]) -> None:
        if self.paused:
            return
        if event == "open" and isinstance(values[2], int) and values[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            path, flags = os.fsdecode(values[0]) if isinstance(values[0], str | bytes | os.PathLike) else "", values[2]
            if path.startswith(self.folder):
                if not (self.full and Path(path).exists()):
                    self.point(f"open {path}")
                self.point(f"opened {path}", lambda: self.alone(os.open, path, flags))
        elif event in CHANGES:
            path = os.fsdecode(values[0]) if isinstance(values[0], str | bytes | os.PathLike) else repr(values[0])
            if event != "os.mkdir" or (path.startswith(self.folder) and not Path(path).exists()):
                self.point(f"{event} {path}")

    def alone(self, work: Callable[..., object], *given: Any) -> None:
        """Do something that does not count."""
        self.paused = True
        try:
            work(*given)
        finally:
            self.paused = False

    def opened(self, file: Any, mode: str = "r", buffering: int = -1, *text: Any, **more: Any) -> Any:
        """As `open`; each write to the file is a point."""
        path = os.fsdecode(file) if isinstance(file, str | bytes | os.PathLike) else ""
        if not path.startswith(self.folder) or not set(mode) & set("wax+"):
            return OPEN(file, mode, buffering, *text, **more)
        own = {name: more.pop(name) for name in ("closefd", "opener") if name in more}
        raw = Raw(path, mode.replace("b", "").replace("t", ""), **own)
        raw.watched = self
        if buffering == 0:
            return raw
        both = "+" in mode
        buffer: Any = (io.BufferedRandom if both else io.BufferedWriter)(raw, *([buffering] if buffering > 1 else []))
        if "b" in mode:
            return buffer
        names = ("encoding", "errors", "newline")
        options = {**dict(zip(names, text, strict=False)), **more}
        wrapped = io.TextIOWrapper(buffer, line_buffering=buffering == 1, **options)
        wrapped.mode = mode  # type: ignore[misc]
        return wrapped

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
        for name in ("fsync", "sync"):
            setattr(os, name, lambda *_, name=name: self.point(name))  # a kill loses no page of the system's cache
        builtins.open = io.open = tarfile.bltn_open = self.opened  # type: ignore[attr-defined]
        self.replace(os, "sendfile", lambda: self.point("write by sendfile"))
        for name in ("send", "sendall"):
            self.replace(socket.socket, name, self.request)
        for name in ("recv", "recv_into"):
            self.replace(socket.socket, name, self.answer, after=True)
        sys.addaudithook(self.audit)


class Raw(io.FileIO):
    """A file whose writes are points."""

    watched: Watched

    def write(self, data: Any) -> int:
        part = bytes(data)[: len(data) // 2]
        self.watched.point(f"write {len(data)} bytes to {self.name!r}", lambda: super(Raw, self).write(part))
        return super().write(data)


def join() -> None:
    """Let this program, which a stage started, have points too. Killed at one, it takes the stage with it."""
    if given := os.environ.get(PROGRAMS):
        values = json.loads(given)
        values["notes"] = os.open(values["notes"], os.O_RDWR | os.O_APPEND)
        Watched(**values).watch()


def unshare_progress_bars() -> None:
    """Give this process a lock of its own for tqdm: its default is shared by forks, and one that is killed keeps it."""
    importlib.import_module("tqdm").tqdm.set_lock(threading.RLock())


def in_child(work: Callable[[], object], folder: Path, at: int = 0, full: bool = False) -> tuple[int, list[str], str]:
    """Do work in a process of its own, which dies at a point: its exit status, the points' names, what it raised.

    Args:
        full: it does not die, but its disk is full from there on.
    """
    notes, raised = os.memfd_create("points"), os.memfd_create("raised")
    fcntl.fcntl(notes, fcntl.F_SETFL, os.O_APPEND)
    child = os.fork()
    if not child:
        status = 1
        try:
            os.setsid()
            watched = Watched(str(folder), at, notes, full, os.getpid())
            os.environ[PROGRAMS] = json.dumps({**asdict(watched), "notes": f"/proc/{os.getpid()}/fd/{notes}"})
            watched.watch()
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


def chosen(points: list[int], full: bool) -> list[int]:
    """Those of the points that are tried, the last one always; half as many for a full disk."""
    total = len(points)
    number = total if POINTS == "all" else min(-(-int(POINTS) // (1 + full)), total)
    return [points[total - 1 - i * total // number] for i in reversed(range(number))]


def kill_faults(
    folder: Path,
    prepare: Callable[[], object],
    work: Callable[[], object],
    seen: Callable[[], object],
    full: bool = False,
) -> tuple[int, list[str]]:
    """Kill work at its points, each time on a new folder, and start it again.

    Args:
        folder: what work changes; deleted before each try.
        prepare: makes the folder, and whatever else work needs, as before the first start.
        work: the stage.
        seen: what came of it.
        full: it is not killed, but its disk is full from there on. It must say so, with a path and a remedy.

    Returns:
        the number of points tried, and what went wrong at each.
    """

    def fresh() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        prepare()

    fresh()
    status, points, raised = in_child(work, folder, full=full)
    assert status == 0, raised
    wanted, faults = seen(), list[str]()
    numbers = chosen([n for n, name in enumerate(points, 1) if not full or name.startswith(FILLS)], full)
    for number in numbers:
        fresh()
        status, reached, raised = in_child(work, folder, number, full)
        what = f"{'full' if full else 'killed'} at {number} of {len(points)}, {(reached or points)[number - 1 :][:1]}"
        # With threads, one run has a point less than another: it ends before it is killed. Some files are not needed.
        said = full and status == 1 and TOLD.search(raised)
        told = said and (said[1] or said[2]).startswith(str(folder))
        if status and status != -signal.SIGKILL and not told:
            faults.append(f"{what}: ended with {status}: {raised}")
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

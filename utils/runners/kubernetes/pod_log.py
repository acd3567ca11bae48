"""A pod's log while it grows: into the task's log file, and to the display."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from utils.cluster.cluster import Cluster
from utils.cluster.logs import follow_log, tail_log
from utils.errors import IlabError
from utils.ir.model import Progress
from utils.runners.output import LONGEST_MESSAGE, MessageFilter, failure_of, failure_text, parse_progress

_REPORT_SECONDS = 0.2
_TAIL_LINES = 200


class PodLog:
    """Follows the container of one pod in a thread of its own.

    In the task's log file pods follow each other, each under a line with its name. A pod whose log is followed again,
    by a process that was started again, takes its earlier place. The file is a copy: a full disk costs lines of it, is
    reported, and has no other effect.

    Args:
        report: called with (message, progress), at most five times a second, and with the last progress; never after
            `stop`, when the task may have ended.
    """

    def __init__(
        self, cluster: Cluster, pod: str, container: str, path: Path, report: Callable[[str, Progress | None], None]
    ) -> None:
        self._cluster, self._pod, self._container, self._path = cluster, pod, container, path
        self._report = report
        self._reporting = threading.Lock()
        self._stopped = threading.Event()
        self._error = ""
        self._copy = _Copy(path, pod)
        self._thread = threading.Thread(target=self._follow, daemon=True, name=f"log {pod}")
        self._thread.start()

    def finish(self, seconds: float) -> None:
        """Wait for the end of the log, so long at most."""
        self._thread.join(seconds)
        self.stop()

    def stop(self) -> None:
        with self._reporting:
            self._stopped.set()

    def failure_text(self, reason: str, fallback: str) -> str:
        """Why the task failed, from what the container printed; else from `fallback`, the end of it in its status."""
        if self._copy.is_empty and fallback:
            self._copy.write(fallback.rstrip())
        if self._copy.error:
            lines = tail_log(self._cluster, self._pod, self._container, _TAIL_LINES) or fallback.splitlines()
            text = failure_of("\n".join(lines), reason)
            return f"{text}\n    (its log is not complete on this machine: {self._copy.error})"
        text = failure_text(self._path, self._copy.start, reason)
        return f"{text}\n    (its log could not be read to the end: {self._error})" if self._error else text

    def _follow(self) -> None:
        keep = MessageFilter()
        message, progress, told = "", None, 0.0
        try:
            for line in follow_log(self._cluster, self._pod, self._container, self._stopped.is_set):
                whole = not self._copy.error
                self._copy.write(line)
                text = keep(line)
                found = parse_progress(text)
                progress = found or progress
                message = message if found else text.strip()[:LONGEST_MESSAGE] or message
                if whole and self._copy.error:
                    message = f"its log can't be written on this machine: {self._copy.error}"
                if (message or progress) and time.monotonic() - told >= _REPORT_SECONDS:
                    self._tell(message, progress)
                    message, progress, told = "", None, time.monotonic()
        except IlabError as error:
            self._error = str(error)
        if message or progress:
            self._tell(message, progress)

    def _tell(self, message: str, progress: Progress | None) -> None:
        with self._reporting:
            if not self._stopped.is_set():
                self._report(message, progress)


class _Copy:
    """The task's log file, as far as it can be written.

    Attributes:
        start: where the pod's part begins.
        error: why lines are missing, "" while none are.
    """

    def __init__(self, path: Path, pod: str) -> None:
        self.start, self.error, self._path = 0, "", path
        try:
            self.start = _open_part(path, pod)
        except OSError as error:
            self.error = str(error)

    @property
    def is_empty(self) -> bool:
        return not self.error and self._path.stat().st_size <= self.start

    def write(self, line: str) -> None:
        try:
            with self._path.open("ab") as file:
                file.write(line.encode() + b"\n")
        except OSError as error:
            self.error = str(error)


def _open_part(path: Path, pod: str) -> int:
    """Begin the pod's part of the log file; where it starts. What is there of it already is dropped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = f"--- pod {pod} ---\n".encode()
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(fd, "rb+") as file:
        content = file.read()
        at = content.rfind(header)
        if at >= 0:
            file.truncate(at + len(header))
            return at + len(header)
        file.write(header)
        return file.tell()

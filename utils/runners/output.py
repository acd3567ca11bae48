"""What a task prints: written to its log file, and read for progress, the last message and the reason of a failure."""

import itertools
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from utils.errors import TaskFailed, TaskRefused, TaskWaits
from utils.ir.model import Progress
from utils.messages import FINDINGS_HEADER, WAITING

_PROGRESS = re.compile(r"^progress: (\d+(?:\.\d+)?)/(\d+(?:\.\d+)?) ?(.*)$")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_NOISE = re.compile(r"^\[KFP Executor ")
_LONGEST_LINE = 64 * 1024
LONGEST_MESSAGE = 300
_TAIL_BYTES = 256 * 1024
TAIL_LINES = 15


def parse_progress(line: str) -> Progress | None:
    """`progress: 3/80 answers` as (3.0, 80.0, "answers"); None for any other line."""
    match = _PROGRESS.match(line)
    return (float(match[1]), float(match[2]), match[3]) if match else None


class MessageFilter:
    """Keeps the lines that a stage printed: not the KFP executor's own, nor the input it prints as JSON."""

    def __init__(self) -> None:
        self._in_json = False

    def __call__(self, line: str) -> str:
        """The line as a message, "" when it is none."""
        line = _ESCAPES.sub("", line).rstrip()
        if self._in_json:
            self._in_json = line != "}"
            return ""
        if _NOISE.match(line):
            self._in_json = line.endswith("Got executor_input:")
            return ""
        return line


class Output:
    """Copies a task's output to its log file as it comes, secrets masked, and reports messages and progress.

    Args:
        log: the open log file, binary and unbuffered.
        report: called with (message, progress) once for each chunk that brought either.
        secrets: values that must not get into the log.
    """

    def __init__(self, log: int, report: Callable[[str, Progress | None], None], secrets: tuple[str, ...] = ()) -> None:
        self._log = log
        self._report = report
        self._secrets = [s.encode() for s in sorted(secrets, key=len, reverse=True)]
        self._filter = MessageFilter()
        self._full = False

    def copy(self, source: int) -> None:
        """Read the file descriptor `source` to its end. A line without end is written out once it gets too long.

        A task never waits for its log: what can't be written, since the disk is full, is lost, and reported once.
        """
        rest = b""
        while chunk := os.read(source, 65536):
            lines = re.split(rb"(?<=[\r\n])", rest + chunk)
            rest = lines.pop()
            if len(rest) > _LONGEST_LINE:
                lines.append(rest)
                rest = b""
            self._take(lines)
        self._take([rest] if rest else [])

    def _take(self, lines: list[bytes]) -> None:
        if not lines:
            return
        data = b"".join(lines)
        for secret in self._secrets:
            data = data.replace(secret, b"***")
        lost = self._write(data)
        message, progress = "", None
        for line in re.split(r"[\r\n]+", data.decode(errors="replace")):
            text = self._filter(line)
            found = parse_progress(text)
            if found:
                progress = found
            elif text.strip():
                message = text.strip()[:LONGEST_MESSAGE]
        message = lost or message
        if message or progress:
            with suppress(OSError):  # the journal is on the same disk; the task's end is recorded, or fails, without us
                self._report(message, progress)

    def _write(self, data: bytes) -> str:
        """Write to the log. Returns what to tell when that begins to fail."""
        try:
            _write_all(self._log, data)
        except OSError as error:
            told, self._full = self._full, True
            return "" if told else f"the log can't be written ({error.strerror}): a part of it is lost"
        self._full = False
        return ""


def failure_text(log: Path, start: int, reason: str) -> str:
    """Why a task failed, from the part of its log after byte `start`: one line, then indented ones that explain it.

    The last block `error: … / cause: … / next: …` of a stage, without the word error; else the last exception and
    where it was raised; else the last lines, after `reason`.
    """
    return failure_of(log_end(log, start), reason)


def task_failure(text: str) -> TaskFailed:
    """The failure of a task with such a text.

    A stage that has said what to do next knows its cause, and has waited out what passes: another attempt would end the
    same way. A process that was killed, or an exception that nobody foresaw, may be worth one.
    """
    if text.startswith(WAITING):
        return TaskWaits(text)
    return (TaskRefused if "\n  next: " in text else TaskFailed)(text)


def log_end(log: Path, start: int = 0) -> str:
    """The end of a task's log, at most from byte `start` on."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(start, size - _TAIL_BYTES))
        return file.read().decode(errors="replace")


def failure_of(text: str, reason: str) -> str:
    """`failure_text` of what a task printed."""
    keep = MessageFilter()
    lines = [kept for line in re.split(r"[\r\n]+", text) if (kept := keep(line)).strip()]
    block = _error_block(lines)
    if block:
        return "\n".join(block)
    first, *rest = _exception(lines) or [reason, *lines[-TAIL_LINES:]]
    return "\n".join([first, *(f"    {line}" for line in rest)])


def findings_of(text: str) -> str:
    """The last table of findings that a task printed, in Markdown; "" without one."""
    lines = text.splitlines()
    for start in range(len(lines) - 1, -1, -1):
        if lines[start].startswith(FINDINGS_HEADER):
            return "\n".join(itertools.takewhile(lambda line: line.startswith("|"), lines[start:]))
    return ""


def _error_block(lines: list[str]) -> list[str]:
    start = max((i for i, line in enumerate(lines) if line.startswith("error: ")), default=-1)
    if start < 0:
        return []
    indented = itertools.takewhile(lambda line: line.startswith(" "), lines[start + 1 :])
    return [lines[start].removeprefix("error: "), *indented]


def _exception(lines: list[str]) -> list[str]:
    """The last traceback: its exception's own text, then the innermost frames."""
    start = max((i for i, line in enumerate(lines) if line.startswith("Traceback (most recent")), default=-1)
    if start < 0:
        return []
    # Frames are indented: the first line that is not begins the exception's text.
    end = next((i for i in range(start + 1, len(lines)) if not lines[i].startswith(" ")), len(lines))
    return [*lines[end : end + 5], *lines[max(start + 1, end - TAIL_LINES) : end]]


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]

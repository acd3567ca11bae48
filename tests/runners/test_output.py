"""A task's output: copied, secrets masked, read for progress and for the reason of a failure."""

import errno
import os
import threading
from pathlib import Path

import pytest

from utils.ir.model import Progress
from utils.runners.output import MessageFilter, Output, failure_text, parse_progress


def copied(tmp_path: Path, chunks: list[bytes], secrets: tuple[str, ...] = ()) -> tuple[bytes, list[tuple]]:
    """The log and the reports after these chunks came through a pipe."""
    reports: list[tuple[str, Progress | None]] = []
    log = tmp_path / "task.log"
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    read, write = os.pipe()
    for chunk in chunks:
        os.write(write, chunk)
    os.close(write)
    Output(fd, lambda *report: reports.append(report), secrets).copy(read)
    os.close(read)
    os.close(fd)
    return log.read_bytes(), reports


def test_a_full_disk_is_told_once_and_the_output_is_read_to_its_end() -> None:
    """/dev/full answers every write with ENOSPC."""
    reports: list[str] = []

    def report(message: str, progress: Progress | None) -> None:
        reports.append(message)
        raise OSError(errno.ENOSPC, "the journal has no room either")

    read, write = os.pipe()
    full = os.open("/dev/full", os.O_WRONLY)
    reader = threading.Thread(target=Output(full, report).copy, args=(read,), daemon=True)
    reader.start()
    for _ in range(20):
        os.write(write, b"x" * 65535 + b"\n")  # together more than a pipe holds
    os.close(write)
    reader.join(timeout=20)
    assert not reader.is_alive()
    assert [message for message in reports if "log" in message] == [
        "the log can't be written (No space left on device): a part of it is lost"
    ]
    os.close(read)
    os.close(full)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("progress: 3/80 answers", (3.0, 80.0, "answers")),
        ("progress: 1.5/2 epochs", (1.5, 2.0, "epochs")),
        ("progress: 3/80", (3.0, 80.0, "")),
        ("made progress: 3/80 answers", None),
        ("progress: all done", None),
    ],
)
def test_progress_lines_are_parsed(line: str, expected: Progress | None) -> None:
    assert parse_progress(line) == expected


def test_output_is_logged_unchanged(tmp_path: Path) -> None:
    data = b"one\ntwo\r\nbar 1%\rbar 2%\rno end \xff"
    log, reports = copied(tmp_path, [data])
    assert log == data
    assert reports[-1][0].startswith("no end")


def test_secrets_split_across_chunks_are_masked(tmp_path: Path) -> None:
    data = b"token is canary-value.\nagain canary-value"
    for cut in range(len(data)):
        (tmp_path / "task.log").unlink(missing_ok=True)
        log, _ = copied(tmp_path, [data[:cut], data[cut:]], ("canary-value",))
        assert log == b"token is ***.\nagain ***"


def test_longer_secret_is_masked_before_one_that_it_contains(tmp_path: Path) -> None:
    log, reports = copied(tmp_path, [b"key abcd\n"], ("ab", "abcd"))
    assert log == b"key ***\n" and reports == [("key ***", None)]


def test_log_that_can_be_written_again_is_told_of_when_it_fails_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([False, True, True, False, True])
    write = os.write

    def sometimes(fd: int, data: bytes) -> int:
        if data.startswith(b"log") and next(answers):
            raise OSError(errno.ENOSPC, "full")
        return write(fd, data)

    reports: list[str] = []
    output = Output(os.open(os.devnull, os.O_WRONLY), lambda message, progress: reports.append(message))
    monkeypatch.setattr(os, "write", sometimes)
    for _ in range(5):
        output._take([b"log\n"])
    lost = "the log can't be written (full): a part of it is lost"
    assert reports == ["log", lost, "log", "log", lost]


def test_executor_lines_are_not_messages() -> None:
    keep = MessageFilter()
    lines = ["[KFP Executor 2025 INFO]: Got executor_input:", "{", '    "inputs": {', "    }", "}", "reading", "{"]
    assert [keep(line) for line in lines] == ["", "", "", "", "", "reading", "{"]


def reason(tmp_path: Path, text: str, start: int = 0) -> str:
    log = tmp_path / "task.log"
    log.write_text(text)
    return failure_text(log, start, "exit code 1")


def test_the_last_error_block_of_a_stage_is_the_reason(tmp_path: Path) -> None:
    text = "error: first\n  cause: a\nmore\nerror: bucket is gone\n  cause: deleted\n  next: make it\nbye\n"
    assert reason(tmp_path, text) == "bucket is gone\n  cause: deleted\n  next: make it"


def test_an_exception_comes_first_then_where_it_was_raised(tmp_path: Path) -> None:
    text = 'start\nTraceback (most recent call last):\n  File "x.py", line 3, in f\n    g()\nValueError: no rows\n'
    assert reason(tmp_path, text).splitlines()[0] == "ValueError: no rows"
    assert "x.py" in reason(tmp_path, text)


def test_last_of_chained_exceptions_is_the_reason(tmp_path: Path) -> None:
    one = 'Traceback (most recent call last):\n  File "x.py", line 3\n{}\n'
    text = one.format("KeyError: 'a'") + "\nDuring handling, another exception occurred:\n\n" + one.format("OSError: b")
    assert reason(tmp_path, text).startswith("OSError: b")


def test_without_error_block_or_exception_the_last_lines_follow_the_exit_code(tmp_path: Path) -> None:
    lines = reason(tmp_path, "\n".join(f"line {n}" for n in range(100))).splitlines()
    assert lines[0] == "exit code 1"
    assert [line.strip() for line in lines[1:]] == [f"line {n}" for n in range(85, 100)]


def test_an_earlier_attempts_output_is_not_the_reason(tmp_path: Path) -> None:
    first = "error: earlier\n"
    assert reason(tmp_path, first + "error: now\n", len(first)) == "now"
    assert reason(tmp_path, first, len(first)) == "exit code 1"

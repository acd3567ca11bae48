"""What outlives its task writes into no other task's log, and is reported of no task."""

import os
import sys
from pathlib import Path

import pytest

from tests.runners.local.conftest import wait_for
from utils.runners.local import process
from utils.runners.local.keeper import RUN_MARK, TASK_MARK
from utils.runners.local.process import TaskProcess

# A child without the marks, by which children are found, in a session of its own; it writes when it is told to.
LEAVES_A_CHILD = """
import os, sys
print("begun", flush=True)
if not os.fork():
    os.setsid()
    os.execve(sys.executable, [sys.executable, "-c", "open('gate').read(); print('too late')"], {})
"""


def test_child_that_outlives_its_task_writes_into_no_other_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_LAST_WORDS_SECONDS", 0.05)
    os.mkfifo(tmp_path / "gate")
    logs = [tmp_path / "first.log", tmp_path / "other.log"]
    log = os.open(logs[0], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    environment = {RUN_MARK: str(tmp_path), TASK_MARK: "first"}
    task = TaskProcess([sys.executable, "-c", LEAVES_A_CHILD], environment, tmp_path, log, 0.1)
    told: list[str] = []
    assert task.wait(lambda message, _: told.append(message), (), None) == (0, False)
    os.close(log)
    other = os.open(logs[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    assert other == log  # the system gives the lowest number that is free
    (tmp_path / "gate").write_text("go")
    texts = wait_for(lambda: "late" in "".join(found := [path.read_text() for path in logs]) and found)
    assert texts == ["begun\ntoo late\n", ""]
    assert told == ["begun"]
    os.close(other)

"""The journal: what is written is read back; a truncated line counts as not written."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from utils.errors import IlabError
from utils.ir.model import Artifact, Event, Outputs, TaskState
from utils.runners.journal import Journal, JournalCopy, read_history

OUTPUTS = Outputs({"rows": 3, "part": 0.5}, {"model": [Artifact("model", "system.Model", "/x", {"loss": 1.5})]})


def event(task: str, state: TaskState, at: float = 1.0, **more: Any) -> Event:
    return Event(at, task, state, **more)


def write(path: Path, *events: Event) -> None:
    with Journal(path) as journal:
        journal.append("run", pid=1, private_dir="/tmp/x")
        for one in events:
            journal.on_event(one)


def test_outputs_of_a_finished_task_come_back_with_their_types(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, event("a", TaskState.RUNNING), event("a", TaskState.SUCCEEDED, 3.0, outputs=OUTPUTS))
    history = read_history(path)
    assert history.finished == {"a": OUTPUTS}
    assert (history.tasks["a"].started, history.tasks["a"].ended) == (1.0, 3.0)
    assert history.state is None


def test_truncated_last_line_counts_as_not_written(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, event("a", TaskState.SUCCEEDED, outputs=OUTPUTS), event("b", TaskState.SUCCEEDED, outputs=OUTPUTS))
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for length in [last, last + 1, last + 20, len(whole) - 2]:
        path.write_bytes(whole[:length])
        assert set(read_history(path).finished) == {"a"}
        write(path, event("c", TaskState.SUCCEEDED, outputs=OUTPUTS))
        assert set(read_history(path).finished) == {"a", "c"}


def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, event("a", TaskState.RUNNING))
    path.write_bytes(b"{oops\n" + path.read_bytes())
    with pytest.raises(IlabError, match="line 1"):
        read_history(path)


def test_messages_and_progress_within_a_state_are_not_recorded(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, *(event("a", TaskState.RUNNING, message=str(n), progress=(n, 9, "x")) for n in range(9)))
    assert len(path.read_text().splitlines()) == 2


def test_a_task_that_runs_again_is_no_longer_finished(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, event("exit", TaskState.SUCCEEDED, outputs=OUTPUTS))
    write(path, event("exit", TaskState.RUNNING))
    assert read_history(path).finished == {}


def test_a_resumed_run_has_not_ended_until_it_ends_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, event("a", TaskState.FAILED, message="boom"))
    with Journal(path) as journal:
        journal.append("end", state="FAILED", error="boom")
    assert read_history(path).state is TaskState.FAILED
    write(path)
    assert (read_history(path).state, read_history(path).error) == (None, "")


def test_journal_of_a_run_that_was_killed_and_resumed_is_read(tmp_path: Path) -> None:
    """The lines are those of a run before `utils.ir.status` was there."""
    path = tmp_path / "journal.jsonl"
    path.write_text(
        '{"kind":"run","time":10.0,"pid":7,"private_dir":"/tmp/ilab-x"}\n'
        '{"kind":"task","time":10.1,"task":"a","state":"RUNNING"}\n'
        '{"kind":"process","time":10.2,"task":"a","pid":8,"claims":["ilab-r1"]}\n'
        '{"kind":"task","time":11.0,"task":"a","state":"SUCCEEDED","outputs":{"parameters":{"n":1},"artifacts":{}}}\n'
        '{"kind":"task","time":11.1,"task":"b","state":"RUNNING"}\n'
        '{"kind":"process","time":11.2,"task":"b","pid":9,"claims":[]}\n'
        '{"kind":"run","time":50.0,"pid":10}\n'
        '{"kind":"task","time":50.1,"task":"a","state":"SUCCEEDED","message":"finished earlier"}\n'
        '{"kind":"task","time":50.2,"task":"b","state":"RUNNING"}\n'
        '{"kind":"process","time":50.3,"task":"b","pid":11,"claims":[]}\n'
    )
    history = read_history(path)
    assert history.finished == {"a": Outputs({"n": 1})}
    a, b = history.tasks["a"], history.tasks["b"]
    assert (a.started, a.ended, a.attempts, a.claims) == (10.1, 11.0, 1, ("ilab-r1",))
    assert (b.state, b.started, b.attempts) == (TaskState.RUNNING, 50.2, 2)
    stopped = history.interrupted().tasks["b"]
    assert (stopped.state, stopped.ended) == (TaskState.CANCELED, 50.3)


@pytest.mark.parametrize(("state", "synced"), [(TaskState.RUNNING, 0), (TaskState.SUCCEEDED, 1), (TaskState.FAILED, 1)])
def test_what_is_done_is_on_the_disk_before_the_run_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: TaskState, synced: int
) -> None:
    path, flushed = tmp_path / "journal.jsonl", list[bytes]()
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(path.read_bytes()))
    with Journal(path) as journal:
        journal.append("run", sync=False)
        journal.on_event(event("a", state))
        assert flushed == [path.read_bytes()] * synced
        journal.append("end", state="SUCCEEDED")
        assert flushed[-1] == path.read_bytes()


def test_record_that_found_no_room_is_written_when_it_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        with monkeypatch.context() as full:
            full.setattr(os, "write", lambda fd, data: 0)
            with pytest.raises(OSError, match="No space"):
                journal.on_event(event("a", TaskState.FAILED))
        journal.on_event(event("a", TaskState.FAILED))
    assert read_history(path).tasks["a"].state is TaskState.FAILED


def test_copy_keeps_what_it_can_not_write_and_tells_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, told = tmp_path / "journal.jsonl", list[str]()
    with Journal(path) as journal:
        copy = JournalCopy(journal, told.append)
        with monkeypatch.context() as full:
            full.setattr(os, "write", lambda fd, data: 0)
            copy.append("run")
            copy.on_event(event("a", TaskState.RUNNING))
            copy.on_event(event("a", TaskState.SUCCEEDED))
        assert len(told) == 1
        copy.append("end", state="SUCCEEDED")
    assert len(told) == 2
    assert [json.loads(line)["kind"] for line in path.read_text().splitlines()] == ["run", "task", "task", "end"]


def test_claims_and_folders_with_secrets_of_every_start_are_known(tmp_path: Path) -> None:
    """A resume removes what a killed start left, and the claims go with the run."""
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        for start in ("/tmp/a", "/tmp/b"):
            journal.append("run", pid=1, private_dir=start)
            journal.append("claim", name=f"claim-{start[-1]}")
        journal.append("run", pid=1)
    history = read_history(path)
    assert (history.private_dirs, history.claims) == (("/tmp/a", "/tmp/b"), ("claim-a", "claim-b"))


def test_run_began_with_its_first_start(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        for at in (10.0, 50.0):
            journal.append("run", time=at)
        journal.append("end", state="CANCELED", error="interrupted", time=60.0)
    history = read_history(path)
    assert (history.started, history.ended, history.last) == (10.0, 60.0, 60.0)
    assert (history.state, history.error) == (TaskState.CANCELED, "interrupted")

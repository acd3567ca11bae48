"""A run that is killed anywhere resumes where it was; its child processes are ended."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runners.local.conftest import ROOT, Home, is_alive, wait_for
from utils.runners.run_folder import create_run
from utils.runners.settings import LocalSettings

ORDER = ["note", "note-2", "note-3", "finish"]
BOUNDARIES = [(task, state, "") for task in ORDER for state in ("RUNNING", "SUCCEEDED")]
IN_MID_TASK = [(task, "RUNNING", "half") for task in ("note", "note-3")]


def new_run(home: Home, pipeline: str, run_id: str = "r1", secrets: str = "") -> None:
    text = (home.packages / f"{pipeline}.yaml").read_text()
    settings = LocalSettings(python=sys.executable, grace=2.0, secrets=secrets)
    create_run(home.path, run_id, text, {"claim": "shared"}, settings)


def kill_at(home: Home, task: str, state: str, message: str) -> None:
    """Work on the run in a process that is killed at this event."""
    words = [str(home.path), "r1", task, state, *([message] if message else [])]
    killed = subprocess.run([sys.executable, "-m", "tests.runners.local.killed_run", *words], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL


@pytest.mark.parametrize(("task", "state", "message"), BOUNDARIES + IN_MID_TASK)
def test_a_run_killed_at_a_task_boundary_repeats_no_finished_task(
    home: Home, task: str, state: str, message: str
) -> None:
    new_run(home, "chain")
    kill_at(home, task, state, message)
    assert "INTERRUPTED" in home.call("status").output
    finished = ORDER[: ORDER.index(task) + (state == "SUCCEEDED")]
    result = home.call("resume", "r1")
    assert result.exit_code == 0, result.output
    again = 2 if message else 1
    assert {name: len(home.lines(name)) for name in ORDER[:3]} == {
        name: again if name == task and name not in finished else 1 for name in ORDER[:3]
    }
    assert home.lines("finish") == ["COMPLETE"]
    assert home.tasks("r1") == dict.fromkeys(ORDER, "SUCCEEDED")
    assert f"{len(finished)} tasks finished earlier" in result.output or not finished


def test_a_failed_task_runs_again_and_so_does_the_exit_task(home: Home) -> None:
    (home.data / "note-2").mkdir()  # the task can't write its file
    assert home.run("chain", "r1", "-p", "claim=shared").exit_code == 1
    assert home.lines("finish") == ["FAILED"]
    (home.data / "note-2").rmdir()
    assert home.call("resume", "r1").exit_code == 0
    assert [len(home.lines(name)) for name in ORDER[:3]] == [1, 1, 1]
    assert home.lines("finish") == ["FAILED", "COMPLETE"]


def test_a_run_that_succeeded_is_not_resumed(home: Home) -> None:
    home.run("chain", "r1", "-p", "claim=shared")
    result = home.call("resume", "r1")
    assert (result.exit_code, "nothing to resume" in result.output) == (0, True)


def test_ctrl_c_ends_every_child_and_leaves_a_run_to_resume(home: Home) -> None:
    command = home.start(*home.run_words("hanging", "r1", "-p", "claim=shared"))
    ids = home.ids("hang") + home.ids("hang-2")
    command.send_signal(signal.SIGINT)
    output = command.communicate(timeout=20)[0]
    assert command.returncode == 130, output
    assert "ilab-pipeline resume r1" in output
    assert [pid for pid in ids if is_alive(pid)] == []
    assert home.lines("finish") == []  # the exit task would have deleted what the resume needs
    assert list(Path(os.environ["TMPDIR"]).iterdir()) == []
    (home.data / "go").touch()
    assert home.call("resume", "r1").exit_code == 0
    assert home.lines("note") == ["ran"]
    assert home.lines("finish") == ["COMPLETE"]


def test_a_second_ctrl_c_kills_what_does_not_stop(home: Home) -> None:
    (home.data / "stubborn").touch()
    command = home.start(*home.run_words("hanging", "r1", "-p", "claim=shared", "--grace", "60"))
    ids = home.ids("hang") + home.ids("hang-2")
    command.send_signal(signal.SIGINT)
    wait_for(lambda: not is_alive(ids[1]))  # the child stops, its parent does not
    assert is_alive(ids[0])
    command.send_signal(signal.SIGINT)
    command.communicate(timeout=20)
    assert command.returncode == 130
    assert [pid for pid in ids if is_alive(pid)] == []


def test_children_do_not_outlive_a_killed_runner_nor_do_its_secrets(home: Home, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "a.yaml").write_text("{kind: Secret, metadata: {name: s}, stringData: {token: canary}}")
    new_run(home, "hanging", secrets=str(tmp_path / "secrets"))
    kill_at(home, "hang", "RUNNING", "half")
    ids = home.ids("hang")
    wait_for(lambda: not any(is_alive(pid) for pid in ids))
    wait_for(lambda: not list(Path(os.environ["TMPDIR"]).iterdir()))


def test_a_resume_first_ends_what_a_killed_run_left(home: Home) -> None:
    """When the keeper was killed along with the runner."""
    command = home.start(*home.run_words("hanging", "r1", "-p", "claim=shared"))
    ids = home.ids("hang") + home.ids("hang-2")
    keeper = next(
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"keeper.py\0" in path.read_bytes() and str(home.path).encode() in path.read_bytes()
    )
    for pid in (keeper, command.pid):
        os.kill(pid, signal.SIGKILL)
    command.communicate()
    assert all(is_alive(pid) for pid in ids)
    (home.data / "go").touch()
    assert home.call("resume", "r1").exit_code == 0
    assert [pid for pid in ids if is_alive(pid)] == []
    assert list(Path(os.environ["TMPDIR"]).iterdir()) == []


def test_two_processes_never_work_on_one_run(home: Home) -> None:
    command = home.start(*home.run_words("hanging", "r1", "-p", "claim=shared"))
    try:
        home.ids("hang")
        for words in (["resume", "r1"], ["clean", "r1", "--yes"]):
            result = home.call(*words)
            assert result.exit_code == 2, result.output
            assert "process" in result.output
        assert "RUNNING" in home.call("status").output
    finally:
        command.send_signal(signal.SIGTERM)
        command.communicate(timeout=20)
    assert command.returncode == 130
    assert home.processes("r1") == set()

"""status, logs and clean on past and present runs."""

import json
import signal
import subprocess
import sys

import pytest

from tests.runners.local.conftest import ROOT, Home, wait_for


@pytest.fixture
def past(home: Home) -> Home:
    """A home with a run that succeeded and one that failed."""
    assert home.run("chain", "good", "-p", "claim=shared").exit_code == 0
    assert home.run("checked", "bad", "-p", "ok=false").exit_code == 3
    return home


def test_status_lists_runs_and_the_tasks_of_one(past: Home) -> None:
    runs = {run["run_id"]: run for run in json.loads(past.call("status", "--output", "json").stdout)}
    assert {name: run["state"] for name, run in runs.items()} == {"good": "SUCCEEDED", "bad": "FAILED"}
    counts = {name: [run[f"tasks{what}"] for what in ("_ended", "_skipped", "")] for name, run in runs.items()}
    assert counts == {"good": [4, 0, 4], "bad": [1, 0, 1]}
    assert "bucket is gone" in runs["bad"]["error"]
    table = past.call("status").output
    assert "good" in table
    assert "FAILED" in table
    one = past.call("status", "good").output
    assert all(name in one for name in ("note", "note-2", "note-3", "finish"))
    assert past.call("status", "none").exit_code == 2


def test_logs_print_a_task_or_all_without_the_executors_own_lines(past: Home) -> None:
    assert past.call("logs", "good", "note").output == "half\n"
    everything = past.call("logs", "good").output
    assert everything.count("half") == 3
    assert "==> finish <==" not in everything  # it printed nothing
    assert "KFP Executor" not in everything
    assert "KFP Executor" in past.call("logs", "good", "--raw").output
    unknown = past.call("logs", "good", "nothing")
    assert unknown.exit_code == 2
    assert "note, note-2, note-3, finish" in unknown.output


def test_logs_follow_a_run_to_its_end(home: Home) -> None:
    command = home.start(*home.run_words("hanging", "r1", "-p", "claim=shared"))
    home.ids("hang")
    with (home.path / "followed").open("w+") as followed:
        words = home.words("logs", "r1", "--follow")
        follower = subprocess.Popen([sys.executable, "-m", "utils.cli.main", *words], cwd=ROOT, stdout=followed)
        wait_for(lambda: (home.path / "followed").read_text().count("half\n") == 3)
        command.send_signal(signal.SIGINT)
        command.communicate(timeout=20)
        assert follower.wait(timeout=20) == 0


def test_clean_asks_and_removes_what_was_chosen(past: Home) -> None:
    assert past.call("clean").exit_code == 2
    assert past.call("clean", "good", input="n\n").exit_code == 1
    assert past.run_dir("good").exists()
    assert past.call("clean", "--finished", "--yes").exit_code == 0
    assert not past.run_dir("good").exists()
    assert past.run_dir("bad").exists()
    assert past.data.exists()  # a claim that was there before
    assert past.call("clean", "--all", input="y\n").exit_code == 0
    assert past.call("clean", "--all").output == "nothing to remove\n"

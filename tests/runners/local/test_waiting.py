"""A task that waits for a person: the run ends, has a state of its own everywhere, and resume continues it."""

import json

import pytest

from tests.runners.local.conftest import Home

PARAMETERS = ("-p", "claim=shared")


def test_run_that_waits_ends_with_a_state_of_its_own_and_resume_continues_it(home: Home) -> None:
    ended = home.run("waiting", "r1", *PARAMETERS)
    assert ended.exit_code == 5, ended.output
    assert "ask is waiting for review of 2 samples: /page.html\n  cause: none yet\n  next: decide" in ended.output
    assert "failed" not in ended.output and "WAITING after" in ended.output
    assert "resume: ilab-pipeline resume r1" in ended.output
    assert home.tasks("r1") == {"note": "SUCCEEDED", "ask": "WAITING", "note-2": "SKIPPED", "finish": "SUCCEEDED"}
    assert [run["state"] for run in json.loads(home.call("status", "-o", "json").stdout)] == ["WAITING"]
    assert "WAITING" in home.call("status").output
    assert "WAITING; files in" in home.call("status", "r1").output
    assert home.lines("finish") == ["FAILED"], "exit tasks are told a state that a server knows"
    assert home.call("resume", "r1").exit_code == 5
    assert home.lines("ask") == ["ran", "ran"], "it is not tried again by itself"
    (home.data / "decided").touch()
    again = home.call("resume", "r1")
    assert again.exit_code == 0, again.output
    assert [len(home.lines(name)) for name in ("note", "ask", "note-2")] == [1, 3, 1]
    assert home.lines("finish")[-1] == "COMPLETE"


def test_script_sees_that_the_run_waits(home: Home) -> None:
    summary = home.run_json("waiting", "r1", *PARAMETERS)
    assert (summary["state"], summary["exit_code"], summary["failed"]) == ("WAITING", 5, {})
    assert "waiting for review of 2 samples" in summary["error"]


@pytest.mark.parametrize("flag", ["--finished", "--all"])
def test_run_that_waits_is_not_removed_with_those_that_are_finished(home: Home, flag: str) -> None:
    home.run("waiting", "r1", *PARAMETERS)
    home.call("clean", flag, "-y")
    assert home.run_dir("r1").exists() == (flag == "--finished")

"""Runs on this machine: paths, Secrets, parallel tasks, time-outs, retries, refusals, exit codes."""

import base64
import hashlib
import json
from pathlib import Path

import pytest

from tests.runners.end_fields import END_FIELDS
from tests.runners.local.conftest import Home, is_alive

CANARY = "canary-4f9c2e71"
CLAIM = ("-p", "claim=shared")


def test_a_run_succeeds_and_its_paths_lie_in_the_claims_folder(home: Home) -> None:
    result = home.run("chain", "r1", *CLAIM)
    assert result.exit_code == 0, result.output
    assert home.tasks("r1") == dict.fromkeys(["note", "note-2", "note-3", "finish"], "SUCCEEDED")
    assert home.lines("finish") == ["COMPLETE"]
    assert "SUCCEEDED after" in result.output


def test_json_output_is_one_document(home: Home) -> None:
    found = home.run_json("retried", "r1", "-p", "times=0", *CLAIM)
    assert (found["state"], found["exit_code"], found["outputs"]) == ("SUCCEEDED", 0, {"Output": "try 0"})
    assert found.keys() - END_FIELDS == {"folder", "page"} and found.keys() >= END_FIELDS


def test_two_tasks_run_in_parallel_up_to_the_limit(home: Home) -> None:
    assert home.run("meeting", "r1", "-p", "seconds=15", *CLAIM).exit_code == 0
    assert (home.data / "met").exists()
    (home.data / "met").unlink()
    assert home.run("meeting", "r2", "-p", "seconds=0.3", "--max-parallel", "1", *CLAIM).exit_code == 0
    assert not (home.data / "met").exists()


def test_task_past_its_deadline_fails_and_its_children_are_ended(home: Home) -> None:
    result = home.run("timed", "r1", *CLAIM)
    assert result.exit_code == 1
    assert "ran longer than the 1 s it has" in result.output
    assert [pid for pid in home.ids("deep/er/hang") if is_alive(pid)] == []


def test_failed_task_is_retried(home: Home) -> None:
    found = home.run_json("retried", "r1", "-p", "times=2", *CLAIM)
    assert found["outputs"] == {"Output": "try 2"}
    log = home.call("logs", "r1").output
    assert log.count("--- started again") == 2


def test_failure_whose_cause_the_stage_knows_is_not_repeated(home: Home) -> None:
    """The stage has waited out what passes; what stays would take minutes, or hours of a GPU, and end the same way."""
    result = home.run("told", "r1", "-p", "cause=HTTP 401")
    assert result.exit_code == 1 and "HTTP 401" in result.output
    assert "--- started again" not in home.call("logs", "r1").output


def test_failed_run_reports_task_reason_log_and_how_to_resume(home: Home) -> None:
    result = home.run("retried", "r1", "-p", "times=9", *CLAIM)
    assert result.exit_code == 1
    assert "fail-first failed" in result.output
    assert "error: ValueError: this is try 2" in result.output
    assert f"log: {home.run_dir('r1')}/logs/fail-first.log" in result.output
    assert f"resume: ilab-pipeline resume r1 --home {home.path}" in result.output


def test_failed_prerequisites_have_their_own_exit_code(home: Home) -> None:
    result = home.run("checked", "r1", "-p", "ok=false")
    assert result.exit_code == 3
    assert "error: the bucket is gone\n  cause: deleted\n  next: make it" in result.output


def test_run_whose_exit_task_deleted_the_volume_says_that_it_cannot_be_resumed(home: Home) -> None:
    result = home.run("deleting", "r1", "-p", "ok=false", *CLAIM)
    assert result.exit_code == 3
    assert "resume: not possible" in result.output
    assert "unless k8s_keep_volume is never, a failed run keeps its volume" in result.output
    again = home.call("resume", "r1")
    assert again.exit_code == 2
    assert "its volume shared is gone" in again.output


def write_secrets(folder: Path, form: str) -> Path:
    """The same Secret and ConfigMap as folders, or as Kubernetes YAML."""
    if form == "folders":
        for name, key, value in (("store", "api_token", CANARY), ("place", "region", "north")):
            (folder / name).mkdir(parents=True)
            (folder / name / key).write_text(value)
        return folder
    folder.mkdir()
    value = base64.b64encode(CANARY.encode()).decode()
    field = {"data": {"api_token": value}} if form == "data" else {"stringData": {"api_token": CANARY}}
    manifests = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store"}, **field},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "place"}, "data": {"region": "north"}},
    ]
    (folder / "all.yaml").write_text("---\n".join(json.dumps(manifest) + "\n" for manifest in manifests))
    return folder


@pytest.mark.parametrize("form", ["folders", "data", "stringData"])
def test_secrets_reach_the_task_and_no_file_or_output_of_the_run(home: Home, tmp_path: Path, form: str) -> None:
    secrets = write_secrets(tmp_path / "secrets", form)
    result = home.run("secretive", "r1", "-p", "secret=store", "--secrets", str(secrets), "--output", "json")
    digest = hashlib.sha256(CANARY.encode()).hexdigest()
    values = json.loads(result.stdout)["outputs"]["Output"]
    assert values == {"file": digest, "variable": digest, "map": "north", "map_variable": "north", "absent": 0}
    everything = [file.read_bytes() for file in home.path.rglob("*") if file.is_file()]
    assert not any(CANARY.encode() in content for content in everything)
    assert CANARY not in result.output + home.call("logs", "r1").output
    assert b"token: *** ***\n" in (home.run_dir("r1") / "logs" / "read-secrets.log").read_bytes()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_missing_secret_fails_the_task_by_name(home: Home) -> None:
    result = home.run("secretive", "r1", "-p", "secret=store")
    assert result.exit_code == 1
    assert "there is no Secret store because no --secrets was given" in result.output


def test_packages_that_the_interpreter_lacks_are_refused_before_anything_starts(home: Home) -> None:
    result = home.run("installing", "r1")
    assert result.exit_code == 3
    assert "no-such-package-at-all>=3" in result.output
    assert "--install-packages" in result.output
    assert not home.run_dir("r1").exists()


def test_installed_packages_are_not_installed_again(home: Home) -> None:
    assert home.run_json("satisfied", "r1")["outputs"] == {"Output": "pytest"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["-p", "clam=x"], "claim"),
        (["--python", "/no/such/python"], "can't be started"),
        (["--run-id", "No_Id"], "can't be the id"),
    ],
)
def test_wrong_usage_leaves_nothing_behind(home: Home, more: list[str], message: str) -> None:
    result = home.run("chain", "r1", *CLAIM, *more)
    assert result.exit_code == (3 if "--python" in more else 2)
    assert message in result.output
    assert not list((home.path).glob("runs/*"))


@pytest.mark.parametrize("name", ["", "..", "../claims", "nobodys"])
def test_claim_without_a_name_deletes_nothing(home: Home, name: str) -> None:
    (home.data / "model").touch()
    (home.path / "claims" / "ilab-other").mkdir()
    result = home.run("dropping", "r1", "-p", f"claim={name}")
    assert result.exit_code == 1, result.output
    assert "volume claim" in result.output
    assert (home.data / "model").exists()
    assert (home.path / "claims" / "ilab-other").is_dir()

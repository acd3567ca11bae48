"""The whole chain at its smallest, as a user runs it: killed in the middle of training, then resumed."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stages import STAGES
from utils.demo.run import Demo, servers, store_of
from utils.runners.run_folder import RunFolder

RUN_ID = "e2e-demo"
# Home, run, tasks that had finished when the demo was killed, and the summary of the resumed one.
Finished = tuple[Path, RunFolder, set[str], dict[str, Any]]


def demo(home: Path, *arguments: str, log: Path) -> subprocess.Popen:
    command = [str(Path(sys.executable).with_name("ilab-pipeline")), "demo", "--home", str(home), *arguments]
    with log.open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)


def wait_for(log: Path, text: str, process: subprocess.Popen, seconds: float) -> None:
    """Return when log holds text."""
    deadline = time.monotonic() + seconds
    while text not in (log.read_text(errors="replace") if log.exists() else ""):
        assert process.poll() is None, f"the demo ended before {text!r}"
        assert time.monotonic() < deadline, f"no {text!r} in {seconds:.0f} s"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A quick demo that was killed with SIGKILL in phase 2, between two optimizer steps, and resumed."""
    home = tmp_path_factory.mktemp("home")
    run, first, second = RunFolder(home, RUN_ID), home / "first.log", home / "second.log"
    process = demo(home, "--quick", "--run-id", RUN_ID, log=first)
    wait_for(run.log("exit-handler-1/train-skills"), "progress: ", process, 900)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done_before = set(run.history().finished)
    resumed = demo(home, "--resume", RUN_ID, "--output", "json", log=second)
    assert resumed.wait(900) == 0, second.read_text()[-3000:]
    text = second.read_text()
    return home, run, done_before, json.loads(text[text.index("\n{\n") if "\n{\n" in text else text.index("{") :])


def test_resume_repeats_no_finished_task(finished: Finished) -> None:
    _, run, done_before, _ = finished
    records = [json.loads(line) for line in run.journal.read_text().splitlines()]
    assert any(task.endswith("train-knowledge") for task in done_before), done_before
    assert not any(task.endswith("train-skills") for task in done_before), done_before
    started = [record["task"] for record in records if record["kind"] == "task" and record["state"] == "RUNNING"]
    assert started, records[:3]
    for task in done_before:
        assert started.count(task) == 1, task


def test_every_stage_left_its_result(finished: Finished) -> None:
    _, run, _, summary = finished
    facts = json.loads((run.path / "report.json").read_text())
    assert sorted(facts["done"]) == sorted(STAGES)
    results = {stage: marker["result"] for stage, marker in facts["done"].items()}
    assert results["sdg"]["samples"] > 0
    assert results["sdg"]["mmlu_questions"] > 0
    assert results["train_phase_1"]["steps"] > 0
    assert results["train_phase_2"]["checkpoint"].startswith("phase_2/hf_format/samples_")
    named = {score["name"]: score for score in summary["scores"]}
    assert any("ikelihood" in name and score["candidate"] is not None for name, score in named.items()), named
    page = (run.path / "report.html").read_text()
    assert summary["archive"] in page
    assert "<svg" in page


def test_volume_is_deleted_after_success(finished: Finished) -> None:
    home, _, _, _ = finished
    assert list((home / "claims").iterdir()) == []


def test_published_archive_holds_candidate_scores_and_provenance(finished: Finished, tmp_path: Path) -> None:
    home, _, _, summary = finished
    with servers(Demo(home, RUN_ID, os.environ["ILAB_PYTHON"])) as credentials:
        client = store_of(credentials).client
        archive = tmp_path / "published.tar.gz"
        client.download_file(credentials["bucket"], summary["archive"], str(archive))
        stored = client.get_object(Bucket=credentials["bucket"], Key=summary["archive"] + ".report.html")
        assert stored["Body"].read() == (home / "runs" / RUN_ID / "report.html").read_bytes()
    with archive.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == summary["sha256"]
    with tarfile.open(archive) as tar:
        names = set(tar.getnames())
        member = tar.extractfile("provenance.json")
        assert member
        provenance = json.load(member)
    assert {"model/config.json", "model/tokenizer.json", "scores/mt_bench.json", "scores/likelihood.json"} <= names
    assert any(name.startswith("model/") and name.endswith(".safetensors") for name in names)
    assert RUN_ID in json.dumps(provenance)


def test_published_archive_is_verified_by_the_run_id(finished: Finished) -> None:
    home, _, _, _ = finished
    command = [str(Path(sys.executable).with_name("ilab-pipeline")), "verify", "--home", str(home), RUN_ID]
    done = subprocess.run([*command, "--output", "json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["findings"] == [] and told["sha256_compared_with"].endswith(".sha256") and told["files"] > 5


def test_model_of_the_demo_can_be_had(finished: Finished, tmp_path: Path) -> None:
    home, _, _, _ = finished
    command = [str(Path(sys.executable).with_name("ilab-pipeline")), "get-model", "--home", str(home), RUN_ID]
    subprocess.run([*command, str(tmp_path / "model")], check=True)
    names = {file.name for file in (tmp_path / "model").iterdir()}
    assert {"config.json", "tokenizer.json"} <= names and any(name.endswith(".safetensors") for name in names)


def test_no_file_or_log_of_the_run_holds_a_secret(finished: Finished) -> None:
    home, run, _, _ = finished
    folder = home / "demo" / RUN_ID / "secrets"
    values = {
        (secret.name, key): (secret / key).read_text()
        for secret in folder.iterdir()
        for key in ("secret_key", "access_key", "api_token")
        if (secret / key).exists()
    }
    assert len(values) == 4
    looked_at = [run.path, home / "first.log", home / "second.log", home / "demo" / RUN_ID / "model-server.log"]
    files = [f for path in looked_at for f in ([path] if path.is_file() else path.rglob("*")) if f.is_file()]
    assert len(files) > 20
    leaks = [(str(f), *where) for f in files for where, value in values.items() if value.encode() in f.read_bytes()]
    assert leaks == []

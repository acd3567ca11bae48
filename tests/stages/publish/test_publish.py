"""Publication to a real object store."""

import calendar
import hashlib
import io
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
from kfp import dsl

from components.publish import publish
from tests.archives import write_files
from tests.fakes.s3 import S3

CANDIDATE = "phase_2/hf_format/samples_20"
SCORES = {
    "mt_bench": {
        "candidate": CANDIDATE,
        "checkpoints": [{"model": CANDIDATE, "overall_score": 6.5, "error_rate": 0.1}],
    },
    "mt_bench_branch": {"skipped": True, "reason": "no questions"},
    "mmlu_branch": {"skipped": True, "reason": "no questions"},
    "likelihood": {
        "nll": 1.5,
        "base_nll": 2.0,
        "answers": [{"question": str(i), "leaf": "a", "base": 2.0, "candidate": 1.4 + 0.1 * (i % 3)} for i in range(9)],
    },
}
NAME = r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d\."


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A volume after the evaluation, with a candidate among other checkpoints."""
    files = {f"scores/{name}.json": json.dumps(content).encode() for name, content in SCORES.items()}
    files |= {f"{CANDIDATE}/config.json": b"{}", f"{CANDIDATE}/model.safetensors": os.urandom(100_000)}
    files |= {"phase_2/hf_format/samples_10/config.json": b"other", f"{CANDIDATE}/README.md": b"of the base model"}
    marker = {"stage": "final_eval", "inputs": {"few_shots": 5}, "inputs_hash": "abc", "versions": {}, "result": {}}
    return write_files(tmp_path / "volume", {**files, "done/final_eval.json": json.dumps(marker).encode()})


def run(s3_server: S3, volume: Path, data_key: str, **arguments: Any) -> tuple[str, dict]:
    """Run the stage; returns its key and its marker."""
    defaults = {
        "data_dir": str(volume),
        "run_id": "ilab-1",
        "store_secret_dir": str(s3_server.secret(volume.parent / "secret", data_key=data_key)),
        "data_key": "",
        "ca_file": "",
        "name": "",
        "min_mt_bench": 0.0,
        "max_error_rate": 1.0,
        "require_improvement": False,
        "confidence": 0.95,
        "max_regression": {},
        "images": {},
        "force": False,
        "metrics": dsl.Metrics(uri=str(volume.parent / "metrics")),
    }
    key = publish.python_func(**{**defaults, **arguments})
    return key, json.loads((volume / "done" / "publish.json").read_text())


def get(s3_server: S3, key: str) -> bytes:
    return s3_server.client().get_object(Bucket=s3_server.bucket, Key=key)["Body"].read()


def test_candidate_scores_and_provenance_arrive_as_one_archive_under_a_key_with_slashes(
    s3_server: S3, volume: Path
) -> None:  # trap 15
    metrics = dsl.Metrics(uri=str(volume.parent / "metrics"))
    key, marker = run(s3_server, volume, "publish-1/b/data.tar.gz", require_improvement=True, metrics=metrics)
    assert metrics.metadata == {"published": 1.0, "published_archive_bytes": len(get(s3_server, key))}
    folder, _, name = key.rpartition("/")
    assert folder == "publish-1/b" and name.endswith(".data.tar.gz")
    assert abs(time.time() - calendar.timegm(time.strptime(name[:19], "%Y-%m-%d_%H-%M-%S"))) < 60
    body = get(s3_server, key)
    digest = hashlib.sha256(body).hexdigest()
    assert get(s3_server, key + ".sha256").decode() == f"{digest}  {name}\n"
    assert {k: marker["result"][k] for k in ("published", "key", "sha256", "size")} == {
        "published": True,
        "key": key,
        "sha256": digest,
        "size": len(body),
    }
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as tar:
        members = tar.getmembers()
        files = {m.name: tar.extractfile(m).read() for m in members if m.isfile()}  # type: ignore[union-attr]
    weights = (volume / CANDIDATE / "model.safetensors").read_bytes()
    assert files["model/model.safetensors"] == weights and files["model/config.json"] == b"{}"
    assert {n for n in files if n.startswith("scores/")} == {f"scores/{name}.json" for name in (*SCORES, "verdict")}
    verdict = json.loads(files["scores/verdict.json"])
    assert verdict["confidence"] == 0.95 and verdict["measures"]["likelihood"]["word"] == "better"
    assert files["model/README.md"].startswith(b"---\nlibrary_name: transformers\n")
    told = json.loads(files["provenance.json"])
    assert told["files"] == {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
        if name != "provenance.json"
    }
    assert len(told["files"]) == sum(member.isfile() for member in members) - 1, "a name is there twice"
    assert told["candidate"] == CANDIDATE and told["stages"]["final_eval"]["inputs_hash"] == "abc"
    assert s3_server.secret_key.encode() not in b"".join(files.values())


def test_weights_are_stored_and_not_compressed_again(s3_server: S3, volume: Path) -> None:  # trap 15
    """Zeros would shrink to nothing: the archive is as large as they are, so no time went into compressing."""
    (volume / CANDIDATE / "model.safetensors").write_bytes(bytes(1 << 20))
    key, marker = run(s3_server, volume, "publish-2/data.tar.gz")
    assert 1 << 20 < marker["result"]["size"] < 1.1 * (1 << 20)


def test_a_name_that_ends_in_tar_gives_a_plain_tar(s3_server: S3, volume: Path) -> None:
    key, _ = run(s3_server, volume, "publish-3/data.tar.gz", name="publish-3/models/mine.tar")
    assert key.startswith("publish-3/models/") and key.endswith(".mine.tar")
    with tarfile.open(fileobj=io.BytesIO(get(s3_server, key)), mode="r:") as tar:
        assert "model/model.safetensors" in tar.getnames()


@pytest.mark.parametrize(
    ("limits", "failed"),
    [
        ({"min_mt_bench": 7.0}, ["min_mt_bench"]),
        ({"max_error_rate": 0.05, "min_mt_bench": 9.9}, ["min_mt_bench", "max_error_rate"]),
        ({"max_regression": {"mmlu_branch": 0.1, "likelihood": 0.1}}, ["max_regression"]),
    ],
)
def test_candidate_below_the_gate_is_not_published_and_the_run_continues(
    s3_server: S3, volume: Path, limits: dict[str, Any], failed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    key, marker = run(s3_server, volume, "publish-4/data.tar.gz", **limits)
    assert key == "" and marker["result"]["published"] is False
    assert [c["name"] for c in marker["result"]["gate"]["checks"] if not c["passed"]] == failed
    assert s3_server.client().list_objects_v2(Bucket="ilab", Prefix="publish-4/")["KeyCount"] == 0
    told = capsys.readouterr().out
    assert "NOT PASSED" in told
    assert ("gate max_regression: " in told) == ("max_regression" in limits)  # nothing of a limit that is not set


def test_repeated_publish_uploads_no_second_archive(s3_server: S3, volume: Path) -> None:
    first, _ = run(s3_server, volume, "publish-5/data.tar.gz")
    assert run(s3_server, volume, "publish-5/data.tar.gz")[0] == first
    assert s3_server.client().list_objects_v2(Bucket="ilab", Prefix="publish-5/")["KeyCount"] == 2


def test_two_runs_that_publish_in_one_second_have_an_archive_each(
    s3_server: S3, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = int(time.time())
    monkeypatch.setattr("utils.stages.publish.time.time", lambda: now)
    first, _ = run(s3_server, volume, "publish-8/data.tar.gz")
    before = get(s3_server, first)
    (volume / "done" / "publish.json").unlink()  # the other run has a volume of its own
    second, _ = run(s3_server, volume, "publish-8/data.tar.gz", run_id="ilab-2")
    stamps = [calendar.timegm(time.strptime(Path(key).name[:19], "%Y-%m-%d_%H-%M-%S")) for key in (first, second)]
    assert stamps == [now, now + 1]
    assert get(s3_server, first) == before


def test_missing_results_fail_the_stage(s3_server: S3, volume: Path) -> None:  # trap 15
    (volume / "scores/likelihood.json").unlink()
    with pytest.raises(SystemExit, match="missing: scores/likelihood.json"):
        run(s3_server, volume, "publish-6/data.tar.gz")


def test_interrupted_upload_leaves_nothing_in_the_store(s3_server: S3, volume: Path) -> None:
    """A task is stopped by SIGTERM; the process is stopped in the middle of the archive."""
    (volume / CANDIDATE / "model-00001.safetensors").write_bytes(bytes(33 << 20))
    code = (
        "import signal, sys, tarfile; from pathlib import Path; from tests.stages.publish.test_publish import run\n"
        "from tests.fakes.s3 import S3\n"
        "real = tarfile.TarFile.addfile\n"
        "def slow(self, info, *rest):\n"
        "    real(self, info, *rest)\n"
        "    if info.size >= 33 << 20: print('in the middle', flush=True); signal.pause()\n"
        "tarfile.TarFile.addfile = slow\n"
        "run(S3(*sys.argv[1:5]), Path(sys.argv[5]), 'publish-7/data.tar.gz')\n"
    )
    where = [s3_server.endpoint, s3_server.access_key, s3_server.secret_key, s3_server.bucket, str(volume)]
    process = subprocess.Popen([sys.executable, "-c", code, *where], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert any("in the middle" in line for line in process.stdout)
        client = s3_server.client()
        assert "Uploads" in client.list_multipart_uploads(Bucket="ilab", Prefix="publish-7/")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143
    finally:
        process.kill()
        process.wait()
    assert "Uploads" not in client.list_multipart_uploads(Bucket="ilab", Prefix="publish-7/")
    assert client.list_objects_v2(Bucket="ilab", Prefix="publish-7/")["KeyCount"] == 0


@pytest.mark.parametrize(("least", "left"), [(0.0, []), (10.0, ["epoch_0.tar.gz", "epoch_0.tar.gz.sha256"])])
def test_copies_of_training_states_stay_until_a_model_is_published(
    s3_server: S3, volume: Path, least: float, left: list[str]
) -> None:
    where = f"mirrored-{least:g}/training-states/0123456789abcdef"
    trained = {"phase": 2, "launcher": "process", "skipped": False, "mirror": where}
    (volume / "done/train_phase_2.json").write_text(json.dumps({"stage": "train_phase_2", "result": trained}))
    for name in ("epoch_0.tar.gz", "epoch_0.tar.gz.sha256"):
        s3_server.client().put_object(Bucket=s3_server.bucket, Key=f"{where}/{name}", Body=b"x")
    run(s3_server, volume, f"mirrored-{least:g}/data.tar.gz", min_mt_bench=least)
    found = s3_server.client().list_objects_v2(Bucket=s3_server.bucket, Prefix=where).get("Contents", [])
    assert [one["Key"].rpartition("/")[2] for one in found] == left

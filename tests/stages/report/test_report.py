"""The report is stored beside the archive in a real object store."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.report import report
from tests.archives import write_files
from tests.fakes.s3 import S3
from utils.names import CLAIMS_DIR


@pytest.fixture(autouse=True)
def on_one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CLAIMS_DIR, str(tmp_path / "claims"))


def run(s3_server: S3, folder: Path, publication: dict[str, Any], **secret: str) -> str:
    """Run the stage on a volume whose publish stage ended with this result; returns where the report is."""
    marker = {
        "stage": "publish", "inputs": {}, "inputs_hash": "1", "versions": {}, "outputs": {}, "seconds": 1.0,
        "finished": "2025-01-31T12:00:00Z", "result": publication,
    }  # fmt: skip
    volume = write_files(folder / "volume", {"done/publish.json": json.dumps(marker).encode()})
    return report.python_func(
        data_dir=str(volume), run_id="ilab-1", notes=[], ca_file="", name="",
        store_secret_dir=str(s3_server.secret(folder / "secret", **secret)),
        data_key="",
        page=dsl.HTML(uri=str(folder / "page")), data=dsl.Artifact(uri=str(folder / "data")),
        metrics=dsl.Metrics(uri=str(folder / "metrics")),
    )  # fmt: skip


def stored(s3_server: S3, key: str) -> tuple[bytes, str]:
    found = s3_server.client().get_object(Bucket=s3_server.bucket, Key=key)
    return found["Body"].read(), found["ContentType"]


def test_report_is_stored_beside_the_archive(s3_server: S3, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    key = "report/2025-01-31_12-00-00.data.tar.gz"
    place = run(s3_server, tmp_path, {"published": True, "key": key, "size": 1, "sha256": "", "gate": {"checks": []}})
    assert place == f"s3://{s3_server.bucket}/{key}.report.html"
    assert place in capsys.readouterr().out
    assert stored(s3_server, key + ".report.html") == ((tmp_path / "page").read_bytes(), "text/html")
    content, kind = stored(s3_server, key + ".report.json")
    assert json.loads(content)["run_id"] == "ilab-1"
    assert kind == "application/json"


def test_report_of_a_held_back_candidate_gets_its_own_key(s3_server: S3, tmp_path: Path) -> None:
    gate = {"passed": False, "checks": [{"name": "min_mt_bench", "limit": 9, "value": 5, "passed": False}]}
    held = {"published": False, "key": "", "size": 0, "sha256": "", "gate": gate}
    place = run(s3_server, tmp_path, held, data_key="held/data.tar.gz")
    bucket, key = re.fullmatch(r"s3://(\w+)/(.+)", place).groups()  # type: ignore[union-attr]
    assert re.fullmatch(r"held/\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d\.data\.tar\.gz\.report\.html", key)
    assert b"rejected" in stored(s3_server, key)[0]


def test_report_that_cannot_be_stored_fails_but_stays_in_the_artifacts(s3_server: S3, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="InvalidAccessKeyId"):
        run(s3_server, tmp_path, {}, access_key="unknown")
    assert (tmp_path / "page").stat().st_size > 1000

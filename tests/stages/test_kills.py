"""Nothing finished is lost: a stage killed anywhere, and started again, ends as one that was not (trap 64).

`ILAB_KILL_POINTS=all` tries every point. Stages that need torch are in e2e/run_kills.py.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.archives import DATA, MODEL, TAXONOMY, targz, write_files
from tests.fakes.s3 import S3
from tests.kills import kill_faults, tree
from utils.stages.data_import.stage import DataImport, import_data
from utils.stages.publish import Publication, publish_candidate
from utils.stages.sdg.stage import Generation, generate

CANDIDATE = "phase_2/hf_format/samples_20"


def marker(volume: Path, stage: str, *left_out: str) -> dict[str, Any]:
    """A stage's marker without times."""
    content = json.loads((volume / "done" / f"{stage}.json").read_text())
    return {name: value for name, value in content.items() if name not in ("finished", "seconds", *left_out)}


@pytest.mark.parametrize("case", ["archive", "model from the store, taxonomy from git", "both are folders", "one each"])
def test_data_import_that_was_killed_is_repeated(case: str, s3_server: S3, tmp_path: Path) -> None:
    volume, source = tmp_path / "volume", write_files(tmp_path / "source", {**MODEL, **TAXONOMY})
    key, client = f"kills/{case}/data.tar.gz", s3_server.client()
    client.put_object(Bucket="ilab", Key=key, Body=targz({**MODEL, **TAXONOMY, **DATA}))
    for name, content in MODEL.items():
        client.put_object(Bucket="ilab", Key=f"kills/{case}/{name}", Body=content)
    model, taxonomy = "", ""
    if case != "archive":
        taxonomy = str(source / "taxonomy")
    if case == "both are folders":
        model = str(source / "model")
    if case.startswith("model from"):
        model = f"s3://ilab/kills/{case}/model"
        for command in ("init -q", "add .", "-c user.name=a -c user.email=a@b commit -qm a"):
            subprocess.run(["git", "-C", taxonomy, *command.split()], check=True)
    secret = str(s3_server.secret(tmp_path / "secret", data_key=key))
    given = DataImport(str(volume), secret, "", "", model, taxonomy, "", 0, "", "", "", False)

    def seen() -> object:
        return tree(volume, "done/", "taxonomy/.git/"), marker(volume, "data_import", "outputs")

    tried, faults = kill_faults(volume, volume.mkdir, lambda: import_data(given), seen)
    assert tried >= 12 and faults == []


def test_imported_data_that_were_killed_at_are_counted_again(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    task = b"dataset_kwargs: {data_files: {test: /gone/mmlubench_knowledge_a.jsonl}}\n"
    files = {
        **{name.replace("data/", "sdg/"): content for name, content in DATA.items()},
        **{"sdg/node_datasets_1/knowledge_a_task.yaml": task, "sdg/node_datasets_1/mmlubench_knowledge_a.jsonl": b"{}"},
        "done/data_import.json": b'{"inputs_hash": "a", "result": {"data_generated_elsewhere": true}}',
    }
    given = Generation(str(volume), "", "", "simple", "auto", 2, 1.0, 8, 2, "", 0, False)

    def seen() -> object:
        return tree(volume, "done/"), marker(volume, "sdg")

    tried, faults = kill_faults(volume, lambda: write_files(volume, files), lambda: generate(given), seen)
    assert tried > 5 and faults == []


def test_publication_that_was_killed_leaves_one_whole_archive(s3_server: S3, tmp_path: Path) -> None:
    """An upload that the store began and nobody noted is the one thing that may stay there."""
    volume, prefix, client = tmp_path / "volume", "kills/publish/", s3_server.client()
    scores = {
        "mt_bench": {"candidate": CANDIDATE, "checkpoints": []},
        "mt_bench_branch": {"skipped": True},
        "mmlu_branch": {"skipped": True},
        "likelihood": {"skipped": True},
    }
    files = {f"scores/{name}.json": json.dumps(content).encode() for name, content in scores.items()}
    files |= {f"{CANDIDATE}/config.json": b"{}", "done/final_eval.json": b'{"stage": "final_eval", "inputs_hash": "a"}'}
    secret = str(s3_server.secret(tmp_path / "secret", data_key=f"{prefix}data.tar.gz"))
    given = Publication(str(volume), "ilab-1", secret, "", "", "", 0.0, 1.0, False, False)

    def listed() -> list[str]:
        return [one["Key"] for one in client.list_objects_v2(Bucket="ilab", Prefix=prefix).get("Contents", [])]

    def prepare() -> None:
        write_files(volume, files)
        for upload in client.list_multipart_uploads(Bucket="ilab").get("Uploads", []):
            client.abort_multipart_upload(Bucket="ilab", Key=upload["Key"], UploadId=upload["UploadId"])
        for key in listed():
            client.delete_object(Bucket="ilab", Key=key)

    def seen() -> object:
        result = marker(volume, "publish")["result"]
        assert listed() == [result["key"], result["key"] + ".sha256"]
        told = client.get_object(Bucket="ilab", Key=result["key"] + ".sha256")["Body"].read().decode().split()[0]
        assert told == result["sha256"]
        assert len(client.list_multipart_uploads(Bucket="ilab").get("Uploads", [])) <= 1
        return tree(volume, "done/"), result["published"]  # a note of the upload may stay, and does nothing

    tried, faults = kill_faults(volume, prepare, lambda: publish_candidate(given), seen)
    shutil.rmtree(volume)
    assert tried >= 12 and faults == []

"""Nothing finished is lost: a stage killed anywhere, and started again, ends as one that was not (trap 64).

`ILAB_KILL_POINTS=all` tries every point. Stages that need torch are in e2e/run_kills.py.
"""

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.archives import DATA, MODEL, TAXONOMY, targz, write_files
from tests.fakes.kubernetes_api import KubernetesApi
from tests.fakes.s3 import S3
from tests.kills import kill_faults, tree
from tests.stages.report.example_run import full_run, held_back_run
from utils.names import CLAIMS_DIR, OUTCOME_ANNOTATION, RUN_LABEL
from utils.stages import code
from utils.stages.data_import.stage import DataImport, import_data
from utils.stages.disk import tells_full_disk
from utils.stages.publish import Publication, publish_candidate
from utils.stages.report.stage import Reporting, make_report
from utils.stages.sdg.stage import Generation, generate
from utils.stages.volume.claims import VolumeClaim, create_claim
from utils.stages.volume.ending import end_run

CANDIDATE = "phase_2/hf_format/samples_20"


def marker(volume: Path, stage: str, *left_out: str) -> dict[str, Any]:
    """A stage's marker without times."""
    content = json.loads((volume / "done" / f"{stage}.json").read_text())
    return {name: value for name, value in content.items() if name not in ("finished", "seconds", *left_out)}


FULL = pytest.mark.parametrize("full", [False, True], ids=["killed", "full"])


@FULL
@pytest.mark.parametrize("case", ["archive", "model from the store, taxonomy from git", "both are folders", "one each"])
def test_data_import_that_was_killed_is_repeated(case: str, full: bool, s3_server: S3, tmp_path: Path) -> None:
    volume, source = tmp_path / "volume", write_files(tmp_path / "source", {**MODEL, **TAXONOMY})
    key, client = f"kills/{case}-{full}/data.tar.gz", s3_server.client()
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

    tried, faults = kill_faults(volume, volume.mkdir, lambda: import_data(given), seen, full)
    assert tried and faults == []


@FULL
def test_imported_data_that_were_killed_at_are_counted_again(tmp_path: Path, full: bool) -> None:
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

    tried, faults = kill_faults(volume, lambda: write_files(volume, files), lambda: generate(given), seen, full)
    assert tried and faults == []


@FULL
def test_publication_that_was_killed_leaves_one_whole_archive(full: bool, s3_server: S3, tmp_path: Path) -> None:
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
    given = Publication(str(volume), "ilab-1", secret, "", "", "", 0.0, 1.0, False, 0.95, {}, {}, False)

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

    tried, faults = kill_faults(volume, prepare, lambda: publish_candidate(given), seen, full)
    shutil.rmtree(volume)
    assert tried and faults == []


@FULL
@pytest.mark.parametrize("run", [full_run, held_back_run], ids=["published", "held back"])
def test_report_that_was_killed_is_written_and_stored_once(
    run: Any, full: bool, s3_server: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CLAIMS_DIR, str(tmp_path))
    monkeypatch.setattr("utils.stages.report.stage.render", lambda facts: facts["headline"])  # seconds of drawing
    volume, prefix, client = tmp_path / "ilab-r", f"kills/report-{run.__name__}-{full}/", s3_server.client()
    secret = str(s3_server.secret(tmp_path / "secret", data_key=f"{prefix}data.tar.gz"))
    given = Reporting(str(volume), "r", [], secret, "", "", "")

    def stored() -> dict[str, int]:
        return {one["Key"]: one["Size"] for one in client.list_objects_v2(Bucket="ilab").get("Contents", [])}

    def prepare() -> None:
        (volume / "out").mkdir(parents=True)
        run(volume)
        for key in stored():
            client.delete_object(Bucket="ilab", Key=key)

    def seen() -> object:
        assert len(stored()) == 2
        return tree(volume), [*stored().values()], (volume / "outcome").read_text()

    page, data = f"{volume}/out/page", f"{volume}/out/data"
    tried, faults = kill_faults(volume, prepare, lambda: make_report(given, page, data), seen, full)
    assert tried and faults == []


@pytest.mark.parametrize("outcome", ["succeeded", "It was rejected"])
def test_clean_up_that_was_killed_is_finished(outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CLAIMS_DIR, str(tmp_path))
    volume = tmp_path / "ilab-r"
    files = {name: b"" for name in ("a/b/c", "a/d", "z/e", "code/1/f.py", "outcome")} | {"outcome": outcome.encode()}

    def prepare() -> None:
        write_files(volume, files)

    tried, faults = kill_faults(volume, prepare, lambda: end_run("r", "on_failure"), lambda: tree(tmp_path))
    assert faults == []
    assert volume.exists() == (outcome != "succeeded")
    assert tried if outcome == "succeeded" else not tried


def test_volume_claim_that_was_killed_at_is_made_and_deleted_once(api: KubernetesApi, tmp_path: Path) -> None:
    kind = "persistentvolumeclaims"

    def clear() -> None:
        api.objects.clear()

    def made() -> object:
        return [(name, one["spec"]) for name, one in api.objects[kind].items()]

    wanted = VolumeClaim("r", "5Gi", "", "ReadWriteMany")
    tried, faults = kill_faults(tmp_path / "none", clear, lambda: create_claim(wanted), made)
    assert tried and faults == [] and made()

    def finished() -> None:
        clear()
        create_claim(wanted)
        api.add("pytorchjobs", "train", metadata={"labels": {RUN_LABEL: "r"}}, spec={})
        api.objects[kind]["ilab-r"]["metadata"]["annotations"] = {OUTCOME_ANNOTATION: "succeeded"}

    tried, faults = kill_faults(tmp_path / "none", finished, lambda: end_run("r", "on_failure"), lambda: api.objects)
    assert tried and faults == []
    assert not any(api.objects[name] for name in (kind, "pytorchjobs"))


@FULL
def test_code_that_was_killed_at_is_put_on_the_volume(
    full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = tmp_path / "volume"
    source = write_files(tmp_path / "code/0123456789abcdef", dict.fromkeys(("utils/stages/code.py", "a.py"), b"x = 1"))
    monkeypatch.setattr(code, "__file__", str(source / "utils/stages/code.py"))
    given = SimpleNamespace(data_dir=str(volume))

    def seen() -> object:
        return tree(volume / "code" / source.name)

    work = tells_full_disk(lambda given: code.put_on_volume(given.data_dir))
    tried, faults = kill_faults(volume, volume.mkdir, lambda: work(given), seen, full)
    assert tried and faults == []

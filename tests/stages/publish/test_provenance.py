"""provenance.json: where a candidate comes from, by hash, and what is needed to make it again."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.archives import write_files
from utils.names import CLAIMS_DIR
from utils.stages.digests import combined, digests_of
from utils.stages.provenance import model_commit, origin, provenance, stage_records

COMMIT = "8d1f3a7c2be94f0d6a5c1b7e9f20438acd51be77"
IMAGES = {"instructlab": "registry.example.com/ilab@sha256:0", "notebook": "registry.example.com/light@sha256:1"}
FILES = {
    "model/config.json": b"{}",
    "model/.cache/huggingface/download/config.json.metadata": f"{COMMIT}\nabc\n1.0\n".encode(),
    "taxonomy/.git/HEAD": b"x",
    "taxonomy/knowledge/a/qna.yaml": b"a",
    "taxonomy/knowledge/B.md": b"b",
    "sdg/skills_train_msgs_1.jsonl": b"{}\n",
    "sdg/node_datasets_1/x.jsonl": b"{}\n",
    "processed/skills/data.jsonl": b"[1]\n",
    "processed/held_out.jsonl": b"[]\n",
}


def marker(stage: str, result: dict[str, Any], finished: str = "", **inputs: Any) -> bytes:
    content = {"stage": stage, "inputs": inputs, "inputs_hash": "ab12", "versions": {"torch": "2"}, "result": result}
    return json.dumps({**content, "finished": finished}).encode()


def volume(folder: Path, **imported: Any) -> str:
    result = {"taxonomy_commit": COMMIT, **imported}
    taxonomy = ["https://git.example.com/t", "main", 0, ""]
    files = {**FILES, "done/data_import.json": marker("data_import", result, "2", taxonomy=taxonomy)}
    return str(write_files(folder, {**files, "done/sdg.json": marker("sdg", {}, "1", teacher="mixtral")}))


def test_origin_has_what_the_run_must_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "cluster")
    monkeypatch.delenv(CLAIMS_DIR, raising=False)
    found = origin(volume(tmp_path, archive="in.tar.gz", sha256="5f", size=3, model_source="s3://b/granite"), IMAGES)
    assert found["archive"] == {"key": "in.tar.gz", "size": 3, "sha256": "5f"}
    line = f"{hashlib.sha256(b'{}').hexdigest()}  config.json\n"
    assert found["base_model"] == {
        "source": "s3://b/granite", "commit": COMMIT, "sha256": hashlib.sha256(line.encode()).hexdigest(),
    }  # fmt: skip
    assert (found["taxonomy"]["source"], found["taxonomy"]["commit"]) == ("https://git.example.com/t", COMMIT)
    assert sorted(found["data"]) == [
        "processed/held_out.jsonl", "processed/skills/data.jsonl", "sdg/skills_train_msgs_1.jsonl",
    ]  # fmt: skip
    assert found["data"]["processed/skills/data.jsonl"] == {"size": 4, "sha256": hashlib.sha256(b"[1]\n").hexdigest()}
    assert found["images"] == IMAGES


def test_one_machine_names_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CLAIMS_DIR, str(tmp_path))
    assert origin(volume(tmp_path), IMAGES)["images"] == {}


def test_model_of_a_verified_archive_is_not_read_again(tmp_path: Path) -> None:
    assert origin(volume(tmp_path, archive="a", sha256="5f", model_source="archive"), {})["base_model"]["sha256"] == ""
    assert origin(volume(tmp_path, archive="/a", sha256="", model_source="archive"), {})["base_model"]["sha256"]


def test_hash_of_a_folder_can_be_had_in_a_shell(tmp_path: Path) -> None:
    volume(tmp_path)
    command = (
        "find . -path ./.git -prune -o -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    )
    told = subprocess.check_output(command, shell=True, text=True, cwd=tmp_path / "taxonomy").split()[0]
    assert combined(digests_of(tmp_path / "taxonomy", ".git")) == told
    assert combined({}) == ""


def test_links_are_not_followed(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "folder", {"a": b"a"})
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "up").symlink_to("/etc")
    assert list(digests_of(folder)) == ["a"]


def test_stages_are_told_in_their_order_with_inputs_hash_and_versions(tmp_path: Path) -> None:
    found = stage_records(volume(tmp_path))
    assert list(found) == ["sdg", "data_import"]
    assert (found["sdg"]["inputs"], found["sdg"]["inputs_hash"]) == ({"teacher": "mixtral"}, "ab12")
    assert found["sdg"]["versions"] == {"torch": "2"}


def test_provenance_has_the_files_that_are_published_with_it(tmp_path: Path) -> None:
    gate = [{"name": "g", "limit": 1.0, "value": 2.0, "passed": True}]
    files = {"model/a": {"size": 1, "sha256": "0" * 64}}
    told = json.loads(provenance(volume(tmp_path), "ilab-1", "phase_2/x", gate, {})(files))
    assert (told["run_id"], told["candidate"], told["gate"], told["files"]) == ("ilab-1", "phase_2/x", gate, files)
    assert told["stages"]["sdg"]["inputs_hash"] == "ab12" and told["origin"]["taxonomy"]["commit"] == COMMIT


def test_address_with_a_password_is_told_without_it(tmp_path: Path) -> None:
    folder = volume(tmp_path)
    taxonomy = ["ssh://me:word@git.example.com/t", "", 0, ""]
    write_files(tmp_path, {"done/data_import.json": marker("data_import", {}, taxonomy=taxonomy)})
    told = provenance(folder, "ilab-1", "x", [], {})({})
    assert "word" not in told and json.loads(told)["origin"]["taxonomy"]["source"] == "ssh://***@git.example.com/t"


@pytest.mark.parametrize(
    ("note", "source", "commit"),
    [
        ("", f"file:///h/models--a--b/snapshots/{COMMIT}", COMMIT),
        ("", f"/h/models--a--b/snapshots/{COMMIT}/", COMMIT),
        (f"{COMMIT}\ne\n1\n", "s3://b/m", COMMIT),
        ("main\n", "s3://b/m", ""),
        ("", "/h/snapshots/latest", ""),
        ("", "archive", ""),
    ],
)
def test_commit_of_a_model_from_a_hub(note: str, source: str, commit: str, tmp_path: Path) -> None:
    if note:
        write_files(tmp_path, {".cache/huggingface/download/config.json.metadata": note.encode()})
    assert model_commit(tmp_path, source) == commit

"""A run leaves the samples of a teacher in the object store, for a run on a new volume."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.archives import DATA, MODEL, TAXONOMY, write_files
from tests.fakes.s3 import S3
from tests.stages.data_import.importing import Import
from tests.stages.train.phase_folders import described, save_model, save_state
from utils.stages.patience import ONCE
from utils.stages.sdg.files import imported_samples
from utils.stages.train.mirror import Mirror, forget, mirror_of, note_mirror

SKILLS = {name.replace("data/", "sdg/", 1): text for name, text in DATA.items() if "skills" in name}


def trained(folder: Path, s3_server: S3, name: str, generated: bool) -> Mirror:
    """The copies of a run whose first state has been sent; it has samples of skills alone."""
    result = {"result": {"generated": generated, "skills_file": "sdg/skills_train_msgs_1.jsonl"}}
    write_files(folder, {**MODEL, **TAXONOMY, **SKILLS, "done/sdg.json": json.dumps(result).encode()})
    training = described(folder, store_secret_dir=str(folder.parent / "secret"))
    s3_server.secret(Path(training.store_secret_dir), data_key=f"{name}/data.tar.gz")
    save_model(Path(training.output, "hf_format", "samples_100"))
    save_state(Path(training.output), 0)
    note_mirror(training.data_dir, True, "")
    mirror = mirror_of(training)
    assert mirror
    mirror.store = replace(mirror.store, patience=ONCE)
    mirror.look()
    mirror.thread.join()
    return mirror


def keys(mirror: Mirror) -> list[str]:
    found = mirror.store.call("list_objects_v2", Prefix=f"{mirror.where}/").get("Contents", [])
    return [one["Key"].rpartition("/")[2] for one in found if not one["Key"].endswith(".sha256")]


def test_a_new_run_imports_the_same_samples(s3_server: S3, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mirror = trained(tmp_path / "first", s3_server, "mirror-data", generated=True)
    key = f"{mirror.where}/data.tar.gz"
    assert f"begins with the same data by sdg_data_key={key}, without" in capsys.readouterr().out
    (tmp_path / "second").mkdir()
    second = Import(s3_server, tmp_path / "second", "mirror-data/data.tar.gz")
    assert second.run(data_key=key)["result"]["data_generated_elsewhere"]
    for name, text in {**MODEL, **TAXONOMY, **SKILLS}.items():
        assert (second.data / name).read_bytes() == text
    found = imported_samples(str(second.data))
    assert (found.skills_file, found.knowledge_file) == ("sdg/skills_train_msgs_1.jsonl", "")


def test_samples_of_an_archive_are_not_sent(s3_server: S3, tmp_path: Path) -> None:
    mirror = trained(tmp_path / "first", s3_server, "mirror-no-data", generated=False)
    assert keys(mirror) == ["epoch_0.tar.gz", "samples_100.tar.gz"]


def test_data_stay_with_later_states_and_a_result_beside_them_is_never_deleted(s3_server: S3, tmp_path: Path) -> None:
    mirror = trained(tmp_path / "first", s3_server, "mirror-later", generated=True)
    result = "2026-11-27_08-00-00.data.tar.gz"
    mirror.store.put(f"{mirror.where}/{result}", b"a model")
    mirror.finish()
    assert keys(mirror) == [result, "data.tar.gz", "finished.tar.gz", "samples_100.tar.gz"]
    forget(mirror.store, mirror.where)
    assert keys(mirror) == [result]

"""Data import with a real object store, valid archives and every kind of invalid one."""

import os
import shutil
import subprocess
import tarfile
from collections import namedtuple
from pathlib import Path

import pytest

from tests.archives import DATA, MODEL, TAXONOMY, knowledge_leaf, skill_leaf, targz, write_files
from tests.fakes.s3 import S3
from tests.stages.data_import.importing import Import
from tests.stages.evaluation.eval_files import TASK, write_folder

PLACES = {name.replace("data/", "sdg/", 1) for name in {**MODEL, **TAXONOMY, **DATA}}


def test_archive_with_generated_data_is_unpacked_and_removed_from_the_volume(stage: Import) -> None:  # trap 15
    stage.upload(targz({**MODEL, **TAXONOMY, **DATA}))
    marker = stage.run()
    assert stage.files() == PLACES
    result = marker["result"]
    assert (result["archive"], result["check"], result["model_source"]) == (stage.key, "etag", "archive")
    assert result["data_generated_elsewhere"] is True and result["size"] > 0 and len(result["sha256"]) == 64
    assert stage.metrics.metadata == {"imported_archive_bytes": result["size"], "imported_samples_given": 1.0}


def test_archive_may_bring_tasks_for_the_evaluation(stage: Import, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "tea", tea=TASK)
    files = {f"eval_tasks/tea/{file.name}": file.read_bytes() for file in folder.iterdir()}
    stage.upload(targz({**MODEL, **TAXONOMY, **DATA, **files}))
    stage.run()
    assert stage.files() == PLACES | files.keys()
    stage.upload(targz({**MODEL, **TAXONOMY, **DATA}))
    stage.run(force=True)
    assert stage.files() == PLACES


def test_task_that_names_code_is_refused(stage: Import) -> None:
    task = {"eval_tasks/tea/tea.yaml": b"task: tea\nprocess_docs: !function utils.run\n"}
    stage.upload(targz({**MODEL, **TAXONOMY, **task}))
    assert "tea/tea.yaml can't be used\n  cause: tea.yaml has !function" in stage.fails()


def test_repeated_import_returns_at_once_and_another_archive_needs_force(
    stage: Import, capsys: pytest.CaptureFixture[str]
) -> None:  # trap 12
    stage.upload(targz({**MODEL, **TAXONOMY, **DATA}))
    stage.run()
    (stage.data / "model" / "tokenizer.json").write_text("mark")
    stage.run()
    assert (stage.data / "model" / "tokenizer.json").read_text() == "mark"
    assert "nothing to do" in capsys.readouterr().out

    stage.upload(targz({**MODEL, **TAXONOMY, "model/generation_config.json": b"{}"}))
    with pytest.raises(SystemExit, match="finished earlier on this volume with other inputs"):
        stage.run()
    assert (stage.data / "model" / "tokenizer.json").read_text() == "mark"
    stage.run(force=True)
    assert (stage.data / "model" / "tokenizer.json").read_text() == "{}"
    assert (stage.data / "model" / "generation_config.json").exists()
    assert not (stage.data / "sdg").exists(), "data that the new archive does not have must not stay"


def test_failed_forced_import_does_not_count_as_finished(stage: Import) -> None:
    stage.upload(targz({**MODEL, **TAXONOMY}))
    stage.run()
    stage.upload(b"not a gzip")
    with pytest.raises(SystemExit):
        stage.run(force=True)
    assert not (stage.data / "done" / "data_import.json").exists()


# Bad archives


def test_every_missing_piece_is_named(stage: Import) -> None:
    stage.upload(targz({"taxonomy/README.md": b"x", "data/other.jsonl": b""}))
    text = stage.fails()
    for piece in (
        "model/config.json",
        "model/tokenizer.json",
        "model/tokenizer_config.json",
        "model/*.safetensors",
        "taxonomy/knowledge or taxonomy/compositional_skills or taxonomy/foundational_skills",
        "data/skills_recipe_*.yaml",
        "data/knowledge_recipe_*.yaml",
        "data/skills_train_*.jsonl",
        "data/knowledge_train_*.jsonl",
    ):
        assert piece in text
    assert list(stage.data.iterdir()) == []


def test_a_taxonomy_of_skills_alone_needs_no_other_folder_and_no_remark_tells_of_one(stage: Import) -> None:
    skills = {name: content for name, content in TAXONOMY.items() if "/knowledge/" not in name}
    stage.upload(targz({**{name: MODEL[name] for name in MODEL if "tokenizer.json" not in name}, **skills}))
    text = stage.fails()
    assert "missing: model/tokenizer.json\n" in text and "may be empty" not in text
    stage.upload(targz({**MODEL, **skills}))
    stage.run()
    assert (stage.data / "taxonomy/knowledge").is_dir()


def special(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    return info


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (targz({**MODEL, **TAXONOMY})[:300], "ended before the end-of-stream marker"),
        (b"<html>", "Not a gzip"),
        (b"", "can't be unpacked"),
        (targz({**MODEL, **TAXONOMY}, (special("../evil"),)), "../evil: it leads out"),
        (targz({**MODEL, **TAXONOMY}, (special("/evil"),)), "/evil: it leads out"),
        (targz({**MODEL, **TAXONOMY}, (special("model/null", tarfile.CHRTYPE),)), "it is a special file"),
    ],
)
def test_bad_archive_is_refused_with_one_message_and_nothing_partially_written(
    stage: Import, content: bytes, told: str
) -> None:
    stage.upload(content)
    assert told in stage.fails()
    assert list(stage.data.iterdir()) == []


def test_an_archive_too_large_for_the_disk_is_refused_before_its_download(
    stage: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.upload(targz({**MODEL, **TAXONOMY, "model/big": os.urandom(1 << 20)}))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 20, 0, 1 << 20))
    text = stage.fails()
    assert "not enough space on the volume for the archive" in text and "k8s_storage_size" in text
    assert stage.files() == set()


def knowledge(repo: Path, commit: str) -> dict[str, bytes]:
    """A knowledge leaf with a document of this repository, which is made."""
    write_files(repo, {"town.md": b"# Town\n\nThe tower is 12 metres high.\n"})
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        subprocess.run(["git", "-C", repo, *command], check=True)
    return {"taxonomy/knowledge/town/qna.yaml": knowledge_leaf(repo, commit, "town.md")}


def test_documents_are_looked_at_before_anything_is_put_in_place(
    stage: Import, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Case 03: a wrong commit was found after the teacher's hours."""
    repo = tmp_path / "repo"
    stage.upload(targz({**MODEL, **TAXONOMY, **knowledge(repo, "deadbeef")}))
    assert "knowledge/town/qna.yaml:48: the repository has no commit 'deadbeef'" in stage.fails()
    # The archive needs no second download if the repository was at fault.
    assert list(stage.data.glob("import-*.part/archive"))
    subprocess.run(["git", "-C", repo, "tag", "deadbeef"], check=True)
    stage.run()
    assert capsys.readouterr().out.count("verified by") == 2
    assert not list(stage.data.glob("import-*.part"))


def test_taxonomy_of_data_made_elsewhere_is_not_looked_at(stage: Import, tmp_path: Path) -> None:
    stage.upload(targz({**MODEL, **TAXONOMY, **knowledge(tmp_path / "repo", "deadbeef"), **DATA}))
    stage.run()


def test_what_was_generated_from_an_earlier_import_waits_for_its_leaves(stage: Import) -> None:
    stage.upload(targz({**MODEL, **TAXONOMY}))
    stage.run()
    made = write_files(stage.data, {"sdg/leaves.json": b"{}", "sdg/generated/a.jsonl": b"{}\n"})
    stage.upload(targz({**MODEL, **TAXONOMY, "taxonomy/compositional_skills/b/qna.yaml": skill_leaf(6)}))
    stage.run(force=True)
    assert not (made / "sdg").exists()
    assert (made / "sdg.part" / "generated" / "a.jsonl").exists()


def test_a_volume_too_small_for_training_ends_the_run_before_data_is_generated(
    stage: Import, monkeypatch: pytest.MonkeyPatch
) -> None:  # trap 22
    stage.upload(targz({**MODEL, **TAXONOMY}))
    stage.run()
    usage = namedtuple("usage", "total used free")
    checkpoint = 4 * len(b"weights")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 20, 0, 2 * checkpoint - 1))
    with pytest.raises(SystemExit, match="training needs .* are free"):
        stage.run()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data_key": "missing.tar.gz"}, "the bucket holds no object 'missing.tar.gz'"),
        ({"bucket": "other-bucket"}, "there is no bucket 'other-bucket'"),
        ({"secret_key": "not-the-key"}, "the secret key is wrong"),
        ({"verify_tls": "maybe"}, "verify_tls is 'maybe'"),
        ({"data_key": ""}, "data_key"),
        ({"access_key": "", "bucket": ""}, "lacks: bucket or AWS_S3_BUCKET; access_key"),
    ],
)
def test_wrong_object_store_secret_names_the_key_to_correct(
    stage: Import, tmp_path: Path, changes: dict[str, str], told: str
) -> None:
    stage.upload(targz({**MODEL, **TAXONOMY}))
    stage.s3.secret(tmp_path / "object-store", **{"data_key": stage.key, **changes})
    assert told in stage.fails()


def test_archive_whose_folders_lie_elsewhere_names_them_and_the_command(stage: Import) -> None:
    stage.upload(targz({f"s3-data/{name}": content for name, content in {**MODEL, **TAXONOMY, **DATA}.items()}))
    text = stage.fails()
    assert "the archive has model in s3-data/model/; the archive has taxonomy in s3-data/taxonomy/" in text
    upload = (
        "ilab-pipeline upload --model s3-data/model --taxonomy s3-data/taxonomy --data s3-data/data packs and sends"
    )
    assert upload in text
    assert "or: tar czhf data.tar.gz --hard-dereference -C s3-data/ model taxonomy data" in text


@pytest.mark.parametrize(
    ("old", "new", "flags"),
    [
        ("model/", "model/granite-7b/", "--model model/granite-7b --taxonomy taxonomy"),
        ("model/", "models--ibm--granite/snapshots/1/", "--model models--ibm--granite/snapshots/1 --taxonomy taxonomy"),
        ("model/", "", "--model . --taxonomy taxonomy"),
        ("model/", "Model/", "--model Model --taxonomy taxonomy"),
        ("taxonomy/", "taxonomy/taxonomy/", "--model model --taxonomy taxonomy/taxonomy"),
    ],
)
def test_part_that_lies_elsewhere_is_found(stage: Import, old: str, new: str, flags: str) -> None:
    files = {name.replace(old, new, 1) if name.startswith(old) else name: c for name, c in (MODEL | TAXONOMY).items()}
    stage.upload(targz({"README.md": b"", **files}))
    assert f"ilab-pipeline upload {flags} packs and sends it" in stage.fails()


def test_model_whose_files_do_not_fit_is_refused_at_import(stage: Import) -> None:
    stage.upload(targz({**MODEL, **TAXONOMY, "model/tokenizer.json": b"version https://git-lfs.github.com/spec/v1"}))
    assert "not usable: model/tokenizer.json (a Git LFS pointer)" in stage.fails()


def test_faulty_row_of_data_generated_elsewhere_is_named_at_import(stage: Import) -> None:  # trap 69
    stage.upload(targz({**MODEL, **TAXONOMY, **DATA, "data/skills_train_msgs_1.jsonl": b'{"messages": [\n'}))
    text = stage.fails()
    assert "data/skills_train_msgs_1.jsonl line 1: Expecting" in text
    assert stage.files() == set()


def test_orders_of_roles_in_data_generated_elsewhere_are_recorded(stage: Import) -> None:
    stage.upload(targz({**MODEL, **TAXONOMY, **DATA}))
    assert stage.run()["result"]["role_orders"] == [["user", "assistant"]]


# Model and taxonomy from elsewhere


def test_with_a_local_model_and_taxonomy_no_archive_and_no_object_store_is_needed(
    stage: Import, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "source", {**MODEL, **TAXONOMY})
    marker = stage.run(
        base_model=str(source / "model"), taxonomy_url=str(source / "taxonomy"), store_secret_dir="/nowhere"
    )
    assert stage.files() == {*MODEL, *TAXONOMY}
    assert marker["result"]["archive"] == "" and marker["result"]["model_source"] == str(source / "model")
    assert marker["result"]["data_generated_elsewhere"] is False


def test_base_model_from_a_prefix_replaces_that_of_the_archive(stage: Import, s3_server: S3) -> None:
    client = s3_server.client()
    for name, content in {**MODEL, "model/sub/extra.json": b"1"}.items():
        client.put_object(Bucket="ilab", Key=f"models/base/{name.removeprefix('model/')}", Body=content)
    client.put_object(Bucket="ilab", Key="models/base-other/config.json", Body=b"wrong")
    stage.upload(targz({**TAXONOMY, "model/config.json": b"the archive's"}))
    marker = stage.run(base_model="s3://ilab/models/base")
    assert stage.files() == {*MODEL, "model/sub/extra.json", *TAXONOMY}
    assert (stage.data / "model/config.json").read_bytes() == b"{}"
    assert marker["result"]["model_source"] == "s3://ilab/models/base"


@pytest.mark.parametrize(
    ("base_model", "told"),
    [
        ("s3://ilab/nothing/here", "no object has this prefix"),
        ("s3://no-such-bucket/x", "there is no bucket 'no-such-bucket'"),
        ("org/model", "s3://bucket/prefix"),
        ("oci://registry/model", "s3://bucket/prefix"),
        ("/no/such/folder", "s3://bucket/prefix"),
    ],
)
def test_unavailable_base_model_is_an_error(stage: Import, base_model: str, told: str) -> None:
    stage.upload(targz({**MODEL, **TAXONOMY}))
    assert told in stage.fails(base_model=base_model)

"""A run on one machine whose files come from folders, and go to one; in a pod no such path is taken."""

import json
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.data_import import data_import
from components.publish import publish
from tests.archives import DATA, MODEL, TAXONOMY, targz, write_files
from tests.stages.publish.test_publish import CANDIDATE, volume  # noqa: F401 - a fixture
from utils.names import CLAIMS_DIR
from utils.stages.data_import.git import TaxonomySource
from utils.stages.folders import own_path, write_result
from utils.stages.object_store.client import store_of_secret
from utils.stages.prerequisites.checks import check_folders, check_object_store
from utils.stages.report.stage import Reporting, upload_report


def put(data_dir: Path, name: str, **arguments: Any) -> tuple[str, dict[str, Any]]:
    """Run publish without a Secret; gives what it returns, and its result."""
    given: dict[str, Any] = {"data_key": "", "ca_file": "", "store_secret_dir": str(data_dir / "no-secret")}
    gate = {"min_mt_bench": 0.0, "max_error_rate": 1.0, "require_improvement": False, "images": {}, "force": False}
    gate |= {"confidence": 0.95, "max_regression": {}}
    metrics = dsl.Metrics(uri=str(data_dir.parent / "metrics"))
    given |= {"data_dir": str(data_dir), "run_id": "r1", "name": name, "metrics": metrics, **gate, **arguments}
    return publish.python_func(**given), json.loads((data_dir / "done" / "publish.json").read_text())["result"]


def bring(data_dir: Path, **arguments: Any) -> dict[str, Any]:
    """Run data import without a Secret; gives its result."""
    names = ("data_key", "ca_file", "base_model", "taxonomy_url", "taxonomy_branch", "taxonomy_commit", "chat_template")
    given: dict[str, Any] = dict.fromkeys((*names, "taxonomy_secret_dir"), "")
    given |= {
        "taxonomy_pr": 0,
        "force": False,
        "checkpoint_dtype": "auto",
        "store_secret_dir": str(data_dir / "no-secret"),
    }
    data_dir.mkdir()
    data_import.python_func(
        data_dir=str(data_dir), metrics=dsl.Metrics(uri=str(data_dir.parent / "m")), **given | arguments
    )
    return json.loads((data_dir / "done" / "data_import.json").read_text())["result"]


@pytest.mark.parametrize(
    ("value", "path"),
    [("/a/b", "/a/b"), ("file:///a/b", "/a/b"), ("", ""), ("a/b.tar.gz", ""), ("s3://a/b", ""), ("./a", "")],
)
def test_a_path_is_told_from_a_key(value: str, path: str) -> None:
    assert own_path(value) == path


@pytest.mark.parametrize("there", [False, True])
def test_result_goes_to_a_new_or_empty_folder(volume: Path, tmp_path: Path, there: bool) -> None:  # noqa: F811
    target = tmp_path / "my results" / "first"
    if there:
        target.mkdir(parents=True)
    key, result = put(volume, f"file://{target}")
    assert key == result["key"] == str(target) and result["size"] > 100_000
    assert (target / "model" / "config.json").read_bytes() == (volume / CANDIDATE / "config.json").read_bytes()
    assert {file.name for file in target.iterdir()} == {"model", "scores", "provenance.json"}
    assert json.loads((target / "provenance.json").read_text())["run_id"] == "r1"
    assert [*target.parent.iterdir()] == [target]


def test_killed_before_the_marker_the_same_run_replaces_its_result(volume: Path, tmp_path: Path) -> None:  # noqa: F811
    put(volume, str(tmp_path / "out"))
    (volume / "done" / "publish.json").unlink()
    (tmp_path / "out.part" / "model").mkdir(parents=True)
    put(volume, str(tmp_path / "out"))
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("out")) == ["out"]


def test_a_folder_with_other_content_is_left_alone(volume: Path, tmp_path: Path) -> None:  # noqa: F811
    write_files(tmp_path / "out", {"mine.txt": b"x"})
    with pytest.raises(SystemExit, match="can't be put into .*/out\n.*not empty.*\n  next: "):
        put(volume, str(tmp_path / "out"))
    put(volume, str(tmp_path / "other"))
    (volume / "done" / "publish.json").unlink()
    with pytest.raises(SystemExit, match="can't be put into"):
        put(volume, str(tmp_path / "other"), run_id="r2")


def test_rejected_candidate_leaves_no_folder(volume: Path, tmp_path: Path) -> None:  # noqa: F811
    assert put(volume, str(tmp_path / "out"), min_mt_bench=9.0)[0] == ""
    assert not (tmp_path / "out").exists()
    given = Reporting(str(volume), "r1", [], "", "", "", str(tmp_path / "out"))
    assert upload_report(given, "", {"html": "page"}) == ""


def test_report_lies_in_the_result(tmp_path: Path) -> None:
    given = Reporting(str(tmp_path), "r1", [], "", "", "", f"file://{tmp_path}")
    assert upload_report(given, str(tmp_path), {"html": "page", "json": "{}"}) == f"{tmp_path}/report.html"
    assert (tmp_path / "report.html").read_text() == "page"


def test_model_and_taxonomy_come_from_folders_through_their_links(tmp_path: Path) -> None:
    write_files(tmp_path / "from", {**MODEL, **TAXONOMY})
    model = tmp_path / "from" / "model"
    (model / "model.safetensors").rename(tmp_path / "blob")  # as in a hub's cache
    (model / "model.safetensors").symlink_to(tmp_path / "blob")
    taxonomy = tmp_path / "with space"
    (tmp_path / "from" / "taxonomy").rename(taxonomy)
    bring(tmp_path / "data", base_model=f"file://{model}", taxonomy_url=f"file://{taxonomy}")
    assert not (tmp_path / "data" / "model" / "model.safetensors").is_symlink()
    assert (tmp_path / "data" / "taxonomy" / "compositional_skills" / "writing" / "qna.yaml").is_file()


@pytest.mark.parametrize("packed", [False, True])
def test_data_made_elsewhere_comes_from_a_folder_or_an_archive_of_this_machine(tmp_path: Path, packed: bool) -> None:
    files = {**MODEL, **TAXONOMY, **DATA}
    place = tmp_path / ("all.tar.gz" if packed else "all")
    if packed:
        place.write_bytes(targz(files))
    else:
        write_files(place, files)
    found = bring(tmp_path / "data", data_key=str(place))
    assert found["data_generated_elsewhere"] and found["archive"] == str(place) and found["size"] > 0
    assert (tmp_path / "data" / "sdg" / "skills_train_msgs_1.jsonl").is_file()
    assert place.exists()


def test_run_whose_files_are_folders_needs_no_secret_of_an_object_store(tmp_path: Path) -> None:
    result, empty = str(tmp_path / "out"), str(tmp_path / "no-secret")
    assert check_object_store(empty, "", "/model", False, ("", result)) == []
    assert check_object_store(empty, "", "", True, (str(tmp_path), result)) == []
    for model, archive, keys in (
        ("/model", False, ("", "")),
        ("", True, ("", result)),
        ("s3://models/a", False, ("", result)),
    ):
        with pytest.raises(SystemExit, match="lacks: bucket"):
            check_object_store(empty, "", model, archive, keys)


def test_pod_takes_no_path_of_the_user_s_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "cluster")
    keys = {"sdg_data_key": str(tmp_path), "output_data_key": "file:///results"}
    assert [one.problem for one in check_folders(keys, [], True)] == [
        f"{name} is {path}, a path that only a run on one machine can use" for name, path in keys.items()
    ]
    with pytest.raises(SystemExit, match="a path, which only a run on one machine"):
        TaxonomySource(f"file://{tmp_path}").check()
    monkeypatch.setenv(CLAIMS_DIR, str(tmp_path))  # a workbench: the run is on this machine
    assert check_folders(keys, ["/home/me/tea"], True) == []


@pytest.mark.parametrize(
    ("tasks", "archive", "said"),
    [
        (["arc_easy", "eval_tasks/tea"], True, None),
        (["arc_easy"], False, None),
        (["arc_easy", "/home/me/tea"], True, "only a run on one machine can use a path"),
        (["file:///home/me/tea"], False, "only a run on one machine can use a path"),
        (["arc_easy", "eval_tasks/tea"], False, "and no archive is imported"),
    ],
)
def test_folder_of_tasks_must_come_with_the_archive(
    monkeypatch: pytest.MonkeyPatch, tasks: list[str], archive: bool, said: str | None
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "cluster")
    found = [one.problem for one in check_folders({}, tasks, archive)]
    assert found == ([f"eval_tasks is {tasks}" + (": " if "path" in said else ", ") + said] if said else [])


def test_path_does_not_name_the_archive_of_the_object_store(tmp_path: Path) -> None:
    secret = write_files(tmp_path / "s", {"bucket": b"b", "access_key": b"a", "secret_key": b"s", "data_key": b"d"})
    assert store_of_secret(str(secret), "", data_key="/home/me/all.tar.gz").data_key == "d"


@pytest.mark.parametrize("foreign", ["{half", "[]", '{"run_id": ["r1"]}', "\xff"])
def test_folder_with_somebody_elses_provenance_is_left_alone(foreign: str, tmp_path: Path) -> None:
    (tmp_path / "result").mkdir()
    (tmp_path / "result/provenance.json").write_bytes(foreign.encode("latin-1"))
    with pytest.raises(SystemExit, match=r"the result can't be put into .*/result"):
        write_result(tmp_path / "result", "r1", {}, {}, lambda files: "{}")
    assert (tmp_path / "result/provenance.json").read_bytes() == foreign.encode("latin-1")

"""Folders of this machine in parameters: relative to where the command is called, refused where pods run."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from utils.cli.machine_paths import refuse_paths, with_paths, with_result_folder
from utils.cli.main import main
from utils.errors import UsageError
from utils.files import COMPILED
from utils.ir.load import load
from utils.runners.settings import LocalSettings


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command is called in, with a folder `there`."""
    for name in ("work/there", "taxonomy", "granite"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "work" / "all.tar.gz").touch()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "work"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("sdg_base_model", "./there", "file://{here}/there"),
        ("sdg_base_model", "there", "file://{here}/there"),
        ("sdg_base_model", "there/", "file://{here}/there"),
        ("sdg_base_model", "~/granite", "file://{above}/granite"),
        ("sdg_base_model", "/usr", "file:///usr"),
        ("sdg_base_model", "file:///usr", "file:///usr"),
        ("sdg_base_model", "s3://models/granite", None),
        ("sdg_base_model", "absent", None),
        ("sdg_repo_url", "../taxonomy", "file://{above}/taxonomy"),
        ("sdg_repo_url", "https://example.com/taxonomy", None),
        ("sdg_repo_url", "git@example.com:taxonomy", None),
        ("sdg_data_key", "./all.tar.gz", "file://{here}/all.tar.gz"),
        ("sdg_data_key", "there", None),
        ("output_data_key", "./out", "file://{here}/out"),
        ("output_data_key", "results/mine.tar.gz", None),
        ("sdg_pipeline", "there", "{here}/there"),
        ("sdg_pipeline", "simple", None),
        ("sdg_data_key", "", None),
    ],
)
def test_paths_become_absolute(here: Path, name: str, value: str, expected: str | None) -> None:
    wanted = expected.format(here=here, above=here.parent) if expected else value
    assert with_paths({name: value}) == {name: wanted}


def test_folders_of_tasks_become_absolute_and_names_stay(here: Path) -> None:
    tasks = ["arc_easy", "eval_tasks/tea", "./there", "~/granite"]
    found = with_paths({"eval_tasks": tasks})["eval_tasks"]
    assert found == [*tasks[:2], f"file://{here}/there", f"file://{here.parent}/granite"]
    with pytest.raises(UsageError, match="paths in the arguments can't be used"):
        with_paths({"eval_tasks": ["./absent"]})


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        ({"sdg_base_model": "./there"}, True),
        ({"sdg_base_model": "there"}, True),
        ({"sdg_base_model": "/opt/image/model"}, False),
        ({"sdg_repo_url": "/home/me/taxonomy"}, True),
        ({"sdg_data_key": "~/all.tar.gz"}, True),
        ({"output_data_key": "file:///out"}, True),
        ({"eval_tasks": ["arc_easy", "./there"]}, True),
        ({"eval_tasks": ["arc_easy", "eval_tasks/tea"]}, False),
        ({"sdg_base_model": "s3://b/m", "sdg_repo_url": "https://e.com/t", "sdg_data_key": "a/b.tar.gz"}, False),
    ],
)
def test_pods_are_not_given_paths_of_this_machine(here: Path, arguments: dict[str, Any], refused: bool) -> None:
    if not refused:
        refuse_paths(arguments)
        return
    with pytest.raises(UsageError) as error:
        refuse_paths(arguments)
    name, value = next(iter(arguments.items()))
    assert f"{name} is {value}" in error.value.render() and "ilab-pipeline upload" in error.value.render()


@pytest.mark.parametrize("place", ["kubernetes", "kfp"])
def test_run_in_pods_is_refused_before_any_request(here: Path, place: str) -> None:
    words = ["run", "--on", place, "-p", "sdg_base_model=./there", "-p", "output_data_key=./out"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert "sdg_base_model is ./there; output_data_key is ./out" in done.output


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("sdg_base_model", "./absent", "and there is no such folder"),
        ("sdg_base_model", "./all.tar.gz", "and there is no such folder"),
        ("sdg_data_key", "./absent.tar.gz", "and there is no such folder"),
        ("output_data_key", "../work", "which is not a new or empty folder"),
        ("output_data_key", "./all.tar.gz", "which is not a new or empty folder"),
        ("output_data_key", "./all.tar.gz/new", "and nothing can be made in {here}/all.tar.gz"),
        ("output_data_key", "./new/below/it", ""),
        ("output_data_key", "./there", ""),
    ],
)
def test_paths_that_cannot_be_used_are_all_named_before_a_task_runs(
    here: Path, name: str, value: str, problem: str
) -> None:
    if not problem:
        with_paths({name: value})
        return
    with pytest.raises(UsageError) as error:
        with_paths({name: value, "sdg_repo_url": "/absent"})
    text = error.value.render()
    assert f"{name} is " in text and problem.format(here=here) in text and "sdg_repo_url is /absent, and" in text
    assert {path.name for path in here.iterdir()} == {"there", "all.tar.gz"}


FOLDERS = {"sdg_base_model": "file:///m", "sdg_repo_url": "https://example.com/t"}


@pytest.mark.parametrize(
    ("arguments", "secret", "given"),
    [
        (FOLDERS, "", True),
        ({"sdg_data_key": "file:///all"}, "", True),
        (FOLDERS, "sdg-object-store-credentials", False),
        (FOLDERS | {"sdg_object_store_secret": "mine"}, "sdg-object-store-credentials", True),
        (FOLDERS | {"output_data_key": "a.tar.gz"}, "", False),
        (FOLDERS | {"sdg_base_model": "s3://b/m"}, "", False),
        ({"sdg_base_model": "file:///m"}, "", False),
        ({}, "", False),
    ],
)
def test_result_goes_to_a_folder_where_the_run_needs_no_object_store(
    tmp_path: Path, arguments: dict[str, Any], secret: str, given: bool
) -> None:
    secrets = tmp_path / "secrets"
    (secrets / (secret or "judge-secret")).mkdir(parents=True)
    settings = LocalSettings("python3", secrets=str(secrets))
    found = with_result_folder(load(COMPILED), arguments, settings, Path("/home/results/r1"))
    assert found == {**arguments, **({"output_data_key": "file:///home/results/r1"} if given else {})}

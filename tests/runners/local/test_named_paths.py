"""Components that name the paths of their volumes in their code, and where a task's files are."""

import os
from pathlib import Path

import pytest

from tests.runners.local.conftest import Home
from utils.files import COMPILED
from utils.ir.load import load
from utils.runners.local.limits import refusals
from utils.runners.local.task_files import (
    TaskFiles,
    Volume,
    names_path,
    namespace_problem,
    unnamed,
    wants_own_temporary,
)

ROOT = sorted(os.listdir("/"))  # noqa: PTH208 - names, to compare

needs_namespaces = pytest.mark.skipif(bool(namespace_problem()), reason=f"mount namespaces: {namespace_problem()}")


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    (tmp_path / "secrets" / "judge").mkdir(parents=True)
    (tmp_path / "secrets" / "judge" / "api_token").write_text("four")
    return tmp_path / "secrets"


def words(secrets: Path) -> list[str]:
    return ["-p", "claim=shared", "-p", "secret=judge", "--secrets", str(secrets)]


@needs_namespaces
def test_code_that_names_its_mount_paths_sees_its_volumes_there(home: Home, secrets: Path) -> None:
    found = home.run_json("literal", "r1", *words(secrets))
    assert found["state"] == "SUCCEEDED", found
    assert found["outputs"]["Output"] == {
        "secret": 4,
        "secret is writable": False,
        "given": "/ilab-claim/file",
        "listed": [True, False],
        "home": 1,
        "folders": ["ilab-claim", "ilab-scratch"],
    }


@needs_namespaces
def test_volumes_are_written_and_the_machine_is_not(home: Home, secrets: Path) -> None:
    home.run("literal", "r1", *words(secrets))
    assert (home.data / "file").read_text() == "on the claim"
    assert (home.data / "part" / "of" / "it" / "deep").is_dir()
    assert [path.name for path in (secrets / "judge").iterdir()] == ["api_token"]
    assert sorted(os.listdir("/")) == ROOT  # noqa: PTH208
    assert not Path("/mnt/ilab-part").exists()
    assert not Path("/run/ilab-secret").exists()


def test_code_that_names_its_mount_paths_is_refused_where_they_cannot_be_mounted(
    home: Home, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utils.runners.local.runner.namespace_problem", lambda: "unshare: not permitted")
    result = home.run("literal", "r1", *words(secrets))
    assert result.exit_code == 2
    assert (
        "task name-paths: its code names the mount path /ilab-claim, /mnt/ilab-part, /run/ilab-secret" in result.output
    )
    assert "unshare: not permitted" in result.output
    assert not home.run_dir("r1").exists()
    assert list(home.data.iterdir()) == []


@needs_namespaces
def test_mount_that_would_hide_what_the_task_needs_is_refused(home: Home) -> None:
    result = home.run("hiding", "r1", "-p", "claim=shared")
    assert result.exit_code == 2
    assert "task wants-pytest: it mounts a volume at /, which would hide" in result.output


@needs_namespaces
def test_tasks_whose_code_names_tmp_do_not_meet_there(home: Home) -> None:
    found = home.run_json("in-tmp", "r1")
    assert found["outputs"] == {"Output": ["model 1", "model 2"]}
    assert not Path("/tmp/ilab-test-model").exists()


def test_paths_given_as_parameters_need_no_namespace(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.runners.local.runner.namespace_problem", lambda: "unshare: not permitted")
    assert home.run("chain", "r1", "-p", "claim=shared").exit_code == 0


def test_our_own_pipeline_needs_no_namespace() -> None:
    """It runs on machines that permit none; its components get every path as a parameter."""
    pipeline = load(COMPILED)
    assert refusals(pipeline, {}, [], lambda: "unshare: not permitted") == []
    containers = [one.container for one in pipeline.components.values() if one.container]
    assert [one.image for one in containers if wants_own_temporary([], map(str, (*one.command, *one.args)))] == []


@pytest.mark.parametrize(
    ("code", "values", "expected"),
    [
        (["run()"], ["/data"], []),
        (["run()"], ["/data/model"], []),
        (["open('/data/x')"], ["/data"], ["/data"]),
        (["run()"], [], ["/data"]),
        (["run()"], ["/database"], ["/data"]),
        (["run()"], ["/data", "--dir=/data/x"], ["/data"]),
        (["run()"], ["/data", ["/data/x"]], ["/data"]),
        (["run()"], ["/data", {"file": "/data"}], ["/data"]),
        (["see /database and x/data"], ["/data"], []),
    ],
)
def test_a_path_is_unnamed_unless_a_parameter_alone_gives_it(
    code: list[str], values: list[object], expected: list[str]
) -> None:
    assert unnamed(["/data"], code, values) == expected


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("open('/data/x')", True),
        ("/data", True),
        ('f"{root}/data"', True),
        ("/data-old", False),
        ("/data.txt", False),
        ("s3://bucket/data", False),
        ("s3://data/models", False),
        ("file:///data/models", False),
        ([1, {"a": "/data"}], True),
    ],
)
def test_path_in_a_text(text: object, found: bool) -> None:
    assert names_path("/data", text) is found


def test_rewritten_paths_and_mounted_ones() -> None:
    volumes = (Volume("/data", Path("/claims/c")), Volume("/tmp", Path("/s/tmp"), temporary=True))
    rewritten, mounted = TaskFiles(volumes, Path("/s")), TaskFiles(volumes, Path("/s"), mounted=True)
    values = {"a": "/data/x", "b": "/tmp/y"}
    assert rewritten.inputs(values) == rewritten.variables(values) == {"a": "/claims/c/x", "b": "/s/tmp/y"}
    assert mounted.inputs(values) == mounted.variables(values) == values
    assert (rewritten.place("/data/x"), mounted.place("/data/x")) == (Path("/data/x"), Path("/claims/c/x"))
    assert (rewritten.temporary, mounted.temporary) == (Path("/s"), Path("/tmp"))


def test_homes_in_tmp_are_the_tasks_own() -> None:
    for mounted in (False, True):
        files = TaskFiles((Volume("/data", Path("/claims/c")),), Path("/s"), mounted)
        assert files.variables({"HOME": "/tmp", "CACHE": "/tmp/cache"}) == {"HOME": "/s", "CACHE": "/s/cache"}

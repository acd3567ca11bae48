"""Runs of a home: ids, one process at a time, claims, removal."""

import re
from pathlib import Path

import pytest

from utils.errors import UsageError
from utils.names import claim_name, run_object_name
from utils.runners.journal import Journal
from utils.runners.run_folder import (
    RunFolder,
    all_runs,
    create_run,
    find_run,
    new_run_id,
)
from utils.runners.settings import ClusterSettings, LocalSettings

SETTINGS = LocalSettings(python="/usr/bin/python3", secrets="/s")


def make(home: Path, run_id: str) -> RunFolder:
    return create_run(home, run_id, "text", {"n": 3}, SETTINGS)


def test_arguments_and_settings_are_kept_for_the_resume(tmp_path: Path) -> None:
    folder = make(tmp_path, "r1")
    assert (folder.arguments, folder.local_settings()) == ({"n": 3}, SETTINGS)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", folder.created)


def test_settings_of_a_run_on_a_cluster_are_kept_for_the_resume(tmp_path: Path) -> None:
    settings = ClusterSettings("lab", context="kind", overlay={"spec": {"priorityClassName": "high"}})
    folder = create_run(tmp_path, "r1", "text", {}, settings)
    assert folder.cluster_settings == settings
    with pytest.raises(UsageError, match="the run r1 lives on a cluster: in namespace lab of kind"):
        folder.local_settings()


@pytest.mark.parametrize("pipeline", ["ilab", "My Pipeline_2!", "x" * 200, "---", "9"])
def test_new_ids_are_valid_kubernetes_names(pipeline: str) -> None:
    run_id = new_run_id(pipeline)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", run_id)
    assert len(f"ilab-{run_id}") <= 63
    assert re.search(r"-\d{8}-\d{6}-[0-9a-f]{4}$", run_id)


@pytest.mark.parametrize(("pipeline", "prefix"), [("ilab", "run"), ("ilab-small", "small"), ("ilabs", "ilabs")])
def test_new_ids_do_not_repeat_the_prefix_of_the_objects_names(pipeline: str, prefix: str) -> None:
    run_id = new_run_id(pipeline)
    assert re.fullmatch(prefix + r"-\d{8}-\d{6}-[0-9a-f]{4}", run_id)
    assert run_object_name(run_id) == claim_name(run_id) == f"ilab-{run_id}"


def test_runs_whose_ids_have_the_prefix_are_still_found(tmp_path: Path) -> None:
    folder = make(tmp_path, "ilab-20251101-101010-abcd")
    (tmp_path / "claims" / "ilab-ilab-20251101-101010-abcd").mkdir()
    assert find_run(tmp_path, folder.run_id) == folder == all_runs(tmp_path)[0]
    assert [claim.name for claim in folder.own_claims()] == ["ilab-ilab-20251101-101010-abcd"]
    assert run_object_name(folder.run_id) == "ilab-ilab-20251101-101010-abcd"


@pytest.mark.parametrize("run_id", ["", "A", "a_b", "../x", "a/b", "-a", "a-", "x" * 58])
def test_id_that_cannot_name_kubernetes_objects_is_refused(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(UsageError, match="can't be the id"):
        make(tmp_path, run_id)


def test_an_id_is_used_once(tmp_path: Path) -> None:
    make(tmp_path, "r1")
    with pytest.raises(UsageError, match="there is a run r1 already"):
        make(tmp_path, "r1")


def test_unknown_run_is_an_error_that_names_recent_runs(tmp_path: Path) -> None:
    make(tmp_path, "r1")
    with pytest.raises(UsageError) as caught:
        find_run(tmp_path, "r2")
    assert "r1" in caught.value.cause


def test_a_run_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    folder = make(tmp_path, "r1")
    assert not folder.is_running()
    with folder.locked():
        assert folder.is_running()
        with pytest.raises(UsageError, match="another process works on"), folder.locked():
            pass
    assert not folder.is_running()


def test_removing_a_run_takes_its_own_claims_and_no_other(tmp_path: Path) -> None:
    folder, other = make(tmp_path, "demo"), make(tmp_path, "demo-2")
    with Journal(folder.journal) as journal:
        journal.append("claim", name="made-here")
    for claim in ("ilab-demo", "made-here", "ilab-demo-2", "shared"):
        (tmp_path / "claims" / claim).mkdir()
    folder.remove()
    assert {p.name for p in (tmp_path / "claims").iterdir()} == {"ilab-demo-2", "shared"}
    assert all_runs(tmp_path) == [other]

"""Runs of a home: ids, one process at a time, claims, removal."""

import errno
import os
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


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("latest", "small-20260102-ffff"),
        ("ilab", "ilab"),  # the id of one, and a part of others
        ("small-2026010", None),
        ("0101", "small-20260101-aaaa"),
        ("aaaa", "small-20260101-aaaa"),
        ("aaa", None),  # shorter than four letters
        ("", None),
        ("*", None),
        ("../runs/ilab", None),
    ],
)
def test_run_is_found_by_its_id_or_a_part_that_no_other_has(tmp_path: Path, given: str, found: str | None) -> None:
    for day, run_id in enumerate(["ilab", "ilab-2", "small-20260101-aaaa", "small-20260102-ffff"], 1):
        made = make(tmp_path, run_id)
        made.store(run_id, {}, SETTINGS, f"2026-01-0{day}T00:00:00Z")
    (tmp_path / "runs" / ".half.7").mkdir()
    if found:
        assert find_run(tmp_path, given).run_id == found
    else:
        with pytest.raises(UsageError, match=re.escape(f"match {given!r}")):
            find_run(tmp_path, given)


def test_runs_are_listed_oldest_first(tmp_path: Path) -> None:
    assert all_runs(tmp_path) == []
    for run_id, created in {"b": "2026-01-01", "a": "2026-01-02", "c": "2026-01-01"}.items():
        make(tmp_path, run_id).store(run_id, {}, SETTINGS, created)
    assert [run.run_id for run in all_runs(tmp_path)] == ["b", "c", "a"]


def test_folder_of_a_run_is_for_its_user_alone_and_whole_from_the_first_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logs and arguments lie in it."""
    folder = make(tmp_path / "deep" / "home", "r1")
    assert folder.log("a/b").name == "a.b.log"
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert folder.log("a/b").parent.is_dir() and folder.package.read_text() == "text"

    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(RunFolder, "store", full)
    with pytest.raises(OSError, match="full"):
        make(folder.home, "r2")
    assert [path.name for path in (folder.home / "runs").iterdir()] == ["r1"]


def test_settings_that_cannot_be_written_leave_the_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, write = make(tmp_path, "r1"), Path.write_text

    def torn(path: Path, text: str) -> None:
        write(path, text[:5])
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Path, "write_text", torn)
    with pytest.raises(OSError, match="full"):
        folder.store("r1", {"n": 4}, SETTINGS, "now")
    assert folder.arguments == {"n": 3}


def test_a_run_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    folder = make(tmp_path, "r1")
    assert not folder.is_running()
    for _ in range(2):
        with folder.locked():
            assert folder.is_running()
            held = f"another process works on the run r1: process {os.getpid()} holds it"
            with pytest.raises(UsageError, match=held), folder.locked():
                pass
        assert not folder.is_running()


def test_removing_a_run_takes_its_own_claims_and_no_other(tmp_path: Path) -> None:
    folder, other = make(tmp_path, "demo"), make(tmp_path, "demo-2")
    with Journal(folder.journal) as journal:
        journal.append("claim", name="made-here")
    for name in ("claims/ilab-demo", "claims/made-here", "claims/ilab-demo-2", "claims/shared", "demo/demo"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "demo" / "demo-2").mkdir()
    assert folder.places()[-1] == folder.path  # last, so that a removal that breaks off can be repeated
    folder.remove()
    assert {p.name for p in (tmp_path / "claims").iterdir()} == {"ilab-demo-2", "shared"}
    assert {p.name for p in (tmp_path / "demo").iterdir()} == {"demo-2"}
    assert all_runs(tmp_path) == [other]

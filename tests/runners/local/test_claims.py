"""Volume claims as folders: what is created, found and removed, and what never is."""

from pathlib import Path

import pytest

from utils.errors import TaskFailed
from utils.ir.model import Mount
from utils.runners.local.claims import claim_folder, make_claim, remove_claim

NO_NAMES = ["", ".", "..", "../other", "a/b", "/etc", "Upper", "a_b", "-a", "a.", "a" * 254]


@pytest.fixture
def claims(tmp_path: Path) -> Path:
    """The folder of all claims, with those of two other runs, and something beside it."""
    for name in ("claims/ilab-r0/model", "claims/shared/a", "runs/r0"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path / "claims"


def everything(claims: Path) -> list[str]:
    return sorted(str(path.relative_to(claims.parent)) for path in claims.parent.rglob("*"))


@pytest.mark.parametrize("name", NO_NAMES)
def test_name_that_is_none_removes_and_creates_nothing(claims: Path, name: str) -> None:
    before = everything(claims)
    with pytest.raises(TaskFailed, match="name of a volume claim"):
        remove_claim(claims, name, [])
    with pytest.raises(TaskFailed, match="name of a volume claim"):
        make_claim(claims, name, [])
    with pytest.raises(TaskFailed, match="name of a volume claim"):
        claim_folder(claims, "r1", Mount("claim", name, "/d"))
    assert everything(claims) == before


def test_claim_is_removed_and_no_other(claims: Path) -> None:
    remove_claim(claims, "shared", [])
    assert everything(claims) == ["claims", "claims/ilab-r0", "claims/ilab-r0/model", "runs", "runs/r0"]


def test_unknown_claim_is_not_removed_but_the_runs_own_may_be_gone(claims: Path) -> None:
    with pytest.raises(TaskFailed, match="no volume claim typo"):
        remove_claim(claims, "typo", ["r1-x"])
    remove_claim(claims, "r1-x", ["r1-x"])


def test_claim_that_is_a_link_loses_the_link_alone(claims: Path, tmp_path: Path) -> None:
    (tmp_path / "disk" / "data").mkdir(parents=True)
    (claims / "linked").symlink_to(tmp_path / "disk")
    remove_claim(claims, "linked", [])
    assert (tmp_path / "disk" / "data").is_dir()
    assert not (claims / "linked").is_symlink()


def test_claim_of_another_run_is_not_taken_over(claims: Path) -> None:
    with pytest.raises(TaskFailed, match="a volume claim shared already"):
        make_claim(claims, "shared", ["r1-x"])
    assert make_claim(claims, "shared", ["shared"]) == claims / "shared"


def test_claim_is_a_folder_and_its_sub_path_is_created(claims: Path) -> None:
    assert claim_folder(claims, "r1", Mount("claim", "shared", "/d", "a/b")) == claims / "shared" / "a" / "b"
    assert (claims / "shared" / "a" / "b").is_dir()


@pytest.mark.parametrize("path", ["..", "a/../../ilab-r0", "/etc"])
def test_sub_path_out_of_the_claim_is_refused(claims: Path, path: str) -> None:
    with pytest.raises(TaskFailed, match="leads out of it"):
        claim_folder(claims, "r1", Mount("claim", "shared", "/d", path))


def test_unknown_claim_is_refused_and_the_runs_own_is_recreated(claims: Path) -> None:
    with pytest.raises(TaskFailed, match="no volume claim typo"):
        claim_folder(claims, "r1", Mount("claim", "typo", "/d"))
    assert claim_folder(claims, "r1", Mount("claim", "ilab-r1", "/d")).is_dir()

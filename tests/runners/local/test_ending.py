"""The volume of a run on this machine: deleted after success, kept otherwise; the output says which."""

import pytest

from tests.runners.local.conftest import Home


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (("published=true",), False),
        (("published=false",), True),
        (("published=true", "keep_volume=always"), True),
        (("published=false", "keep_volume=never"), False),
    ],
)
def test_volume_is_deleted_only_after_success(home: Home, words: tuple[str, ...], kept: bool) -> None:
    result = home.run("ending", "r1", *(part for word in words for part in ("-p", word)))
    assert result.exit_code == 0, result.output
    claim = home.path / "claims" / "ilab-r1"
    assert claim.exists() == kept
    assert (f"its volume is kept: {claim}; remove it with the run: ilab-pipeline clean r1" in result.output) == kept
    log = home.call("logs", "r1", "clean-up").output
    held_back = "The gate rejected it (min_mt_bench): nothing was published"
    assert ("the run succeeded" if words[0] == "published=true" else held_back) in log
    assert home.call("clean", "r1", "-y").exit_code == 0
    assert not claim.exists()
    assert home.data.exists(), "another claim"


def test_volume_of_a_failed_run_is_kept_for_resume(home: Home) -> None:
    """Trap 54: kept by default, so that resume repeats what failed."""
    result = home.run("ending", "r1", "-p", "published=true", "-p", "needs=repaired")
    assert result.exit_code == 1
    claim = home.path / "claims" / "ilab-r1"
    assert "resume: ilab-pipeline resume r1" in result.output
    assert f"its volume is kept: {claim}" in result.output
    assert "the run did not get to its end" in home.call("logs", "r1", "clean-up").output
    (claim / "repaired").touch()
    again = home.call("resume", "r1")
    assert again.exit_code == 0, again.output
    assert not claim.exists()
    assert "its volume is kept" not in again.output

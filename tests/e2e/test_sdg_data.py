"""The library's own names, filters and batches: no leaf is taken for another, and every count is that of a file."""

import json
from typing import Any

import pytest

from tests.e2e.stages import in_stages


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return dict(json.loads(in_stages("tests/e2e/run_sdg_data.py", str(tmp_path_factory.mktemp("sdg")))))


def test_leaves_of_one_flat_name_long_paths_and_odd_characters_have_their_own_samples(seen: dict[str, Any]) -> None:
    """Trap 58: of two leaves whose paths flatten to one name the second was never generated."""
    odd = seen["odd"]
    assert odd["result"]["samples_by_leaf"] == dict.fromkeys(odd["leaves"], 10)
    files = {name: count for name, count in odd["rows"].items() if name.startswith("compositional_skills_")}
    assert sorted(files.values()) == [10] * 5
    assert "compositional_skills_ends_on_p10.jsonl" in files
    for what in ("colours", "shapes", "sizes", "signs", "ends"):
        assert sum(f"to tell {what}" in request for request in odd["requests"]) == 5


def test_samples_that_the_last_filter_drops_are_not_counted(seen: dict[str, Any]) -> None:
    assert "gave no valid sample" in seen["all_dropped"]["failure"]
    some = seen["some_dropped"]
    counts = some["result"]["samples_by_leaf"]
    assert counts == {
        leaf: some["rows"][f"{leaf.replace('/', '_')}.jsonl"]
        for leaf in ("compositional_skills/x", "compositional_skills/y")
    }
    assert 0 < sum(counts.values()) == some["result"]["samples"] < 20


def test_teacher_that_fails_for_good_is_asked_no_further_and_finished_batches_are_kept(seen: dict[str, Any]) -> None:
    # Ten batches of one seed example, two at a time; the third fails, and at most one other is under way.
    assert "out of credit" in seen["broken_off"]["failure"]
    assert 3 <= len(seen["broken_off"]["requests"]) <= 5
    # Batches of another size: only seed examples without an answer are asked again.
    answered = [request for request in seen["broken_off"]["requests"] if "number 2" not in request]
    again = " ".join(seen["resumed"]["requests"])
    assert [request for request in answered if request in again] == []
    assert len(seen["resumed"]["requests"]) == -(-(10 - len(answered)) // 4)
    assert seen["resumed"]["result"]["samples"] == 20

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


@pytest.mark.parametrize(("size", "old"), [("small", 0), ("one", 1)])
def test_small_share_of_precomputed_samples_is_that_many_rows(seen: dict[str, Any], size: str, old: int) -> None:
    """0.0002 of 3000 rows is none: the library failed on it, and took a number of 1 row for all of them."""
    made = seen["mixed"][size]
    assert (made["old"], made["leaf"], made["new"]) == (old, 10, 10)


def test_every_sample_that_was_generated_is_trained_on_once(seen: dict[str, Any]) -> None:
    """The library's recipe keeps 30 rows of a leaf, drawn with replacement: 26 of 150."""
    made = seen["mixed"]["all"]
    assert (made["leaf"], made["new"], made["different"]) == (150, 150, 151)
    assert made["old"] == 3000


def test_samples_of_a_skill_leaf_can_be_limited_and_the_system_message_said(seen: dict[str, Any]) -> None:
    made = seen["mixed"]["thirty"]
    assert (made["leaf"], made["new"], made["different"], made["old"]) == (150, 30, 30, 0)
    assert made["prompts"] == ["Be brief."]
    assert seen["mixed"]["all"]["prompts"] == ["You are a helpful assistant."]


def test_precomputed_samples_that_cannot_be_mixed_are_found_before_the_teacher_is_asked(seen: dict[str, Any]) -> None:
    broken = seen["mixed"]["broken"]
    assert "precomputed samples can't be mixed in" in broken["failure"]
    assert "missing.jsonl" in broken["failure"]
    assert broken["requests"] == []


def test_every_seed_example_of_a_skill_is_asked_in_its_own_form(seen: dict[str, Any]) -> None:
    """The library asks all as it asks the first, and forgets the contexts where that one has none."""
    both = seen["both_kinds"]
    assert both["result"]["samples"] == 10
    assert sorted("A text on 3" in request for request in both["requests"]) == [False, True]


def test_the_teacher_sees_no_seed_example_that_is_held_out(seen: dict[str, Any]) -> None:
    found = seen["kept_out"]
    assert len(found["asked"]) == 3 and len(found["requests"]) == 7
    assert not [text for text in found["asked"] if text in " ".join(found["requests"])]
    assert found["result"]["held_out_seeds_file"] == "sdg/held_out_seeds.jsonl"
    assert found["result"]["samples"] == 14

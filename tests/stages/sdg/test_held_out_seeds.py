"""Seed examples that are kept out: the teacher sees none of them, and they are what is asked in the end."""

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.stages.data_processing.volumes import LEAF, Processed, good_rows, make_volume, row, without_the_library
from utils.stages.json_lines import write_lines
from utils.stages.marker import change_result
from utils.stages.results import Generated
from utils.stages.sdg.held_out_seeds import held_out_seeds, kept_out, without_kept_out

SKILL = [{"question": f"Which bird is number {i}?", "answer": f"Bird {i}."} for i in range(5)]
KNOWLEDGE = [
    {"context": f"Tide {i} is high.", "questions_and_answers": [{"question": f"How high is {i}{j}?", "answer": "So."}
                                                              for j in "abc"]}
    for i in range(5)
]  # fmt: skip


@pytest.mark.parametrize(("number", "left"), [(0, 5), (1, 4), (4, 1), (5, 1), (99, 1)])
@pytest.mark.parametrize("examples", [SKILL, KNOWLEDGE])
def test_the_teacher_keeps_the_other_seed_examples_and_at_least_one(
    examples: list[dict[str, Any]], number: int, left: int
) -> None:
    chunks = 3 if examples is KNOWLEDGE else 1
    rows = [(chunk, i) for chunk in range(chunks) for i in range(5)]
    kept = without_kept_out(rows, examples, number)
    assert len(kept) == chunks * left
    assert not {i for _, i in kept} & kept_out(examples, number)


def test_the_same_seed_examples_are_kept_out_in_any_order() -> None:
    chosen = {SKILL[i]["question"] for i in kept_out(SKILL, 2)}
    for seed in range(5):
        turned = random.Random(seed).sample(SKILL, 5)
        assert {turned[i]["question"] for i in kept_out(turned, 2)} == chosen


def write_leaf(taxonomy: Path, leaf: str, examples: list[dict[str, Any]]) -> None:
    (taxonomy / leaf).mkdir(parents=True)
    (taxonomy / leaf / "qna.yaml").write_text(yaml.safe_dump({"seed_examples": examples}))


def test_all_questions_of_a_seed_example_are_held_out(tmp_path: Path) -> None:
    grounded = [{**example, "context": "A list of birds."} for example in SKILL]
    leaves: dict[str, list[dict[str, Any]]] = {
        "knowledge/tides": KNOWLEDGE,
        "compositional_skills/birds": SKILL,
        "compositional_skills/lists": grounded,
    }
    for leaf, examples in leaves.items():
        write_leaf(tmp_path, leaf, examples)
    found = [*held_out_seeds(tmp_path, [*leaves], 1, "You help.")]
    assert [(one.leaf, one.kind) for one in found] == [
        *[("knowledge/tides", "knowledge")] * 3,
        ("compositional_skills/birds", "skills"),
        ("compositional_skills/lists", "skills"),
    ]
    assert found[0].document and "Tide" not in found[0].question
    assert found[4].question.startswith("A list of birds.\n\nWhich bird")
    assert [message["role"] for message in found[3].messages] == ["system", "user", "assistant"]


def test_leaf_with_one_seed_example_keeps_it(tmp_path: Path) -> None:
    write_leaf(tmp_path, LEAF, SKILL[:1])
    assert [*held_out_seeds(tmp_path, [LEAF], 3, "")] == []


def test_they_are_asked_beside_generated_questions_and_nothing_like_them_is_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_the_library(monkeypatch)
    write_leaf(tmp_path / "taxonomy", "compositional_skills/birds", SKILL)
    questions = [*held_out_seeds(tmp_path / "taxonomy", ["compositional_skills/birds"], 2, "You help.")]
    copied = row("copy", questions[0].question.upper(), "A wren.")
    near = row("near", questions[1].question + "!", "A crow.")
    volume = make_volume(tmp_path, [*good_rows(), copied, near])
    write_lines(tmp_path / "sdg" / "held_out_seeds.jsonl", map(vars, questions))
    skills, seeds = "sdg/skills_train_msgs_X.jsonl", "sdg/held_out_seeds.jsonl"
    change_result(str(volume), "sdg", Generated(skills_file=skills, held_out_seeds_file=seeds))
    seen = Processed(volume, held_out=0.1)
    asked = {question.question for question in questions}
    assert asked <= {*seen.held_out} and len(seen.held_out) == len(asked) + 2
    assert seen.rows[LEAF]["held_out"] == 3
    assert seen.dropped == {LEAF: {"held_out": 1}}
    assert not {text for text, _ in seen.texts} & {copied["messages"][1]["content"], near["messages"][1]["content"]}

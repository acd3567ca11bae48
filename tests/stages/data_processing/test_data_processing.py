"""Held-out questions: chosen evenly, and no copy of them stays among the rows that are trained on."""

import json
import shutil
from pathlib import Path

import pytest

from utils.stages.data_processing.checks import Checks, Limits
from utils.stages.data_processing.held_out import (
    HeldOut,
    choose_held_out,
    find_questions,
    located_samples,
    read_samples,
)
from utils.stages.data_processing.overlap import Overlap
from utils.stages.data_processing.stage import write_training_rows
from utils.stages.data_processing.table import Table

DOCUMENT = "The tide of Pell rises twice a day.\n\nIt falls as often."
FILES = ["sdg/knowledge_train_msgs_X.jsonl", "sdg/skills_train_msgs_X.jsonl"]


def questions_of(data_dir: Path) -> dict[str, HeldOut]:
    files = zip(("knowledge", "skills"), FILES, strict=True)
    return find_questions(data_dir / "taxonomy", {kind: data_dir / file for kind, file in files})


def question(leaf: str) -> HeldOut:
    return HeldOut("", "", [], leaf, "skills")


def row(number: str, user: str, answer: str, unmask: bool = False, **metadata: str) -> dict:
    turns = (("system", "You help."), ("user", user), ("assistant", answer))
    messages = [{"role": role, "content": content} for role, content in turns]
    return {"messages": messages, "id": number, "unmask": unmask, "metadata": json.dumps(metadata)}


def write(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """What SDG leaves: 8 knowledge questions in three forms, 5 skill questions copied to 30 rows, precomputed rows."""
    knowledge, retrieval, skills = [], [], []
    for i in range(8):
        question, answer = f"How high is tide {i}?", f"{i} cubits."
        facts = {"sdg_document": DOCUMENT, "dataset": "document_knowledge_qa"}
        raft = {**facts, "dataset": "document_knowledge_qa_raft_p0.4"}
        documents = f"Document:\nAnother\n\n\n\ntext.\n\n\nDocument:\n{DOCUMENT}\n\n"
        knowledge.append(row(f"k{i}", f"{DOCUMENT}\n\n{question}", answer, True, **facts))
        retrieval.append(row(f"r{i}", f"{documents}\n\n{question}", answer, False, **raft))
        retrieval.append(row(f"u{i}", f"{DOCUMENT}\n\n{question}", answer, True, **facts))
    knowledge.append(row("sum", f"{DOCUMENT}\n\nSummarise the text.", "Tides.", True, dataset="document_summary"))
    for i in range(5):
        skills.append(row(f"s{i}", f"Rhyme word {i}.", f"Bird {i}.", leaf_node_path="compositional_skills_rhyme_it"))
    precomputed = [row(f"p{i}", f"Old question {i}?", "Old answer.") for i in range(20)]
    copies = [skills[i % 5] for i in range(30)]
    write(tmp_path / FILES[0], knowledge)
    write(tmp_path / FILES[1], retrieval + copies + precomputed)
    write(tmp_path / "sdg/node_datasets_X/knowledge_lore_tides_p07.jsonl", knowledge)
    write(tmp_path / "sdg/node_datasets_X/knowledge_lore_tides_p10.jsonl", retrieval)
    write(tmp_path / "sdg/node_datasets_X/mmlubench_knowledge_lore_tides.jsonl", [{"question": "x"}])
    for leaf in ("knowledge/lore/tides", "compositional_skills/rhyme_it"):
        (tmp_path / "taxonomy" / leaf).mkdir(parents=True)
        (tmp_path / "taxonomy" / leaf / "qna.yaml").write_text("version: 3\n")
    return tmp_path


def test_question_is_separated_from_its_document(data_dir: Path) -> None:
    questions = {s.question for file in FILES for s in read_samples(data_dir / file)}
    assert questions == {
        *(f"How high is tide {i}?" for i in range(8)),
        *(f"Rhyme word {i}." for i in range(5)),
        *(f"Old question {i}?" for i in range(20)),
        "",
    }


@pytest.mark.parametrize(
    "text",
    [
        f"<|user|>\n{DOCUMENT}\n\nHow high?\n<|assistant|>\n3 cubits.",
        f"<|start_of_role|>user<|end_of_role|>{DOCUMENT}\n\nHow high?<|end_of_text|>\n"
        "<|start_of_role|>assistant<|end_of_role|>3 cubits.<|end_of_text|>",
    ],
)
def test_question_of_old_pretraining_rows_is_found(tmp_path: Path, text: str) -> None:
    metadata = {"sdg_document": DOCUMENT, "dataset": "document_knowledge_qa"}
    write(tmp_path / "rows.jsonl", [{"messages": [{"role": "pretraining", "content": text}], "metadata": metadata}])
    (sample,) = read_samples(tmp_path / "rows.jsonl")
    assert (sample.question, sample.answer) == ("How high?", "3 cubits.")


def test_leaves_come_from_the_node_datasets_and_precomputed_rows_are_not_held_out(data_dir: Path) -> None:
    questions = questions_of(data_dir).values()
    leaves = {q.question: (q.leaf, q.kind) for q in questions}
    assert leaves["How high is tide 3?"] == ("knowledge/lore/tides", "knowledge")
    assert leaves["Rhyme word 3."] == ("compositional_skills/rhyme_it", "skills")
    assert not [question for question in leaves if question.startswith("Old")]


def test_knowledge_rows_need_no_leaf(data_dir: Path) -> None:
    shutil.rmtree(data_dir / "sdg" / "node_datasets_X")
    questions = questions_of(data_dir).values()
    assert sorted({(q.leaf, q.kind) for q in questions}) == [
        ("", "knowledge"),
        ("compositional_skills/rhyme_it", "skills"),
    ]
    assert not [q for q in questions if q.question.startswith("Old")]


def test_rows_without_any_leaf_can_be_held_out(tmp_path: Path) -> None:
    write(tmp_path / FILES[1], [row(f"p{i}", f"HeldOut {i}?", "Answer.") for i in range(20)])
    found = find_questions(tmp_path / "taxonomy", {"skills": tmp_path / FILES[1]})
    assert len(found) == 20
    assert len(choose_held_out(found, 0.2, 42)) == 4


@pytest.mark.parametrize(
    ("sizes", "fraction", "expected"),
    [
        ({"a": 40, "b": 20}, 0.1, {"a": 4, "b": 2}),
        ({"a": 4, "b": 3}, 0.05, {"a": 1}),  # at least 1, but none of fewer than 4
        ({"a": 40}, 0.0, {}),
        ({"a": 4000}, 0.5, {"a": 50}),
    ],
)
def test_held_out_questions_are_spread_evenly_over_leaves(sizes: dict, fraction: float, expected: dict) -> None:
    questions = {f"{leaf} {i}": question(leaf) for leaf, size in sizes.items() for i in range(size)}
    counts: dict[str, int] = {}
    for entry in choose_held_out(questions, fraction, 42).values():
        counts[entry.leaf] = counts.get(entry.leaf, 0) + 1
    assert counts == expected


def test_held_out_questions_depend_on_the_seed_and_not_on_the_order() -> None:
    questions = {f"question {i}": question("a") for i in range(40)}
    turned = dict(reversed(questions.items()))
    assert choose_held_out(questions, 0.2, 1) == choose_held_out(turned, 0.2, 1)
    assert choose_held_out(questions, 0.2, 1) != choose_held_out(questions, 0.2, 2)


def test_no_copy_of_a_held_out_question_is_trained_on(data_dir: Path) -> None:
    held_out = choose_held_out(questions_of(data_dir), 0.25, 42)
    assert sorted(entry.kind for entry in held_out.values()) == ["knowledge", "knowledge", "skills"]
    table, checks = Table(), Checks(Limits(), {}, Overlap(13))
    files = dict(zip(("knowledge", "skills"), (data_dir / file for file in FILES), strict=True))
    checks.look_at(data_dir / "taxonomy", files)
    checks.hold_out(held_out, questions_of(data_dir))
    samples = located_samples(data_dir / "taxonomy", files)
    write_training_rows(samples, data_dir / "out", checks, held_out, table)
    assert not any(table.dropped().values())
    rows = [(data_dir / "out" / f"{kind}.jsonl").read_text() for kind in files]
    for entry in held_out.values():
        assert entry.question not in rows[0] + rows[1]
        assert [m["role"] for m in entry.messages] == ["system", "user", "assistant"]
        assert DOCUMENT not in entry.messages[1]["content"]
    assert len(rows[0].splitlines()) == 9 - 2
    assert len(rows[1].splitlines()) == (16 - 4) + (30 - 6) + 20


def test_rows_with_an_empty_turn_are_left_out_and_counted(tmp_path: Path) -> None:
    bad = row("b", "Why?", "")
    blank = row("c", "Where?", "There.")
    blank["messages"][0]["content"] = None  # a system prompt without text is dropped, the row stays
    write(tmp_path / "rows.jsonl", [bad, blank])
    table, samples = Table(), located_samples(tmp_path, {"skills": tmp_path / "rows.jsonl"})
    write_training_rows(samples, tmp_path / "out", Checks(Limits(), {}, Overlap(13)), {}, table)
    assert table.dropped()["empty"] == 1
    (kept,) = (tmp_path / "out" / "skills.jsonl").read_text().splitlines()
    assert [m["role"] for m in json.loads(kept)["messages"]] == ["user", "assistant"]

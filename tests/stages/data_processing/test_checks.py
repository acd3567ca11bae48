"""Which samples are dropped, for which reason; and that nothing else is."""

import json
import random
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from tests.stages.data_processing.volumes import (
    GOOD,
    LEAF,
    Processed,
    good_rows,
    make_volume,
    row,
    without_the_library,
    write_rows,
)
from utils.messages import failure
from utils.stages.data_processing import evaluation_questions, stage
from utils.stages.data_processing.checks import Checks
from utils.stages.data_processing.held_out import find_questions, located_samples
from utils.stages.data_processing.limits import Limits
from utils.stages.data_processing.overlap import Overlap
from utils.stages.data_processing.similar import normal
from utils.stages.data_processing.stage import Processing, process
from utils.stages.marker import read_json, read_marker
from utils.stages.results import DataCounts

LONG = (
    "Pellwick is a harbour town on the Isle of Orrin, and every boat there is painted blue, because blue paint was the "
    "only cargo of the ship Marigold, which ran aground on the rocks before the town in a winter storm long ago"
)
BENCH = "Compose an engaging travel blog post about a recent trip to Orrin, highlighting cultural experiences and food."


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    without_the_library(monkeypatch)
    monkeypatch.setattr(evaluation_questions, "mt_bench_questions", lambda: [BENCH, "Rewrite your previous response."])


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("Name it.", "...", "short"),
        ("Name it.", "\u200b \u2026 !", "short"),
        ("[Question] Where?", "It is there.", "left_over"),
        ("Where is it?", "It is there. [End]", "left_over"),
        ("Where is {{ seed_question }}?", "It is there.", "left_over"),
        ("Where is it?", "<|im_start|>assistant\nThere.", "left_over"),
        ("Where is it?", "I should say that it is there.</think>There.", "left_over"),
        ("Where is it?", "I'm sorry, but I can\u2019t assist with that.", "refusal"),
        ("Where is it?", "As an AI language model, I have no place.", "refusal"),
        ("Where is it?", "\u5b83\u5728\u90a3\u8fb9\uff0c\u5728\u8001\u6e2f\u53e3\u65c1\u3002", "language"),
        ("Where is it?", "\u041e\u043d \u0442\u0430\u043c.", "language"),
        (f"Please: {BENCH}", "A post.", "evaluation"),
        ("Where is it?", f"Well. {BENCH.upper()}", "evaluation"),
        GOOD[0] + ("duplicate",),
        (f"{GOOD[0][0].upper()}", GOOD[0][1].upper(), "near_duplicate"),
        ("Where?", "", "empty"),
    ],
)
def test_sample_is_dropped_for_its_reason_and_counted_with_its_leaf(
    tmp_path: Path, question: str, answer: str, reason: str
) -> None:
    rows = [*good_rows(), row("bad", question, answer)]
    random.Random(question).shuffle(rows)
    seen = Processed(make_volume(tmp_path / "volume", rows))
    assert seen.dropped == {LEAF: {reason: 1}}
    assert seen.rows[LEAF]["kept"] == len(GOOD) == len(seen.texts)
    assert (seen.metrics[f"dropped_{reason}"], seen.metrics["skills_dropped_samples"]) == (1, 1)
    assert {name for name, value in seen.metrics.items() if name.startswith("dropped_") and value} == {
        f"dropped_{reason}"
    }
    assert seen.facts["examples"][0]["reason"] == reason and list(seen.facts["reasons"]) == [reason]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Is it?", "Yes"),
        ("How many?", "7"),
        ("Which sign?", "\U0001f642"),
        ("How do I end a list in this language?", "With list[End] or [end], and {{ name }} for a name."),
        ("How do you feel?", "I can't wait to see you. I am sorry for your loss."),
        ("Reply to the customer.", "Unfortunately, we can't offer a refund."),
        ("What did she say?", "\u201cI can't help you,\u201d she said."),
        ("Say it in Greek.", "\u0393\u03b5\u03b9\u03b1 means hello in the language of Greece."),
        ("Compose an engaging travel blog post.", "Orrin lies in the sea."),
    ],
)
def test_ordinary_samples_are_kept(tmp_path: Path, question: str, answer: str) -> None:
    seen = Processed(make_volume(tmp_path, [*good_rows(), row("odd", question, answer)]))
    assert seen.dropped == {} and (question, answer) in seen.texts


@pytest.mark.parametrize(
    ("seed", "sample"),
    [
        ({"question": "Break in?", "answer": "I can't help you with that."}, ("Rob it?", "I cannot assist you.")),
        ({"question": "Mark it.", "answer": "<|im_end|>"}, ("What ends a turn?", "<|im_end|> does.")),
        ({"question": "\u732b?", "answer": "A cat."}, ("A dog?", "\u72ac\u3067\u3059\u3002")),
        (
            {"question": "\u043a\u043e\u0442?", "context": "\u043a\u043e\u0442", "answer": "A."},
            ("It?", "\u043a\u0438\u0442"),
        ),
    ],
)
def test_what_the_seed_examples_have_is_meant(tmp_path: Path, seed: dict[str, str], sample: tuple[str, str]) -> None:
    leaf = "compositional_skills/odd"
    rows = [*good_rows(), *good_rows(leaf)[:3], row("odd", *sample, leaf=leaf), row("other", *sample)]
    seen = Processed(make_volume(tmp_path, rows, seeds={leaf: [seed]}))
    assert list(seen.dropped) == [LEAF]


def test_document_of_a_sample_is_meant(tmp_path: Path) -> None:
    document = "\u041a\u043e\u0442 \u0441\u0438\u0434\u0438\u0442. [End]"
    text = row("k", f"{document}\n\nWho sits?", "\u041a\u043e\u0442 [End].", sdg_document=document)
    assert Processed(make_volume(tmp_path, good_rows(), [text])).dropped == {}


def test_precomputed_samples_are_compared_with_evaluation_questions_alone(tmp_path: Path) -> None:
    """They are curated, and many."""
    odd = [("Where?", "..."), ("[Question] Where?", "There."), ("Rob it?", "I can't help you with that.")]
    same = [(LONG, "Yes, it is so."), (f"{LONG}!", "Yes, it is so!")]
    rows = [row(f"p{i}", *pair, leaf="") for i, pair in enumerate([*odd, *same, (BENCH, "A post.")])]
    seen = Processed(make_volume(tmp_path, [*good_rows(), *rows]))
    assert seen.dropped == {"": {"evaluation": 1}}


def test_samples_of_an_archive_that_name_no_leaf_are_all_checked(tmp_path: Path) -> None:
    rows = [*good_rows(""), row("a", "Where?", "...", leaf=""), row("b", GOOD[0][0] + "!", GOOD[0][1], leaf="")]
    assert Processed(make_volume(tmp_path, rows)).dropped == {"": {"short": 1, "near_duplicate": 1}}


def test_same_sample_in_other_forms_and_phases_is_kept(tmp_path: Path) -> None:
    """instructlab-sdg (0.8) trains on a knowledge question once in phase 1, and twice in phase 2."""
    about = {"sdg_document": LONG, "dataset": "document_knowledge_qa"}
    raft = {**about, "dataset": "document_knowledge_qa_raft_p0.4"}
    question, answer = "Why are the boats blue?", "Blue paint was the only cargo of the Marigold."
    plain = row("k", f"{LONG}\n\n{question}", answer, "knowledge/towns", **about) | {"unmask": True}
    retrieval = row("r", f"Document:\n{LONG}\n\n\n\n{question}", answer, "knowledge/towns", **raft)
    volume = make_volume(tmp_path, [*good_rows(), retrieval, plain | {"id": "u"}], [plain])
    seen = Processed(volume)
    assert seen.dropped == {} and seen.rows["knowledge_towns"]["kept"] == 3


def test_sample_that_is_drawn_again_is_kept_each_time(tmp_path: Path) -> None:
    """sdg_samples_per_skill of the demo: the rows have one id."""
    seen = Processed(make_volume(tmp_path, good_rows() * 3))
    assert seen.dropped == {} and len(seen.texts) == 3 * len(GOOD)


def test_same_sample_about_another_document_is_kept(tmp_path: Path) -> None:
    """Who wrote it? Two texts of one author."""
    rows = [
        row(f"d{i}", f"{text}\n\nWho wrote it?", "Ada Thorne wrote it.", "knowledge/towns", sdg_document=text)
        for i, text in enumerate((LONG, LONG[:100]))
    ]
    assert Processed(make_volume(tmp_path, good_rows(), rows)).dropped == {}


def test_questions_about_one_long_text_are_kept(tmp_path: Path) -> None:
    questions = ("What colour are the boats?", "Who ran aground?", "On which isle is the town?", "What was the cargo?")
    rows = [row(f"q{i}", f"{LONG}\n{question}", "It says so.") for i, question in enumerate(questions)]
    assert Processed(make_volume(tmp_path, [*good_rows(), *rows])).dropped == {}


def test_near_duplicate_that_is_kept_does_not_depend_on_the_order(tmp_path: Path) -> None:
    changed = [
        (f"{question}", f"{answer} {LONG} {end}") for question, answer in GOOD for end in ("", "it is", "it was")
    ]
    kept = set()
    for seed in range(3):
        rows = [row(f"{seed}{i}", *pair) for i, pair in enumerate(changed)]
        random.Random(seed).shuffle(rows)
        seen = Processed(make_volume(tmp_path / str(seed), rows))
        assert seen.dropped[LEAF]["near_duplicate"] == 2 * len(GOOD)
        kept.add(tuple(sorted(seen.texts)))
    assert len(kept) == 1


def test_table_counts_every_row_once(tmp_path: Path) -> None:
    rows = [*good_rows(), row("a", "Where?", "..."), row("b", GOOD[0][0] + "!", GOOD[0][1])]
    seen = Processed(make_volume(tmp_path, rows, [row("k", "Why so?", "It is so.", "knowledge/a")]), held_out=0.2)
    counted = sum(one["kept"] + one["held_out"] + sum(one["dropped"].values()) for one in seen.facts["leaves"])
    assert counted == len(rows) + 1
    assert sum(one["kept"] for one in seen.facts["leaves"]) == len(seen.texts)


@pytest.mark.parametrize(
    ("checks", "kept"),
    [
        ({"drop_refusals": False}, "I can't help you with that."),
        ({"min_answer": 0}, "..."),
        ({"max_foreign_letters": 1}, "\u041e\u043d \u0442\u0430\u043c."),
        ({"overlap_words": 0}, BENCH),
    ],
)
def test_each_check_can_be_turned_off(tmp_path: Path, checks: dict[str, Any], kept: str) -> None:
    seen = Processed(make_volume(tmp_path, [*good_rows(), row("odd", "What is this then?", kept)]), **checks)
    assert seen.dropped == {} and ("What is this then?", kept) in seen.texts
    assert read_marker(str(tmp_path), "data_processing")["inputs"].items() >= checks.items()


@pytest.mark.parametrize(("threshold", "dropped"), [(1, 0), (0.95, 0), (0.9, 1), (0.8, 1)])
def test_threshold_of_near_duplicates_is_a_parameter(tmp_path: Path, threshold: float, dropped: int) -> None:
    rows = [*good_rows(), row("a", LONG, f"So it is. {LONG}"), row("b", LONG, f"So it is. {LONG} or so they say.")]
    seen = Processed(make_volume(tmp_path, rows), near_duplicates=threshold)
    assert seen.dropped.get(LEAF, {}).get("near_duplicate", 0) == dropped


def test_held_out_question_is_none_that_a_training_sample_is_like(tmp_path: Path) -> None:
    """Of two that are alike neither is chosen while the leaf has others; else the other one is not trained on."""
    pairs = [(f"{LONG}, is it?", "Yes."), (f"{LONG}. Is it?", "No, it never was.")]
    twins = [row(f"t{i}", *pair) for i, pair in enumerate(pairs)]
    for seed in range(4):
        rows = [*good_rows(number=4), *(dict(one, id=f"{seed}{one['id']}") for one in twins)]
        seen = Processed(make_volume(tmp_path / str(seed), rows), held_out=0.5)
        assert len(seen.held_out) == 3 and not {*seen.held_out} & {question for question, _ in pairs}
    texts = [" ".join(GOOD[j][j % 2] for j in range(i, 15, 3)) for i in range(3)]
    others = [
        (f"{text}{end}", f"{end} {GOOD[i + 3 * len(end)][1]}") for i, text in enumerate(texts) for end in ("", "!")
    ]
    seen = Processed(make_volume(tmp_path / "all", [row(i, *pair) for i, pair in enumerate(others)]), held_out=0.2)
    assert seen.dropped == {LEAF: {"held_out": 1}} and len(seen.texts) == 4


def test_sample_with_the_words_of_a_held_out_question_is_dropped(tmp_path: Path) -> None:
    asked = "Which of the boats of Pellwick was painted green before the Marigold ran aground with her cargo of paint?"
    told = f"Before you go: {asked[:-1].lower()}, and who painted it?"
    rows = [*good_rows(), row("q", asked, "None."), row("t", told, "Nobody knows who it was.")]
    write_rows(tmp_path / "rows.jsonl", rows)
    files = {"skills": tmp_path / "rows.jsonl"}
    questions, checks = find_questions(tmp_path, files), Checks(Limits(), {}, Overlap(13))
    for one, other in ((asked, told), (told, asked)):
        checks = Checks(Limits(), {}, Overlap(13))
        checks.hold_out({key: q for key, q in questions.items() if q.question == one}, questions)
        dropped = {s.question: checks.verdict(kind, s) for kind, s in located_samples(tmp_path, files)}
        assert {question for question, found in dropped.items() if found} == {one, other}
        assert dropped[other] == ("held_out", f"held-out question: {' '.join(normal(asked)[:-1].split()[:13])}")


def test_wording_that_all_questions_of_a_leaf_share_is_no_overlap(tmp_path: Path) -> None:
    task = "Read the following note of the harbour master and tell in one word what kind of weather it expects:"
    weather = ("calm", "a gale", "fog over the bay", "rain from the west", "hail", "sleet and snow", "sun", "a storm")
    rows = [row(i, f"{task} {text}", f"{text.title()} it is.") for i, text in enumerate(weather)]
    seen = Processed(make_volume(tmp_path, rows), held_out=0.25)
    assert seen.dropped == {} and len(seen.held_out) == 2


def test_questions_of_other_tasks_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = [{"text": f"{LONG}\nAnswer:"}, {"text": 1}, {"text": ""}]
    asked = SimpleNamespace(eval_docs=docs, doc_to_text=itemgetter("text"))
    monkeypatch.setattr(evaluation_questions, "load_tasks", lambda *_: {"tea": asked})
    monkeypatch.setattr(evaluation_questions, "main_metric", lambda _: None)
    volume = make_volume(tmp_path, [*good_rows(), row("a", LONG, "It is.")])
    seen = Processed(volume, eval_tasks=["eval_tasks/tea"])
    assert seen.dropped == {LEAF: {"evaluation": 1}}
    assert "Samples were compared with 1 questions of eval_tasks/tea" in seen.facts["compared"]


def test_tasks_that_can_t_be_evaluated_end_the_stage_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_metric(_: object) -> NoReturn:
        raise failure("tasks have no metric in common", "acc", "name them one by one")

    asked = SimpleNamespace(eval_docs=[{"question": "Is it?"}, {}], doc_to_text=itemgetter("question"))
    monkeypatch.setattr(evaluation_questions, "load_tasks", lambda *_: {"tea": asked})
    monkeypatch.setattr(evaluation_questions, "main_metric", lambda _: None)
    with pytest.raises(SystemExit, match=r"a question of eval_tasks/tea can't be written\n.*KeyError\('question'\)"):
        Processed(make_volume(tmp_path, good_rows()), eval_tasks=["eval_tasks/tea"])
    monkeypatch.setattr(evaluation_questions, "main_metric", no_metric)
    with pytest.raises(SystemExit, match="no metric in common"):
        [*evaluation_questions.task_questions("eval_tasks/tea", str(tmp_path))]


def test_wrong_task_ends_the_stage_even_where_samples_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> NoReturn:
        raise failure("arc_esy of eval_tasks is not a task", "similar are arc_easy", "start a run with others")

    monkeypatch.setattr(evaluation_questions, "load_tasks", unknown)
    with pytest.raises(SystemExit, match="arc_esy of eval_tasks is not a task"):
        Processed(make_volume(tmp_path, good_rows()), eval_tasks=["arc_esy"], overlap_words=0)
    assert not (tmp_path / "processed").exists()


def test_mmlu_questions_of_the_run_and_of_the_hub_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_run = "In which year did the clockmaker Ada Thorne found the harbour town of Pellwick on Orrin?"
    of_hub = "A lesion causing compression of the facial nerve at the stylomastoid foramen will cause which of these?"
    rows = [*good_rows(), row("a", of_run, "In a year."), row("b", of_hub, "Paralysis of the face.")]
    volume = make_volume(tmp_path, rows)
    write_rows(volume / "sdg/node_datasets_X/mmlubench_knowledge_a.jsonl", [{"question": of_run}])
    tasks = {"group": {"mmlu_anatomy": type("Task", (), {"eval_docs": [{"question": of_hub}]})}}
    monkeypatch.setattr(evaluation_questions, "fetch_tasks", lambda names, patience: tasks)
    seen = Processed(volume, tasks=["mmlu_anatomy"])
    assert seen.dropped == {LEAF: {"evaluation": 2}}
    assert {one["because"].partition(":")[0] for one in seen.facts["examples"]} == {"MMLU", "MMLU-branch"}
    assert [line.rpartition(" of ")[2] for line in seen.facts["compared"]] == ["MT-Bench", "MMLU-branch", "MMLU"]


def test_short_question_of_mmlu_branch_may_be_asked_in_training(tmp_path: Path) -> None:
    """Both are about the same document: "Who founded the harbour town of Pellwick on Orrin?" leaks nothing."""
    asked = "Who founded the old harbour town of Pellwick on Orrin?"
    volume = make_volume(tmp_path, [*good_rows(), row("a", asked, "Ada Thorne did.")])
    write_rows(volume / "sdg/node_datasets_X/mmlubench_knowledge_a.jsonl", [{"question": asked}])
    assert Processed(volume).dropped == {}


def test_hub_that_is_away_is_told_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(names: list[str], patience: object) -> None:
        raise ConnectionError("Couldn't reach 'cais/mmlu' on the Hub")

    monkeypatch.setattr(evaluation_questions, "fetch_tasks", away)
    seen = Processed(make_volume(tmp_path, good_rows()), tasks=["mmlu_anatomy"])
    (line,) = [line for line in seen.facts["compared"] if "MMLU:" in line]
    assert "not compared" in line and "Couldn't reach" in line


@pytest.mark.parametrize(
    ("good", "bad", "checks", "lost"),
    [
        (0, 3, {}, "odd: 3 of 3 (short 3)"),
        (1, 10, {}, "odd: 10 of 11 (short 10)"),
        (3, 9, {"max_dropped": 0.5}, "odd: 9 of 12 (short 9)"),
        (3, 9, {}, ""),
        (0, 3, {"max_dropped": 1}, "odd: 3 of 3"),
    ],
)
def test_leaf_that_loses_too_many_samples_is_an_error(
    tmp_path: Path, good: int, bad: int, checks: dict[str, Any], lost: str
) -> None:
    leaf = "compositional_skills/odd"
    rows = [*good_rows(), *good_rows(leaf, good), *(row(f"b{i}", f"Name {i}.", "..", leaf=leaf) for i in range(bad))]
    volume = make_volume(tmp_path, rows, seeds={leaf: []})
    if not lost:
        assert Processed(volume, **checks).rows[leaf]["kept"] == good
        return
    with pytest.raises(SystemExit, match="too many samples of 1 of 2 taxonomy leaves") as raised:
        process(Processing(str(volume), 0.0, 1000, 2000, 42, False, checks, []))
    assert lost in str(raised.value) and "sdg_checks" in str(raised.value)
    assert read_marker(str(volume), "data_processing") == {} and not (volume / "processed").exists()
    table = read_json(volume / "processed.part" / "checks.json")
    assert {one["reason"] for one in table["examples"]} == {"short"}


def test_log_has_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Processed(make_volume(tmp_path, [*good_rows(), row("a", "Where?", "...")]))
    lines = capsys.readouterr().out.splitlines()
    assert f"      16        0        1  {LEAF}; short 1" in lines
    assert "Samples were compared with 2 questions of MT-Bench" in lines


def test_taxonomy_that_cannot_be_read_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume = make_volume(tmp_path, [*good_rows(), row("a", "Where?", "\u041e\u043d \u0442\u0430\u043c.")])
    (volume / "taxonomy" / LEAF / "qna.yaml").write_text("{")
    assert Processed(volume).dropped == {}
    assert f"{LEAF}/qna.yaml can't be read" in capsys.readouterr().out


def test_limits_in_the_form_of_kubeflow_pipelines_are_the_same(tmp_path: Path) -> None:
    """Its numbers in a dict are all floating point."""
    volume = make_volume(tmp_path, good_rows())
    Processed(volume, overlap_words=13.0, near_duplicates=0.9)
    assert "overlap_words" not in read_marker(str(volume), "data_processing")["inputs"]
    assert json.loads((volume / "processed" / "checks.json").read_text())["limits"]["overlap_words"] == 13


@pytest.mark.parametrize(("found", "dropped"), [([3], {LEAF: {"length": 1}}), ([*range(16)], {}), ([], {})])
def test_rows_that_training_can_not_take_count_for_their_leaf_only_where_they_are_told_apart(
    found: list[int], dropped: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tokenize(rows: Path, folder: Path, data_dir: str, max_len: int) -> DataCounts:
        lines = rows.read_text().splitlines(keepends=True)
        (folder / "data.jsonl").write_text("".join(lines[:3] + lines[4:]))
        return DataCounts(len(lines) - 1, 10, 10) if lines else DataCounts()

    monkeypatch.setattr(stage, "tokenize_rows", tokenize)
    monkeypatch.setattr(stage, "left_out_rows", lambda *given: found)
    done = Processed(make_volume(tmp_path, good_rows()))
    told = "skills: 1 rows can't be trained on, of unknown leaves" in done.facts["compared"]
    assert (done.dropped, told) == (dropped, not dropped) and done.metrics["skills_dropped_samples"] == 1

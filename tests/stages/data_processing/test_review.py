"""With sdg_review stop, nothing is trained on before someone has decided on the samples."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.s3 import S3
from tests.stages.data_processing.volumes import GOOD, LEAF, good_rows, make_volume, row, without_the_library
from utils.messages import WAITING
from utils.stages.data_processing.stage import Processing, process
from utils.stages.json_lines import read_lines
from utils.stages.marker import read_json, read_marker, write_marker
from utils.stages.results import ChatTemplate, Imported

OTHER = "knowledge/lore/tides"
DOCUMENT = "The tide of Pell rises twice a day."


def knowledge_rows(number: int = 3) -> list[dict[str, Any]]:
    """Questions about a document, as instructlab-sdg writes them: with the document before them."""
    about = {"sdg_document": DOCUMENT, "dataset": "document_knowledge_qa"}
    rows = [(f"How high is tide {i}?", f"Tide {i} rises {i} cubits over the old wall.") for i in range(number)]
    return [row(f"k{i}", f"{DOCUMENT}\n\n{ask}", say, OTHER, **about) for i, (ask, say) in enumerate(rows)]


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    without_the_library(monkeypatch)
    seeds = {OTHER: [{"question": "How high?", "answer": "High."}]}
    return make_volume(tmp_path, good_rows(), knowledge_rows(), seeds)


def stop(volume: Path, **given: Any) -> dict[str, float]:
    values = {"held_out_fraction": 0.0, "max_seq_len": 1000, "max_batch_len": 2000, "seed": 42, "force": False}
    return process(Processing(str(volume), **{**values, "review": "stop", "run_id": "run-1", **given}))


def waits(volume: Path, **given: Any) -> str:
    """The message of a run that waits; nothing is there to train on."""
    with pytest.raises(SystemExit) as end:
        stop(volume, **given)
    message = str(end.value)
    assert message.startswith(f"error: {WAITING} of ") and not (volume / "processed").exists()
    assert not read_marker(str(volume), "data_processing")
    return message


def page(volume: Path) -> dict[str, Any]:
    """The samples as the page has them."""
    found = re.search('<script type="application/json">(.*?)</script>', (volume / "review" / "page.html").read_text())
    assert found
    listed: dict[str, Any] = json.loads(found[1])
    return listed


def decide(listed: dict[str, Any], by_question: dict[str, dict[str, str]] | None = None) -> dict[str, Any]:
    """Decisions as the page saves them: accept, or what is said for a question."""
    chosen = by_question or {}
    decisions = {one["id"]: chosen.get(one["question"], {"decision": "accept"}) for one in listed["samples"]}
    return {"hash": listed["hash"], "decisions": decisions}


def put(volume: Path, decisions: Any) -> None:
    (volume / "review" / "decisions.json").write_text(json.dumps(decisions))


def trained(volume: Path) -> list[tuple[str, str]]:
    """What the user says and what the assistant answers, of all rows."""
    files = [volume / "processed" / kind / "data.jsonl" for kind in ("knowledge", "skills")]
    rows = [one["messages"] for file in files if file.exists() for one in read_lines(file)]
    return [(turns[-2]["content"], turns[-1]["content"]) for turns in rows]


def test_run_waits_with_a_page_of_the_samples_by_leaf(volume: Path) -> None:
    message = waits(volume)
    listed = page(volume)
    assert listed["counts"] == {LEAF: len(GOOD), OTHER: 3}
    assert {(one["question"], one["answer"]) for one in listed["samples"] if one["leaf"] == LEAF} == set(GOOD)
    tide = next(one for one in listed["samples"] if one["question"] == "How high is tide 1?")
    assert listed["documents"][tide["document"]] == DOCUMENT and not tide["fixed"]
    assert f"{volume}/review/page.html" in message and "ilab-pipeline review run-1" in message


def test_run_without_review_does_not_wait(volume: Path) -> None:
    stop(volume, review="off")
    assert len(trained(volume)) == len(GOOD) + 3 and not (volume / "review").exists()


def test_accepted_samples_are_trained_on_as_without_a_review(volume: Path) -> None:
    waits(volume)
    put(volume, decide(page(volume)))
    stop(volume)
    with_review = trained(volume)
    assert any(line.startswith("Review: 19 accepted, 0 rejected") for line in facts(volume)["compared"])
    stop(volume, review="off", force=True)
    assert with_review == trained(volume)


def facts(volume: Path) -> dict[str, Any]:
    return read_json(volume / "processed" / "checks.json")


def test_rejected_sample_is_not_trained_on_in_any_of_its_rows(volume: Path) -> None:
    waits(volume)
    (ask, _), (other, _) = GOOD[:2]
    rejected = {"decision": "reject"}
    put(volume, decide(page(volume), {ask: rejected, other: rejected, "How high is tide 0?": rejected}))
    assert stop(volume)["dropped_review"] == 3
    assert not [text for text, _ in trained(volume) if text in (ask, other) or text.endswith("tide 0?")]
    assert len(trained(volume)) == len(GOOD) - 2 + 2


def test_edited_sample_is_trained_on_as_edited_behind_its_document(volume: Path) -> None:
    waits(volume)
    edit = {"decision": "edit", "question": " How high is the first tide? ", "answer": "It rises 12 cubits."}
    put(volume, decide(page(volume), {"How high is tide 0?": edit}))
    stop(volume)
    assert (f"{DOCUMENT}\n\nHow high is the first tide?", "It rises 12 cubits.") in trained(volume)
    assert not [text for text, _ in trained(volume) if "tide 0?" in text]


def test_edit_is_checked_like_any_sample(volume: Path) -> None:
    waits(volume)
    edit = {"decision": "edit", "question": "Why?", "answer": "I'm sorry, but I can't help with that."}
    put(volume, decide(page(volume), {GOOD[0][0]: edit}))
    assert stop(volume)["dropped_refusal"] == 1


def test_rejected_question_is_not_held_out_and_an_edited_one_is_as_edited(volume: Path) -> None:
    waits(volume, held_out_fraction=0.5)
    asked = [ask for ask, _ in GOOD]
    edit = {"decision": "edit", "question": "Name the pebble.", "answer": "It lies by the ferry."}
    rejected = dict.fromkeys(asked[4:], {"decision": "reject"})
    put(volume, decide(page(volume), {**rejected, asked[0]: edit}))
    stop(volume, held_out_fraction=0.5)
    held = {one["question"] for one in read_lines(volume / "processed" / "held_out.jsonl")}
    assert len(held) == 2 and held <= {"Name the pebble.", *asked[1:4]}


def test_near_duplicate_of_a_rejected_sample_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_the_library(monkeypatch)
    ask, say = "Write a line about the old amber ferry of Pell.", "The amber ferry lies by the wall of Pell. " * 5
    twins = [row("t1", ask, say), row("t2", ask, say + "It lay.")]
    volume = make_volume(tmp_path, [*good_rows(), *twins])
    limits = {"near_duplicates": 0.6}
    waits(volume, checks=limits)
    (shown,) = [one["question"] for one in page(volume)["samples"] if one["question"] == ask]
    put(volume, decide(page(volume), {shown: {"decision": "reject"}}))
    stop(volume, checks=limits)
    assert not [text for text, _ in trained(volume) if text == ask]


def test_leaf_that_is_rejected_as_a_whole_is_no_loss(volume: Path) -> None:
    waits(volume)
    rejected = {ask: {"decision": "reject"} for ask, _ in GOOD}
    put(volume, decide(page(volume), rejected))
    stop(volume)
    assert len(trained(volume)) == 3


def test_nothing_left_is_an_error(volume: Path) -> None:
    waits(volume)
    listed = page(volume)
    put(volume, decide(listed, {one["question"]: {"decision": "reject"} for one in listed["samples"]}))
    with pytest.raises(SystemExit, match="nothing to train on"):
        stop(volume)


def test_samples_that_are_not_shown_go_with_those_that_are(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.stages.data_processing.review.SHOWN", 5)
    waits(volume)
    listed = page(volume)
    shown = [one["question"] for one in listed["samples"] if one["leaf"] == LEAF]
    assert len(shown) == 5 and listed["counts"][LEAF] == len(GOOD)
    put(volume, decide(listed, dict.fromkeys(shown[1:], {"decision": "reject"})))
    stop(volume)
    assert len(trained(volume)) == len(GOOD) - 4 + 3
    put(volume, decide(listed, dict.fromkeys(shown, {"decision": "reject"})))
    (volume / "done" / "data_processing.json").unlink()
    stop(volume)
    assert len(trained(volume)) == 3


def test_precomputed_samples_are_not_reviewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_the_library(monkeypatch)
    old = [row(f"p{i}", f"What is the old thing number {i}?", f"It was thing {i} of the lagoon.", "") for i in range(9)]
    volume = make_volume(tmp_path, [*good_rows(), *old])
    waits(volume)
    assert page(volume)["counts"] == {LEAF: len(GOOD)}
    put(volume, decide(page(volume)))
    stop(volume)
    assert len(trained(volume)) == len(GOOD) + 9


def test_conversation_can_be_rejected_but_not_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_the_library(monkeypatch)
    chat = row("chat", "Tell me of the ferry.", "The ferry turned by the wall.")
    chat["messages"] += [{"role": "user", "content": "And then?"}, {"role": "assistant", "content": "It sank."}]
    volume = make_volume(tmp_path, [*good_rows(), chat])
    waits(volume)
    (one,) = [one for one in page(volume)["samples"] if one["fixed"]]
    edit = {"decision": "edit", "question": "New?", "answer": "New."}
    put(volume, decide(page(volume), {one["question"]: edit}))
    assert "1 that can't be edited" in waits(volume)
    put(volume, decide(page(volume), {one["question"]: {"decision": "reject"}}))
    assert stop(volume)["dropped_review"] == 1


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], bytes]:
    def write(decisions: dict[str, Any]) -> bytes:
        change(decisions)
        return json.dumps(decisions).encode()

    return write


def some_id(decisions: dict[str, Any]) -> str:
    return min(decisions["decisions"])


@pytest.mark.parametrize(
    ("tampered", "told"),
    [
        (lambda given: json.dumps(given).encode()[:-40], "it is not what the page saves"),
        (lambda given: b"\xff\xfe\xfa", "it is not what the page saves"),
        (lambda given: b"[]", "it is not what the page saves"),
        (lambda given: b"[" * 100_000, "it is not what the page saves"),
        (changed(lambda given: given.update(decisions=["accept"])), "it is not what the page saves"),
        (changed(lambda given: given["decisions"].update({some_id(given): "accept"})), "it is not what the page"),
        (changed(lambda given: given.update(hash="0" * 16)), "other samples: their hash is 0000000000000000, now "),
        (changed(lambda given: given["decisions"].pop(some_id(given))), "1 without a decision, such as "),
        (changed(lambda given: given.update(decisions={})), "19 without a decision, such as "),
        (changed(lambda given: given["decisions"].update(x={"decision": "accept"})), "1 not on the page, such as x"),
        (changed(lambda given: given["decisions"][some_id(given)].update(decision="yes")), "1 neither accept, reject"),
        (changed(lambda given: given["decisions"][some_id(given)].update(decision=None)), "1 neither accept, reject"),
        (changed(lambda given: given["decisions"][some_id(given)].update(decision="edit")), "1 to edit, without a q"),
        (
            changed(lambda given: given["decisions"][some_id(given)].update(decision="edit", question="?", answer=" ")),
            "1 to edit, without a question or an answer",
        ),
        (
            changed(
                lambda given: given["decisions"][some_id(given)].update(decision="edit", question="\ud800", answer="x")
            ),
            "1 to edit, without a question or an answer",
        ),
    ],
)
def test_decisions_that_can_not_be_used_are_named(
    volume: Path, tampered: Callable[[dict[str, Any]], bytes], told: str
) -> None:
    waits(volume)
    (volume / "review" / "decisions.json").write_bytes(tampered(decide(page(volume))))
    message = waits(volume)
    assert told in message and f"{volume}/review/decisions.json" in message


def test_decisions_do_not_count_for_other_samples(volume: Path) -> None:
    waits(volume)
    put(volume, decide(page(volume)))
    file = volume / "sdg" / "skills_train_msgs_X.jsonl"
    file.write_text(file.read_text() + json.dumps(row("new", "What is new in Pell?", "A gate by the old wall.")) + "\n")
    assert "it decides on other samples" in waits(volume)
    assert page(volume)["counts"][LEAF] == len(GOOD) + 1


def test_finished_stage_does_not_ask_again(volume: Path) -> None:
    waits(volume)
    put(volume, decide(page(volume)))
    first = stop(volume)
    (volume / "review" / "decisions.json").unlink()
    assert stop(volume) == first


def test_nobody_reviews_what_can_not_be_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_the_library(monkeypatch)
    refusals = [row(f"r{i}", f"What of {i}?", "I'm sorry, but I can't help with that.") for i in range(200)]
    volume = make_volume(tmp_path, [*good_rows(), *refusals])
    with pytest.raises(SystemExit, match="too many samples"):
        stop(volume)
    assert not (volume / "review").exists()


def test_decisions_in_the_object_store_count_and_the_page_lies_there(
    volume: Path, s3_server: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Imported(archive="pell/data.tar.gz", chat_template=ChatTemplate("tokenizer"))
    write_marker(str(volume), "data_import", {}, [], archive, 0.0)
    secret = str(s3_server.secret(volume / "secret"))
    run = f"run-{volume.name.replace('_', '-')}"[:40].strip("-")
    client, prefix = s3_server.client(), f"pell/reviews/{run}/"
    monkeypatch.setenv("KFP_POD_NAME", "ilab-x7k2p-system-container-impl-1")
    message = waits(volume, run_id=run, store_secret_dir=secret)
    assert f"s3://ilab/{prefix}page.html" in message and f"s3://ilab/{prefix}decisions.json" in message
    assert f"ilab-pipeline review s3://ilab/{prefix}page.html" in message
    shown = client.get_object(Bucket="ilab", Key=prefix + "page.html")
    assert shown["ContentType"] == "text/html" and shown["Body"].read() == (volume / "review/page.html").read_bytes()
    client.put_object(Bucket="ilab", Key=prefix + "decisions.json", Body=b"{}")
    assert f"s3://ilab/{prefix}decisions.json: it is not" in waits(volume, run_id=run, store_secret_dir=secret)
    client.put_object(Bucket="ilab", Key=prefix + "decisions.json", Body=json.dumps(decide(page(volume))).encode())
    stop(volume, run_id=run, store_secret_dir=secret)
    assert len(trained(volume)) == len(GOOD) + 3

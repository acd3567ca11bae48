"""A person looks at the samples before anything is trained: the run stops with a page, and continues with decisions.

review/ on the volume, and `reviews/<run id>/` beside the archive in the object store, hold

    page.html         the samples by leaf; it saves decisions.json
    decisions.json    put there by the reviewer: {"hash": …, "decisions": {id: {"decision": "accept"}, …}}

Decisions are those for the samples with their hash, and no others. They are someone's file: nothing in it is believed.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from utils.messages import WAITING, failure
from utils.stages.authorities import ca_bundle
from utils.stages.credentials import secret_keys
from utils.stages.data_processing.checks import Checks, Dropped, said_in
from utils.stages.data_processing.held_out import Sample
from utils.stages.object_store.client import ObjectStore, store_of_secret
from utils.stages.object_store.upload import stored

PAGE, DECISIONS = "page.html", "decisions.json"
WORDS = ("accept", "reject", "edit")
SHOWN = 200
"""Samples of a leaf on the page. Others are trained on, unless all of these are rejected."""
MOST_BYTES = 1 << 26
"""Of decisions.json."""


@dataclass(frozen=True)
class Decisions:
    """What was decided.

    Attributes:
        rejected: ids of samples, those that were not shown included.
        edited: question and answer by id.
        said: for the report, how many and where from; "" where nobody was asked.
    """

    rejected: Set[str] = frozenset()
    edited: Mapping[str, list[str]] = field(default_factory=dict)
    said: str = ""

    def apply(self, checks: Checks) -> Callable[[Sample], Sample]:
        """Drop what was rejected; returns what makes of a sample the one that was edited. That is checked, too."""
        for key in map(bytes.fromhex, self.rejected):
            checks.dropped[key] = Dropped("review")

        def edit(sample: Sample) -> Sample:
            texts = self.edited and self.edited.get(said_in(sample).key.hex())
            if texts:
                sample = with_texts(sample, *map(str.strip, texts))
                checks.look_at_one(sample)
            return sample

        return edit


def with_texts(sample: Sample, question: str, answer: str) -> Sample:
    """The sample with another question and answer, in the same form: after its document, or as one text."""

    def said(message: Mapping[str, Any]) -> dict[str, Any]:
        text, end = message.get("content") or "", ""
        if message["role"] in ("assistant", "pretraining"):
            head, _, tail = text.rpartition(sample.answer)
            text, end = head, answer + tail
        if message["role"] in ("user", "pretraining"):
            head, _, tail = text.rpartition(sample.question)
            text = head + question + tail
        return {**message, "content": text + end}

    turns = [message if message["role"] == "system" else said(message) for message in sample.messages]
    return replace(sample, messages=turns, question=question, answer=answer)


def samples_to_review(run_id: str, samples: Iterable[tuple[str, Sample]], checks: Checks) -> dict[str, Any]:
    """The samples that passed the checks, as the page has them: of each leaf SHOWN, drawn by their ids.

    Precomputed samples are left out, unless there are no others. Each is there once, in however many rows it is.

    Returns:
        run; hash of all ids by leaf; counts by leaf; samples (id, leaf, question, answer, document: its id, fixed: it
        can't be edited); documents by id; leaves: all ids by leaf, which the page does not have.
    """
    own, mixed_in, documents = dict[str, Any](), dict[str, Any](), dict[str, str]()
    for _, sample in filter(lambda pair: checks.usable(pair[1]), samples):
        one, found = said_in(sample), own if sample.of_taxonomy else mixed_in
        texts = {"question": one.asked, "answer": one.answered, "fixed": not (sample.question and sample.answer)}
        about = {"id": one.key.hex(), "leaf": sample.leaf, "document": sample.document, **texts}
        found.setdefault(one.key.hex(), about)
        documents[sample.document] = sample.passage
    found, leaves = own or mixed_in, defaultdict[str, list[str]](list)
    for number in sorted(found):
        leaves[found[number]["leaf"]].append(number)
    shown = [found[number] for _, ids in sorted(leaves.items()) for number in ids[:SHOWN]]
    return {
        "run": run_id,
        "hash": hashlib.sha256(json.dumps(leaves, sort_keys=True).encode()).hexdigest()[:16],
        "counts": {leaf: len(ids) for leaf, ids in sorted(leaves.items())},
        "samples": shown,
        "documents": {one["document"]: documents[one["document"]] for one in shown},
        "leaves": leaves,
    }


def read_decisions(text: bytes, listed: Mapping[str, Any], place: str) -> Decisions:
    """The decisions in a file.

    Args:
        listed: as samples_to_review gives it; without leaves, what was not shown stays.
        place: of the file, for people.

    Raises:
        ValueError: says what is wrong with it, in one line.
    """
    samples = {one["id"]: one for one in listed["samples"]}
    try:
        given = json.loads(text)
        hashed, found = given["hash"], given["decisions"].items()
        words = {number: (one["decision"], [one.get("question"), one.get("answer")]) for number, one in found}
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(f"it is not what the page saves: {type(error).__name__}: {error}") from None
    if hashed != listed["hash"]:
        raise ValueError(f"it decides on other samples: their hash is {str(hashed)[:40]}, now {listed['hash']}")
    edited = {number: texts for number, (word, texts) in words.items() if word == "edit"}
    faults = {
        "without a decision": samples.keys() - words.keys(),
        "not on the page": words.keys() - samples.keys(),
        "neither accept, reject nor edit": {n for n, (word, _) in words.items() if word not in WORDS},
        "to edit, without a question or an answer": {n for n, texts in edited.items() if not all(map(is_text, texts))},
        "that can't be edited": {number for number in edited if samples.get(number, {}).get("fixed")},
    }
    if wrong := [f"{len(ids)} {what}, such as {min(ids)[:40]}" for what, ids in faults.items() if ids]:
        raise ValueError(f"samples {'; '.join(wrong)}")
    rejected = {number for number, (word, _) in words.items() if word == "reject"}
    all_of = listed.get("leaves", {}).values()
    unseen = {number for ids in all_of if rejected.issuperset(ids[:SHOWN]) for number in ids[SHOWN:]}
    counts = f"{len(words) - len(rejected) - len(edited)} accepted, {len(rejected)} rejected, {len(edited)} edited"
    said = f"Review: {counts}, {len(unseen)} rejected with them ({place}, sha256 {hashlib.sha256(text).hexdigest()})"
    return Decisions(rejected | unseen, edited, said)


def is_text(value: object) -> bool:
    """Whether it is a text with something in it, in whole characters."""
    return isinstance(value, str) and bool(value.strip()) and value.encode(errors="ignore").decode() == value


@dataclass(frozen=True)
class Place:
    """Where the page and the decisions of a run lie: on the volume, and in the object store, if the run has one."""

    folder: Path
    store: ObjectStore | None = None
    prefix: str = ""

    def address(self, name: str) -> str:
        """Where a file is, for people."""
        return f"s3://{self.store.bucket}/{self.prefix}{name}" if self.store else str(self.folder / name)

    def decisions(self) -> tuple[str, bytes]:
        """Where the decisions are, and their bytes; b"" where there are none yet. Those on the volume count first."""
        file, key = self.folder / DECISIONS, self.prefix + DECISIONS
        if file.exists():
            with file.open("rb") as opened:
                return str(file), opened.read(MOST_BYTES)
        address = self.address(DECISIONS)
        if not self.store or not stored(self.store, key):
            return address, b""
        return address, self.store.call("get_object", Key=key)["Body"].read(MOST_BYTES)

    def wait(self, listed: Mapping[str, Any], wrong: str = "") -> SystemExit:
        """Show the page; returns the error that ends the stage until there are decisions.

        Args:
            wrong: what is wrong with those that are there.
        """
        text = json.dumps({name: value for name, value in listed.items() if name != "leaves"})
        page = Path(__file__).with_name("review.html").read_text().replace("%DATA%", text.replace("<", "\\u003c"))
        self.folder.mkdir(exist_ok=True)
        (self.folder / PAGE).write_text(page)
        if self.store:
            self.store.put(self.prefix + PAGE, page.encode(), ContentType="text/html")
        name, target = self.address(PAGE), self.address(DECISIONS)
        run = f"{name} --secret FILE" if "KFP_POD_NAME" in os.environ else listed["run"]
        return failure(
            f"{WAITING} of {len(listed['samples'])} samples: {name}",
            f"the decisions can't be used: {wrong}" if wrong else f"sdg_review is stop, and there is no {target} yet",
            f"save decisions.json on the page, then ilab-pipeline review {run} --decisions decisions.json, or put it "
            f"to {target}; then Retry, or ilab-pipeline resume {listed['run']}",
        )


def place_of(data_dir: str, run_id: str, secret_dir: str, data_key: str, ca_file: str) -> Place:
    """Where a run's review lies.

    Args:
        secret_dir: the object store's; without a key in it, only on the volume.
        data_key: of the imported archive; "" for the Secret's.
    """
    folder = Path(data_dir, "review")
    if not secret_keys(secret_dir):
        return Place(folder)
    store = store_of_secret(secret_dir, ca_bundle(ca_file), data_key=data_key)
    return Place(folder, store, os.path.join(os.path.dirname(store.data_key), "reviews", run_id, ""))

"""Which samples are not trained on, and why."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from utils.messages import progress
from utils.stages.data_processing.held_out import HeldOut, Sample, located_samples
from utils.stages.data_processing.limits import Limits
from utils.stages.data_processing.overlap import Overlap
from utils.stages.data_processing.similar import Similar, Text, text_of
from utils.stages.data_processing.wording import foreign_share, left_over, letters, refusal, scripts

REASONS = {
    "empty": "a turn has no text",
    "short": "the answer has fewer letters and digits than min_answer",
    "left_over": "a tag of a prompt or of a chat template is left in it",
    "refusal": "the answer refuses to answer",
    "language": "the answer is in another script than the leaf's seed examples and the document",
    "evaluation": "it has words of an evaluation question",
    "duplicate": "another sample is the same",
    "near_duplicate": "another sample is nearly the same",
    "review": "the reviewer rejected it",
    "held_out": "it is nearly a held-out question, or has its words",
    "length": "training can't take it: too many tokens, fewer than 20, or none to learn",
}
"""Why a sample is dropped, for people."""


class Dropped(NamedTuple):
    """Why a sample is dropped: one of REASONS, and what of its text or of another's makes it so."""

    reason: str
    because: str = ""


class Said(NamedTuple):
    """What a sample says, in whatever form it is trained on.

    Attributes:
        key: the same for samples that say the same.
        asked: the question, or all that the user says.
        answered: the answer, or all that the assistant says.
        document: a hash of what it is about.
    """

    key: bytes
    asked: str
    answered: str
    document: str


def said_in(sample: Sample) -> Said:
    """What a sample says: a question and its answer, or a conversation."""
    asked, answered = sample.question, sample.answer
    if not asked:
        texts = [(message["role"], message.get("content") or "") for message in sample.messages]
        asked = "\n".join(text for role, text in texts if role == "user")
        answered = "\n".join(text for role, text in texts if role not in ("user", "system"))
    parts = [" ".join(text.split()) for text in (asked, answered)]
    key = hashlib.sha256(json.dumps([*parts, sample.document]).encode()).digest()[:16]
    return Said(key, asked.strip(), answered.strip(), sample.document)


def last_line(text: str) -> str:
    """Where the question is, in one that brings a text of its own."""
    return text.strip().rpartition("\n")[2]


def seed_texts(taxonomy: Path, leaves: Iterable[str]) -> dict[str, list[str]]:
    """What the seed examples of each leaf say; nothing of a leaf whose file can't be read."""
    import yaml

    def texts(value: Any) -> list[str]:
        if isinstance(value, str):
            return [value]
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return [text for one in inner for text in texts(one)]

    found = {}
    for leaf in leaves:
        try:
            content = yaml.safe_load((taxonomy / leaf / "qna.yaml").read_text("utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:  # data that an archive brought have such leaves
            print(f"{leaf}/qna.yaml can't be read, its samples are not compared with it: {error}", flush=True)
            content = None
        found[leaf] = texts(content.get("seed_examples")) if isinstance(content, dict) else []
    return found


class Checks:
    """Looks at all samples once (`look_at`), then says of each row whether it is dropped (`verdict`)."""

    def __init__(self, limits: Limits, seeds: Mapping[str, list[str]], evaluation: Overlap) -> None:
        """Args: seeds are texts of the seed examples by leaf; evaluation has the questions that are known by now."""
        self.limits, self.seeds, self.evaluation = limits, seeds, evaluation
        self.usual = {leaf: scripts(" ".join(texts)) for leaf, texts in seeds.items()}
        self.dropped: dict[bytes, Dropped | None] = {}
        self.held_out, self.asked = Similar(limits.near_duplicates), list[str]()
        self.words = Overlap(limits.overlap_words)
        self.like_held_out: dict[bytes, Dropped | None] = {}
        self.first: dict[tuple[Any, ...], str] = {}

    def look_at(self, taxonomy: Path, files: Mapping[str, Path]) -> None:
        """Find the samples to drop, apart from those that are like held-out questions.

        Precomputed samples are compared with the questions of the evaluation, and left as they are otherwise. Where no
        sample names a leaf or a document, none passes for precomputed.

        Args:
            files: the training files by kind.
        """
        none_precomputed = not any(sample.of_taxonomy for _, sample in located_samples(taxonomy, files))
        several: dict[bytes, Said] = {}
        for _, sample in located_samples(taxonomy, files):
            one, own = said_in(sample), sample.of_taxonomy or none_precomputed
            if one.key not in self.dropped:
                self.dropped[one.key] = self.by_itself(sample, one, own)
                if own and not self.dropped[one.key]:
                    several[one.key] = one
        if self.limits.near_duplicates < 1:
            self.drop_near_duplicates(several)

    def look_at_one(self, sample: Sample) -> None:
        """Look at a sample that has been edited."""
        one = said_in(sample)
        if one.key not in self.dropped:
            self.dropped[one.key] = self.by_itself(sample, one, True)

    def by_itself(self, sample: Sample, one: Said, own: bool) -> Dropped | None:
        """Why a sample is dropped, whatever others there are."""
        if not own:
            return self.of_evaluation(one)
        if letters(one.answered, self.limits.min_answer) < self.limits.min_answer:
            return Dropped("short", one.answered)
        if self.limits.drop_refusals:
            said = f"{one.asked}\n{one.answered}"
            if left_over(said) and (mark := left_over(said, "\n".join(self.meant(sample)))):
                return Dropped("left_over", mark)
            if (begin := refusal(one.answered)) and not any(map(refusal, self.meant(sample))):
                return Dropped("refusal", begin)
        most, usual = self.limits.max_foreign_letters, self.usual.get(sample.leaf)
        if usual and most < 1 and foreign_share(one.answered, usual + scripts(sample.passage)) > most:
            return Dropped("language", ", ".join(scripts(one.answered)))
        return self.of_evaluation(one)

    def of_evaluation(self, one: Said) -> Dropped | None:
        """Whether a sample has the words of a question of the evaluation."""
        found = self.evaluation.found_in(f"{one.asked}\n{one.answered}")
        return Dropped("evaluation", found) if found else None

    def meant(self, sample: Sample) -> list[str]:
        """Texts whose wording is meant: the document; the seed examples of the leaf, of all where that is unknown."""
        own = self.seeds.get(sample.leaf)
        return [sample.passage, *(own if own is not None else (t for texts in self.seeds.values() for t in texts))]

    def drop_near_duplicates(self, several: dict[bytes, Said]) -> None:
        """Of samples that are alike, keep the one whose key comes first: the same one in any order of rows."""
        similar, kept = Similar(self.limits.near_duplicates), list[Said]()
        for number, key in enumerate(sorted(several), 1):
            one = several[key]
            prepared = similar.prepare(text_of([one.asked, last_line(one.asked), one.answered], one.document))
            if found := similar.find(prepared):
                self.dropped[key] = Dropped("near_duplicate", f"{kept[found[0]].asked}\n{kept[found[0]].answered}")
            else:
                similar.add(prepared)
                kept.append(one)
            if number % 10000 == 0:
                progress(number, len(several), "samples compared")

    def usable(self, sample: Sample) -> bool:
        """Whether a sample's question may be held out."""
        return not self.dropped.get(said_in(sample).key)

    def crowded(self, questions: Mapping[str, HeldOut]) -> set[str]:
        """Keys of the questions that others are like."""
        similar, names, found = Similar(self.limits.near_duplicates), list[str](), set[str]()
        for key in sorted(questions) if self.limits.near_duplicates < 1 else []:
            prepared = similar.prepare(question_text(questions[key].question))
            if near := similar.find(prepared):
                found |= {key, *(names[number] for number in near)}
            else:
                similar.add(prepared)
                names.append(key)
        return found

    def hold_out(self, chosen: Mapping[str, HeldOut], questions: Mapping[str, HeldOut]) -> None:
        """From now on, samples that are like these questions are dropped, or have their words.

        Args:
            questions: all; words that several have are common wording.
        """
        for question in chosen.values():
            self.held_out.add(self.held_out.prepare(question_text(question.question)))
            self.asked.append(question.question)
        asked, among = ([last_line(one.question) for one in some.values()] for some in (chosen, questions))
        self.words.add("held-out question", asked, among)

    def verdict(self, kind: str, sample: Sample) -> Dropped | None:
        """Why a row of a training file is dropped, None if it is kept. Rows of one id are one sample, drawn again."""
        if not (sample.messages and all(message.get("content") for message in sample.messages)):
            return Dropped("empty")
        one = said_in(sample)
        if one.key not in self.like_held_out:
            self.like_held_out[one.key] = self.dropped.get(one.key) or self.of_held_out(one, sample.question)
        if found := self.like_held_out[one.key]:
            return found
        form = (kind, sample.unmask, one.key, *(message["role"] for message in sample.messages))
        first = self.first.get(form)
        self.first.setdefault(form, sample.id)
        return None if first is None or sample.id == first != "" else Dropped("duplicate", one.asked)

    def of_held_out(self, one: Said, question: str) -> Dropped | None:
        """Whether a sample is nearly a held-out question, or has its words."""
        if question and self.asked and self.limits.near_duplicates < 1:
            for number in self.held_out.find(self.held_out.prepare(question_text(question))):
                return Dropped("held_out", self.asked[number])
        words = self.words.found_in(f"{question}\n{one.answered}")
        return Dropped("held_out", words) if words else None


def question_text(question: str) -> Text:
    """A question as it is compared with others."""
    return text_of([question, last_line(question)])

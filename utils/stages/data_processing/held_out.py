"""Questions are set aside for evaluation, and no copy of them is trained on.

Facts about instructlab-sdg's output that this relies on (0.8): a knowledge question stands in the knowledge file once
and in the skills file twice, with its document or with several ("Document:\\n…") before it; a row that is drawn more
than once keeps its id; `node_datasets_<date>/<leaf>[_p07|_p10].jsonl` holds each leaf's rows.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from utils.stages.json_lines import read_lines
from utils.stages.leaves import leaf_names, leaf_of_dataset, taxonomy_leaves

SMALLEST_LEAF, MOST = 4, 50
"""A leaf with fewer questions gives none; another at most 50: the evaluation asks every one."""
MARKS = r"<\|(?:user|assistant|end_?of_?text|start_of_role)\|>(?:\w+<\|end_of_role\|>)?"
"""What stands between the turns of a conversation in one text."""


@dataclass(frozen=True)
class Sample:
    """A row of a training file, taken apart.

    Attributes:
        id: copies have the same.
        leaf: as the row itself names it, "" if it does not.
        document: a hash of the text it is about, "" for none.
        passage: that text.
        messages: what is trained on, each with role and content.
        unmask: whether all turns are learnt, or the assistant's alone.
        system: text, "" for none.
        question: without its document; "" when the row is not one question with one answer, or when it asks for
            something else than an answer (rows that summarise a document).
        answer: the same.
    """

    id: str
    leaf: str
    document: str
    passage: str
    messages: list[dict[str, Any]]
    unmask: bool
    system: str
    question: str
    answer: str

    @property
    def key(self) -> str:
        """The same for questions that differ in case and white space alone."""
        return question_key(self.question)

    @property
    def of_taxonomy(self) -> bool:
        """Whether the row names a leaf or a document: others are precomputed samples, if there are any of these."""
        return bool(self.leaf or self.document)


@dataclass(frozen=True)
class HeldOut:
    """A question that is not trained on, a line of processed/held_out.jsonl.

    Attributes:
        messages: the conversation it is in, without a document.
        leaf: of the taxonomy, "" when it is not known.
        kind: knowledge or skills.
        document: a hash of the text it is about, "" if it is about none or was held out by an earlier version.
    """

    question: str
    answer: str
    messages: list[dict[str, str]]
    leaf: str
    kind: str
    document: str = ""


def question_key(question: str) -> str:
    """The key of a question, see `Sample.key`."""
    return " ".join(question.lower().split())


def short_hash(text: str) -> str:
    """The name of a question or a document, the same in each run; "" for no text."""
    return text and hashlib.sha256(text.encode()).hexdigest()[:12]


def read_samples(path: Path) -> Iterator[Sample]:
    """The rows of a training file."""
    for row in read_lines(path):
        metadata = row.get("metadata") or {}
        metadata = json.loads(metadata) if isinstance(metadata, str) else metadata
        messages = [m for m in row["messages"] if m.get("content") or m["role"] != "system"]
        texts = defaultdict[str, list[str]](list)
        for message in messages:
            texts[message["role"]].append(message.get("content") or "")
        users, answers = texts["user"], texts["assistant"]
        if "pretraining" in texts:  # sdg before 0.8: a whole conversation in one message
            turns = [*filter(None, map(str.strip, re.split(MARKS, texts["pretraining"][0])))]
            users, answers = turns[:1], turns[1:]
        question = answer = ""
        kind, document = metadata.get("dataset") or "", metadata.get("sdg_document") or ""
        asks = kind.startswith("document_knowledge_qa") or not kind.startswith("document_")
        if asks and len(users) == len(answers) == 1:
            question, answer = users[0], answers[0].strip()
            if question.startswith("Document:\n"):
                question = question.rpartition("\n\n\n\n")[2]
            question = question.removeprefix(document).strip()
        system, leaf = "".join(texts["system"][:1]), metadata.get("leaf_node_path") or ""
        unmask = bool(row.get("unmask"))
        about = short_hash(document)
        yield Sample(row.get("id") or "", leaf, about, document, messages, unmask, system, question, answer)


def leaves_by_id(file: Path) -> dict[str, str]:
    """Sample id to leaf file name (`knowledge_a_b`), from the node datasets written beside a training file."""
    leaves = {}
    folder = file.with_name(re.sub(r".*_train_msgs(.*)\.jsonl", r"node_datasets\1", file.name))
    for path in folder.glob("[!.]*.jsonl"):
        if not path.name.startswith("mmlubench_"):
            leaves.update({row.get("id"): leaf_of_dataset(path.stem) for row in read_lines(path)})
    return leaves


Edit = Callable[[Sample], Sample]
"""What a reviewer made of a sample."""


def located_samples(
    taxonomy: Path, files: Mapping[str, Path], edit: Edit = lambda sample: sample
) -> Iterator[tuple[str, Sample]]:
    """Kind and sample of each row, edited; its leaf is the path in the taxonomy, where that has it.

    Args:
        files: the training files by kind, knowledge and skills.
    """
    ids = {number: name for file in files.values() for number, name in leaves_by_id(file).items()}
    places = {name: leaf for leaf, name in leaf_names(taxonomy_leaves(taxonomy)).items()}
    for kind, file in files.items():
        for sample in read_samples(file):
            name = ids.get(sample.id) or sample.leaf
            yield kind, edit(replace(sample, leaf=places.get(name, name)))


def find_questions(
    taxonomy: Path,
    files: Mapping[str, Path],
    usable: Callable[[Sample], bool] = lambda sample: True,
    edit: Edit = lambda sample: sample,
) -> dict[str, HeldOut]:
    """All questions that may be held out, by their key.

    A row that has neither a leaf nor a document counts only where all are so: else it is one of the precomputed samples
    that are mixed in.

    Args:
        files: the training files by kind, knowledge and skills.
        usable: whether a sample may be asked.
    """
    mixed_in: dict[str, HeldOut] = {}
    generated: dict[str, HeldOut] = {}
    for kind, sample in located_samples(taxonomy, files, edit):
        if sample.key and sample.answer and usable(sample):
            turns = {"system": sample.system, "user": sample.question, "assistant": sample.answer}
            messages = [{"role": role, "content": text} for role, text in turns.items() if text]
            of = "knowledge" if sample.document or sample.leaf.startswith("knowledge") else kind
            found = generated if sample.of_taxonomy else mixed_in
            found.setdefault(
                sample.key, HeldOut(sample.question, sample.answer, messages, sample.leaf, of, sample.document)
            )
    return generated or mixed_in


def choose_held_out(
    questions: Mapping[str, HeldOut], fraction: float, seed: int, crowded: Collection[str] = ()
) -> dict[str, HeldOut]:
    """Part of the questions, the same for the same seed in any order of rows.

    Of each leaf that is large enough the fraction, at least 1.

    Args:
        questions: as find_questions gives them.
        fraction: 0 to 0.5; 0 sets nothing aside.
        crowded: keys of those that are chosen only where a leaf has no others.
    """
    leaves = defaultdict[str, list[str]](list)
    drawn = {key: hashlib.sha256(f"{seed} {key}".encode()).digest() for key in questions}
    for key in sorted(questions, key=lambda key: (key in crowded, drawn[key])):
        leaves[questions[key].leaf].append(key)
    chosen = {}
    for _, keys in sorted(leaves.items()):
        if fraction and len(keys) >= SMALLEST_LEAF:
            count = min(MOST, max(1, round(len(keys) * fraction)))
            chosen.update({key: questions[key] for key in keys[:count]})
    return chosen

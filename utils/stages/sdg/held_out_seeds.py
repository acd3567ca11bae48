"""Seed examples that the teacher never sees: people wrote them, and they become held-out questions."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.stages.data_processing.held_out import HeldOut, short_hash

FILE = "held_out_seeds.jsonl"
"""In the folder of a run: the questions, lines as in processed/held_out.jsonl."""


def kept_out(examples: Sequence[Mapping[str, Any]], number: int) -> set[int]:
    """Positions of the seed examples of a leaf that are kept out: always the same, in any order of the examples.

    The teacher keeps at least one.

    Args:
        number: how many; fewer where the leaf has not as many.
    """
    order = sorted(range(len(examples)), key=lambda i: (short_hash(str(sorted(map(str, examples[i].items())))), i))
    return {*order[: min(number, len(examples) - 1)]}


def without_kept_out(rows: Sequence[Any], examples: Sequence[Mapping[str, Any]], number: int) -> list[Any]:
    """A leaf's seed records without those of seed examples that are kept out.

    Args:
        rows: of instructlab-sdg (0.8): one per seed example in their order, for knowledge again for each chunk of the
            documents.
    """
    left_out = kept_out(examples, number)
    return [row for i, row in enumerate(rows) if i % len(examples) not in left_out]


def held_out_seeds(taxonomy: Path, leaves: Sequence[str], number: int, system: str) -> Iterator[HeldOut]:
    """The questions of the seed examples that are kept out.

    A context of a skill comes before its question, as in its samples; one of knowledge is left out, as in other
    held-out questions.

    Args:
        system: the system message of training samples.
    """
    import yaml

    for leaf in leaves:
        examples = yaml.safe_load((taxonomy / leaf / "qna.yaml").read_text("utf-8"))["seed_examples"]
        for position in sorted(kept_out(examples, number)):
            example = examples[position]
            context, kind = str(example.get("context") or "").strip(), "knowledge"
            pairs = example.get("questions_and_answers")
            if not pairs:
                kind, pairs = "skills", [example]
            for pair in pairs:
                question, answer = str(pair["question"]).strip(), str(pair["answer"]).strip()
                if context and kind == "skills":
                    question = f"{context}\n\n{question}"
                turns = {"system": system, "user": question, "assistant": answer}
                messages = [{"role": role, "content": text} for role, text in turns.items()]
                document = short_hash(context) if kind == "knowledge" else ""
                yield HeldOut(question, answer, messages, leaf, kind, document)

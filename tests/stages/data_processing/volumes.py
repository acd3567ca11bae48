"""A run's volume as SDG leaves it, and data processing on it without instructlab.training."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from utils.stages.data_processing import stage
from utils.stages.data_processing.stage import Processing, process
from utils.stages.json_lines import count_lines, read_lines
from utils.stages.marker import read_json, write_marker
from utils.stages.results import ChatTemplate, DataCounts, Generated, Imported

LEAF = "compositional_skills/rhyme"
WORDS = [
    *("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "inlet", "jetty", "knoll", "lagoon"),
    *("meadow", "nettle", "orchard", "pebble"),
]
GOOD = [(f"Write a line about the {word}.", f"The {word} lies where the old ferry used to turn.") for word in WORDS]
"""Questions and answers that nothing is wrong with."""


def row(number: object, user: str, answer: str, leaf: str = LEAF, **metadata: str) -> dict[str, Any]:
    """A row of a training file; of no leaf: a precomputed sample."""
    turns = (("system", "You help."), ("user", user), ("assistant", answer))
    about = {**({"leaf_node_path": leaf.replace("/", "_")} if leaf else {}), **metadata}
    messages = [{"role": role, "content": content} for role, content in turns]
    return {"messages": messages, "id": str(number), "metadata": json.dumps(about)}


def good_rows(leaf: str = LEAF, number: int = len(GOOD)) -> list[dict[str, Any]]:
    """Rows of GOOD; each leaf has its own."""
    about = "" if leaf in (LEAF, "") else f"In the leaf {leaf.rpartition('/')[2]}: "
    return [row(f"{leaf}{i}", about + ask, about + say, leaf=leaf) for i, (ask, say) in enumerate(GOOD[:number])]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows))


def make_volume(
    folder: Path,
    skills: list[dict[str, Any]],
    knowledge: list[dict[str, Any]] | None = None,
    seeds: dict[str, list[dict[str, str]]] | None = None,
) -> Path:
    """A volume after SDG.

    Args:
        seeds: seed examples by leaf.
    """
    for leaf, examples in ({LEAF: [{"question": "Rhyme?", "answer": "Time."}]} | (seeds or {})).items():
        qna = folder / "taxonomy" / leaf / "qna.yaml"
        qna.parent.mkdir(parents=True)
        qna.write_text(yaml.safe_dump({"version": 3, "seed_examples": examples}))
    files = {"knowledge": knowledge or [], "skills": skills}
    for kind, rows in files.items():
        write_rows(folder / "sdg" / f"{kind}_train_msgs_X.jsonl", rows)
    write_marker(str(folder), "data_import", {}, [], Imported(size=1, chat_template=ChatTemplate("tokenizer")), 0.0)
    knowledge_file, skills_file = [f"sdg/{kind}_train_msgs_X.jsonl" for kind in files]
    generated = Generated(knowledge_file=knowledge_file, skills_file=skills_file, mmlu_tasks_dir="sdg/node_datasets_X")
    write_marker(str(folder), "sdg", {"seed": 1}, [], generated, 0.0)
    return folder


def without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row becomes 10 tokens."""

    def tokenize(rows: Path, folder: Path, data_dir: str, max_len: int) -> DataCounts:
        (folder / "data.jsonl").write_bytes(rows.read_bytes())
        count = count_lines(rows)
        return DataCounts(count, 10 * count, 10)

    monkeypatch.setattr(stage, "tokenize_rows", tokenize)


class Processed:
    """Data processing of a volume: its metrics, its table, and the texts that are trained on."""

    def __init__(
        self,
        volume: Path,
        held_out: float = 0.0,
        tasks: list[str] | None = None,
        eval_tasks: list[str] | None = None,
        **checks: Any,
    ) -> None:
        given = (str(volume), held_out, 1000, 2000, 42, False, checks, tasks or [], eval_tasks or [])
        self.metrics = process(Processing(*given))
        self.facts = read_json(volume / "processed" / "checks.json")
        self.rows = {row["leaf"]: row for row in self.facts["leaves"]}
        self.dropped = {leaf: row["dropped"] for leaf, row in self.rows.items() if row["dropped"]}
        files = [volume / "processed" / kind / "data.jsonl" for kind in ("knowledge", "skills")]
        turns = [[m["content"] for m in one["messages"]] for file in files if file.exists() for one in read_lines(file)]
        self.texts = [tuple(texts[-2:]) for texts in turns]
        held = volume / "processed" / "held_out.jsonl"
        self.held_out = [one["question"] for one in read_lines(held)]

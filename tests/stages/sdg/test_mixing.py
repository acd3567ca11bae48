"""Which generated rows are mixed in: all of them once, unless it is said otherwise."""

import json
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from utils.stages.json_lines import read_lines, write_lines
from utils.stages.sdg.mixing import draw, system_prompt


def drawn(folder: Path, name: str, share: float, rows: int, per_skill: int) -> tuple[Counter[int], list[Any]]:
    """How often each row of a leaf's file is mixed in, and the recipe's data sets."""
    file, recipe = folder / "node_datasets_1" / f"{name}.jsonl", folder / "skills_recipe_1.yaml"
    file.parent.mkdir()
    write_lines(file, [{"row": number} for number in range(rows)])
    datasets = [
        {"path": "/usr/share/skills.jsonl", "sampling_size": 0.5},
        {"path": f"node_datasets_1/{name}.jsonl", "sampling_size": share},
    ]
    recipe.write_text(yaml.safe_dump({"datasets": datasets, "metadata": {"sys_prompt": "x"}}))
    draw(recipe, per_skill)
    content = yaml.safe_load(recipe.read_text())
    assert content["metadata"] == {"sys_prompt": "x"}
    return Counter(row["row"] for row in read_lines(file)), content["datasets"]


@pytest.mark.parametrize(
    ("name", "share", "rows", "per_skill", "fewest", "most", "different"),
    [
        # The library gives each skill leaf 30 rows, drawn with replacement.
        ("compositional_skills_a", 30, 150, 0, 1, 1, 150),
        ("compositional_skills_a", 30, 10, 0, 1, 1, 10),
        ("compositional_skills_a", 30, 150, 30, 1, 1, 30),
        ("compositional_skills_a", 30, 10, 35, 3, 4, 10),
        ("compositional_skills_a", 30, 10, 1, 1, 1, 1),
        # Knowledge that is less than 3 percent of the precomputed skills is filled up; the rest stays as it is.
        ("knowledge_a_p10", 250, 100, 30, 2, 3, 100),
        ("knowledge_a_p10", 1.0, 100, 30, 1, 1, 100),
    ],
)
def test_rows_are_drawn_without_losing_one_that_has_room(
    name: str, share: float, rows: int, per_skill: int, fewest: int, most: int, different: int, tmp_path: Path
) -> None:
    times, datasets = drawn(tmp_path, name, share, rows, per_skill)
    assert (min(times.values()), max(times.values()), len(times)) == (fewest, most, different)
    assert [entry["sampling_size"] for entry in datasets] == [0.5, 1.0]
    if per_skill and not name.startswith("knowledge"):
        assert times.total() == per_skill


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"model_type": "granite", "max_position_embeddings": 4096}, "I am granite-3.0-8b"),
        ({"model_type": "granite", "max_position_embeddings": 131072}, "I am granite-3.1-8b"),
        ({"model_type": "granitemoe"}, "I am granite-3.0-8b"),
        ({"model_type": "llama"}, "You are a helpful assistant."),
    ],
)
def test_system_message_is_that_of_the_model(
    config: dict[str, Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = SimpleNamespace(_SYS_PROMPT="I am granite-3.0-8b")
    monkeypatch.setitem(sys.modules, "instructlab.sdg.generate_data", library)
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / name).write_text(json.dumps(config))
    assert system_prompt(tmp_path) == told

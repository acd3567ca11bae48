"""The card of a published model: metadata as the hub takes them, scores, and no markup of foreign text."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.archives import write_files
from tests.stages.report.example_run import full_run, sparse_run, write
from utils.stages.model_card import base_facts, cell, model_card

COMMIT = "8d1f3a7c2be94f0d6a5c1b7e9f20438acd51be77"


def card_of(volume: Path, run_id: str = "run-x4k2") -> tuple[dict[str, Any], str]:
    """The card's metadata, and its text."""
    top, _, text = model_card(str(volume), run_id).removeprefix("---\n").partition("---\n")
    return yaml.safe_load(top), text


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    config = json.dumps({"_name_or_path": "ibm-granite/granite-7b-base"}).encode()
    readme = b"---\nlanguage: en\nlicense: apache-2.0\n---\nlicense: mit\n"
    return full_run(write_files(tmp_path, {"model/config.json": config, "model/README.md": readme}))


def test_metadata_are_those_of_the_hub(volume: Path) -> None:
    """Keys: https://github.com/huggingface/hub-docs/blob/main/modelcard.md."""
    facts, _ = card_of(volume)
    results = facts["model-index"][0].pop("results")
    assert facts == {
        "license": "apache-2.0", "base_model": "ibm-granite/granite-7b-base", "base_model_relation": "finetune",
        "library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["instructlab", "ilab-pipeline"],
        "model-index": [{"name": "run-x4k2"}],
    }  # fmt: skip
    assert {one["metrics"][0]["name"]: one["metrics"][0]["value"] for one in results} == {
        "Likelihood": 1.304, "MMLU-branch": 0.663, "MT-Bench-branch": 6.97, "MT-Bench": 6.94,
    }  # fmt: skip
    for one in results:
        assert one["task"]["type"] and one["dataset"].keys() == {"type", "name"} and one["metrics"][0]["type"]


def test_text_tells_what_the_model_was_made_of(volume: Path) -> None:
    _, text = card_of(volume)
    lines = text.splitlines()
    assert "| Likelihood | 2.297 | 1.304 | better | 228 | negative log-likelihood per token, lower is better |" in lines
    assert "| Commit of the taxonomy | 8d1f3a7c2be94f0d6a5c1b7e9f20438acd51be77 |" in lines
    assert "| Judge | prometheus-8x7b-v2-0 |" in lines and "| knowledge/astronomy/lumera/orbit | 1,480 |" in text
    assert "| Training data, skills | 12,150 samples, 5,630,921 tokens |" in lines
    assert "ilab-pipeline verify" in text


def test_text_names_an_algorithm_other_than_sft(volume: Path) -> None:
    assert "lora" not in card_of(volume)[1]
    marker = json.loads((volume / "done/train_phase_2.json").read_text())
    marker["inputs"]["algorithm"] = ["lora", {"r": 8, "alpha": 32}]
    write(volume, "done/train_phase_2.json", marker)
    (row,) = [line for line in card_of(volume)[1].splitlines() if line.startswith("| Training, phase 2 ")]
    assert row.endswith("algorithm lora, r 8, alpha 32 |")


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    facts, text = card_of(sparse_run(tmp_path))
    assert not {"license", "base_model", "base_model_relation"} & facts.keys()
    assert [one["metrics"][0]["name"] for one in facts["model-index"][0]["results"]] == ["Likelihood"]
    assert "MT-Bench" not in text and "phase 2" not in text and "None" not in text
    assert "model-index" not in card_of(tmp_path / "empty")[0]


def test_card_of_the_same_run_is_identical(volume: Path) -> None:
    assert model_card(str(volume), "r") == model_card(str(volume), "r")


def test_foreign_text_stays_in_its_cell_and_is_no_markup(volume: Path) -> None:
    attack = "a|b\n\n# c <script>alert(1)</script> [x](javascript:1) `d` ---\nlicense: x"
    sdg = json.loads((volume / "done/sdg.json").read_text())
    sdg["result"]["samples_by_leaf"] = {attack: 5}
    write(volume, "done/sdg.json", sdg)
    facts, text = card_of(volume, attack)
    assert facts["model-index"][0]["name"] == " ".join(attack.split()) and facts["license"] == "apache-2.0"
    assert "<script" not in text.replace("\\<script", "") and "[x]" not in text.replace("\\[x\\]", "")
    (row,) = [line for line in text.splitlines() if line.endswith("| 5 |")]
    assert row.startswith("| a\\|b \\# c ")


@pytest.mark.parametrize(
    ("config", "source", "name"),
    [
        ('{"_name_or_path": "org/name"}', "archive", "org/name"),
        ('{"_name_or_path": "/data/model"}', "archive", ""),
        ('{"_name_or_path": "../up"}', "archive", ""),
        ('{"_name_or_path": "a/b/c"}', "archive", ""),
        ("{}", "archive", ""),
        ("no json", f"file:///h/hub/models--org--name.v1/snapshots/{COMMIT}", "org/name.v1"),
    ],
)
def test_name_of_the_base_model_is_one_of_a_hub(config: str, source: str, name: str, tmp_path: Path) -> None:
    write_files(tmp_path, {"config.json": config.encode()})
    assert base_facts(tmp_path, source)["name"] == name


@pytest.mark.parametrize(
    ("readme", "license_name"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\nlicense: 'llama3.1'\n---\n", "llama3.1"),
        ("---\nlicense: other\nlicense_name: own\n---\n", ""),
        ("license: mit\n", ""),
        ("---\ntags: x\n---\nlicense: mit\n", ""),
        ("", ""),
    ],
)
def test_license_is_that_of_the_base_model(readme: str, license_name: str, tmp_path: Path) -> None:
    write_files(tmp_path, {"README.md": readme.encode()})
    assert base_facts(tmp_path, "archive")["license"] == license_name


def test_cells_are_one_line() -> None:
    assert cell("a\r\nb\t|") == "a b \\|" and cell(None) == "–" and cell(0.5) == "0.5"


def test_score_that_is_not_a_number_is_left_out(volume: Path) -> None:
    """A model that has come apart: YAML would have .nan, which the hub refuses."""
    file = volume / "scores/likelihood.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"nll": float("nan")}))
    facts, text = card_of(volume)
    assert "Likelihood" not in [one["metrics"][0]["name"] for one in facts["model-index"][0]["results"]]
    assert "| nan |" not in text

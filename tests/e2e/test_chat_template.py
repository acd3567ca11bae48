"""Base models of each family without a chat template, from data import through two training steps to likelihood."""

import json
from typing import Any

import pytest

from tests.e2e.stages import in_stages

TEMPLATES = {
    "granite-7b": "ibm_legacy_tmpl",
    "granite-3": "ibm_generic_tmpl",
    "mistral": "mistral_tmpl",
    "other": "ibm_generic_tmpl",
    "file": "model/chat.py",
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return dict(json.loads(in_stages("tests/e2e/run_chat_template.py", str(tmp_path_factory.mktemp("chat")))))


@pytest.mark.parametrize("family", TEMPLATES)
def test_model_without_a_chat_template_is_trained_with_that_of_its_family(seen: dict[str, Any], family: str) -> None:
    """Trap 45b: it failed in data processing, after the teacher was paid."""
    found = seen[family]
    assert found["choice"]["name"] == TEMPLATES[family]
    assert found["steps"] == 2
    assert found["template"], "the checkpoint's tokenizer has another template"


@pytest.mark.parametrize("family", TEMPLATES)
def test_only_answers_are_learned_and_every_token_has_an_embedding(seen: dict[str, Any], family: str) -> None:
    found = seen[family]
    assert "cubits high" in found["learnt"]
    assert "How high" in found["sample"]
    assert "How high" not in found["learnt"]
    assert found["eos"] in found["learnt"]
    base, trained, rows = found["tokens"]
    assert base <= trained <= rows
    assert not found["unknown"]


@pytest.mark.parametrize("family", TEMPLATES)
def test_base_and_candidate_are_scored_with_the_same_template(seen: dict[str, Any], family: str) -> None:
    nll, base_nll = seen[family]["nll"]
    assert 0 < nll < base_nll


def test_base_and_candidate_are_served_with_the_same_template(seen: dict[str, Any]) -> None:
    if "served_base" not in seen["file"]:
        pytest.skip("this interpreter has no llama.cpp")
    candidate, base = seen["file"]["served_candidate"], seen["file"]["served_base"]
    assert candidate == base == {"prompt": "<|ask|>How high is tide number 0 of Pell?<|say|>", "status": "200"}

"""One execution: its inputs are checked and typed before it starts."""

import re
from typing import Any

import pytest

from utils.errors import TaskFailed
from utils.ir.execute import Prepared, import_artifact, prepare
from utils.ir.model import Artifact, ArtifactSpec, Component, Importer, Interface, Outputs, Parameter

COMPONENT = Component(
    "c",
    inputs=Interface(
        parameters={
            "count": Parameter("count", "NUMBER_INTEGER"),
            "text": Parameter("text", "STRING", default="x", has_default=True),
            "note": Parameter("note", "STRING", optional=True),
        },
        artifacts={
            "model": ArtifactSpec("model", "system.Model"),
            "base": ArtifactSpec("base", "system.Model", optional=True),
            "parts": ArtifactSpec("parts", "system.Model", is_list=True),
        },
    ),
)
MODEL = [Artifact("model", "system.Model", "/m")]


def test_inputs_are_typed_and_those_left_out_have_their_defaults() -> None:
    given = prepare(COMPONENT, {"count": 3.0, "note": None}, {"model": MODEL, "other": MODEL, "base": [], "parts": []})
    assert repr(dict(given.parameters)) == "{'count': 3, 'text': 'x'}"
    assert given.artifacts == {"model": MODEL, "parts": []}


@pytest.mark.parametrize(
    ("parameters", "artifacts", "told"),
    [
        ({}, {"model": MODEL}, "its input count has no value: its source did not provide one"),
        ({"count": "x"}, {"model": MODEL}, "its input count: expected an integer, got 'x'"),
        ({"count": 1}, {}, "its input artifact model is missing"),
        ({}, {}, "its input count has no value: its source did not provide one; its input artifact model is missing"),
    ],
)
def test_every_input_that_is_missing_or_wrong_is_named(parameters: dict, artifacts: dict, told: str) -> None:
    with pytest.raises(TaskFailed, match=f"the inputs are not valid: {re.escape(told)}"):
        prepare(COMPONENT, parameters, artifacts)


def imported(uri: str = "", parameter: str = "", metadata: Any = None, **values: Any) -> Outputs:
    return import_artifact(Importer("system.Model", uri, parameter, metadata or {}), Prepared(values, {}), "model")


def test_importer_names_an_artifact() -> None:
    metadata = {"step": "{{$.inputs.parameters['n']}}"}
    found = imported(parameter="where", metadata=metadata, where="s3://b/m", n=3).artifacts
    assert found == {"model": [Artifact("model", "system.Model", "s3://b/m", {"step": 3})]}
    assert imported("oci://x").artifacts["model"][0].uri == "oci://x"


@pytest.mark.parametrize(
    ("importer", "told"),
    [
        ({"parameter": "where"}, "the importer refers to an input without value: 'where'"),
        ({"uri": "x", "metadata": {"a": "{{$.inputs.parameters['n']}}"}}, "the importer refers to an input .* 'n'"),
        ({"parameter": "where", "where": ""}, "the importer's URI is empty"),
    ],
)
def test_importer_without_what_it_needs_fails(importer: dict[str, Any], told: str) -> None:
    with pytest.raises(TaskFailed, match=told):
        imported(**importer)

"""Placeholders and values: resolved as a server does, always as data."""

import pytest

from tests.ir.memory_runner import IDS
from utils.ir.model import Parameter, Source
from utils.ir.placeholders import follow_path, job_values, mentions, parse_path, resolve_constant, resolve_inputs
from utils.ir.sources import parse_source
from utils.ir.values import parameter_value, text, typed

JOB = job_values(IDS, "exit-handler-1/train-2", "train phase 2")


@pytest.mark.parametrize(
    ("placeholder", "value"),
    [
        ("{{$.pipeline_job_name}}", "my-run"),
        ("{{$.pipeline_job_uuid}}", "my-run-id"),
        ("{{$.pipeline_job_resource_name}}", "my-run-id"),
        ("{{$.pipeline_job_create_time_utc}}", "2026-01-02T03:04:05Z"),
        ("{{$.pipeline_job_schedule_time_utc}}", "2026-01-02T03:04:05Z"),
        ("{{$.pipeline_root}}", "/pipeline-root"),
        ("{{$.pipeline_task_name}}", "train phase 2"),
    ],
)
def test_placeholders_of_run_and_task(placeholder: str, value: str) -> None:
    assert resolve_constant(placeholder, JOB) == value


def test_task_id_is_stable_and_differs_between_tasks() -> None:
    key = "{{$.pipeline_task_uuid}}"
    assert job_values(IDS, "a", "x")[key] == job_values(IDS, "a", "y")[key] != job_values(IDS, "b", "x")[key]


@pytest.mark.parametrize(
    "constant",
    [
        "{{$.pipeline_job_uuid}}-x",
        "ilab-{{$.pipeline_job_uuid}}",
        " {{$.pipeline_job_name}}",
        ["{{$.pipeline_job_name}}"],
        {"a": "{{$.pipeline_job_name}}"},
        5,
        "",
    ],
)
def test_run_placeholders_resolve_only_as_the_entire_constant(constant: object) -> None:
    assert resolve_constant(constant, JOB) == constant


@pytest.mark.parametrize(
    ("constant", "value"),
    [
        ("{{$.inputs.parameters['n']}}", 3),
        ("{{$.inputs.parameters['l']}}", [1, "x"]),
        ("n={{$.inputs.parameters['n']}}", "n=3"),
        ("{{$.inputs.parameters['n']}}{{$.inputs.parameters['s']}}", "3a=b"),
        ("{{$.inputs.parameters[''s'']}}!", "a=b!"),
        ("{{$.inputs.parameters['l']}} {{$.inputs.parameters['t']}}", '[1, "x"] true'),
        (
            ["{{$.inputs.parameters['n']}}", {"{{$.inputs.parameters['s']}}": "{{$.inputs.parameters['t']}}"}],
            [3, {"a=b": True}],
        ),
        ("no {{placeholder}} here", "no {{placeholder}} here"),
        (7, 7),
    ],
)
def test_inputs_resolve_inside_text_and_keep_their_type_when_alone(constant: object, value: object) -> None:
    assert resolve_inputs(constant, {"n": 3, "s": "a=b", "l": [1, "x"], "t": True}) == value


def test_text_of_an_input_is_not_resolved_again() -> None:
    inputs = {"a": "{{$.inputs.parameters['b']}}", "b": "secret"}
    assert resolve_inputs("x{{$.inputs.parameters['a']}}", inputs) == "x{{$.inputs.parameters['b']}}"


def test_missing_input_is_an_error() -> None:
    with pytest.raises(KeyError):
        resolve_inputs("{{$.inputs.parameters['gone']}}", {})


@pytest.mark.parametrize(
    ("selector", "path"),
    [
        ('parseJson(string_value)["a"]', ("a",)),
        ("parseJson(string_value)['a b'][0][\"c\"]", ("a b", 0, "c")),
    ],
)
def test_selectors_are_parsed_to_paths(selector: str, path: tuple) -> None:
    assert parse_path(selector) == path


@pytest.mark.parametrize(
    ("spec", "source"),
    [
        ({"runtimeValue": {"constant": 3.0}}, Source("constant", value=3.0)),
        ({"runtimeValue": {"constantValue": {"stringValue": "x"}}}, Source("constant", value="x")),
        ({"componentInputParameter": "n"}, Source("parent", name="n")),
        ({"componentInputArtifact": "m"}, Source("parent", name="m")),
        (
            {"taskOutputArtifact": {"producerTask": "t", "outputArtifactKey": "m"}},
            Source("output", name="m", task="t"),
        ),
        ({"taskFinalStatus": {"producerTask": "t"}}, Source("status", task="t")),
        (
            {"componentInputParameter": "n", "parameterExpressionSelector": 'parseJson(string_value)["a"]'},
            Source("parent", name="n", path=("a",)),
        ),
    ],
)
def test_sources_of_every_form_are_read(spec: dict, source: Source) -> None:
    assert parse_source(spec) == source


@pytest.mark.parametrize("spec", [{}, {"surprise": 1}, {"runtimeValue": {}}])
def test_source_of_unknown_kind_is_an_error(spec: dict) -> None:
    with pytest.raises(ValueError, match=f"an input of unknown kind: {next(iter(spec), 'empty')}"):
        parse_source(spec)


def test_an_unknown_selector_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown selector"):
        parse_path("string_value.size()")


@pytest.mark.parametrize(
    ("value", "path", "found"),
    [
        ({"a": [1, {"b": 2}]}, ("a", 1, "b"), 2),
        ('{"a": "x"}', ("a",), "x"),
        (5, (), 5),
    ],
)
def test_paths_are_followed_into_values(value: object, path: tuple, found: object) -> None:
    assert follow_path(value, path) == found


@pytest.mark.parametrize(("value", "path"), [({"a": 1}, ("b",)), ([1], (3,)), (5, ("a",)), ("no json", ("a",))])
def test_path_that_does_not_exist_is_an_error(value: object, path: tuple) -> None:
    with pytest.raises(ValueError, match="no .* in"):
        follow_path(value, path)


def test_placeholders_are_found_in_nested_values() -> None:
    assert mentions({"a": ["x", {"b{{$}}": 1}]}, "{{$}}")
    assert not mentions(["a", 1, None], "{{$}}")


@pytest.mark.parametrize(
    ("value", "kind", "result"),
    [
        (3.0, "NUMBER_INTEGER", 3),
        (3, "NUMBER_DOUBLE", 3.0),
        (3.5, "NUMBER_DOUBLE", 3.5),
        (True, "BOOLEAN", True),
        ("a=b=c", "STRING", "a=b=c"),
        (3.0, "STRING", "3"),
        (2e-5, "STRING", "0.00002"),
        (True, "STRING", "true"),
        ({"a": 1.0}, "STRING", '{"a": 1}'),
        ([1.0, [2.5, {"x": 3.0}]], "LIST", [1, [2.5, {"x": 3}]]),
        ({"a": 1.0, "b": "1"}, "STRUCT", {"a": 1, "b": "1"}),
    ],
)
def test_values_take_the_declared_type(value: object, kind: str, result: object) -> None:
    """Among them trap 42: an `=` in a value stays, and numbers don't become strings."""
    made = typed(value, kind)
    assert made == result
    assert repr(made) == repr(result)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (3.5, "NUMBER_INTEGER"),
        ("8", "NUMBER_INTEGER"),
        (True, "NUMBER_INTEGER"),
        ("0.5", "NUMBER_DOUBLE"),
        (True, "NUMBER_DOUBLE"),
        (1, "BOOLEAN"),
        ("true", "BOOLEAN"),
        ("[]", "LIST"),
        ([], "STRUCT"),
        ({}, "LIST"),
    ],
)
def test_values_of_another_type_are_refused(value: object, kind: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        typed(value, kind)


def test_value_outside_the_literals_is_an_error() -> None:
    parameter = Parameter("engine", "STRING", literals=("vllm", "llama.cpp"))
    assert parameter_value("vllm", parameter) == "vllm"
    with pytest.raises(ValueError, match="expected one of vllm, llama.cpp, got 'x'"):
        parameter_value("x", parameter)


def test_text_of_a_number_has_no_exponent() -> None:
    assert [text(value) for value in (1e-7, 1e21, 0.1, 100.0, -0.0)] == [
        "0.0000001", "1000000000000000000000", "0.1", "100", "-0",
    ]  # fmt: skip

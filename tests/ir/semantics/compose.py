"""Data passing, order, types and defaults, nested pipelines, artifacts."""

import collections
from typing import NamedTuple, Optional

from kfp import dsl

from tests.ir import parts
from tests.ir.semantics.case import FAILED, Case, pipeline


@pipeline
def chain(text: str) -> str:
    first = parts.say(text=text)
    return parts.say(text=first.output).output


@pipeline
def after() -> None:
    first = parts.say(text="first")
    parts.say(text="second").after(first)


@pipeline
def defaults(text: str = "x", count: int = 2, ratio: float = 1.0, flags: dict = {"n": 1}, names: list = [1, 2]) -> None:  # noqa: B006
    """Defaults of every type.

    Args:
        count: How many.
    """
    parts.optional(text=text, count=count, ratio=ratio, flags=flags)
    parts.join(parts=names)


@pipeline
def component_defaults() -> None:
    parts.optional()


@pipeline
def none_given(text: Optional[str] = None) -> None:  # noqa: UP045 - the one form that kfp reads
    parts.maybe(text=text)


@pipeline
def types(text: str, whole: int, part: float, flag: bool) -> None:
    parts.say(text=text)
    parts.number(value=whole)
    parts.fraction(value=part)
    parts.truth(value=flag)


@pipeline
def several_outputs() -> NamedTuple("Out", [("number", int), ("text", str)]):  # type: ignore[valid-type]  # the form that kfp reads
    both = parts.two()
    Out = collections.namedtuple("Out", ["number", "text"])
    return Out(both.outputs["left"], both.outputs["right"])


@pipeline
def f_string(name: str, count: int, ratio: float, flag: bool) -> None:
    made = parts.number(value=count)
    parts.say(text=f"{name}-{made.output} {ratio} {flag}")


@pipeline
def in_struct(name: str, count: int) -> None:
    parts.optional(flags={"name": name, "deep": [count, f"n={count}"]})


@pipeline
def inner(text: str, count: int = 4) -> str:
    parts.number(value=count)
    return parts.say(text=f"inner {text}").output


@pipeline
def nested(text: str) -> str:
    made = inner(text=text)
    again = inner(text=made.output, count=5)
    return again.output


@pipeline
def inner_artifact(text: str) -> dsl.Dataset:
    return parts.write(text=text).outputs["data"]


@pipeline
def nested_artifact() -> None:
    parts.read(data=inner_artifact(text="abc").output)


@pipeline
def inner_fails() -> str:
    return parts.fail().output


@pipeline
def nested_failure() -> None:
    parts.say(text=inner_fails().output)


@pipeline
def structs() -> None:
    made = parts.struct()
    parts.optional(flags=made.output)


@pipeline
def by_file() -> None:
    made = parts.to_path()
    parts.say(text=made.outputs["text"])
    parts.number(value=made.outputs["size"])


@pipeline
def artifact() -> None:
    parts.read(data=parts.write(text="four").outputs["data"])


@pipeline
def artifact_left_out() -> None:
    parts.maybe_read()


@pipeline
def importer(uri: str, name: str) -> None:
    taken = dsl.importer(
        artifact_uri=uri, artifact_class=dsl.Dataset, reimport=True, metadata={"name": name, "deep": {"n": [1, name]}}
    )
    parts.uri_of(data=taken.output)


@pipeline
def importer_constant() -> None:
    parts.uri_of(data=dsl.importer(artifact_uri="gs://bucket/x", artifact_class=dsl.Model).output)


@pipeline
def importer_of_output() -> None:
    place = parts.say(text="s3://made/here")
    parts.uri_of(data=dsl.importer(artifact_uri=place.output, artifact_class=dsl.Dataset).output)


CASES = [
    Case(
        "data passing",
        "compose: passing a task's output to another makes them run in order",
        chain,
        {"say", "say-2"},
        {"text": "hello"},
        given={"say-2": {"text": "hello"}},
        outputs={"Output": "hello"},
    ),
    Case("after", "compose: .after() makes a dependency without data", after, {"say", "say-2"}),
    Case(
        "pipeline defaults",
        "compose: inputs have default values like Python functions; numbers keep their types",
        defaults,
        {"optional", "join"},
        given={"optional": {"text": "x", "count": 2, "ratio": 1.0, "flags": {"n": 1}}, "join": {"parts": [1, 2]}},
        made={"optional": "x 2 1.0 {'n': 1}", "join": "1+2"},
    ),
    Case(
        "arguments over defaults",
        "compose: an argument overrides the default",
        defaults,
        {"optional", "join"},
        {"count": 9, "flags": {}, "names": []},
        given={"optional": {"text": "x", "count": 9, "ratio": 1.0, "flags": {}}, "join": {"parts": []}},
    ),
    Case(
        "component defaults",
        "data-types: a component's default holds where the task gives nothing",
        component_defaults,
        {"optional"},
        made={"optional": "default 3 0.5 {'a': 1}"},
    ),
    Case(
        "optional without value",
        "data-types: an optional input that is not given is None in the component",
        none_given,
        {"maybe"},
        given={"maybe": {}},
        made={"maybe": "None"},
    ),
    Case(
        "optional with value",
        "data-types: an optional input that is given",
        none_given,
        {"maybe"},
        {"text": "t"},
        made={"maybe": "t"},
    ),
    Case(
        "types",
        "data-types: str, int, float, bool arrive with these types",
        types,
        {"say", "number", "fraction", "truth"},
        {"text": "5", "whole": 5.0, "part": 5, "flag": False},
        given={
            "say": {"text": "5"},
            "number": {"value": 5},
            "fraction": {"value": 5.0},
            "truth": {"value": False},
        },
    ),
    Case(
        "several outputs",
        "data-types: a NamedTuple returns several outputs",
        several_outputs,
        {"two"},
        outputs={"number": 1, "text": "r"},
    ),
    Case(
        "f-string",
        "compose: parameters and outputs can be put into strings",
        f_string,
        {"number", "say"},
        {"name": "n", "count": 3, "ratio": 0.00002, "flag": True},
        made={"say": "n-3 0.00002 true"},
    ),
    Case(
        "inside a struct",
        "data-types: dict and list constants can hold parameters, with their types",
        in_struct,
        {"optional"},
        {"name": "n", "count": 3},
        given={
            "optional": {
                "pipelinechannel--name": "n",
                "pipelinechannel--count": 3,
                "text": "default",
                "count": 3,
                "ratio": 0.5,
                "flags": {"name": "n", "deep": [3, "n=3"]},
            }
        },
    ),
    Case(
        "nested pipeline",
        "compose: a pipeline used as a component; its defaults and outputs work like a component's",
        nested,
        {"inner/number", "inner/say", "inner-2/number", "inner-2/say"},
        {"text": "t"},
        given={"inner/number": {"value": 4}, "inner-2/number": {"value": 5}},
        outputs={"Output": "inner inner t"},
    ),
    Case(
        "nested pipeline returns an artifact",
        "compose: artifacts leave a nested pipeline as outputs",
        nested_artifact,
        {"inner-artifact/write", "read"},
        made={"read": "abc 3 data"},
    ),
    Case(
        "nested pipeline fails",
        "compose: a failed nested pipeline is a failed task, what needs it does not run",
        nested_failure,
        {"inner-fails/fail"},
        state=FAILED,
    ),
    Case(
        "struct output",
        "data-types: dict and list outputs, whole numbers as int",
        structs,
        {"struct", "optional"},
        made={"optional": "default 3 0.5 {'name': 'x', 'size': 3, 'parts': [{'n': 1}, {'n': 2}]}"},
    ),
    Case(
        "OutputPath",
        "data-types: a parameter may be written to a file; strings as they are, the rest as JSON",
        by_file,
        {"to-path", "say", "number"},
        given={"say": {"text": "by file"}, "number": {"value": 7}},
    ),
    Case(
        "artifact with metadata",
        "artifacts: content at .path, name and .metadata reach the next task",
        artifact,
        {"write", "read"},
        made={"read": "four 4 data"},
    ),
    Case(
        "optional artifact left out",
        "artifacts: an optional input artifact that is not given is None",
        artifact_left_out,
        {"maybe-read"},
        made={"maybe-read": "nothing"},
    ),
    Case(
        "importer",
        "dsl.importer: makes an artifact of what lies at a URI; metadata may hold runtime values",
        importer,
        {"uri-of"},
        {"uri": "s3://b/k?x='1'", "name": "N"},
        made={"uri-of": "s3://b/k?x='1'"},
    ),
    Case(
        "importer with constant",
        "dsl.importer: the URI may be a constant",
        importer_constant,
        {"uri-of"},
        made={"uri-of": "gs://bucket/x"},
    ),
    Case(
        "importer of an output",
        "dsl.importer: the URI may be an upstream output",
        importer_of_output,
        {"say", "uri-of"},
        made={"uri-of": "s3://made/here"},
    ),
]

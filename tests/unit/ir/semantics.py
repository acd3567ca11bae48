"""The semantics table: small pipelines, what Kubeflow's documentation says of each, and what running it must show.

Sections of kubeflow.org/docs/components/pipelines/user-guides and docstrings of kfp.dsl that the cases refer to:
  control-flow      core-functions/control-flow
  compose           components/compose-components-into-pipelines
  data-types        data-handling/data-types
  artifacts         data-handling/artifacts
  platform          core-functions/platform-specific-features
  dsl.*             docstrings of the SDK
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, List, NamedTuple

from kfp import dsl

from tests.unit.ir import parts
from utils.ir.model import TaskState

SUCCEEDED, FAILED = TaskState.SUCCEEDED, TaskState.FAILED


@dataclass(frozen=True)
class Case:
    """`ran`: ids of the tasks that executed. `given`: inputs by task id. `outputs`: the pipeline's own."""

    name: str
    says: str
    pipeline: Any
    ran: set[str]
    arguments: dict[str, Any] = field(default_factory=dict)
    given: dict[str, dict[str, Any]] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    state: TaskState = SUCCEEDED


def pipeline(func: Callable) -> Any:
    return dsl.pipeline(func, name=func.__name__.replace("_", "-"))


# --- compose: data passing and order ---------------------------------------------------------------------------------


@pipeline
def chain(text: str) -> str:
    first = parts.say(text=text)
    return parts.say(text=first.output).output


@pipeline
def after():
    first = parts.say(text="first")
    parts.say(text="second").after(first)


@pipeline
def defaults(text: str = "x", count: int = 2, ratio: float = 1.0, flags: dict = {"n": 1}, names: list = [1, 2]):  # noqa: B006
    parts.optional(text=text, count=count, ratio=ratio, flags=flags)
    parts.join(parts=names)


@pipeline
def component_defaults():
    parts.optional()


@pipeline
def none_given(text: str = None):  # noqa: RUF013
    parts.maybe(text=text)


@pipeline
def types(text: str, whole: int, part: float, flag: bool):
    parts.say(text=text)
    parts.number(value=whole)
    parts.fraction(value=part)
    parts.truth(value=flag)


@pipeline
def several_outputs() -> NamedTuple("Out", [("number", int), ("text", str)]):
    both = parts.two()
    out = NamedTuple("Out", [("number", int), ("text", str)])
    return out(both.outputs["left"], both.outputs["right"])


@pipeline
def f_string(name: str, count: int, ratio: float, flag: bool):
    made = parts.number(value=count)
    parts.say(text=f"{name}-{made.output} {ratio} {flag}")


@pipeline
def in_struct(name: str, count: int):
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
def nested_artifact():
    parts.read(data=inner_artifact(text="abc").output)


@pipeline
def inner_fails() -> str:
    return parts.fail().output


@pipeline
def nested_failure():
    parts.say(text=inner_fails().output)


@pipeline
def structs():
    made = parts.struct()
    parts.optional(flags=made.output)


@pipeline
def by_file():
    made = parts.to_path()
    parts.say(text=made.outputs["text"])
    parts.number(value=made.outputs["size"])


# --- artifacts -------------------------------------------------------------------------------------------------------


@pipeline
def artifact():
    parts.read(data=parts.write(text="four").outputs["data"])


@pipeline
def artifact_left_out():
    parts.maybe_read()


@pipeline
def importer(uri: str, name: str):
    taken = dsl.importer(
        artifact_uri=uri, artifact_class=dsl.Dataset, reimport=True, metadata={"name": name, "deep": {"n": [1, name]}}
    )
    parts.uri_of(data=taken.output)


@pipeline
def importer_constant():
    parts.uri_of(data=dsl.importer(artifact_uri="gs://bucket/x", artifact_class=dsl.Model).output)


@pipeline
def importer_of_output():
    place = parts.say(text="s3://made/here")
    parts.uri_of(data=dsl.importer(artifact_uri=place.output, artifact_class=dsl.Dataset).output)


# --- control flow: conditions ----------------------------------------------------------------------------------------


@pipeline
def if_(text: str):
    coin = parts.say(text=text)
    with dsl.If(coin.output == "heads"):
        parts.nothing()


@pipeline
def if_elif_else(text: str) -> str:
    with dsl.If(text == "heads"):
        first = parts.say(text="Got heads!")
    with dsl.Elif(text == "tails"):
        second = parts.say(text="Got tails!")
    with dsl.Else():
        third = parts.say(text="Draw!")
    chosen = dsl.OneOf(first.output, second.output, third.output)
    parts.say(text=chosen)
    return chosen


@pipeline
def one_of_artifact(flag: bool):
    with dsl.If(flag == True):  # noqa: E712 - KFP overloads ==
        first = parts.write(text="yes")
    with dsl.Else():
        second = parts.write(text="no")
    parts.read(data=dsl.OneOf(first.outputs["data"], second.outputs["data"]))


@pipeline
def one_of_output():
    with dsl.If(parts.number(value=3).output > 2):
        first = parts.say(text="more")
    with dsl.Else():
        second = parts.say(text="less")
    parts.optional(text=dsl.OneOf(first.output, second.output))


@pipeline
def nested_if(one: int, two: float):
    with dsl.If(one > 1):
        inside = parts.number(value=one)
        with dsl.If(two <= 0.5):
            parts.number(value=inside.output)
        with dsl.Else():
            parts.fraction(value=two)


@pipeline
def quoted(url: str):
    with dsl.If(url == 'http://host/?q="a b"&x=1'):
        parts.nothing()
    with dsl.Else():
        parts.cleanup()


@pipeline
def apostrophe(text: str):
    with dsl.If(text == "it's"):
        parts.nothing()


@pipeline
def two_outputs_compared(one: int, other: int):
    with dsl.If(parts.number(value=one).output >= parts.number(value=other).output):
        parts.nothing()


@pipeline
def skipped_upstream(text: str):
    with dsl.If(text == "no"):
        inside = parts.say(text="inside")
        parts.say(text=inside.output)
    parts.cleanup()


# --- control flow: loops ---------------------------------------------------------------------------------------------


@pipeline
def loop_constants():
    with dsl.ParallelFor(items=[1, 5, 10], parallelism=2) as value:
        parts.number(value=value)


@pipeline
def loop_parameter(names: list):
    with dsl.ParallelFor(names) as name:
        parts.say(text=name)


@pipeline
def loop_output():
    with dsl.ParallelFor(parts.words(text="p q").output) as word:
        made = parts.say(text=word)
        parts.say(text=made.output)


@pipeline
def loop_subvars():
    with dsl.ParallelFor([{"age": 41, "who": "Ann"}, {"age": 7, "who": "Bo"}]) as person:
        parts.say(text=f"{person.who} is {person.age}")
        parts.number(value=person.age)


@pipeline
def loop_output_subvars():
    with dsl.ParallelFor(parts.people().output) as person:
        parts.say(text=person.age)
        with dsl.If(person.who == "Bo"):
            parts.say(text=person.who)


@pipeline
def loop_in_loop():
    with dsl.ParallelFor(["a", "b"]) as one:
        with dsl.ParallelFor([1, 2]) as other:
            made = parts.say(text=f"{one}{other}")
            data = parts.write(text=f"{one}{other}")
    parts.join(parts=dsl.Collected(made.output))
    parts.count(data=dsl.Collected(data.outputs["data"]))


@pipeline
def loop_over_part():
    with dsl.ParallelFor([{"k": "a", "n": [1, 2]}, {"k": "b", "n": [3]}]) as item:
        with dsl.ParallelFor(item.n) as each:
            parts.say(text=each)


@pipeline
def collected():
    with dsl.ParallelFor([3, 4]) as value:
        made = parts.number(value=value)
    parts.join(parts=dsl.Collected(made.output))


@pipeline
def collected_returned() -> List[int]:  # noqa: UP006
    with dsl.ParallelFor([3, 4]) as value:
        made = parts.number(value=value)
    return dsl.Collected(made.output)


@pipeline
def collected_artifacts() -> List[dsl.Dataset]:  # noqa: UP006
    with dsl.ParallelFor(["k", "lm"]) as text:
        made = parts.write(text=text)
    return dsl.Collected(made.outputs["data"])


@pipeline
def loop_artifacts():
    with dsl.ParallelFor(collected_artifacts().output) as data:
        parts.read(data=data)


@pipeline
def loop_empty(names: list):
    with dsl.ParallelFor(names) as name:
        made = parts.say(text=name)
    parts.join(parts=dsl.Collected(made.output))


@pipeline
def loop_outer_value(suffix: str):
    made = parts.say(text="made")
    with dsl.ParallelFor(["a"]) as name:
        parts.say(text=f"{name} {made.output} {suffix}")


@pipeline
def if_in_loop():
    with dsl.ParallelFor([1, 2]) as value:
        with dsl.If(value == 2):
            parts.number(value=value)


@pipeline
def loop_in_if(names: list, flag: bool):
    with dsl.If(flag == True):  # noqa: E712
        with dsl.ParallelFor(names) as name:
            parts.say(text=name)


@pipeline
def loop_fails():
    with dsl.ParallelFor(["a", "b"], parallelism=1) as name:
        made = parts.fails_at(text=name, at="a")
    parts.join(parts=dsl.Collected(made.output))


@pipeline
def nested_in_loop():
    with dsl.ParallelFor(["a", "b"]) as name:
        made = inner(text=name)
    parts.join(parts=dsl.Collected(made.output))


# --- control flow: exit handling -------------------------------------------------------------------------------------


@pipeline
def exit_after_success():
    with dsl.ExitHandler(parts.cleanup()):
        parts.say(text="x")


@pipeline
def exit_after_failure():
    with dsl.ExitHandler(parts.cleanup()):
        broken = parts.fail()
        parts.say(text=broken.output)


@pipeline
def exit_status(fails: bool):
    with dsl.ExitHandler(parts.at_exit(note="n"), name="main part"):
        with dsl.If(fails == True):  # noqa: E712
            parts.fail(text="out of luck")


@pipeline
def exit_parameter(note: str):
    with dsl.ExitHandler(parts.at_exit(note=f"{note}!")):
        parts.nothing()


@pipeline
def exit_pipeline_inner():
    parts.cleanup()
    parts.say(text="bye")


@pipeline
def exit_pipeline():
    with dsl.ExitHandler(exit_pipeline_inner()):
        parts.fail()


@pipeline
def ignore_failure():
    broken = parts.fail()
    parts.after_all(text=broken.output).ignore_upstream_failure()


@pipeline
def ignore_success():
    fine = parts.say(text="fine")
    parts.after_all(text=fine.output).ignore_upstream_failure()


@pipeline
def ignore_then_more():
    broken = parts.fail()
    clean = parts.cleanup().after(broken).ignore_upstream_failure()
    parts.nothing().after(clean)


@pipeline
def ignore_with_status():
    broken = parts.fail(text="this one")
    parts.at_exit(note="x").after(broken).ignore_upstream_failure()


@pipeline
def failure_stops():
    broken = parts.fail()
    parts.say(text=broken.output)


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
    Case(
        "If holds",
        "control-flow dsl.If: the task executes only if the output equals",
        if_,
        {"say", "condition-1/nothing"},
        {"text": "heads"},
    ),
    Case("If doesn't hold", "control-flow dsl.If: …and not otherwise", if_, {"say"}, {"text": "tails"}),
    *[
        Case(
            f"If, Elif, Else: {text}",
            "control-flow dsl.OneOf: exactly one branch is executed, its output goes on",
            if_elif_else,
            {f"condition-branches-1/{branch}", "say-4"},
            {"text": text},
            outputs={"Output": said},
            given={"say-4": {"text": said}},
        )
        for text, branch, said in (
            ("heads", "condition-2/say", "Got heads!"),
            ("tails", "condition-3/say-2", "Got tails!"),
            ("edge", "condition-4/say-3", "Draw!"),
        )
    ],
    *[
        Case(
            f"OneOf artifacts: {flag}",
            "control-flow dsl.OneOf: outputs may be artifacts",
            one_of_artifact,
            {f"condition-branches-1/{branch}", "read"},
            {"flag": flag},
            made={"read": said},
        )
        for flag, branch, said in (
            (True, "condition-2/write", "yes 3 data"),
            (False, "condition-3/write-2", "no 2 data"),
        )
    ],
    Case(
        "OneOf of a condition on an output",
        "control-flow dsl.OneOf: is used like any task output",
        one_of_output,
        {"number", "condition-branches-1/condition-2/say", "optional"},
        made={"optional": "more 3 0.5 {'a': 1}"},
    ),
    Case(
        "nested If, inner holds",
        "control-flow: conditions nest",
        nested_if,
        {"condition-1/number", "condition-1/condition-branches-2/condition-3/number-2"},
        {"one": 2, "two": 0.5},
    ),
    Case(
        "nested If, inner Else",
        "control-flow: conditions nest",
        nested_if,
        {"condition-1/number", "condition-1/condition-branches-2/condition-4/fraction"},
        {"one": 2, "two": 0.6},
    ),
    Case("nested If, outer fails", "control-flow: conditions nest", nested_if, set(), {"one": 1, "two": 0.5}),
    Case(
        "quotes and a URL in a condition",
        "control-flow dsl.If: compares with any string",
        quoted,
        {"condition-branches-1/condition-2/nothing"},
        {"url": 'http://host/?q="a b"&x=1'},
    ),
    Case(
        "quotes and a URL in a condition, Else",
        "control-flow dsl.Else: what matches no branch before",
        quoted,
        {"condition-branches-1/condition-3/cleanup"},
        {"url": "http://host/"},
    ),
    Case(
        "an apostrophe in a condition",
        "control-flow dsl.If: compares with any string",
        apostrophe,
        {"condition-1/nothing"},
        {"text": "it's"},
    ),
    Case(
        "two outputs compared",
        "control-flow: at least one operand is an output or a parameter, both may be",
        two_outputs_compared,
        {"number", "number-2", "condition-1/nothing"},
        {"one": 10, "other": 9},
    ),
    Case(
        "a branch that is skipped",
        "control-flow dsl.If: nothing inside runs, what is outside does, the run succeeds",
        skipped_upstream,
        {"cleanup"},
        {"text": "yes"},
    ),
    Case(
        "loop over constants",
        "control-flow dsl.ParallelFor: runs its tasks for each item; items keep their types",
        loop_constants,
        {f"for-loop-2/{index}/number" for index in range(3)},
        given={
            "for-loop-2/0/number": {"value": 1},
            "for-loop-2/1/number": {"value": 5},
            "for-loop-2/2/number": {"value": 10},
        },
    ),
    Case(
        "loop over a parameter",
        "dsl.ParallelFor: items may be a pipeline parameter of type list",
        loop_parameter,
        {"for-loop-1/0/say", "for-loop-1/1/say"},
        {"names": ["x", "y"]},
        given={"for-loop-1/0/say": {"text": "x"}, "for-loop-1/1/say": {"text": "y"}},
    ),
    Case(
        "loop over an output",
        "dsl.ParallelFor: items may be an upstream output; a task sees its own iteration's outputs",
        loop_output,
        {"words", *(f"for-loop-1/{index}/{task}" for index in (0, 1) for task in ("say", "say-2"))},
        given={"for-loop-1/0/say-2": {"text": "p"}, "for-loop-1/1/say-2": {"text": "q"}},
    ),
    Case(
        "parts of items",
        "dsl.ParallelFor: `item.a` is the value under the key a of an item",
        loop_subvars,
        {f"for-loop-2/{index}/{task}" for index in (0, 1) for task in ("say", "number")},
        given={"for-loop-2/0/number": {"value": 41}},
        made={"for-loop-2/0/say": "Ann is 41", "for-loop-2/1/say": "Bo is 7"},
    ),
    Case(
        "parts of an output's items",
        "dsl.ParallelFor: `item.a` works with items from an upstream output, in a condition too",
        loop_output_subvars,
        {"people", "for-loop-1/0/say", "for-loop-1/1/say", "for-loop-1/1/condition-2/say-2"},
        given={"for-loop-1/1/say": {"text": "7"}, "for-loop-1/1/condition-2/say-2": {"text": "Bo"}},
    ),
    Case(
        "a loop in a loop, collected",
        "control-flow dsl.Collected: parameters of nested loops nest a level a loop, artifacts are a flat list",
        loop_in_loop,
        {
            "join",
            "count",
            *(f"for-loop-2/{i}/for-loop-4/{j}/{task}" for i in (0, 1) for j in (0, 1) for task in ("say", "write")),
        },
        given={"join": {"parts": [["a1", "a2"], ["b1", "b2"]]}},
        made={"count": 4},
    ),
    Case(
        "a loop over a part of an item",
        "dsl.ParallelFor: an item's part may be the items of an inner loop",
        loop_over_part,
        {"for-loop-2/0/for-loop-3/0/say", "for-loop-2/0/for-loop-3/1/say", "for-loop-2/1/for-loop-3/0/say"},
        given={"for-loop-2/0/for-loop-3/1/say": {"text": "2"}, "for-loop-2/1/for-loop-3/0/say": {"text": "3"}},
    ),
    Case(
        "collected",
        "control-flow dsl.Collected: gathers the outputs of a loop, in the order of its items",
        collected,
        {"for-loop-2/0/number", "for-loop-2/1/number", "join"},
        given={"join": {"parts": [3, 4]}},
    ),
    Case(
        "collected, returned",
        "control-flow dsl.Collected: can be returned from a pipeline",
        collected_returned,
        {"for-loop-2/0/number", "for-loop-2/1/number"},
        outputs={"Output": [3, 4]},
    ),
    Case(
        "a loop over artifacts",
        "dsl.ParallelFor: items may be a list of artifacts",
        loop_artifacts,
        {
            *(f"collected-artifacts/for-loop-2/{index}/write" for index in (0, 1)),
            *(f"for-loop-1/{index}/read" for index in (0, 1)),
        },
        made={"for-loop-1/0/read": "k 1 data", "for-loop-1/1/read": "lm 2 data"},
    ),
    Case(
        "a loop over nothing",
        "dsl.ParallelFor: no items, no iterations; Collected is an empty list",
        loop_empty,
        {"join"},
        {"names": []},
        given={"join": {"parts": []}},
    ),
    Case(
        "values from outside a loop",
        "compose: tasks in a control-flow group may use outputs and parameters from outside",
        loop_outer_value,
        {"say", "for-loop-2/0/say-2"},
        {"suffix": "!"},
        made={"for-loop-2/0/say-2": "a made !"},
    ),
    Case(
        "a condition in a loop",
        "control-flow: conditions and loops nest",
        if_in_loop,
        {"for-loop-2/1/condition-3/number"},
    ),
    Case(
        "a loop in a condition",
        "control-flow: conditions and loops nest",
        loop_in_if,
        {"condition-1/for-loop-2/0/say"},
        {"names": ["n"], "flag": True},
    ),
    Case(
        "a failing iteration",
        "control-flow: a loop with a failed iteration has failed; what collects it does not run",
        loop_fails,
        {"for-loop-2/0/fails-at"},
        state=FAILED,
    ),
    Case(
        "a nested pipeline in a loop",
        "compose: a nested pipeline's output can be collected",
        nested_in_loop,
        {*(f"for-loop-2/{index}/inner/{task}" for index in (0, 1) for task in ("say", "number")), "join"},
        given={"join": {"parts": ["inner a", "inner b"]}},
    ),
    Case(
        "exit task after success",
        "control-flow dsl.ExitHandler: the exit task runs after the tasks in scope",
        exit_after_success,
        {"exit-handler-1/say", "cleanup"},
    ),
    Case(
        "exit task after failure",
        "control-flow dsl.ExitHandler: …even if one of them fails; the run has failed",
        exit_after_failure,
        {"exit-handler-1/fail", "cleanup"},
        state=FAILED,
    ),
    Case(
        "final status of a success",
        "dsl.PipelineTaskFinalStatus: state SUCCEEDED, no error code and message",
        exit_status,
        {"at-exit"},
        {"fails": False},
        made={"at-exit": "SUCCEEDED main part None None"},
    ),
    Case(
        "final status of a failure",
        "dsl.PipelineTaskFinalStatus: state FAILED, name of the task, code and message of the error",
        exit_status,
        {"exit-handler-1/condition-2/fail", "at-exit"},
        {"fails": True},
        made={"at-exit": "FAILED main part 2 task exit-handler-1/condition-2/fail: ValueError: out of luck"},
        state=FAILED,
    ),
    Case(
        "an exit task with parameters",
        "control-flow dsl.ExitHandler: the exit task takes pipeline parameters",
        exit_parameter,
        {"exit-handler-1/nothing", "at-exit"},
        {"note": "hey"},
        made={"at-exit": "SUCCEEDED exit-handler-1 None None"},
    ),
    Case(
        "a pipeline as exit task",
        "dsl.ExitHandler: the exit task may be a pipeline",
        exit_pipeline,
        {"exit-handler-1/fail", "exit-pipeline-inner/cleanup", "exit-pipeline-inner/say"},
        state=FAILED,
    ),
    Case(
        "ignore_upstream_failure, upstream fails",
        "control-flow .ignore_upstream_failure(): runs regardless; the default stands in for the missing output",
        ignore_failure,
        {"fail", "after-all"},
        given={"after-all": {"text": "no text"}},
        state=FAILED,
    ),
    Case(
        "ignore_upstream_failure, upstream succeeds",
        "control-flow .ignore_upstream_failure(): the upstream output is used where there is one",
        ignore_success,
        {"say", "after-all"},
        given={"after-all": {"text": "fine"}},
    ),
    Case(
        "after a task that ignores failures",
        "control-flow .ignore_upstream_failure(): the caller always succeeds, so what follows it runs",
        ignore_then_more,
        {"fail", "cleanup", "nothing"},
        state=FAILED,
    ),
    Case(
        "ignore_upstream_failure with final status",
        "dsl.PipelineTaskFinalStatus: also in a task that ignores upstream failures",
        ignore_with_status,
        {"fail", "at-exit"},
        made={"at-exit": "FAILED fail 2 task fail: ValueError: this one"},
        state=FAILED,
    ),
    Case(
        "a failure stops what needs it",
        "compose: a task runs only if its upstream tasks succeed",
        failure_stops,
        {"fail"},
        state=FAILED,
    ),
]

"""ParallelFor and Collected."""

from typing import List  # noqa: UP035

from kfp import dsl

from tests.ir import parts
from tests.ir.semantics.case import FAILED, Case, pipeline
from tests.ir.semantics.compose import inner


@pipeline
def loop_constants() -> None:
    with dsl.ParallelFor(items=[1, 5, 10], parallelism=2) as value:
        parts.number(value=value)


@pipeline
def loop_parameter(names: list) -> None:
    with dsl.ParallelFor(names) as name:
        parts.say(text=name)


@pipeline
def loop_output() -> None:
    with dsl.ParallelFor(parts.words(text="p q").output) as word:
        made = parts.say(text=word)
        parts.say(text=made.output)


@pipeline
def loop_subvars() -> None:
    with dsl.ParallelFor([{"age": 41, "who": "Ann"}, {"age": 7, "who": "Bo"}]) as person:
        parts.say(text=f"{person.who} is {person.age}")
        parts.number(value=person.age)


@pipeline
def loop_output_subvars() -> None:
    with dsl.ParallelFor(parts.people().output) as person:
        parts.say(text=person.age)
        with dsl.If(person.who == "Bo"):
            parts.say(text=person.who)


@pipeline
def loop_in_loop() -> None:
    with dsl.ParallelFor(["a", "b"]) as one, dsl.ParallelFor([1, 2]) as other:
        made = parts.say(text=f"{one}{other}")
        data = parts.write(text=f"{one}{other}")
    parts.join(parts=dsl.Collected(made.output))
    parts.count(data=dsl.Collected(data.outputs["data"]))


@pipeline
def loop_over_part() -> None:
    with dsl.ParallelFor([{"k": "a", "n": [1, 2]}, {"k": "b", "n": [3]}]) as item, dsl.ParallelFor(item.n) as each:
        parts.say(text=each)


@pipeline
def collected() -> None:
    with dsl.ParallelFor([3, 4]) as value:
        made = parts.number(value=value)
    parts.join(parts=dsl.Collected(made.output))


@pipeline
def collected_returned() -> List[int]:  # noqa: UP006 - kfp reads typing's
    with dsl.ParallelFor([3, 4]) as value:
        made = parts.number(value=value)
    return dsl.Collected(made.output)


@pipeline
def collected_artifacts() -> List[dsl.Dataset]:  # noqa: UP006 - kfp reads typing's
    with dsl.ParallelFor(["k", "lm"]) as text:
        made = parts.write(text=text)
    return dsl.Collected(made.outputs["data"])


@pipeline
def loop_artifacts() -> None:
    with dsl.ParallelFor(collected_artifacts().output) as data:
        parts.read(data=data)


@pipeline
def loop_empty(names: list) -> None:
    with dsl.ParallelFor(names) as name:
        made = parts.say(text=name)
    parts.join(parts=dsl.Collected(made.output))


@pipeline
def loop_outer_value(suffix: str) -> None:
    made = parts.say(text="made")
    with dsl.ParallelFor(["a"]) as name:
        parts.say(text=f"{name} {made.output} {suffix}")


@pipeline
def if_in_loop() -> None:
    with dsl.ParallelFor([1, 2]) as value, dsl.If(value == 2):
        parts.number(value=value)


@pipeline
def loop_in_if(names: list, flag: bool) -> None:
    with dsl.If(flag == True), dsl.ParallelFor(names) as name:  # noqa: E712
        parts.say(text=name)


@pipeline
def loop_fails() -> None:
    with dsl.ParallelFor(["a", "b"], parallelism=1) as name:
        made = parts.fails_at(text=name, at="a")
    parts.join(parts=dsl.Collected(made.output))


@pipeline
def nested_in_loop() -> None:
    with dsl.ParallelFor(["a", "b"]) as name:
        made = inner(text=name)
    parts.join(parts=dsl.Collected(made.output))


CASES = [
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
]

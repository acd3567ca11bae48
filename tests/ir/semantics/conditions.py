"""If, Elif, Else, OneOf."""

from kfp import dsl

from tests.ir import parts
from tests.ir.semantics.case import Case, pipeline


@pipeline
def if_(text: str) -> None:
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
def one_of_artifact(flag: bool) -> None:
    with dsl.If(flag == True):  # noqa: E712 - KFP overloads ==
        first = parts.write(text="yes")
    with dsl.Else():
        second = parts.write(text="no")
    parts.read(data=dsl.OneOf(first.outputs["data"], second.outputs["data"]))


@pipeline
def one_of_output() -> None:
    with dsl.If(parts.number(value=3).output > 2):
        first = parts.say(text="more")
    with dsl.Else():
        second = parts.say(text="less")
    parts.optional(text=dsl.OneOf(first.output, second.output))


@pipeline
def nested_if(one: int, two: float) -> None:
    with dsl.If(one > 1):
        inside = parts.number(value=one)
        with dsl.If(two <= 0.5):
            parts.number(value=inside.output)
        with dsl.Else():
            parts.fraction(value=two)


@pipeline
def quoted(url: str) -> None:
    with dsl.If(url == 'http://host/?q="a b"&x=1'):
        parts.nothing()
    with dsl.Else():
        parts.cleanup()


@pipeline
def apostrophe(text: str) -> None:
    with dsl.If(text == "it's"):
        parts.nothing()


@pipeline
def two_outputs_compared(one: int, other: int) -> None:
    with dsl.If(parts.number(value=one).output >= parts.number(value=other).output):
        parts.nothing()


@pipeline
def skipped_upstream(text: str) -> None:
    with dsl.If(text == "no"):
        inside = parts.say(text="inside")
        parts.say(text=inside.output)
    parts.cleanup()


CASES = [
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
            "control-flow dsl.OneOf: exactly one branch is executed, its output is passed on",
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
]

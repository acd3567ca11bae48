"""Conditions in the form that the compiler writes, evaluated as CEL does."""

import pytest

from utils.ir.expression import ExpressionError, evaluate

INPUTS = {
    "pipelinechannel--text": "it's",
    "pipelinechannel--url": 'http://host/?q="a b"&x=1',
    "pipelinechannel--path": "C:\\new",
    "pipelinechannel--two": "a' or 'b",
    "n": 3,
    "f": 0.5,
    "whole": 3.0,
    "yes": True,
    "no": False,
    "digits": "5",
    "struct": {"a": [1, {"b": "x"}]},
    "json": '{"k": 2}',
    "empty": "",
    "none": None,
}


def of(name: str) -> str:
    return f"inputs.parameter_values['{name}']"


@pytest.mark.parametrize(
    "expression",
    [
        f"{of('n')} == 3",
        f"int({of('n')}) == 3",
        f"int({of('whole')}) == 3",
        f"int({of('digits')}) == 5",
        f"double(int({of('n')})) > 2.5",
        f"double({of('digits')}) == 5.0",
        f"{of('f')} <= 0.5 && {of('f')} >= 0.5",
        f"{of('n')} < 4 && {of('n')} > -1 && {of('n')} != 4",
        f"{of('f')} > 5e-1 || {of('f')} == 0.5",
        f"{of('yes')} == true",
        f"{of('no')} == false",
        f"!({of('yes')} == false)",
        f"!{of('no')}",
        f"{of('yes')}",
        f"!({of('n')} == 4) && !({of('n')} == 5)",
        f"({of('n')} == 4 || {of('n')} == 3) && true",
        f"{of('n')} == 3 || {of('none')} == 1",
        f"{of('digits')} == '5'",
        f"{of('digits')} != 5",
        f"{of('n')} != '3'",
        f"{of('yes')} != 1",
        f"{of('empty')} == ''",
        f"{of('digits')} > '10'",
        f"'b' > 'a' && {of('digits')} >= '5'",
        f"string({of('n')}) == '3'",
        f"bool('true') == {of('yes')}",
        f"{of('struct')}[\"a\"][1]['b'] == 'x'",
        f"parseJson({of('json')})['k'] == 2",
        f"{of('pipelinechannel--text')} == 'it's'",
        f"'it's' == {of('pipelinechannel--text')}",
        f"({of('pipelinechannel--text')} == 'it's')",
        f'{of("pipelinechannel--text")} == "it\'s"',
        f"{of('pipelinechannel--text')} == 'it\\'s'",
        f"{of('pipelinechannel--url')} == 'http://host/?q=\"a b\"&x=1'",
        f"!({of('pipelinechannel--url')} == 'http://host/') && {of('n')} == 3",
        f"{of('pipelinechannel--two')} == 'a' or 'b'",
        f"{of('pipelinechannel--path')} == 'C:\\\\new'",
        "'a\\x41\\u0042\\n' == 'aAB\n'",
        "'\\d' == '\\d'",
        "'int(inputs.parameter_values['n'])' == '3'",
        f"'{of('yes')}' == 'true'",
        " 1<2&&2<3 ",
    ],
)
def test_conditions_that_are_true(expression: str) -> None:
    assert evaluate(expression, INPUTS)


@pytest.mark.parametrize(
    "expression",
    [
        f"{of('n')} == 4",
        f"{of('digits')} == 5",
        f"{of('yes')} == 1",
        f"{of('yes')} == false",
        f"!{of('yes')}",
        f"{of('f')} > 0.5",
        f"{of('pipelinechannel--text')} == 'its'",
        f"{of('pipelinechannel--url')} == 'http://host/?q='",
        "true && false || false",
        "false || true && false",
        "(true || true) && false",
        "1 < 2 == false",
    ],
)
def test_conditions_that_are_false(expression: str) -> None:
    assert not evaluate(expression, INPUTS)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (f"{of('none')} == 1", "the input none has no value"),
        (f"{of('pipelinechannel--gone')} == 1", "the input gone has no value"),
        (f"{of('n')}", "neither true nor false"),
        (f"{of('n')} && true", "3 is neither true nor false"),
        (f"{of('digits')} < 3", "can't compare 5 < 3"),
        (f"{of('struct')} < 3", "can't compare"),
        (f"int({of('pipelinechannel--text')}) == 1", "has no value"),
        (f"{of('struct')}['z'] == 1", "no 'z' in"),
        ("'never ends", "without end"),
        ("1 ==", "expected name"),
        ("1 == 1 1", "unexpected text at '1'"),
        ("(1 == 1", r"expected \)"),
        ("__import__('os').system('x') == 0", "unknown name __import__"),
        ("inputs.artifacts['x'] == 1", "unknown part of inputs"),
        ("size('a') == 1", "unknown name size"),
        ("1 @ 1", "can't read"),
        ("", "expected name"),
    ],
)
def test_invalid_conditions_are_errors(expression: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        evaluate(expression, INPUTS)


def test_parameter_text_is_never_evaluated() -> None:
    """A value is compared, never pasted: quotes in it can't change what the condition says."""
    assert not evaluate(f"{of('x')} == 'safe'", {"x": "' == '' || true || 'a' == '"})


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 3000 + "1 == 1" + ")" * 3000,
        "!" * 9000 + "true",
        "true && " * 9000 + "true",
        "9" * 5000 + " == 1",
        f"int({'9' * 5000!r}) == 1",
        f"int({of('infinite')}) == 1",
        f"parseJson({of('deep')}) == 1",
        f"parseJson({of('digits')}) == 1",
    ],
)
def test_condition_that_is_too_large_is_an_error(expression: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(expression, {"infinite": float("inf"), "deep": "[" * 100_000, "digits": "9" * 5000})

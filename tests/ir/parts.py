"""Components from which the tests build pipelines."""

from typing import List, NamedTuple, Optional  # noqa: UP035 - kfp reads typing's

from kfp import dsl

from tests.ir.memory_runner import component


@component
def say(text: str) -> str:
    return text


@component
def number(value: int) -> int:
    assert isinstance(value, int)
    return value


@component
def fraction(value: float) -> float:
    assert isinstance(value, float)
    return value


@component
def truth(value: bool) -> bool:
    return value


@component
def words(text: str = "a b") -> list:
    return text.split()


@component
def struct() -> dict:
    return {"name": "x", "size": 3, "parts": [{"n": 1}, {"n": 2}]}


@component
def people() -> list:
    return [{"who": "Ann", "age": 41}, {"who": "Bo", "age": 7}]


@component
def join(parts: list) -> str:
    return "+".join(str(part) for part in parts)


@component
def optional(text: str = "default", count: int = 3, ratio: float = 0.5, flags: dict = {"a": 1}) -> str:  # noqa: B006
    return f"{text} {count} {ratio} {flags}"


@component
def maybe(text: Optional[str] = None) -> str:  # noqa: UP045 - the one form that kfp reads
    return f"{text}"


@component
def fail(text: str = "no luck") -> str:
    raise ValueError(text)


@component
def nothing() -> None:
    pass


@component
def after_all(text: str = "no text") -> None:
    pass


@component
def fails_at(text: str, at: str) -> str:
    if text == at:
        raise ValueError(text)
    return text


@component
def fails_twice(text: str = "third time") -> str:
    from tests.ir.memory_runner import here

    if here().task.attempt < 2:
        raise ValueError(f"attempt {here().task.attempt}")
    return text


@component
def at_exit(status: dsl.PipelineTaskFinalStatus, note: str = "") -> str:
    return f"{status.state} {status.pipeline_task_name} {status.error_code} {status.error_message}"


@component
def cleanup() -> None:
    pass


@component
def cancels_run() -> str:
    from tests.ir.memory_runner import here

    here().runner.walker.cancel()
    here().runner.canceled.wait(5)
    raise ValueError("stopped")


@component
def two() -> NamedTuple("Both", [("left", int), ("right", str)]):  # type: ignore[valid-type]  # the form that kfp reads
    from collections import namedtuple

    Both = namedtuple("Both", ["left", "right"])
    return Both(1, "r")


@component
def write(text: str, data: dsl.Output[dsl.Dataset]) -> None:
    data.metadata["length"] = len(text)
    from pathlib import Path

    Path(data.path).write_text(text)


@component
def read(data: dsl.Input[dsl.Dataset]) -> str:
    from pathlib import Path

    return f"{Path(data.path).read_text()} {data.metadata['length']} {data.name}"


@component
def count(data: dsl.Input[List[dsl.Dataset]]) -> int:  # noqa: UP006
    return len(data)


@component
def maybe_read(data: dsl.Input[dsl.Dataset] = None) -> str:
    return "nothing" if data is None else "something"


@component
def write_metrics(metrics: dsl.Output[dsl.Metrics]) -> None:
    metrics.log_metric("loss", 0.25)


@component
def to_path(  # the form of its parameters is the one that kfp reads
    text: dsl.OutputPath(str),  # type: ignore[valid-type]
    size: dsl.OutputPath(int),  # type: ignore[valid-type]
) -> None:
    from pathlib import Path

    Path(text).write_text("by file")
    Path(size).write_text("7")


@component
def uri_of(data: dsl.Input[dsl.Artifact]) -> str:
    return data.uri

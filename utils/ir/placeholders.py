"""Placeholders for values that are known only when the task runs, such as `{{$.pipeline_job_name}}`."""

import re
import uuid
from collections.abc import Mapping
from typing import Any

from utils.foreign_text import read_json
from utils.ir.model import RunIds
from utils.ir.values import text

_INPUT = re.compile(r"\{\{\$\.inputs\.parameters\[['\"]+([^'\"\]]+)['\"]+\]\}\}")
_PATH = re.compile(r'parseJson\(string_value\)((?:\[(?:"[^"]*"|\'[^\']*\'|\d+)\])+)')
_PATH_STEP = re.compile(r'\["([^"]*)"\]|\[\'([^\']*)\'\]|\[(\d+)\]')

WORKSPACE = "{{$.workspace_path}}"


def job_values(ids: RunIds, task_id: str, task_name: str) -> dict[str, str]:
    """The placeholders of run and task with their values."""
    return {
        "{{$.pipeline_job_name}}": ids.name,
        "{{$.pipeline_job_resource_name}}": ids.id,
        "{{$.pipeline_job_uuid}}": ids.id,
        "{{$.pipeline_job_create_time_utc}}": ids.created,
        "{{$.pipeline_job_schedule_time_utc}}": ids.created,
        "{{$.pipeline_root}}": ids.root,
        "{{$.pipeline_task_name}}": task_name,
        "{{$.pipeline_task_uuid}}": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{ids.id}/{task_id}")),
    }


def resolve_constant(value: Any, job: Mapping[str, str]) -> Any:
    """A constant with the placeholders of run and task resolved.

    As on a server, they are resolved only if they are the entire constant: "{{$.pipeline_job_uuid}}-x" is unchanged.
    """
    return job.get(value, value) if isinstance(value, str) else value


def resolve_inputs(value: Any, inputs: Mapping[str, Any]) -> Any:
    """value with `{{$.inputs.parameters['x']}}` resolved, anywhere in a string, list or struct.

    A string that consists of one such placeholder becomes the input's own value, with its type.

    Raises:
        KeyError: the task has no such input.
    """
    if isinstance(value, str):
        if whole := _INPUT.fullmatch(value):
            return inputs[whole[1]]
        return _INPUT.sub(lambda match: text(inputs[match[1]]), value)
    if isinstance(value, list):
        return [resolve_inputs(item, inputs) for item in value]
    if isinstance(value, dict):
        return {resolve_inputs(key, inputs): resolve_inputs(item, inputs) for key, item in value.items()}
    return value


def parse_path(selector: str) -> tuple[str | int, ...]:
    """The steps of `parseJson(string_value)["a"][0]`, the one form of selector that the SDK writes.

    Raises:
        ValueError: it has another form.
    """
    whole = _PATH.fullmatch(selector)
    if not whole:
        raise ValueError(f"unknown selector {selector!r}")
    steps = _PATH_STEP.findall(whole[1])
    return tuple(int(number) if number else double or single for double, single, number in steps)


def follow_path(value: Any, path: tuple[str | int, ...]) -> Any:
    """The part of value at path. A string on the way is parsed as JSON.

    Raises:
        ValueError: the part does not exist.
    """
    for step in path:
        try:
            value = (read_json(value) if isinstance(value, str) else value)[step]
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(f"no {step!r} in {text(value)[:200]}") from error
    return value


def mentions(value: Any, placeholder: str) -> bool:
    """Whether placeholder occurs anywhere in value."""
    if isinstance(value, str):
        return placeholder in value
    if isinstance(value, list | tuple):
        return any(mentions(item, placeholder) for item in value)
    if isinstance(value, dict):
        return any(mentions(item, placeholder) for pair in value.items() for item in pair)
    return False

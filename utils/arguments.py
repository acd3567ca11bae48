"""The arguments of a pipeline: read from files and the command line, checked against the pipeline's own file."""

import difflib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from utils.errors import UsageError
from utils.foreign_text import TextError, read_yaml
from utils.ir.model import Parameter
from utils.stages.prerequisites.parameters import check_object_names, check_parameters

# What each type of the file means to users.
_EXPECTED = {
    "STRING": "text",
    "NUMBER_INTEGER": "a whole number, like 8",
    "NUMBER_DOUBLE": "a number, like 0.5 or 2e-5",
    "BOOLEAN": "true or false",
    "LIST": 'a list, like ["a", "b"]',
    "STRUCT": 'a mapping, like {"key": "value"}',
}
# The part before the @ of an address: all of it for http and https, else what follows a colon (ssh names its user).
_USERINFO = re.compile(r"(https?://|\w+://[^/\s:@]*:)[^/\s]*@", re.IGNORECASE)
# Numbers travel as JSON doubles in KFP: integers beyond this lose digits.
_LARGEST_EXACT_INTEGER = 2**53


def load_arguments(
    parameters: Mapping[str, Parameter],
    files: Sequence[Path] = (),
    pairs: Sequence[str] = (),
    more: Callable[[Mapping[str, Any]], list[str]] = lambda arguments: [],
) -> dict[str, Any]:
    """The typed arguments from parameter files (later ones override) and then `NAME=VALUE` pairs (these override
    files).

    Only given arguments are returned: defaults are filled in where the pipeline runs.

    Args:
        more: gives further findings about arguments of the right type, for the error that names findings of this
            function.

    Raises:
        UsageError: an unknown name, a value of another type, credentials in an address, a missing required parameter, a
            file that can't be read; one error lists all findings.
    """
    arguments: dict[str, Any] = {}
    good: dict[str, Any] = {}
    findings: list[str] = []
    for name, value, source in _given(files, pairs, findings):
        if name not in parameters:
            findings.append(f"{source}: no parameter {_masked(repr(name))}{_near(name, parameters)}")
            continue
        arguments[name] = value
        if holds_credentials(value):
            findings.append(f"{source}: {name}: {CREDENTIALS}")
            continue
        try:
            good[name] = arguments[name] = typed(parameters[name], value)
        except ValueError as error:
            findings.append(f"{source}: {name}: {error}")
    missing = [
        name for name, spec in parameters.items() if not (spec.optional or spec.has_default or name in arguments)
    ]
    if missing:
        findings.append(f"required and not given: {', '.join(missing)}")
    if findings:
        findings += more(good)
        raise UsageError(
            f"{len(findings)} of the arguments do{'es' if len(findings) == 1 else ''} not fit the pipeline",
            "\n         ".join(findings),
            "correct them; docs/parameters.md describes every parameter of our pipeline",
        )
    return arguments


def check_ranges(parameters: Mapping[str, Parameter], arguments: Mapping[str, Any], place: str) -> None:
    """Reject values that the prerequisites of our own pipeline would reject, defaults included.

    Args:
        place: local, kubernetes or kfp. Names of Secrets and ConfigMaps are checked only for clusters.

    Raises:
        UsageError: lists all findings.
    """
    if found := range_findings(parameters, place, arguments):
        what = f"{len(found)} of the arguments can't be used"
        raise UsageError(what, "\n         ".join(found), "correct them; docs/parameters.md describes every parameter")


def range_findings(parameters: Mapping[str, Parameter], place: str, arguments: Mapping[str, Any]) -> list[str]:
    """The findings that `check_ranges` raises."""
    given = {name: spec.default for name, spec in parameters.items() if spec.has_default} | dict(arguments)
    found = [one.problem for one in check_parameters(given)]
    if place != "local":
        found += [one.problem for one in check_object_names(given, on_kfp=place == "kfp")]
    return found


CREDENTIALS = (
    "an address with a user, token or password in it, visible to everybody who can see the run; for the taxonomy's "
    "repository, put it into the Secret of sdg_repo_secret (--taxonomy-repo-secret)"
)


def holds_credentials(value: Any) -> bool:
    """Whether the value contains, at any depth, an address with a user or password."""
    return bool(_USERINFO.search(str(value)))


def typed(parameter: Parameter, value: Any) -> Any:
    """value in the type of the parameter; text is read as on the command line, where everything is text.

    Raises:
        ValueError: value is not of the parameter's type; the message names both types.
    """
    if value is None:
        empty = {"LIST": "[]", "STRUCT": "{}"}.get(parameter.type, '""')
        raise ValueError(f"has no value (null); expected {_expected(parameter)}; unset is written {empty}")
    read = _READERS.get(parameter.type)
    if read is None:
        raise ValueError(f"is of the type {parameter.type}, which can't be given as an argument")
    result = read(value)
    if result is None:
        raise ValueError(f"got {_shown(value)}, expected {_expected(parameter)}{_hint(parameter, value)}")
    return result


def _integer(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,20}", value.strip()):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_EXACT_INTEGER
    return value if fits else None


def _double(value: Any) -> float | None:
    if isinstance(value, str) and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _boolean(value: Any) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _list(value: Any) -> list[Any] | None:
    value = _parsed(value)
    return value if isinstance(value, list) and _is_json(value) else None


def _struct(value: Any) -> dict[str, Any] | None:
    value = _parsed(value)
    return value if isinstance(value, dict) and _is_json(value) else None


_READERS = {
    "STRING": _string,
    "NUMBER_INTEGER": _integer,
    "NUMBER_DOUBLE": _double,
    "BOOLEAN": _boolean,
    "LIST": _list,
    "STRUCT": _struct,
}


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        documents = read_yaml(value, refuse_dates=True)
    except TextError:
        return None
    return documents[0] if len(documents) == 1 else None


def _is_json(value: Any) -> bool:
    """Whether value survives JSON unchanged: no dates, no keys that are not text."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    if isinstance(value, list):
        return all(_is_json(item) for item in value)
    return value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _expected(parameter: Parameter) -> str:
    return _EXPECTED.get(parameter.type, parameter.type)


def _masked(text: str) -> str:
    return _USERINFO.sub(r"\1***@", text)


def _shown(value: Any) -> str:
    text = _masked(json.dumps(value, default=str))
    return text if len(text) <= 60 else text[:57] + "..."


def _hint(parameter: Parameter, value: Any) -> str:
    return ' (put it in quotes: "…")' if parameter.type == "STRING" and isinstance(value, int | float) else ""


def _near(name: str, names: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _given(files: Sequence[Path], pairs: Sequence[str], findings: list[str]) -> Iterator[tuple[str, Any, str]]:
    """Name, value and source of each argument, in the order of precedence; what can't be read becomes a finding."""
    for file in files:
        try:
            values = _read_file(file)
        except ValueError as error:
            findings.append(f"{file}: {error}")
            continue
        yield from ((str(name), value, str(file)) for name, value in values.items())
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if separator and name.strip():
            yield name.strip(), value, "-p"
        else:
            findings.append(f"-p {_shown(pair)}: expected NAME=VALUE")


def _read_file(file: Path) -> dict[str, Any]:
    """A YAML or JSON file of parameters; an empty file gives none.

    Raises:
        ValueError: it can't be read, is not YAML, names a parameter twice, or is not a mapping.
    """
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"can't be read: {getattr(error, 'strerror', None) or 'it is not text'}") from error
    try:
        documents = read_yaml(text, refuse_dates=True)
    except TextError as error:
        where = f"{error.place}: " if error.place else ""
        raise ValueError(f"{where}not valid YAML: {error.problem}") from error
    if len(documents) > 1:
        raise ValueError(f"expected one YAML document, found {len(documents)}")
    values = documents[0] if documents else None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValueError(f"expected a mapping of parameter names to values, found a {type(values).__name__}")
    tree = yaml.compose(text, yaml.SafeLoader)
    keys = [key.value for key, _ in tree.value] if isinstance(tree, yaml.MappingNode) else []
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"named more than once: {', '.join(twice)}")
    return values

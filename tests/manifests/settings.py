"""As much of kustomize as these tests need: the fields that a replacement of manifests/settings selects and sets."""

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from utils.files import ROOT


def root() -> Path:
    return ROOT / "manifests"


@cache
def _read(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


def settings() -> dict[str, str]:
    (config_map,) = _read(root() / "settings/settings.yaml")
    found: dict[str, str] = config_map["data"]
    return found


def objects_of(folder: str) -> list[dict[str, Any]]:
    """The objects of a folder of manifests/ as they stand there."""
    (kustomization,) = _read(root() / folder / "kustomization.yaml")
    return [one for name in kustomization["resources"] for one in copy.deepcopy(_read(root() / folder / name))]


def values_at(one: dict[str, Any], target: dict[str, Any]) -> Iterator[str]:
    """What stands at the places of an object that a replacement's target names; of a delimited value its part."""
    if not selects(target["select"], one) or any(selects(no, one) for no in target.get("reject", [])):
        return
    options = target.get("options", {})
    for path in target["fieldPaths"]:
        value: Any = one
        for step in steps(path):
            if isinstance(value, dict) and step not in value and options.get("create"):
                return
            value = value[step] if isinstance(value, dict) else item(value, step)
        # kustomize leaves a number a number.
        yield value.split(options["delimiter"])[options.get("index", 0)] if "delimiter" in options else str(value)


def selects(selector: dict[str, str], one: dict[str, Any]) -> bool:
    """Whether a selector (kind, name, namespace, labelSelector with one key=value) fits an object."""
    metadata = one["metadata"]
    facts = {"kind": one["kind"], "name": metadata["name"], "namespace": metadata.get("namespace")}
    key, _, value = selector.get("labelSelector", "").partition("=")
    labelled = not key or metadata.get("labels", {}).get(key) == value
    return labelled and all(facts[name] == want for name, want in selector.items() if name != "labelSelector")


def steps(path: str) -> list[str]:
    """The steps of a field path: a.b.[c.d/e].0 has four."""
    found, rest = [], path
    while rest:
        if rest.startswith("["):
            step, _, rest = rest[1:].partition("]")
            rest = rest.removeprefix(".")
        else:
            step, _, rest = rest.partition(".")
        found.append(step)
    return found


def item(values: list[Any], step: str) -> Any:
    """An item of a list, by its number or by KEY=VALUE."""
    key, equals, value = step.partition("=")
    return next(one for one in values if one[key] == value) if equals else values[int(step)]

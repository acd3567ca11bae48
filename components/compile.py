"""Compile the DAG to pipeline.yaml: KFP's own compiler, then steps that keep the file small.

A run's database row, its Argo workflow and each pod's manifest carry this file or parts of it, and stages carry much
code, some of it in several executors. So: components that are equal become one (`train` is used twice); the stages'
functions are compressed in parts, one for each set of executors that use the same ones, and executors refer to the
parts they need by YAML alias; what no user interface shows is left out. `stage_source` gives the code back.
"""

import ast
import base64
import bz2
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from components.stage import slim_source

CODE = "ILAB_CODE_"
"""Environment variables of an executor that hold its code begin so."""

_LOADER = """
import base64, bz2, os, pathlib, sys
# The code of this stage; `ilab-pipeline compile --source COMPONENT` prints it.
parts = [os.environ.pop(name) for name in sorted(os.environ) if name.startswith("ILAB_CODE_")]
parts = [bz2.decompress(base64.b85decode(part.translate({46: 123, 44: 36}))) for part in parts]
folder = pathlib.Path(__file__).parent
(folder / "stage_code.py").write_bytes(b"\\n".join([b"from kfp import dsl", b"from typing import *", *parts]))
sys.path.insert(0, str(folder))
from stage_code import *
"""
_SOURCE = 3  # position of the Python source in a lightweight component's command: sh, -ec, script, source
_LONG = 25  # characters; parts of the file with more are written once
_LINE = 80  # characters; mappings with no more take one line
_SMALL = 5000  # characters; shared code shorter than that compresses badly alone and goes with other such code


def compile_pipeline(pipeline: Callable[..., Any], path: Path) -> None:
    """Write the compiled DAG to path (KFP v2 IR and Kubernetes platform spec), the same bytes each time.

    Args:
        pipeline: a function decorated with `dsl.pipeline`.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "pipeline.yaml")
        compiler.Compiler().compile(pipeline, str(plain))
        text = plain.read_text()
    # A prefix that KFP gives to inputs that come from elsewhere: 17 letters, 300 times.
    text = text.replace("pipelinechannel--", "")
    spec, platform = yaml.load_all(text, Loader=yaml.CSafeLoader)  # two: every stage mounts something
    merge_equal_components(spec, platform)
    for component in spec["components"].values():
        for argument in component.get("inputDefinitions", {}).get("parameters", {}).values():
            argument.pop("description", None)  # those of the pipeline's own parameters are shown, these are not
    pack_code(spec["deploymentSpec"]["executors"])
    style: dict[str, Any] = {"default_flow_style": None, "width": 10**9, "sort_keys": True, "allow_unicode": True}
    documents = [_written_once(document, {}) for document in (spec, platform)]
    path.write_text(yaml.dump_all(documents, Dumper=_Dumper, **style))


def merge_equal_components(spec: dict[str, Any], platform: dict[str, Any]) -> None:
    """Let tasks share one component, and one executor, where theirs are equal, mounts and all (in place)."""
    components, executors = spec["components"], spec["deploymentSpec"]["executors"]
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    first: dict[str, str] = {}
    for name in sorted(components):
        label = components[name].get("executorLabel")
        if label is None:
            continue
        rest = {key: value for key, value in components[name].items() if key != "executorLabel"}
        kept = first.setdefault(json.dumps([rest, executors[label], settings.get(label)], sort_keys=True), name)
        if kept != name:
            del components[name], executors[label]
            settings.pop(label, None)
            _refer(spec, name, kept)


def _refer(spec: dict[str, Any], name: str, kept: str) -> None:
    dags = [spec["root"], *spec["components"].values()]
    for task in (task for dag in dags for task in dag.get("dag", {}).get("tasks", {}).values()):
        if task["componentRef"]["name"] == name:
            task["componentRef"]["name"] = kept


def pack_code(executors: dict[str, Any]) -> None:
    """Move the functions of each executor's source into compressed parts in its environment (in place)."""
    used: dict[str, set[str]] = defaultdict(set)
    sources: dict[str, str] = {}
    for label, executor in executors.items():
        container = executor["container"]
        for name, text in _functions(container["command"][_SOURCE], container["args"][-1]).items():
            if sources.setdefault(name, text) != text:
                raise ValueError(f"two functions are called {name}: one name, one function")
            used[name].add(label)
    parts: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in sorted(used):
        parts[tuple(sorted(used[name]))].append(name)
    for users in [users for users in parts if len(users) > 1]:
        if sum(len(sources[name]) for name in parts[users]) < _SMALL:
            parts[()] += parts.pop(users)
    command = next(iter(executors.values()))["container"]["command"][:_SOURCE] + [_LOADER]
    for number, (users, names) in enumerate(sorted(parts.items())):
        variable = {"name": f"{CODE}{number}", "value": _pack("".join(sources[name] for name in names))}
        for label in users or sorted({label for name in names for label in used[name]}):
            executors[label]["container"].setdefault("env", []).append(variable)
            executors[label]["container"]["command"] = command


def _functions(source: str, own: str) -> dict[str, str]:
    """The text of each function of a lightweight component's source by name; helpers come short from `stage`."""
    lines, found = source.splitlines(keepends=True), {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            text = "".join(lines[node.lineno - 1 : node.end_lineno])
            found[node.name] = slim_source(text) if node.name == own else text
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            raise ValueError(f"a component's source has a {type(node).__name__} at its top: KFP has changed")
    return found


def _pack(code: str) -> str:
    # No { and no $: KFP, Argo and Kubernetes would look for {{placeholders}} and $(VARIABLES).
    return base64.b85encode(bz2.compress(code.encode())).decode().translate({ord("{"): ".", ord("$"): ","})


def stage_source(env: Mapping[str, str]) -> str:
    """The code packed in an executor's environment, as Python text; "" when there is none."""
    parts = [env[name].translate({ord("."): "{", ord(","): "$"}) for name in sorted(env) if name.startswith(CODE)]
    return "\n".join(bz2.decompress(base64.b85decode(part)).decode() for part in parts)


def _written_once(node: Any, seen: dict[str, Any]) -> Any:
    """node with one object for all its equal parts of some length, so that they are dumped once, then as aliases."""
    if isinstance(node, dict):
        node = {key: _written_once(value, seen) for key, value in node.items()}
    elif isinstance(node, list):
        node = [_written_once(value, seen) for value in node]
    text = str(node)
    return seen.setdefault(text, node) if len(text) > _LONG else node


class _Dumper(yaml.CSafeDumper):
    """Sources as literal blocks, long texts written once, short mappings on one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return not isinstance(data, dict | list) and not (isinstance(data, str) and len(data) > _LONG)

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        return super().represent_mapping(tag, mapping, flow_style or len(str(mapping)) <= _LINE or None)


def _text(dumper: yaml.CSafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)

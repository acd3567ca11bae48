"""Compile the DAG to pipeline.yaml: KFP's own compiler, then steps that keep the file small and legible.

Stages carry much shared code, most of it in several executors. Components that are equal become one (`train` is used
twice), and each executor's helpers become one compressed line. The component's own function stays plain text;
`helpers_source` gives the rest back. bzip2 because its output is the same in every version of the library.
"""

import ast
import base64
import bz2
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from components.stage import slim_source

_UNPACK = """
import base64, bz2, pathlib, sys
# The helpers of this component, compressed; `ilab-pipeline compile --source COMPONENT` prints them.
HELPERS = "{packed}"
_folder = pathlib.Path(__file__).parent
(_folder / "stage_helpers.py").write_bytes(bz2.decompress(base64.b64decode(HELPERS)))
sys.path.insert(0, str(_folder))
from stage_helpers import {names}

"""
_SOURCE = 3  # position of the Python source in a lightweight component's command: sh, -ec, script, source


def compile_pipeline(pipeline: Callable[..., Any], path: Path) -> None:
    """Write the compiled DAG to path (KFP v2 IR and Kubernetes platform spec), the same bytes each time.

    Args:
        pipeline: a function decorated with `dsl.pipeline`.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "pipeline.yaml")
        compiler.Compiler().compile(pipeline, str(plain))
        text = plain.read_text()
    spec, platform = yaml.load_all(text, Loader=yaml.CSafeLoader)  # two: every stage mounts something
    merge_equal_components(spec, platform)
    for executor in spec["deploymentSpec"]["executors"].values():
        command = executor["container"]["command"]
        command[_SOURCE] = pack_helpers(command[_SOURCE], executor["container"]["args"][-1])
    # KFP's comment block on top: name, description, inputs.
    header = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    # Innermost mappings on one line each: half as many lines to read.
    style: dict[str, Any] = {"default_flow_style": None, "width": 10**9, "sort_keys": True, "allow_unicode": True}
    documents = yaml.dump_all([spec, platform], Dumper=_Dumper, **style)
    path.write_text(header + documents)


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
        kept = first.setdefault(yaml.dump([rest, executors[label], settings.get(label)]), name)
        if kept != name:
            del components[name], executors[label]
            settings.pop(label, None)
            _refer(spec, name, kept)


def _refer(spec: dict[str, Any], name: str, kept: str) -> None:
    dags = [spec["root"], *spec["components"].values()]
    for task in (task for dag in dags for task in dag.get("dag", {}).get("tasks", {}).values()):
        if task["componentRef"]["name"] == name:
            task["componentRef"]["name"] = kept


def pack_helpers(source: str, function: str) -> str:
    """source of a lightweight component with every function but the component's own compressed into one line."""
    top = ast.parse(source).body
    own = next(node for node in top if isinstance(node, ast.FunctionDef) and node.name == function)
    helpers = [node for node in top if isinstance(node, ast.FunctionDef) and node is not own]
    if not helpers:
        return source
    lines = source.splitlines(keepends=True)
    cut = helpers[0].lineno - 1
    if any(isinstance(node, ast.FunctionDef) != (node.lineno > cut) for node in top) or own is not top[-1]:
        raise ValueError(f"the source of {function} is not imports, helpers, component: KFP writes it another way now")
    module = "from typing import *\n\n\n" + "".join(lines[cut : own.lineno - 1])
    used = {node.id for node in ast.walk(own) if isinstance(node, ast.Name)}
    unpack = _UNPACK.format(
        packed=base64.b64encode(bz2.compress(module.encode())).decode(),
        names=", ".join(node.name for node in helpers if node.name in used),
    )
    # Its docstring stands in the component's input definitions.
    return "".join(lines[:cut]).rstrip("\n") + "\n" + unpack + slim_source("".join(lines[own.lineno - 1 :]))


def helpers_source(source: str) -> str:
    """The helpers packed in a component's source, as Python text; "" when there are none."""
    for line in source.splitlines():
        if line.startswith("HELPERS = "):
            return bz2.decompress(base64.b64decode(ast.literal_eval(line.removeprefix("HELPERS = ")))).decode()
    return ""


class _Dumper(yaml.CSafeDumper):
    """Sources as literal blocks, so that a reader of pipeline.yaml can read them."""


def _text(dumper: yaml.CSafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)

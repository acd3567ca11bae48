"""Compile the DAG to pipeline.yaml: KFP's own compiler, then steps that keep the file and its runs small.

The Argo Workflow of a run holds each task's container once in its spec and about 4.7 times in its status, and the
server stops reporting the states of tasks when the Workflow has grown over 1 MiB. So the stages' code travels once:
data import, the first task that mounts the run's volume, carries the code of all stages that do, and puts it to
`code/<hash>/` there; those stages read it from the volume. A task that runs without the volume carries what it needs.
`stage_source` gives a component's code back.
"""

import ast
import base64
import bz2
import hashlib
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from components.loading import CODE, HASH
from components.stage import slim_source
from utils.queues import label_tasks

_CARRIER = "comp-data-import"
"""The component that brings the code of all stages to the volume."""
_VOLUME = "data_dir"
"""Components with this parameter run on the volume."""
_SOURCE = 3  # position of the Python source in a lightweight component's command: sh, -ec, script, source
_LINE = 80  # characters; mappings with no more take one line


def compile_pipeline(pipeline: Callable[..., Any], path: Path, queue: str = "") -> None:
    """Write the compiled DAG to path (KFP v2 IR and Kubernetes platform spec), the same bytes each time.

    Args:
        pipeline: a function decorated with `dsl.pipeline`.
        queue: queue that every task which asks for a GPU waits in; "" for none.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "pipeline.yaml")
        compiler.Compiler().compile(pipeline, str(plain))
        text = plain.read_text()
    # A prefix that KFP gives to inputs that come from elsewhere: 17 letters, 300 times.
    text = text.replace("pipelinechannel--", "")
    spec, *platform = yaml.load_all(text, Loader=yaml.CSafeLoader)
    if queue and platform:
        label_tasks(spec, platform[0], queue)
    for component in spec["components"].values():
        for argument in component.get("inputDefinitions", {}).get("parameters", {}).values():
            argument.pop("description", None)  # those of the pipeline's own parameters are shown, these are not
    pack_code(spec)
    style: dict[str, Any] = {"default_flow_style": None, "width": 10**9, "sort_keys": True, "allow_unicode": True}
    path.write_text(yaml.dump_all([spec, *platform], Dumper=_Dumper, **style))


def pack_code(spec: dict[str, Any]) -> None:
    """Move the code of each executor out of its source (in place): to the carrier, else compressed to its environment.

    Raises:
        ValueError: two functions of the stages have one name, or KFP writes sources in another form.
    """
    executors = spec["deploymentSpec"]["executors"]
    functions = {label: _functions(executor["container"]) for label, executor in executors.items()}
    texts: dict[str, str] = {}
    for name, text in (pair for found in functions.values() for pair in found.items()):
        if texts.setdefault(name, text) != text:
            raise ValueError(f"two functions are called {name}: one name, one function")
    on_volume = _labels_on_volume(spec)
    shared = _code({name: text for label in on_volume for name, text in functions[label].items()})
    digest = hashlib.sha256(shared.encode()).hexdigest()
    carrier = spec["components"].get(_CARRIER, {}).get("executorLabel")
    for label, executor in executors.items():
        container, variables = executor["container"], {}
        if label in on_volume:
            variables[HASH] = digest
        if label not in on_volume or label == carrier:
            code = shared if label in on_volume else _code(functions[label])
            variables[CODE] = base64.b64encode(bz2.compress(code.encode())).decode()
        container.setdefault("env", []).extend({"name": name, "value": value} for name, value in variables.items())
        start, options, script, _ = container["command"]
        names = ["carried", "to_volume"] if label == carrier else ["from_volume" if label in on_volume else "carried"]
        loader = "".join(_loader(name) for name in names)
        container["command"] = [start, options, re.sub(" +", " ", script), loader]


def _labels_on_volume(spec: Mapping[str, Any]) -> set[str]:
    """Labels of the executors that read their code from the volume; none where nothing brings it there."""
    if _CARRIER not in spec["components"]:
        return set()
    return {
        component["executorLabel"]
        for component in spec["components"].values()
        if _VOLUME in component.get("inputDefinitions", {}).get("parameters", {})
    }


def _functions(container: Mapping[str, Any]) -> dict[str, str]:
    """The text of each function of a lightweight component's source by name; helpers come short from `stage`."""
    source, own = container["command"][_SOURCE], container["args"][-1]
    lines, found = source.splitlines(keepends=True), {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            text = "".join(lines[node.lineno - 1 : node.end_lineno])
            found[node.name] = slim_source(text) if node.name == own else text
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            raise ValueError(f"a component's source has a {type(node).__name__} at its top: KFP has changed")
    return found


def _code(functions: Mapping[str, str]) -> str:
    return "from kfp import dsl\nfrom typing import *\n" + "".join(functions[name] for name in sorted(functions))


def _loader(name: str) -> str:
    """The text of a module of `components.loading` without what explains it; to import it would be to run it."""
    _, _, code = (Path(__file__).parent / "loading" / f"{name}.py").read_text().partition('"""\n')
    # Every task carries it, six times in the Workflow of a finished run: one line of imports.
    code = re.sub(r"\nimport (?=\w+$)", ", ", slim_source(code), flags=re.MULTILINE)
    return re.sub("  # .*", "", code)


def stage_source(spec: Mapping[str, Any], component: str) -> str:
    """The Python source that a component of a compiled pipeline runs; "" when it carries none.

    Args:
        spec: the pipeline's first document.
        component: its key, such as `comp-sdg`.
    """

    def variables(key: str) -> dict[str, str]:
        executor = spec["deploymentSpec"]["executors"][spec["components"][key]["executorLabel"]]
        return {one["name"]: one.get("value", "") for one in executor["container"].get("env", [])}

    code = variables(_CARRIER if HASH in variables(component) else component).get(CODE)
    return bz2.decompress(base64.b64decode(code)).decode() if code else ""


class _Dumper(yaml.CSafeDumper):
    """Sources as literal blocks, everything written out where it stands, short mappings on one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        return super().represent_mapping(tag, mapping, flow_style or len(str(mapping)) <= _LINE or None)


def _text(dumper: yaml.CSafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)

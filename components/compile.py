"""Compile the DAG to pipeline.yaml: KFP's own compiler, then steps that keep the file and its runs small.

The Argo Workflow of a run holds each task's container once in its spec and four times in its status, five if the task
may be tried again (utils/lint/size.py), and the server stops reporting the states of tasks when the Workflow has grown
over 1 MiB. So the stages' code stands where it has only one copy in the status: in a field of each executor's container
that no server uses, `lifecycle.preCacheCheck` (in pipeline_spec.proto since 2.0; the driver, backend/src/v2/driver,
makes the pod of other fields). The tasks that run before the run's volume has the code, or without the volume, collect
its parts from their run's Workflow; the prerequisites put it to `code/<digest>/` on the volume; all later tasks import
from there.
"""

import ast
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from components import loading
from components.dag_inputs import complete_dag_inputs, shorten_dag_inputs
from utils.names import CODE
from utils.packing import as_text, bundle, stage_files, tree_digest
from utils.queues import label_tasks

FIRST_ON_VOLUME = "prerequisites"
"""The task that puts the code on the volume."""
_VOLUME = "data_dir"
"""Components with this parameter run on the volume."""
_SOURCE = 3  # position of the Python source in a lightweight component's command: sh, -ec, script, source
_SHELL = ["sh", "-ec"]
_EXECUTOR = "_KFP_RUNTIME=true python3 -m kfp.dsl.executor_main "
# What KFP starts a component with that installs nothing, shorter: argparse takes the start of an option for it, if only
# one begins so. -B: beside the stages' code on the volume no bytecode is left.
_START = """\
f=$(mktemp -d)/task.py
printf %s "$0" >"$f"
_KFP_RUNTIME=true python3 -Bm kfp.dsl.executor_main --component "$f" "$@"
"""
_OPTIONS = {"--executor_input": "--executor", "--function_to_execute": "--function"}
_WIDTH = 118
_LINE = 80  # characters; mappings with no more take one line


def compile_pipeline(pipeline: Callable[..., Any], path: Path, queue: str = "") -> None:
    """Write the compiled DAG to path (KFP v2 IR and Kubernetes platform spec), the same bytes each time.

    Args:
        pipeline: a function decorated with `dsl.pipeline`.
        queue: LocalQueue in which every task that requests a GPU waits; "" for none.
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
    complete_dag_inputs(spec)
    shorten_dag_inputs(spec, platform[0] if platform else {})
    add_code(spec)
    style: dict[str, Any] = {"default_flow_style": None, "width": 10**9, "sort_keys": True, "allow_unicode": True}
    path.write_text(yaml.dump_all([spec, *platform], Dumper=_Dumper, **style))


def add_code(spec: dict[str, Any]) -> None:
    """Add a part of the stages' code to each executor, and to its function how it finds all of it (in place).

    Raises:
        ValueError: a component imports a missing module, or KFP writes sources in another form.
    """
    executors = spec["deploymentSpec"]["executors"]
    functions = {label: _Function(executor["container"]) for label, executor in executors.items()}
    files = stage_files(sorted({name for function in functions.values() for name in function.imports()}))
    digest, on_volume = tree_digest(files), _labels_on_volume(spec)
    for label, part in zip(executors, _parts(as_text(bundle(files)), len(executors)), strict=True):
        container: dict[str, Any] = executors[label]["container"]
        container["lifecycle"] = {"preCacheCheck": {"args": part}}
        if label not in on_volume:
            container.setdefault("env", []).append({"name": CODE, "value": "Workflow"})
        load = loading_body(loading.on_volume if label in on_volume else loading.from_workflow, digest)
        start, options, script, _ = container["command"]
        plain = [start, options] == _SHELL and _EXECUTOR in script
        container["command"] = [start, options, _START if plain else script, functions[label].text(load)]
        container["args"] = [_OPTIONS.get(argument, argument) for argument in container["args"]]


def _parts(text: str, number: int) -> list[list[str]]:
    """A text cut in parts of about the same length, each with its place in the order."""
    size = -(-len(text) // number)
    return [[f"PART_{index:03}", text[index * size : (index + 1) * size]] for index in range(number)]


def _labels_on_volume(spec: Mapping[str, Any]) -> set[str]:
    """Labels of the executors that find the code on the volume; none if no component puts it there."""
    if f"comp-{FIRST_ON_VOLUME}" not in spec["components"]:
        return set()
    return {
        component["executorLabel"]
        for key, component in spec["components"].items()
        if _VOLUME in component.get("inputDefinitions", {}).get("parameters", {}) and key != f"comp-{FIRST_ON_VOLUME}"
    }


class _Function:
    """The function of a lightweight component."""

    def __init__(self, container: Mapping[str, Any]) -> None:
        source, own = container["command"][_SOURCE], container["args"][-1]
        found = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == own]
        if len(found) != 1:
            raise ValueError(f"the source of the component {own} has no function of that name: KFP has changed")
        self._node = found[0]

    def imports(self) -> list[str]:
        """Full names of its imports from our own modules."""
        nodes = [node for node in ast.walk(self._node) if isinstance(node, ast.ImportFrom) and node.module]
        return [f"{n.module}.{alias.name}" for n in nodes if str(n.module).startswith("utils.") for alias in n.names]

    def text(self, load: Sequence[ast.stmt] = ()) -> str:
        """A module with the function, without its docstring; its body begins with load."""
        body = _handed_on(self._node.body[ast.get_docstring(self._node) is not None :])
        names = [argument.arg for argument in self._node.args.args]
        if isinstance(self._node.returns, ast.Constant):  # None, which KFP does not read
            self._node.returns = None
        self._node.body = [*load, *(_Shorter(names).visit(statement) for statement in body)]
        return "from kfp import dsl\n" + "".join(map(_wrapped, ast.unparse(self._node).splitlines()))


def component_text(container: Mapping[str, Any]) -> str:
    """The module that a lightweight component's container runs, without what loads the stages' code."""
    return _Function(container).text()


def _handed_on(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements in which a variable `given`, which one sets and the next one alone uses once, is that value."""
    for place, one in enumerate(body[:-1]):
        if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == "given":
            used = [node for node in ast.walk(body[place + 1]) if isinstance(node, ast.Name) and node.id == "given"]
            if len(used) == 1 and not any(" given" in ast.unparse(later) for later in body[place + 2 :]):
                return [*body[:place], _Given(one.value).visit(body[place + 1]), *body[place + 2 :]]
    return body


class _Given(ast.NodeTransformer):
    def __init__(self, value: ast.expr) -> None:
        self._value = value

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self._value if node.id == "given" else node


class _Shorter(ast.NodeTransformer):
    """Shortens calls that hand on the function's parameters from the first to the nth, in order; and logged metrics.

    Python's `locals()` has a function's parameters first, in their order. `Metrics.log_metric` sets a key of
    `metadata` (kfp/dsl/types/artifact_types.py). A Workflow has each character of a task six times.
    """

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        given = [ast.unparse(argument) for argument in node.args]
        if len(given) > 4 and given == self._names[: len(given)] and not node.keywords:
            call = ast.parse(f"f(*[*locals().values()][:{len(given)}])", mode="eval").body
            assert isinstance(call, ast.Call)
            node.args = call.args
        return node

    def visit_For(self, node: ast.For) -> ast.AST:
        self.generic_visit(node)
        if ast.unparse(node.target) == "(metric, value)" and isinstance(node.iter, ast.Call):
            (logged,) = map(ast.unparse, node.body)
            items = ast.unparse(node.iter)
            if logged == "metrics.log_metric(metric, value)" and items.endswith(".items()"):
                return ast.parse(f"metrics.metadata.update({items.removesuffix('.items()')})").body[0]
        return node


def loading_body(load: Callable[..., Any], digest: str = "") -> list[ast.stmt]:
    """The statements of a function of components.loading, without its docstring, with the digest for its name."""
    tree = ast.parse(Path(loading.__file__).read_text())
    (node,) = [one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == load.__name__]
    return [_WithDigest(digest).visit(statement) for statement in node.body[1:]]


class _WithDigest(ast.NodeTransformer):
    def __init__(self, digest: str) -> None:
        self._digest = digest

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(self._digest) if node.id == "DIGEST" else node


def _wrapped(line: str) -> str:
    """A line of code, indented by one space per level; long lists of names in brackets are wrapped."""
    level = (len(line) - len(line.lstrip())) // 4
    line = " " * level + line.lstrip()
    lines = [""]
    for part in [line] if "'" in line or '"' in line else re.split("(?<=,) ", line):
        if lines[-1] and len(lines[-1]) + len(part) > _WIDTH:
            lines.append("")
        lines[-1] += " " * (len(lines) > 1 or bool(lines[-1])) + part
    return "\n".join(lines) + "\n"


class _Dumper(yaml.CSafeDumper):
    """Sources as literal blocks, no anchors, short mappings on one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        return super().represent_mapping(tag, mapping, flow_style or len(str(mapping)) <= _LINE or None)


def _text(dumper: yaml.CSafeDumper, value: str) -> yaml.ScalarNode:
    # Texts that YAML for Go takes for numbers and YAML for Python does not, such as 008 and 1e5, are in quotes.
    style = "|" if "\n" in value else "'" if re.match(r"[-+.]?\d", value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)

"""Read a compiled pipeline: the YAML document of the IR, and the one with the Kubernetes settings after it."""

import shlex
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from utils.errors import PipelineError
from utils.foreign_text import SHAPE_ERRORS, read_json
from utils.ir.code import with_code
from utils.ir.command import runs_executor
from utils.ir.model import (
    ArtifactSpec,
    Component,
    Container,
    Dag,
    Importer,
    Interface,
    Loop,
    Node,
    Parameter,
    Pipeline,
    Retry,
    Selector,
    Source,
)
from utils.ir.package import read_documents, read_package
from utils.ir.sources import parse_source
from utils.ir.values import typed, whole_numbers

_Spec = Mapping[str, Any]
_PLATFORM_PARTS = ("platform", "deploymentSpec", "pipelineConfig")
_PIP_OPTIONS_WITH_VALUE = {"--index-url", "--extra-index-url", "--trusted-host"}


def load(path: str | Path) -> Pipeline:
    """Read a compiled pipeline from a file: YAML, JSON, or an archive of it.

    Raises:
        PipelineError: the file is missing, is not YAML, or is not a KFP v2 pipeline.
    """
    return parse(read_package(path), str(path))


def parse(text: str, name: str = "pipeline") -> Pipeline:
    """Read a compiled pipeline from its text; `name` says in errors where the text is from.

    Raises:
        PipelineError: it is not YAML, or not a KFP v2 pipeline.
    """
    spec, platform = read_documents(text, name)
    try:
        pipeline = _pipeline(spec, platform, text)
    except SHAPE_ERRORS as error:
        reason = f"{type(error).__name__}: {error}"
        raise PipelineError(f"{name} is not as the KFP compiler writes it", reason, "compile it again") from error
    if not isinstance(pipeline.name, str) or not pipeline.name.strip():
        raise PipelineError(
            f"{name} has no name in it",
            "its pipelineInfo.name is empty; servers reject such a pipeline, and runs are named after it",
            "give it one, @dsl.pipeline(name=…), and compile it again",
        )
    return pipeline


def _pipeline(spec: _Spec, platform: _Spec, text: str) -> Pipeline:
    info = spec["pipelineInfo"] or {}
    executors = with_code(spec.get("deploymentSpec", {}).get("executors", {}))
    kubernetes = platform.get("platforms", {}).get("kubernetes", {})
    settings = kubernetes.get("deploymentSpec", {}).get("executors", {})
    components = {
        key: _component(key, content, executors, settings) for key, content in spec.get("components", {}).items()
    }
    _check_nesting(components)
    others = sorted(set(platform.get("platforms", {})) - {"kubernetes"})
    rest = {key: value for key, value in kubernetes.items() if key not in _PLATFORM_PARTS}
    return Pipeline(
        name=info.get("name") or "",
        display_name=info.get("displayName", ""),
        description=info.get("description", ""),
        root=_component("root", spec["root"], executors, settings),
        components=components,
        pipeline_root=spec.get("defaultPipelineRoot", ""),
        sdk_version=spec.get("sdkVersion", ""),
        settings={**kubernetes.get("pipelineConfig", {}), **rest, **({"platforms": others} if others else {})},
        text=text,
    )


def _check_nesting(components: Mapping[str, Component]) -> None:
    """A DAG that holds itself would never end."""
    inner = {key: [node.component for node in one.dag.nodes] for key, one in components.items() if one.dag}
    try:
        TopologicalSorter(inner).prepare()
    except CycleError as error:
        raise ValueError(f"a component holds itself: {' → '.join(error.args[1])}") from error


def _component(key: str, spec: _Spec, executors: _Spec, settings: _Spec) -> Component:
    component = Component(
        key=key,
        inputs=_interface(spec.get("inputDefinitions", {})),
        outputs=_interface(spec.get("outputDefinitions", {})),
        executor=spec.get("executorLabel", ""),
    )
    parts: dict[str, Any] = {}
    if "dag" in spec:
        parts["dag"] = _dag(spec["dag"], key)
    elif component.executor in executors:
        executor = executors[component.executor]
        if "container" in executor:
            parts["container"] = _container(executor["container"], settings.get(component.executor, {}))
        elif "importer" in executor:
            parts["importer"] = _importer(executor["importer"])
        else:
            parts["unknown"] = f"an executor of the kind {', '.join(executor) or 'nothing'}"
    else:
        parts["unknown"] = f"no executor {component.executor!r}" if component.executor else "no implementation"
    return Component(**{**component.__dict__, **parts})


def _interface(spec: _Spec) -> Interface:
    parameters = {name: _parameter(name, content) for name, content in spec.get("parameters", {}).items()}
    artifacts = {
        name: ArtifactSpec(
            name,
            _artifact_type(content.get("artifactType", {})),
            is_list=content.get("isArtifactList", False),
            optional=content.get("isOptional", False),
        )
        for name, content in spec.get("artifacts", {}).items()
    }
    return Interface(parameters, artifacts)


def _parameter(name: str, spec: _Spec) -> Parameter:
    kind = spec.get("parameterType") or {"INT": "NUMBER_INTEGER", "DOUBLE": "NUMBER_DOUBLE"}.get(
        spec.get("type", ""), "STRING"
    )
    default = spec.get("defaultValue")
    return Parameter(
        name,
        kind,
        default=None if default is None else typed(default, kind),
        has_default=default is not None,
        optional=spec.get("isOptional", False),
        description=spec.get("description", ""),
        literals=tuple(typed(value, kind) for value in spec.get("literals", ())),
    )


def _artifact_type(spec: _Spec) -> str:
    return spec.get("schemaTitle") or spec.get("instanceSchema") or spec.get("schemaUri") or "system.Artifact"


def _dag(spec: _Spec, where: str) -> Dag:
    nodes = {key: _node(key, content) for key, content in spec.get("tasks", {}).items()}
    lost = sorted({task for node in nodes.values() for task in node.after} - set(nodes))
    if lost:
        raise ValueError(f"in {where} a task needs {', '.join(lost)}, which isn't there")
    try:
        order = TopologicalSorter({key: node.after for key, node in nodes.items()}).static_order()
        ordered = tuple(nodes[key] for key in order)
    except CycleError as error:
        raise ValueError(f"in {where} tasks wait for each other: {' → '.join(error.args[1])}") from error
    outputs = spec.get("outputs", {})
    return Dag(
        ordered,
        parameters={name: _parameter_selectors(content) for name, content in outputs.get("parameters", {}).items()},
        artifacts={
            name: tuple(
                Selector(one["producerSubtask"], one["outputArtifactKey"]) for one in content["artifactSelectors"]
            )
            for name, content in outputs.get("artifacts", {}).items()
        },
    )


def _parameter_selectors(spec: _Spec) -> tuple[Selector, ...]:
    if "valueFromParameter" in spec:
        chosen = [spec["valueFromParameter"]]
    else:
        chosen = spec["valueFromOneof"]["parameterSelectors"]
    return tuple(Selector(one["producerSubtask"], one["outputParameterKey"]) for one in chosen)


def _node(key: str, spec: _Spec) -> Node:
    inputs = spec.get("inputs", {})
    parameters = {name: parse_source(content) for name, content in inputs.get("parameters", {}).items()}
    artifacts = {name: parse_source(content) for name, content in inputs.get("artifacts", {}).items()}
    policy = spec.get("triggerPolicy", {})
    return Node(
        key=key,
        name=spec.get("taskInfo", {}).get("name", key),
        component=spec["componentRef"]["name"],
        parameters=parameters,
        artifacts=artifacts,
        after=_needed([*parameters.values(), *artifacts.values()], spec.get("dependentTasks", [])),
        condition=policy.get("condition", ""),
        always=policy.get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED",
        loop=_loop(spec),
        retry=_retry(spec.get("retryPolicy", {})),
    )


def _needed(sources: Iterable[Source], dependent: list[str]) -> tuple[str, ...]:
    """The tasks that must end first: those named, and those whose outputs are used."""
    return tuple(dict.fromkeys([*dependent, *(source.task for source in sources if source.task)]))


def _loop(spec: _Spec) -> Loop | None:
    parallelism = int(spec.get("iteratorPolicy", {}).get("parallelismLimit", 0))
    if "parameterIterator" in spec:
        iterator = spec["parameterIterator"]
        if "raw" in iterator["items"]:
            items = tuple(read_json(iterator["items"]["raw"]))
            return Loop(iterator["itemInput"], items=items, parallelism=parallelism)
        return Loop(iterator["itemInput"], source=iterator["items"]["inputParameter"], parallelism=parallelism)
    if "artifactIterator" in spec:
        iterator = spec["artifactIterator"]
        source = iterator["items"]["inputArtifact"]
        return Loop(iterator["itemInput"], source=source, artifacts=True, parallelism=parallelism)
    return None


def _retry(spec: _Spec) -> Retry:
    return Retry(
        count=int(spec.get("maxRetryCount", 0)),
        seconds=_seconds(spec.get("backoffDuration", "0s")),
        factor=float(spec.get("backoffFactor") or 2.0),
        window=_seconds(spec.get("backoffMaxDuration") or "3600s"),
    )


def _seconds(duration: str) -> float:
    """A protobuf duration: "10s", "1.5s"."""
    return float(str(duration).removesuffix("s"))


def _container(spec: _Spec, platform: _Spec) -> Container:
    command = tuple(spec.get("command", ()))
    preamble, packages = _preamble(command)
    rest = command[len(preamble) :]
    program = any("--component" in str(part) for part in rest)
    return Container(
        image=spec.get("image", ""),
        command=rest,
        args=tuple(spec.get("args", ())),
        env={one["name"]: str(one.get("value", "")) for one in spec.get("env", ())},
        resources=spec.get("resources", {}),
        packages=packages,
        preamble=preamble,
        lightweight=program and runs_executor(rest),
        platform=platform,
    )


def _preamble(command: tuple[Any, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The shell script before the command that installs packages, and the packages that a component requests.

    The compiler writes `sh -c '… python3 -m pip install 'a==1' && "$0" "$@"'` before the command proper. The part that
    installs kfp itself, without dependencies, is not requested by the component.
    """
    if command[:2] != ("sh", "-c") or len(command) < 4 or "pip install" not in command[2]:
        return (), ()
    packages: list[str] = []
    for part in command[2].split("&&"):
        words = shlex.split(part.partition("pip install")[2])
        if "--no-deps" in words and any(word.startswith("kfp") for word in words):
            continue
        skip = False
        for word in words:
            if skip or word.startswith("-"):
                skip = not skip and word in _PIP_OPTIONS_WITH_VALUE
                continue
            packages.append(word)
    return command[:3], tuple(packages)


def _importer(spec: _Spec) -> Importer:
    uri = spec.get("artifactUri", {})
    constant = uri.get("constant", "")
    return Importer(
        type=_artifact_type(spec.get("typeSchema", {})),
        uri=constant if isinstance(constant, str) else "",
        parameter=uri.get("runtimeParameter", ""),
        metadata=whole_numbers(spec.get("metadata", {})),
        download=spec.get("downloadToWorkspace", False),
    )

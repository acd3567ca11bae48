"""Find what can't be run, and name it before anything starts."""

from collections.abc import Iterator, Sequence

from utils.errors import PipelineError
from utils.foreign_text import SHAPE_ERRORS
from utils.ir.command import runs_executor
from utils.ir.expression import ExpressionError, parse
from utils.ir.model import Component, Container, Node, Pipeline
from utils.ir.placeholders import WORKSPACE, mentions
from utils.ir.platform import sources, unknown_fields

# Images for which KFP's driver does the work itself without starting a container.
CREATE_CLAIM, DELETE_CLAIM = "argostub/createpvc", "argostub/deletepvc"

# PipelineConfig of the platform document; settings for a finished run's resources have no meaning here.
_KNOWN_SETTINGS = {
    "workspace", "activeDeadlineSeconds", "resourceTtlOnCompletion", "resourceTtlOnSuccess", "resourceTtlOnFailure",
    "platforms",
}  # fmt: skip


def check(pipeline: Pipeline, containers: bool) -> None:
    """Reject a pipeline that contains something we can't run.

    Args:
        pipeline: the pipeline.
        containers: whether a component's image can be run, or only Python functions carried in the file.

    Raises:
        PipelineError: its cause lists everything found, each with the task's name.
    """
    refuse(pipeline, findings(pipeline, containers))


def refuse(pipeline: Pipeline, found: Sequence[str]) -> None:
    """Reject a pipeline if anything was found.

    Raises:
        PipelineError: its cause lists everything found.
    """
    if found:
        things = "one thing" if len(found) == 1 else f"{len(found)} things"
        remedy = "change these tasks, or run the file on Kubeflow Pipelines: ilab-pipeline run --on kfp"
        raise PipelineError(
            f"the pipeline {pipeline.name} holds {things} that can't be run here", "\n".join(found), remedy
        )


def findings(pipeline: Pipeline, containers: bool) -> list[str]:
    """One line for everything that can't be run: `task a/b: what`."""
    found = [f"pipeline: {problem}" for problem in _settings(pipeline)]
    for path, node, component in _tasks(pipeline):
        try:
            problems = [*_node(node), *_component(component, containers)]
        except SHAPE_ERRORS as error:
            problems = [f"it is not as the KFP compiler writes it: {type(error).__name__}: {error}"]
        found += [f"task {path}: {problem}" for problem in problems]
    return found


def _tasks(pipeline: Pipeline) -> Iterator[tuple[str, Node, Component]]:
    """Every task with its path and component, those of nested DAGs after the task that holds them."""
    queue = [("", node) for node in pipeline.root.dag.nodes] if pipeline.root.dag else []
    while queue:
        prefix, node = queue.pop(0)
        missing = Component(node.component, unknown=f"no component {node.component!r}")
        component = pipeline.components.get(node.component, missing)
        path = f"{prefix}{node.key}"
        yield path, node, component
        if component.dag:
            queue = [(f"{path}/", inner) for inner in component.dag.nodes] + queue


def _settings(pipeline: Pipeline) -> Iterator[str]:
    if not pipeline.root.dag:
        yield "its root is not a DAG"
    if "workspace" in pipeline.settings:
        yield "it requires a workspace volume (PipelineConfig.workspace)"
    for name in sorted(set(pipeline.settings) - _KNOWN_SETTINGS):
        yield f"it has the setting {name}, which is unknown"
    if "platforms" in pipeline.settings:
        yield f"it has settings for another platform than Kubernetes: {', '.join(pipeline.settings['platforms'])}"
    for name, artifact in pipeline.root.inputs.artifacts.items():
        if not artifact.optional:
            yield f"its input {name} is an artifact, which can't be given as an argument"


def _node(node: Node) -> Iterator[str]:
    try:
        if node.condition:
            parse(node.condition)
    except ExpressionError as error:
        yield str(error)
    for name, source in node.parameters.items():
        if source.kind == "constant" and mentions(source.value, WORKSPACE):
            yield f"its input {name} refers to the workspace volume ({WORKSPACE})"


def _component(component: Component, containers: bool) -> Iterator[str]:
    if component.unknown:
        yield component.unknown
    for parameter in component.inputs.parameters.values():
        if parameter.type == "TASK_CONFIG":
            yield f"its input {parameter.name} is a TaskConfig, which only a Kubeflow Pipelines server fills in"
    if component.importer and component.importer.download:
        yield "an importer that downloads to a workspace volume (download_to_workspace)"
    if component.container:
        yield from _container(component.container, containers)


def _container(container: Container, containers: bool) -> Iterator[str]:
    stub = container.image in (CREATE_CLAIM, DELETE_CLAIM)
    if not (container.lightweight or stub or containers):
        python = runs_executor(container.command)
        what = "a containerized Python component" if python else "a container component"
        yield f"{what}, whose code is in the image {container.image or '(none)'}: there is no container engine here"
    for name in unknown_fields(container.platform):
        yield f"the Kubernetes setting {name}, which is unknown"
    try:
        sources(container.platform)
    except ValueError as error:
        yield f"a Kubernetes setting with {error}"
    if mentions([*container.command, *container.args], WORKSPACE):
        yield f"its command refers to the workspace volume ({WORKSPACE})"

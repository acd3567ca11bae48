"""What a server says of a run and its tasks, without the nodes that only the server's machinery has.

A server answers a node for every step of the Argo Workflow behind a run: for the task `train` the nodes `train-driver`,
`train` and `executor`, and `root`, groups such as `exit-handler-1` and the Workflow itself around them. State and
children of a node are known, its messages are not: errors are empty for failed tasks.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from utils.ir.model import Pipeline

FINAL_STATES = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"})
_STOPPING = "CANCELING"
_DRIVER = "-driver"
_TEMPLATE = "system-container-impl"


@dataclass(frozen=True)
class TaskReport:
    """What the server says of one task.

    Attributes:
        id: distinguishes tasks of one name, which loops have.
        pods: names that its pods may have.
    """

    name: str
    state: str
    id: str = ""
    pods: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunReport:
    """What the server says of a run.

    Attributes:
        state: PENDING, RUNNING, CANCELING, SUCCEEDED, FAILED, …; UNKNOWN where the server has none.
        error: the server's, "" for a run that merely failed.
        before: the last state that was not final.
    """

    id: str
    name: str
    state: str
    error: str = ""
    before: str = ""
    tasks: tuple[TaskReport, ...] = ()

    @property
    def final(self) -> bool:
        return self.state in FINAL_STATES

    @property
    def stopped(self) -> bool:
        """Whether somebody stopped it. The server then says CANCELING, and in the end FAILED; CANCELED never comes."""
        return self.state == "CANCELED" or (self.state in ("FAILED", "SKIPPED") and self.before == _STOPPING)

    def after(self, earlier: "RunReport | None") -> "RunReport":
        """This report, knowing an earlier one: not every state gets into the server's history."""
        seen = "" if earlier is None else earlier.before if earlier.final else earlier.state
        return self.as_stopped() if _STOPPING in (seen, self.before) else self

    def as_stopped(self) -> "RunReport":
        """This report of a run that somebody stopped."""
        return replace(self, before=_STOPPING)


def pod_templates(pipeline: Pipeline) -> dict[str, tuple[str, ...]]:
    """The Workflow's templates that make a task's pods, by the task's key; groups (conditions, loops) are not tasks.

    KFP has one for all tasks; since 2.14 another one for those with labels or annotations, by their number.
    """
    components = pipeline.components
    dags = [part.dag for part in (pipeline.root, *components.values()) if part.dag]
    nodes = [node for dag in dags for node in dag.nodes if not components[node.component].dag]
    found = {}
    for node in nodes:
        container = components[node.component].container
        metadata = container.platform.get("podMetadata", {}) if container else {}
        numbers = [str(len(metadata.get(key, {}))) for key in ("annotations", "labels")]
        found[node.key] = (_TEMPLATE, *(["-".join(["metadata", *numbers, _TEMPLATE])] if metadata else []))
    return found


def read_run(run: Any, templates: Mapping[str, Sequence[str]]) -> RunReport:
    """A run as the API answers it.

    Args:
        templates: of the pipeline's tasks, from `pod_templates`; {} where they are not known: then groups count as
            tasks.
    """
    details = (run.run_details.task_details if run.run_details else None) or []
    # In the order of their ends: what failed first is the cause, and clean up comes last.
    details = sorted(details, key=lambda one: str(one.end_time or one.create_time or ""))
    history = [one.state for one in run.state_history or [] if one.state and one.state not in FINAL_STATES]
    return RunReport(
        id=run.run_id,
        name=run.display_name or "",
        state=run.state or "UNKNOWN",
        error=(run.error.message or "") if run.error else "",
        before=history[-1] if history else "",
        tasks=tuple(_tasks(details, templates)),
    )


def _tasks(details: list[Any], templates: Mapping[str, Sequence[str]]) -> Iterator[TaskReport]:
    # A task whose driver failed was never started; the server has no state for it.
    unstarted = {one.display_name.removesuffix(_DRIVER) for one in details if _is_driver(one) and one.state == "FAILED"}
    told = set()
    for index, one in enumerate(details):
        name = one.display_name or ""
        if _is_driver(one) or (name not in templates if templates else _is_machinery(name)):
            continue
        state = "FAILED" if name in unstarted and one.state in (None, "SKIPPED") else one.state or ""
        told.add(name)
        nodes = [child.pod_name for child in one.child_tasks or [] if child.pod_name]
        pods = [pod for node in nodes for pod in _pod_names(node, templates.get(name, (_TEMPLATE,)))]
        yield TaskReport(name, state, one.task_id or f"{name} {index}", tuple(pods))
    for name in sorted(unstarted - told):
        if not templates or name in templates:
            yield TaskReport(name, "FAILED", f"{name}{_DRIVER}")


def _pod_names(node: str, templates: Iterable[str]) -> Iterator[str]:
    """Names that the pod of a node may have, which is `Workflow-number`: `Workflow-template-number`."""
    workflow, _, number = node.rpartition("-")
    if workflow and number.isdigit():
        yield from (f"{workflow}-{template}-{number}" for template in templates)


def _is_driver(detail: Any) -> bool:
    return (detail.display_name or "").endswith(_DRIVER)


def _is_machinery(name: str) -> bool:
    """Whether a node does not belong to a pipeline whose tasks are not known."""
    return name in ("", "root") or name.startswith("executor")

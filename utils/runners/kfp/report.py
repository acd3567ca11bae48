"""What a server says of a run and its tasks, without the nodes that only the server's machinery has.

A server answers a node for every step of the Argo Workflow behind a run: for the task `train` the nodes `train-driver`,
`train` and `executor`, and `root`, groups such as `exit-handler-1` and the Workflow itself around them. State and
children of a node are known, its messages are not: errors are empty for failed tasks.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from utils.ir.model import Pipeline

FINAL_STATES = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"})
_STOPPING = "CANCELING"
_DRIVER = "-driver"


@dataclass(frozen=True)
class TaskReport:
    """What the server says of one task.

    Attributes:
        id: tells tasks of one name apart, which loops have.
        nodes: ids of the Workflow's nodes below it, those of its pods.
    """

    name: str
    state: str
    id: str = ""
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunReport:
    """What the server says of a run. `state` is one of KFP's: PENDING, RUNNING, CANCELING, SUCCEEDED, FAILED, …

    Attributes:
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
        return self if _STOPPING not in (seen, self.before) else replace(self, before=_STOPPING)


def task_names(pipeline: Pipeline) -> frozenset[str]:
    """The keys of a pipeline's tasks that run something; groups (conditions, loops, exit handlers) are no tasks."""
    components = pipeline.components
    dags = [part.dag for part in (pipeline.root, *components.values()) if part.dag]
    return frozenset(node.key for dag in dags for node in dag.nodes if not components[node.component].dag)


def read_run(run: Any, names: Collection[str] = ()) -> RunReport:
    """A run as the API answers it.

    Args:
        names: keys of the pipeline's tasks; () where they are not known: then groups are shown as well.
    """
    details = (run.run_details.task_details if run.run_details else None) or []
    history = [one.state for one in run.state_history or [] if one.state not in FINAL_STATES]
    return RunReport(
        id=run.run_id,
        name=run.display_name or "",
        state=run.state or "PENDING",
        error=(run.error.message or "") if run.error else "",
        before=history[-1] if history else "",
        tasks=tuple(_tasks(details, names)),
    )


def _tasks(details: list[Any], names: Collection[str]) -> Iterator[TaskReport]:
    # A task whose driver failed was never started, and counts as skipped.
    unstarted = {one.display_name.removesuffix(_DRIVER) for one in details if _is_driver(one) and one.state == "FAILED"}
    told = set()
    for index, one in enumerate(details):
        name = one.display_name or ""
        if _is_driver(one) or (name not in names if names else _is_machinery(name)):
            continue
        state = "FAILED" if name in unstarted and one.state in (None, "SKIPPED") else one.state or ""
        told.add(name)
        nodes = tuple(child.pod_name for child in one.child_tasks or [] if child.pod_name)
        yield TaskReport(name, state, one.task_id or f"{name} {index}", nodes)
    for name in sorted(unstarted - told):
        if not names or name in names:
            yield TaskReport(name, "FAILED", f"{name}{_DRIVER}")


def _is_driver(detail: Any) -> bool:
    return (detail.display_name or "").endswith(_DRIVER)


def _is_machinery(name: str) -> bool:
    """Whether a node is none of a pipeline whose tasks are not known."""
    return name in ("", "root") or name.startswith("executor")

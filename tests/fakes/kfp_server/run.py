"""A run: what the server answers of it, and the Argo Workflow and pods behind it."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_PHASES = {
    "PENDING": "Pending",
    "RUNNING": "Running",
    "SUCCEEDED": "Succeeded",
    "FAILED": "Failed",
    "SKIPPED": "Omitted",
}
_FINAL = ("SUCCEEDED", "FAILED")
_OMITTED = "omitted: depends condition not met"
IMPL = "system-container-impl"


@dataclass(frozen=True)
class Moment:
    """How a run stands when it is asked for: its state, and those of its tasks.

    Attributes:
        drivers: tasks whose driver failed.
    """

    state: str
    tasks: Mapping[str, str] = field(default_factory=dict)
    drivers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Node:
    """A node of the Workflow; `minute` is when it started, and its pod."""

    name: str
    display: str
    state: str
    kind: str = "DAG"
    template: str = ""
    children: tuple[str, ...] = ()
    message: str = ""
    minute: int = 0


def hashed(text: str) -> int:
    """FNV-1a, 32 bit, by which Argo makes ids of names."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


@dataclass
class Run:
    """A run and its Workflow.

    Attributes:
        request: what it was created from, as it was sent.
        group: name of the group that the tasks are in, as an exit handler makes one; "" for none.
        logs: of the tasks' pods; a task without one never had a pod.
        messages: of tasks' nodes, where it is another than that of a container that ended with 1.
        templates: of tasks' pods, where it is another than that of most.
        attempts: logs of the pods of tasks that were tried again, first to last; all but a success failed.
    """

    request: dict[str, Any]
    pipeline: str
    moments: list[Any]
    group: str = ""
    logs: Mapping[str, str] = field(default_factory=dict)
    messages: Mapping[str, str] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)
    attempts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    asked: int = 0
    stopped: bool = False
    history: list[str] = field(default_factory=lambda: ["PENDING"])

    @property
    def workflow(self) -> str:
        return f"{self.pipeline}-x7k2p"

    @property
    def moment(self) -> Moment:
        """How it stands: as the persistence agent reported last."""
        now = self.moments[min(max(self.asked, 1), len(self.moments)) - 1]
        return now if isinstance(now, Moment) else Moment("RUNNING")

    def stop(self) -> None:
        """Terminate: the state changes at once; the Workflow ends a moment later as failed."""
        now = self.moment
        left = {name: "FAILED" if state in ("RUNNING", "PENDING") else state for name, state in now.tasks.items()}
        self.moments, self.asked = [Moment("CANCELING", now.tasks), Moment("FAILED", left)], 0
        self.stopped = True

    def answer(self) -> Any:
        """The answer to a GET; the next one is a moment later. A number is the status of a failing server."""
        self.asked += 1
        now = self.moments[min(self.asked, len(self.moments)) - 1]
        if isinstance(now, int):
            return now
        if self.history[-1] != now.state:
            self.history.append(now.state)
        details = {"task_details": [self._detail(node) for node in self._sorted()]}
        first, *later = [{"state": state} for state in self.history]
        history = [first, {}, *later]
        return {**self.request, "run_id": self.id, "state": now.state, "state_history": history, "run_details": details}

    def _detail(self, node: Node) -> dict[str, Any]:
        children = [{"pod_name": self.node_id(child)} for child in node.children]
        task_id = str(uuid.uuid5(uuid.NAMESPACE_URL, self.id + node.name))
        answer = {"run_id": self.id, "task_id": task_id, "display_name": node.display}
        answer |= {} if node.state == "SKIPPED" else {"state": node.state}
        return {**answer, "child_tasks": children} if children else answer

    def node_id(self, name: str) -> str:
        return name if name == self.workflow else f"{self.workflow}-{hashed(name)}"

    def _sorted(self) -> list[Node]:
        return sorted(self.nodes(), key=lambda node: self.node_id(node.name))

    def nodes(self) -> Iterator[Node]:
        """The Workflow's nodes; groups and the Workflow itself stand as the run does."""
        top, state = self.workflow, self.moment.state
        whole = "RUNNING" if state == "CANCELING" else state
        yield Node(top, top, whole, template="entrypoint", children=(f"{top}.root-driver",))
        yield Node(f"{top}.root-driver", "root-driver", "SUCCEEDED", "Pod", "system-dag-driver", (f"{top}.root",))
        base = f"{top}.root"
        yield Node(base, "root", whole, template="root")
        if self.group:
            name = f"{base}.{self.group}"
            yield Node(f"{name}-driver", f"{self.group}-driver", "SUCCEEDED", "Pod", "system-dag-driver", (name,))
            base = name
            yield Node(base, self.group, whole, template=f"comp-{self.group}")
        for task, task_state in self.moment.tasks.items():
            yield from self._task(f"{base}.{task}", task, task_state)

    def _task(self, name: str, task: str, state: str) -> Iterator[Node]:
        driver = "FAILED" if task in self.moment.drivers else "SUCCEEDED"
        said = self.messages.get(task, "Error (exit code 1)")
        message = said if driver == "FAILED" else ""
        yield Node(f"{name}-driver", f"{task}-driver", driver, "Pod", "system-container-driver", (name,), message)
        if driver == "FAILED" or state in ("SKIPPED", "PENDING"):
            omitted = driver == "FAILED" or state == "SKIPPED"
            stood, kind, reason = ("SKIPPED", "Skipped", _OMITTED) if omitted else (state, "DAG", "")
            yield Node(name, task, stood, kind, "system-container-executor", message=reason)
            return
        executor = f"{name}.executor"
        failed = f"child '{self.node_id(executor)}' failed" if state == "FAILED" else ""
        yield Node(name, task, state, "DAG", "system-container-executor", (executor,), failed)
        template = self.templates.get(task, IMPL)
        if task not in self.attempts:
            yield Node(executor, "executor", state, "Pod", template, (), said if state == "FAILED" else "")
            return
        count = len(self.attempts[task])
        pods = tuple(f"{executor}({number})" for number in range(count))
        over = "No more retries left" if state == "FAILED" else ""
        yield Node(executor, "executor", state, "Retry", template, pods, over)
        for number, pod in enumerate(pods):
            stood = state if number == count - 1 else "FAILED"
            message = f"attempt {number}: {said}" if stood == "FAILED" else ""
            yield Node(pod, f"executor({number})", stood, "Pod", template, (), message, number)

    def manifest(self) -> dict[str, Any]:
        """The Workflow as the cluster has it."""
        nodes = {
            self.node_id(one.name): {
                "id": self.node_id(one.name),
                "name": one.name,
                "displayName": one.display,
                "type": one.kind,
                "templateName": one.template,
                "phase": _PHASES[one.state],
                "startedAt": f"2026-11-26T04:{one.minute:02}:00Z",
                **({"message": one.message} if one.message else {}),
            }
            for one in self.nodes()
        }
        spec = {"activeDeadlineSeconds": 0} if self.stopped else {}
        metadata = {"name": self.workflow, "labels": {"pipeline/runid": self.id}}
        state = self.moment.state
        phase = _PHASES.get(state, "Running")
        return {"metadata": metadata, "spec": spec, "status": {"phase": phase, "nodes": nodes}}

    def pods(self) -> list[dict[str, Any]]:
        """The pods of tasks that had one, by their log, in the order of their names."""
        known = {*self.logs, *self.attempts}
        return [
            {
                "metadata": {
                    "name": f"{self.workflow}-{one.template}-{hashed(one.name)}",
                    "labels": {"pipeline/runid": self.id, "workflows.argoproj.io/workflow": self.workflow},
                    "annotations": {"workflows.argoproj.io/node-name": one.name},
                    "creationTimestamp": f"2026-11-26T04:{one.minute:02}:00Z",
                },
                "status": {"phase": _PHASES[one.state]},
            }
            for one in self._sorted()
            if one.kind == "Pod" and one.display.startswith("executor") and one.name.split(".")[-2] in known
        ]

    def log(self, pod: str) -> str | None:
        """What the container `main` of a pod printed; None when there is no such pod."""
        names = {one["metadata"]["name"]: one["metadata"]["annotations"] for one in self.pods()}
        if pod not in names:
            return None
        task, executor = names[pod]["workflows.argoproj.io/node-name"].split(".")[-2:]
        return self.attempts[task][int(executor[9:-1])] if task in self.attempts else self.logs[task]

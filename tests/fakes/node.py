"""A fake API server that also runs Jobs: each pod acts as the test says."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.api_server import ApiServer, Object, Request
from utils.names import RUN_LABEL, TASK_LABEL

_STAMP = "2026-01-01T00:00:0{}Z"


@dataclass
class Act:
    """What becomes of one pod of a task.

    `message` is its termination message, `lines` its log. `holds`: it runs until it is deleted. `waits`: it stays
    pending, with the scheduler's words. `refused`: it is not made, with the words of the API server, until `admit`.
    `evicted`: the cluster takes it away, and a new pod follows. `lost`: the pod
    is gone when the Job has ended. `sidecar`: the name of another container of the pod, which ends in
    its place. `queued`: its Job is suspended, as Kueue does with one that has its label, until `admit`.
    """

    message: str = "{}"
    lines: tuple[str, ...] = ()
    exit_code: int = 0
    reason: str = ""
    holds: bool = False
    waits: str = ""
    refused: str = ""
    evicted: bool = False
    lost: bool = False
    sidecar: str = ""
    queued: bool = False


def _ended(act: Act) -> Object:
    reason = act.reason or ("Error" if act.exit_code else "Completed")
    return {
        "name": act.sidecar or "main",
        "state": {"terminated": {"exitCode": act.exit_code, "reason": reason, "message": act.message}},
    }


@dataclass
class Play:
    """The acts of a task's pods, in the order they are made; the last one stays."""

    acts: list[Act] = field(default_factory=lambda: [Act()])
    made: int = 0

    def next(self) -> Act:
        self.made += 1
        return self.acts[min(self.made, len(self.acts)) - 1]


class Node(ApiServer):
    """Jobs run here: `plays` by task label (what is before a slash in a task's id is not needed)."""

    kinds = ("pods", "jobs", "configmaps", "secrets", "events", "persistentvolumeclaims", "pytorchjobs")

    def __init__(self) -> None:
        self.plays: dict[str, Play] = {}
        self.changed = threading.Condition()
        super().__init__()

    def play(self, task: str, *acts: Act) -> Play:
        self.plays[task] = Play(list(acts))
        return self.plays[task]

    def created(self, resource: str = "jobs") -> list[str]:
        """Task labels, or names, of what was made, in order."""
        bodies = [r.body["metadata"] for r in self.requests if (r.verb, r.resource) == ("create", resource)]
        return [body["labels"].get(TASK_LABEL, body["name"]).split(".")[-1] for body in bodies]

    def manifest(self, task: str) -> Object:
        """The Job of a task, as it was asked for last."""
        found = [r.body for r in self.requests if (r.verb, r.resource) == ("create", "jobs")]
        label = TASK_LABEL
        return next(b for b in reversed(found) if b["metadata"]["labels"][label].split(".")[-1] == task)

    def answer(self, request: Request) -> tuple[int, Any]:
        status, answer = super().answer(request)
        if (request.verb, request.resource, status) == ("create", "jobs", 201):
            self._start(answer)
        return status, answer

    def remove(self, resource: str, name: str) -> None:
        if resource in ("jobs", "configmaps") and name in self.objects[resource]:
            self._remove_owned(self.objects[resource][name]["metadata"]["uid"])
        super().remove(resource, name)

    def _remove_owned(self, uid: str) -> None:
        for kind in self.kinds:
            for name, found in list(self.objects[kind].items()):
                owners = found["metadata"].get("ownerReferences") or []
                if any(owner["uid"] == uid for owner in owners) and name in self.objects[kind]:
                    self.remove(kind, name)

    def _tell(self, change: str, resource: str, found: Object) -> None:
        with self.changed:
            super()._tell(change, resource, found)
            self.changed.notify_all()

    def watched(self, request: Request) -> Iterator[Object]:
        """Changes as they come, for as long as the client asked, a second at most."""
        since, until = int(request.query["resourceVersion"]), time.monotonic() + 1.0
        while True:
            with self.changed:
                news = [one for one in self.history if one[0] > since]
                if not news and not self.changed.wait(max(0.0, until - time.monotonic())):
                    return
            for version, change, resource, found in news:
                since = version
                labels = dict(p.split("=") for p in request.query.get("labelSelector", "").split(",") if p)
                if resource == request.resource and labels.items() <= found["metadata"].get("labels", {}).items():
                    yield {"type": change, "object": found}

    def _start(self, job: Object) -> None:
        task = job["metadata"]["labels"][TASK_LABEL].split(".")[-1]
        play = self.plays.setdefault(task, Play())
        if task == "create-volume":
            run = job["metadata"]["labels"][RUN_LABEL]
            owners = job["metadata"]["ownerReferences"]
            self.put("persistentvolumeclaims", f"ilab-{run}", metadata={"ownerReferences": owners})
        self._play(job, play)

    def finish(self, job: str) -> None:
        """Let a Job whose pod runs come to its end."""
        self.put("pods", f"{job}-p0", status={"phase": "Succeeded", "containerStatuses": [_ended(Act())]})
        self.put("jobs", job, status={"conditions": [{"type": "Complete", "status": "True"}]})

    def admit(self, task: str) -> None:
        """Let the pod of a task that was refused, or whose Job is in a queue, be made."""
        labels = {name: job["metadata"]["labels"][TASK_LABEL] for name, job in self.objects["jobs"].items()}
        name = next(name for name, label in labels.items() if label.split(".")[-1] == task)
        spec = {**self.objects["jobs"][name]["spec"], "suspend": False}
        self._play(self.put("jobs", name, spec=spec), self.plays[task])

    def take_back(self, task: str) -> None:
        """Suspend the Job of a task whose pod runs: the Job controller deletes the pod."""
        name = next(name for name in self.objects["jobs"] if f"-{task}-" in name)
        self.remove("pods", f"{name}-p0")
        self.put("jobs", name, spec={**self.objects["jobs"][name]["spec"], "suspend": True})

    def _play(self, job: Object, play: Play) -> None:
        act = play.next()
        pods = 0
        while act.evicted:
            self._pod(job, pods, act, "Failed")
            pods, act = pods + 1, play.next()
        if act.queued:
            self.put("jobs", job["metadata"]["name"], spec={**job["spec"], "suspend": True})
            return None
        if act.refused:
            return self._refuse(job, act.refused)
        if act.waits:
            return self._pod(job, pods, act, "Pending")
        if act.holds:
            return self._pod(job, pods, act, "Running")
        self._pod(job, pods, act, "Failed" if act.exit_code or act.reason else "Succeeded")
        failed = bool(act.exit_code or act.reason)
        condition = {"type": "Failed" if failed else "Complete", "status": "True", "reason": "as played"}
        self.put("jobs", job["metadata"]["name"], status={"conditions": [condition]})
        if act.lost:
            self.remove("pods", f"{job['metadata']['name']}-p{pods}")
        return None

    def _refuse(self, job: Object, words: str) -> None:
        about = {"kind": "Job", "name": job["metadata"]["name"]}
        message = f'Error creating: pods "{about["name"]}-" is forbidden: {words}'
        self.put("events", f"{about['name']}.1", involvedObject=about, reason="FailedCreate", message=message)

    def _pod(self, job: Object, number: int, act: Act, phase: str) -> None:
        metadata, name = job["metadata"], f"{job['metadata']['name']}-p{number}"
        status: Object = {"phase": phase}
        if act.waits:
            scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": act.waits}
            status["conditions"] = [scheduled]
        elif act.evicted:
            status |= {"reason": "Evicted", "conditions": [{"type": "DisruptionTarget", "status": "True"}]}
        else:
            running = {"name": "main", "state": {"running": {}}}
            status["containerStatuses"] = [running if act.holds else _ended(act)]
        self.logs[name] = [f"{_STAMP.format(1)} {line}" for line in act.lines]
        self.put(
            "pods",
            name,
            metadata={
                "labels": job["spec"]["template"]["metadata"]["labels"],
                "ownerReferences": [{"uid": metadata["uid"]}],
                "creationTimestamp": _STAMP.format(number),
            },
            spec=job["spec"]["template"]["spec"],
            status=status,
        )


def values(**parameters: Any) -> str:
    """A termination message with these output parameters."""
    return json.dumps({"parameterValues": parameters})

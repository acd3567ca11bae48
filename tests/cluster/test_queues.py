"""Waiting in a queue, on a real API server. Without Kueue: the test suspends and resumes, as Kueue does.

Facts (Kueue 0.19): its webhook suspends a Job or PyTorchJob that has the label of a queue (`spec.suspend`,
`spec.runPolicy.suspend`); admission sets it to false; whoever is preempted is suspended again.
"""

import json
from typing import Any

import yaml

from tests.cluster.lab import Lab
from tests.cluster.runs import Run, assert_nothing_left, names
from tests.cluster.settings import PATIENCE
from utils.names import QUEUE_LABEL


def suspend(lab: Lab, kind: str, name: str, value: bool) -> None:
    spec: dict[str, Any] = {"suspend": value}
    patch = json.dumps({"spec": {"runPolicy": spec} if kind == "pytorchjob" else spec})
    lab.cluster.kubectl("patch", kind, name, "-n", lab.namespace, "--type=merge", "-p", patch)


def job_of(lab: Lab, run: Run, task: str) -> str:
    found = run.until(f"Job {task}", lambda: names(lab.cluster, lab.namespace, "jobs", f"{run.run_id}-{task}"))
    return str(found[0].partition("/")[2])


def test_job_preempted_by_its_queue_waits_and_its_task_succeeds(lab: Lab) -> None:
    overlay = yaml.safe_load(lab.overlay.read_text())
    overlay.setdefault("metadata", {}).setdefault("labels", {})[QUEUE_LABEL] = "gpus"
    path = lab.folder / "overlay-queue.yaml"
    path.write_text(yaml.safe_dump(overlay))
    run = lab.start("held", "queued", "--pod-overlay", str(path), "--pending-timeout", "2m")
    folder = run.until_held()
    name = job_of(lab, run, "hold")
    found = lab.cluster.get("job", name, "-n", lab.namespace)
    assert found["metadata"]["labels"][QUEUE_LABEL] == "gpus"
    suspend(lab, "job", name, True)
    run.until("news", lambda: "queue: the Job is suspended until its queue gpus admits it" in run.output)
    assert not names(lab.cluster, lab.namespace, "pods", name), "the Job controller takes its pod away"
    (folder / "go").touch()
    suspend(lab, "job", name, False)
    assert run.wait(PATIENCE) == 0, run.output[-4000:]
    assert_nothing_left(lab.cluster, lab.namespace, run.run_id)

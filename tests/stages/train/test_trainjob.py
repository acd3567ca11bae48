"""The TrainJob and its TrainingRuntime: their manifests in every dialect, and their launcher."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.kubernetes_api import KubernetesApi
from tests.stages.train.trainjobs import NAME, add_pod, launch, manifests, pod_template
from utils.cluster.kinds import TRAIN_JOB
from utils.names import INPUTS_LABEL, QUEUE_LABEL, RUN_LABEL
from utils.stages.train.job import job_is_there
from utils.stages.train.late import TooLate

# Names of the fields of the CustomResourceDefinitions of Kubeflow Trainer; a pod's fields are Kubernetes' own.
DIALECTS = sorted((Path(__file__).parent / "dialects").glob("*.json"))


def unknown_fields(fields: Any, value: Any, path: str = "") -> list[str]:
    """Paths in a manifest that a definition does not have."""
    if isinstance(fields, list):
        return [found for one in value for found in unknown_fields(fields[0], one, f"{path}[]")]
    if not isinstance(fields, dict):
        return []
    unknown = [f"{path}.{name}" for name in value if name not in fields]
    return unknown + [
        found
        for name, one in value.items()
        if name in fields
        for found in unknown_fields(fields[name], one, f"{path}.{name}")
    ]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda path: path.stem)
def test_every_dialect_knows_every_field(dialect: Path) -> None:
    """An unknown field is refused (fieldValidation=Strict)."""
    known = json.loads(dialect.read_text())
    for one in manifests({"metadata": {"labels": {"team": "a"}}}, queue="gpus"):
        assert unknown_fields(known[one["kind"]], one) == []
    wrong = manifests()[1]
    wrong["spec"]["trainer"]["nodes"] = 2
    assert unknown_fields(known["TrainJob"], wrong) == [".spec.trainer.nodes"]


def test_runtime_has_all_that_pods_need_and_the_job_only_names_it() -> None:
    runtime, job = manifests()
    assert job["spec"] == {
        "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": NAME},
        "trainer": {"numNodes": 2},
    }
    assert [one["metadata"]["name"] for one in (runtime, job)] == [NAME, NAME]
    assert [one["metadata"]["labels"][RUN_LABEL] for one in (runtime, job)] == ["run-1", "run-1"]
    assert runtime["spec"]["mlPolicy"] == {"numNodes": 2, "torch": {}}
    (node,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    # Kubeflow Trainer finds the Job by its label, and the container by its name.
    assert node["name"] == "node"
    assert node["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    spec = node["template"]["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (0, 10800)
    assert "ttlSecondsAfterFinished" not in json.dumps(runtime)
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] == 300 and pod["shareProcessNamespace"] is True
    assert (container["name"], container["image"]) == ("node", "registry/image@sha256:0")
    assert pod["restartPolicy"] == "Never"
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}] and pod["nodeSelector"] == {"zone": "a"}
    assert {"name": "shm", "emptyDir": {"medium": "Memory"}} in pod["volumes"]
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    amounts = {"cpu": "2", "memory": "250Gi", "nvidia.com/gpu": "4"}
    assert container["resources"] == {"requests": amounts, "limits": amounts}


def test_ranks_find_each_other_by_what_the_operator_sets() -> None:
    """PET_NODE_RANK, PET_MASTER_ADDR and PET_MASTER_PORT, which torchrun reads; RANK and its like do not exist."""
    (container,) = pod_template(manifests()[0])["spec"]["containers"]
    assert container["command"] == ["python3", "/data/phase_1/grace.py", "torchrun", "--nnodes=2", "main"]
    assert not any(one["name"].startswith("PET_") for one in container["env"])


def test_names_of_pods_are_short_enough() -> None:
    """JobSet refuses a JobSet whose pods' names would be longer than 63 characters."""
    for run_id in ("7f1c2d3e-0000-4000-8000-00000000000d", "a" * 60):
        name = manifests(run_id=run_id)[1]["metadata"]["name"]
        assert len(f"{name}-node-0-99-abcde") <= 63
    assert manifests(run_id="7f1c2d3e-0000-4000-8000-00000000000d")[1]["metadata"]["name"].endswith("00000000000d")


def test_overlay_and_queue_reach_job_and_pods() -> None:
    overlay = {"metadata": {"labels": {"team": "a"}}, "spec": {"priorityClassName": "high"}}
    runtime, job = manifests(overlay, queue="gpus")
    assert job["metadata"]["labels"][QUEUE_LABEL] == "gpus"
    template = pod_template(runtime)
    assert template["metadata"]["labels"]["team"] == job["metadata"]["labels"]["team"] == "a"
    assert template["spec"]["priorityClassName"] == "high"
    assert QUEUE_LABEL not in str(manifests())


@pytest.mark.parametrize(
    "change", [{"image": "other"}, {"gpu_per_worker": 2}, {"timeout": "1s"}, {"algorithm": "lora"}]
)
def test_hash_label_distinguishes_jobs(change: dict[str, Any]) -> None:
    hashes = {one["metadata"]["labels"][INPUTS_LABEL] for one in (*manifests(), *manifests(**change))}
    assert len(hashes) == 2


def test_succeeded_job_is_kept_for_its_logs(api: KubernetesApi, capsys: pytest.CaptureFixture) -> None:
    add_pod(api, 0, "Running")
    add_pod(api, 1, "Running")
    api.job_states.extend(["", "Running", "Running", "Succeeded"])
    launch()
    assert NAME in api.objects["trainjobs"] and NAME in api.objects["trainingruntimes"]
    out = capsys.readouterr().out
    assert f"TrainJob {NAME} created; kubectl -n lab logs -f -l jobset.sigs.k8s.io/jobset-name={NAME}" in out
    assert "all training pods have started" in out
    posted = [request for request in api.requests if request.startswith("POST t")]
    assert posted == ["POST trainingruntimes", "POST trainjobs"], "the runtime comes first"


def test_failed_job_fails_the_step_with_logs_and_is_deleted_with_its_runtime(api: KubernetesApi) -> None:
    add_pod(api, 0, "Failed")
    add_pod(api, 1, "Running")
    api.logs = {f"{NAME}-node-0-0-x7k2p": "CUDA out of memory"}
    api.job_states.extend(["Running", "Failed"])
    with pytest.raises(SystemExit) as error:
        launch()
    assert f"the TrainJob {NAME} failed" in str(error.value) and "job is Failed" in str(error.value)
    assert "CUDA out of memory" in str(error.value)
    assert api.objects["trainjobs"] == api.objects["trainingruntimes"] == {}


@pytest.mark.parametrize("ends", [True, False])
def test_runtime_is_deleted_only_after_its_job_is_gone(
    api: KubernetesApi, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """Trainer 2.3 refuses every change to a TrainJob without its runtime: its finalizer stayed, and it with that."""
    monkeypatch.setattr("utils.stages.train.job.GONE_SECONDS", 60 if ends else 2)
    answer, looks = api.answer, 0

    def slowly(method: str, path: str, query: dict, body: Any) -> tuple:
        nonlocal looks
        job = api.objects.get("trainjobs", {}).get(NAME, {})
        if method == "DELETE" and path.endswith(f"trainjobs/{NAME}"):
            job["metadata"]["deletionTimestamp"] = "2025-01-01T00:00:00Z"
            return 200, job
        if "deletionTimestamp" in job.get("metadata", {}):
            looks += 1
            assert not path.endswith(f"trainingruntimes/{NAME}"), "its job is there"
            if ends and looks > 3:
                api.objects["trainjobs"].clear()
        return answer(method, path, query, body)

    monkeypatch.setattr(api, "answer", slowly)
    add_pod(api, 0, "Failed")
    api.job_states.extend(["Running", "Failed"])
    with pytest.raises(SystemExit, match=f"the TrainJob {NAME} failed"):
        launch()
    assert (NAME in api.objects["trainingruntimes"]) is not ends
    left = f"it could not be deleted (its pods have not ended); kubectl -n lab delete trainjob {NAME}"
    assert (left in capsys.readouterr().out) is not ends


def test_runtime_belongs_to_the_run_and_the_job_to_the_pods_owner(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Job that is deleted in the foreground takes the TrainJob along, and would take the runtime before it."""
    run, job = ({"apiVersion": "v1", "kind": kind, "name": "n", "uid": kind} for kind in ("ConfigMap", "Job"))
    monkeypatch.setenv("ILAB_RUN_OWNER", json.dumps([run]))
    api.add("pods", os.uname().nodename, metadata={"ownerReferences": [job]}, status={})
    api.job_states.append("Succeeded")
    launch()
    assert api.objects["trainjobs"][NAME]["metadata"]["ownerReferences"] == [job]
    assert api.objects["trainingruntimes"][NAME]["metadata"]["ownerReferences"] == [run]


def test_deadlines_of_pending_and_running(api: KubernetesApi) -> None:
    reason = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": reason}
    add_pod(api, 0, "Pending", conditions=[condition])
    api.job_states.append("")
    with pytest.raises(TooLate, match=rf"did not start in 0\.2 s\n  cause: {reason}"):
        launch(pending=0.2)
    assert api.objects["trainjobs"] == api.objects["trainingruntimes"] == {}
    add_pod(api, 0, "Running")
    add_pod(api, 1, "Running")
    with pytest.raises(TooLate, match=r"did not end in 0\.2 s"):
        launch(timeout=0.2)
    assert api.objects["trainjobs"] == api.objects["trainingruntimes"] == {}


def test_suspended_job_waits_with_a_deadline_of_its_own(api: KubernetesApi, capsys: pytest.CaptureFixture) -> None:
    add_pod(api, 0, "Running")
    add_pod(api, 1, "Running")
    api.job_states.extend(["Running", *["Suspended"] * 50, "Running", "Succeeded"])
    launch(pending=0.3, timeout=0.3, queue="gpus")
    out = capsys.readouterr().out
    assert out.index("all training pods have started") < out.index("the queue took the job back")
    assert "waiting in the queue gpus" in out
    api.objects["trainjobs"].clear()
    api.job_states.clear()
    api.job_states.append("Suspended")
    with pytest.raises(SystemExit, match=r"was not admitted by its queue in 0\.2 s"):
        launch(queued=0.2, queue="gpus")


def test_existing_job_is_reattached(api: KubernetesApi, capsys: pytest.CaptureFixture) -> None:
    runtime, job = manifests()
    api.objects |= {"trainjobs": {NAME: job}, "trainingruntimes": {NAME: runtime}}
    add_pod(api, 0, "Running")
    api.job_states.extend(["Running", "Running", "Succeeded"])
    launch()
    assert f"TrainJob {NAME} already exists (Running): attaching to it" in capsys.readouterr().out
    assert not any(request.startswith("POST t") for request in api.requests)
    assert job_is_there(TRAIN_JOB, NAME, 10, poll=0.01)


def test_job_of_other_inputs_is_not_attached_to(api: KubernetesApi) -> None:
    api.objects["trainjobs"] = {NAME: manifests(image="other")[1]}
    with pytest.raises(SystemExit, match=f"a TrainJob {NAME} already exists"):
        launch()
    assert NAME in api.objects["trainjobs"]


def test_runtime_that_an_earlier_job_left_is_replaced(api: KubernetesApi) -> None:
    api.objects["trainingruntimes"] = {NAME: manifests(image="other")[0]}
    api.job_states.append("Succeeded")
    launch()
    (container,) = pod_template(api.objects["trainingruntimes"][NAME])["spec"]["containers"]
    assert container["image"] == "registry/image@sha256:0"


def test_runtime_that_stays_terminating_fails_the_step(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainer, from 2.2 on, takes its finalizer away; it may not run."""
    monkeypatch.setattr("utils.stages.train.job.GONE_SECONDS", 0.1)
    runtime = manifests()[0]
    runtime["metadata"]["deletionTimestamp"] = "2025-01-01T00:00:00Z"
    api.objects["trainingruntimes"] = {NAME: runtime}
    with pytest.raises(SystemExit, match=f"an earlier TrainingRuntime {NAME} is still being deleted"):
        launch()


def test_runtime_of_the_same_inputs_is_used(api: KubernetesApi) -> None:
    """A launcher was killed after it had created the runtime."""
    api.objects["trainingruntimes"] = {NAME: manifests()[0]}
    api.job_states.append("Succeeded")
    launch()
    assert "DELETE trainingruntimes/" + NAME not in api.requests


@pytest.mark.parametrize("kind", ["trainjobs", "trainingruntimes"])
def test_missing_right_is_reported(api: KubernetesApi, kind: str) -> None:
    api.forbidden.add(kind)
    with pytest.raises(SystemExit, match=rf"can't (get|create) {kind}.trainer.kubeflow.org .*in lab \(403\)"):
        launch()

"""The PyTorchJob launcher against a small HTTP server that speaks the Kubernetes API."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client.rest import RESTClientObject
from kubernetes.config import kube_config

from tests.fakes.kubernetes_api import KubernetesApi, short_sleep
from utils.stages.train.pytorchjob import job_is_there, job_name, launch_pytorchjob, pytorchjob_manifest, trainer_lines

NAME = "train-phase-1-run-1"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    server = KubernetesApi()
    server.write_kubeconfig(tmp_path / "kubeconfig")
    monkeypatch.setattr(time, "sleep", partial(short_sleep, time.sleep))
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    yield server
    server.stop()


def manifest(overlay: dict | None = None, **changes: object) -> dict:
    job = {
        "name": NAME, "run_id": "run-1", "image": "registry/image@sha256:0", "claim": "ilab-run-1",
        "data_dir": "/data", "nodes": 2, "gpus": 4, "gpu_identifier": "nvidia.com/gpu", "cpu": "2", "memory": "250Gi",
        "tolerations": [{"key": "gpu", "operator": "Exists"}], "node_selectors": {"zone": "a"}, "queue": "",
        "pending": 3600, "timeout": 7200,
    }  # fmt: skip
    return pytorchjob_manifest({**job, **changes}, ["--nnodes=2", "--node_rank=$(RANK)", "-m", "main"], overlay or {})


def add_pod(api: KubernetesApi, role: str, phase: str, **status: object) -> None:
    labels = {"training.kubeflow.org/job-name": NAME}
    api.add("pods", f"{NAME}-{role}-0", metadata={"labels": labels}, status={"phase": phase, **status})


def launch(
    pending: float = 30, timeout: float = 30, tick: Callable = lambda: None, queued: float = 30, **changes: object
) -> None:
    made = manifest(**changes)  # type: ignore[arg-type]
    error = launch_pytorchjob(made, pending, timeout, tick, poll=0.01, queued=queued)  # type: ignore[arg-type]
    if error:
        raise error


def test_manifest() -> None:
    made = manifest()
    assert made["metadata"]["labels"]["ilab-pipeline/run"] == "run-1"
    assert made["spec"]["nprocPerNode"] == "4"
    assert made["spec"]["runPolicy"] == {
        "cleanPodPolicy": "Running",
        "activeDeadlineSeconds": 10800,
        "ttlSecondsAfterFinished": 86400,
    }
    replicas = made["spec"]["pytorchReplicaSpecs"]
    assert {role: r["replicas"] for role, r in replicas.items()} == {"Master": 1, "Worker": 1}
    assert replicas["Master"]["template"] == replicas["Worker"]["template"]
    assert replicas["Master"]["restartPolicy"] == "Never"
    template = replicas["Master"]["template"]
    assert template["metadata"]["annotations"] == {"sidecar.istio.io/inject": "false"}
    assert template["metadata"]["labels"]["ilab-pipeline/run"] == "run-1"
    pod, (container,) = template["spec"], template["spec"]["containers"]
    assert container["name"] == "pytorch"  # the operator looks for this name
    assert container["command"] == ["torchrun", "--nnodes=2", "--node_rank=$(RANK)", "-m", "main"]
    amounts = {"cpu": "2", "memory": "250Gi", "nvidia.com/gpu": "4"}
    assert container["resources"] == {"requests": amounts, "limits": amounts}
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert pod["nodeSelector"] == {"zone": "a"}
    json.dumps(made)


def test_pods_are_admitted_under_the_restricted_standard_and_have_shared_memory() -> None:  # trap 23
    pod = manifest()["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"name": "shm", "mountPath": "/dev/shm"} in pod["containers"][0]["volumeMounts"]
    assert {"name": "shm", "emptyDir": {"medium": "Memory"}} in pod["volumes"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "ilab-run-1"}} in pod["volumes"]
    assert pod["automountServiceAccountToken"] is False


def test_overlay_goes_into_every_training_pod_and_counts_as_a_change() -> None:
    overlay = {
        "metadata": {"labels": {"kueue.x-k8s.io/queue-name": "gpus"}},
        "spec": {
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"name": "*", "env": [{"name": "A", "value": "1"}]}],
        },
    }
    made = manifest(overlay)
    for replica in made["spec"]["pytorchReplicaSpecs"].values():
        template, (container,) = replica["template"], replica["template"]["spec"]["containers"]
        assert template["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
        assert template["metadata"]["labels"]["ilab-pipeline/run"] == "run-1"
        assert template["spec"]["imagePullSecrets"] == [{"name": "pull"}]
        assert {"name": "A", "value": "1"} in container["env"]
        assert container["name"] == "pytorch"
    key = "ilab-pipeline/inputs"
    assert made["metadata"]["labels"][key] != manifest()["metadata"]["labels"][key]
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus", "a queue admits the job by its own label"


def test_the_job_asks_its_queue_and_an_empty_name_is_none() -> None:
    label = "kueue.x-k8s.io/queue-name"
    assert manifest(queue="gpus")["metadata"]["labels"][label] == "gpus"
    assert label not in str(manifest())
    both = manifest({"metadata": {"labels": {label: "of-the-overlay"}}}, queue="gpus")
    assert both["metadata"]["labels"][label] == "gpus"


def test_one_cpu_pod_needs_no_worker_and_no_gpu() -> None:
    made = manifest(nodes=1, gpus=0)
    assert list(made["spec"]["pytorchReplicaSpecs"]) == ["Master"]
    assert made["spec"]["nprocPerNode"] == "1"
    container = made["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0]
    assert set(container["resources"]["limits"]) == {"cpu", "memory"}


@pytest.mark.parametrize("change", [{"image": "other"}, {"gpus": 2}, {"timeout": 1}, {"tolerations": []}])
def test_hash_label_tells_jobs_apart(change: dict) -> None:
    key = "ilab-pipeline/inputs"
    assert manifest(**change)["metadata"]["labels"][key] != manifest()["metadata"]["labels"][key]
    assert manifest()["metadata"]["labels"][key] == manifest()["metadata"]["labels"][key]


@pytest.mark.parametrize("run_id", ["7f1c2d3e-0000-4000-8000-00000000000d", "ilab-sdg", "a-g-s-d"])
def test_job_name_holds_the_whole_run_id(run_id: str) -> None:  # trap 26
    assert job_name(run_id, 2) == f"train-phase-2-{run_id}"


def test_names_of_long_run_ids_stay_short_and_different() -> None:
    names = {job_name("ilab-with-a-very-long-name-20250101-120000-" + end, 1) for end in ("aaaa", "bbbb")}
    assert len(names) == 2
    assert all(len(name + "-worker-10") <= 63 for name in names)


def test_job_that_succeeds(api: KubernetesApi, capsys: pytest.CaptureFixture) -> None:
    add_pod(api, "master", "Running")
    api.job_states.extend(["", "Running", "Running", "Succeeded"])
    ticks: list[int] = []
    launch(tick=lambda: ticks.append(1))
    assert len(ticks) == 3
    assert NAME in api.objects["pytorchjobs"]  # it stays for its logs; the exit task deletes it
    assert f"PyTorchJob {NAME} created; kubectl -n lab logs -f {NAME}-master-0" in capsys.readouterr().out


def test_failed_pytorchjob_fails_the_step_with_logs_and_events(api: KubernetesApi) -> None:  # trap 25
    add_pod(api, "master", "Running")
    add_pod(api, "worker", "Failed")
    api.logs = {f"{NAME}-master-0": "waiting for rank 1", f"{NAME}-worker-0": "CUDA out of memory"}
    event = {"metadata": {}, "type": "Warning", "lastTimestamp": "2026-11-26T15:11:02Z"}
    api.add("events", "e", involvedObject={"name": f"{NAME}-worker-0"}, message="Back-off", **event)
    api.add("events", "f", involvedObject={"name": "other"}, message="not ours", **event)
    api.job_states.extend(["Running", "Failed"])
    with pytest.raises(SystemExit) as error:
        launch()
    text = str(error.value)
    assert f"the PyTorchJob {NAME} failed" in text
    assert "job is Failed" in text
    assert f"{NAME}-worker-0:\nCUDA out of memory" in text
    assert "15:11:02 UTC Back-off" in text
    assert "waiting for rank 1" not in text
    assert "not ours" not in text
    assert api.objects["pytorchjobs"] == {}  # a retry meets no 409


def test_logs_are_told_up_to_where_torchrun_takes_over() -> None:
    elastic = "E1122 1 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 1) local_rank: 0"
    torchrun = "\n".join([elastic, "Traceback (most recent call last):", *["  raise ChildFailedError("] * 40])
    assert trainer_lines(f"step 1\n[rank0]: CUDA out of memory\n{torchrun}").splitlines() == [
        "step 1",
        "[rank0]: CUDA out of memory",
        elastic,
    ]
    assert trainer_lines("\n".join(map(str, range(30)))) == "\n".join(map(str, range(5, 30)))


def test_job_without_success_is_not_taken_as_success(api: KubernetesApi) -> None:  # trap 25
    add_pod(api, "master", "Succeeded")
    api.job_states.append("Running")
    with pytest.raises(SystemExit, match=r"did not end in 0\.2 s"):
        launch(timeout=0.2)
    assert api.objects["pytorchjobs"] == {}


def test_job_that_cannot_be_scheduled_ends_with_the_schedulers_message(api: KubernetesApi) -> None:  # trap 6
    reason = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": reason}
    add_pod(api, "master", "Pending", conditions=[condition])  # without containerStatuses
    api.job_states.append("")
    with pytest.raises(SystemExit, match=rf"did not start in 0\.2 s\n  cause: {reason}"):
        launch(pending=0.2)
    assert api.objects["pytorchjobs"] == {}


def test_waiting_in_a_queue_is_shown_and_is_not_time_to_start(
    api: KubernetesApi, capsys: pytest.CaptureFixture
) -> None:
    """A suspended PyTorchJob is what Kueue makes of one with its label (jobframework.BaseWebhook.Default)."""
    add_pod(api, "master", "Running")
    reason = "couldn't assign flavors to pod set master: insufficient unused quota for nvidia.com/gpu"
    about = {"kind": "Workload", "name": f"pytorchjob-{NAME}-a1b2c"}
    api.add("events", "e", involvedObject=about, message=reason, metadata={}, type="Warning")
    api.add("events", "f", involvedObject={"kind": "Workload", "name": "x"}, message="not ours", metadata={})
    api.job_states.extend(["Suspended"] * 50 + ["", "Running", "Succeeded"])
    launch(pending=0.3, queue="gpus")
    out = capsys.readouterr().out
    assert out.count(f"waiting in the queue gpus: {reason}") == 1
    assert out.index("the job is in a queue") < out.index("all training pods have started")
    assert "not ours" not in out


def test_a_queue_has_its_own_deadline(api: KubernetesApi) -> None:
    api.job_states.append("Suspended")
    with pytest.raises(SystemExit) as error:
        launch(queued=0.2, queue="gpus")
    assert f"the PyTorchJob {NAME} was not admitted by its queue in 0.2 s" in str(error.value)
    assert "waiting in the queue gpus" in str(error.value) and "k8s_queue_timeout" in str(error.value)
    assert api.objects["pytorchjobs"] == {}


def test_a_job_that_its_queue_takes_back_is_waited_for_again(api: KubernetesApi, capsys: pytest.CaptureFixture) -> None:
    add_pod(api, "master", "Running")
    api.job_states.extend(["Running", *["Suspended"] * 50, "Running", "Succeeded"])
    launch(pending=0.3, timeout=0.3, queue="gpus")
    out = capsys.readouterr().out
    assert out.index("all training pods have started") < out.index("the queue took the job back")
    assert out.count("all training pods have started") == 2


def test_events_that_cannot_be_read_do_not_end_the_waiting(api: KubernetesApi) -> None:
    api.forbidden.add("events")
    api.job_states.append("Suspended")
    with pytest.raises(SystemExit, match=r"waiting in the queue gpus \(its events can't be read: 403\)"):
        launch(queued=0.2, queue="gpus")


def test_image_that_cannot_be_pulled_is_told(api: KubernetesApi) -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
    status = {"name": "pytorch", "state": waiting, "image": "", "imageID": "", "ready": False, "restartCount": 0}
    add_pod(api, "master", "Running")
    add_pod(api, "worker", "Pending", containerStatuses=[status])
    api.job_states.append("Running")
    with pytest.raises(SystemExit, match=f"{NAME}-worker-0: ImagePullBackOff: Back-off pulling image"):
        launch(pending=0.2)


def test_running_deadline_counts_from_the_start_of_the_pods(api: KubernetesApi) -> None:
    add_pod(api, "master", "Pending")
    api.job_states.append("")

    def start() -> None:
        if len(api.requests) > 40:
            add_pod(api, "master", "Running")
            api.job_states.clear()
            api.job_states.append("Running")

    with pytest.raises(SystemExit, match=r"did not end in 0\.1 s"):
        launch(timeout=0.1, tick=start)


def test_api_server_that_is_away_for_a_while_is_waited_for(api: KubernetesApi, capsys: pytest.CaptureFixture) -> None:
    add_pod(api, "master", "Running")
    api.job_states.extend(["Running", "Running", "Succeeded"])
    looks = iter([[500], [0, 0, 0, 0, 0, 0, 0, 0], [429], []])
    launch(tick=lambda: api.faults.extend(next(looks, [])))
    assert "the API server answers 500; still waiting" in capsys.readouterr().out


@pytest.fixture
def hanging(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Ends of paths that the API server takes requests for and never answers; the client's patience is cut to 0.3 s.

    A call without a timeout of its own would wait until the test is over.
    """
    ends: set[str] = set()
    over, answer, request = threading.Event(), api.answer, RESTClientObject.request

    def hang(method: str, path: str, query: dict, body: Any) -> tuple[int, Any]:
        if path.endswith(tuple(ends)):
            over.wait(10)
        return answer(method, path, query, body)

    def impatient(*arguments: Any, **options: Any) -> Any:
        timeout = options.get("_request_timeout")
        return request(*arguments, **{**options, "_request_timeout": timeout and (timeout / 100, timeout / 100)})

    monkeypatch.setattr(api, "answer", hang)
    monkeypatch.setattr(RESTClientObject, "request", impatient)
    yield ends
    over.set()


@pytest.mark.parametrize("kind", ["/pods", "/events"])
def test_api_server_that_never_answers_does_not_keep_the_launcher_from_its_deadline(
    api: KubernetesApi, hanging: set[str], kind: str
) -> None:  # trap 5
    hanging.add(kind)
    add_pod(api, "master", "Pending")
    api.job_states.append("")
    begun = time.monotonic()
    with pytest.raises(SystemExit, match=r"did not start in 0\.1 s"):
        launch(pending=0.1)
    assert time.monotonic() - begun < 5


def test_failed_job_whose_logs_never_come_is_told_without_them(api: KubernetesApi, hanging: set[str]) -> None:
    hanging.add("/log")
    add_pod(api, "master", "Failed")
    api.job_states.append("Failed")
    begun = time.monotonic()
    with pytest.raises(SystemExit, match=r"failed(.|\n)*job is Failed(.|\n)*the logs can't be read \(MaxRetryError\)"):
        launch()
    assert time.monotonic() - begun < 5


def test_job_deleted_by_someone_fails_the_step(api: KubernetesApi) -> None:
    add_pod(api, "master", "Running")
    api.job_states.append("Running")
    with pytest.raises(SystemExit, match=r"can't be read any more \(404\)"):
        launch(tick=lambda: drop(api))


def drop(api: KubernetesApi) -> None:
    api.objects["pytorchjobs"].clear()


def there(api: KubernetesApi, state: str, **changes: object) -> None:
    found = manifest(**changes)
    found["status"] = {"conditions": [{"type": state, "status": "True"}]} if state else {}
    api.objects["pytorchjobs"] = {NAME: found}


def test_same_job_that_runs_is_attached_to(api: KubernetesApi, capsys: pytest.CaptureFixture) -> None:  # trap 3
    add_pod(api, "master", "Running")
    there(api, "Running")
    api.job_states.extend(["Running", "Running", "Succeeded"])
    launch()
    assert "already exists (Running): attaching to it" in capsys.readouterr().out


def test_same_job_that_succeeded_is_used_again(api: KubernetesApi) -> None:  # trap 3
    there(api, "Succeeded")
    launch()
    assert [request for request in api.requests if request.startswith("DELETE")] == []


def test_same_job_that_failed_fails_the_step_with_its_logs_and_is_deleted(api: KubernetesApi) -> None:  # traps 3, 25
    there(api, "Failed")
    add_pod(api, "worker", "Failed")
    api.logs = {f"{NAME}-worker-0": "CUDA out of memory"}
    with pytest.raises(SystemExit, match="CUDA out of memory"):
        launch()
    assert api.objects["pytorchjobs"] == {}


@pytest.mark.parametrize("state", ["Running", "Succeeded", "Failed"])
def test_other_job_of_that_name_is_refused_and_left_alone(api: KubernetesApi, state: str) -> None:  # trap 3
    there(api, state, image="other")
    with pytest.raises(SystemExit, match=f"already exists in lab\n.*other inputs.*\n.*delete pytorchjob {NAME}"):
        launch()
    assert NAME in api.objects["pytorchjobs"]


def test_job_that_is_being_deleted_is_waited_for(api: KubernetesApi) -> None:
    there(api, "Running")
    assert job_is_there(NAME, 10, poll=0.01)
    api.objects["pytorchjobs"][NAME]["metadata"]["deletionTimestamp"] = "2025-01-01T00:00:00Z"
    api.faults.extend([0, 0, 0, 0, 500, 403, 429])  # the API server restarts meanwhile
    answer = api.answer

    def slow_delete(method: str, path: str, query: dict, body: object) -> tuple:
        if len(api.requests) > 12:
            drop(api)
        return answer(method, path, query, body)

    api.answer = slow_delete  # type: ignore[method-assign]
    assert not job_is_there(NAME, 10, poll=0.01)


def test_job_that_stays_while_it_is_being_deleted_or_cannot_be_read_fails_the_step(api: KubernetesApi) -> None:
    there(api, "Running")
    api.objects["pytorchjobs"][NAME]["metadata"]["deletionTimestamp"] = "2025-01-01T00:00:00Z"
    with pytest.raises(SystemExit, match="still being deleted"):
        job_is_there(NAME, 0, poll=0.01)
    api.forbidden.add("pytorchjobs")
    with pytest.raises(SystemExit, match=r"can't be read in lab \(403\)"):
        job_is_there(NAME, 60, poll=0.01)


def test_missing_rights_or_operator_are_told(api: KubernetesApi) -> None:
    api.forbidden.add("pytorchjobs")
    with pytest.raises(SystemExit, match=r"could not be created in lab \(403\)"):
        launch()


def test_job_belongs_to_the_owner_of_the_launching_pod(api: KubernetesApi) -> None:  # trap 24
    owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "ilab-x", "uid": "1"}
    api.add("pods", os.uname().nodename, metadata={"ownerReferences": [owner]}, status={})
    api.job_states.append("Succeeded")
    launch()
    assert api.objects["pytorchjobs"][NAME]["metadata"]["ownerReferences"] == [owner]


@pytest.mark.parametrize(
    ("number", "owner", "left"),
    [
        (signal.SIGTERM, "", False),
        (signal.SIGINT, "", False),
        (signal.SIGTERM, "Workflow", False),
        (signal.SIGTERM, "Job", True),
    ],
)
def test_stopped_launcher_deletes_its_job_unless_its_own_job_does(
    api: KubernetesApi, tmp_path: Path, number: int, owner: str, left: bool
) -> None:  # traps 24, 25; an evicted pod's Job makes another pod, which goes on with the training
    if owner:
        owners = [{"apiVersion": "v1", "kind": owner, "name": "x", "uid": "1"}]
        api.add("pods", os.uname().nodename, metadata={"ownerReferences": owners}, status={})
    add_pod(api, "master", "Running")
    api.job_states.append("Running")
    (tmp_path / "job.json").write_text(json.dumps(manifest()))
    code = (
        "import json, sys\nfrom utils.stages.train.pytorchjob import launch_pytorchjob\n"
        "launch_pytorchjob(json.load(open(sys.argv[1])), 60, 60, lambda: None, poll=0.05)"
    )
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig"), "PYTHONPATH": "."}
    launcher = subprocess.Popen([sys.executable, "-c", code, tmp_path / "job.json"], env=environment)
    deadline = time.monotonic() + 20
    while api.requests.count(f"GET pytorchjobs/{NAME}") < 2:
        assert time.monotonic() < deadline
        assert launcher.poll() is None
        time.sleep(0.01)
    launcher.send_signal(number)
    assert launcher.wait(20) != 0
    assert bool(api.objects["pytorchjobs"]) == left

"""A pod's status in words. The statuses are those of real clusters, shortened."""

from typing import Any

import pytest

from utils.cluster.pods import container_ended, job_pending_reason, pod_state
from utils.names import QUEUE_LABEL


def pod(phase: str = "Pending", **status: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "main"}, {"name": "sidecar"}]}
    return {"metadata": {"name": "p"}, "spec": spec, "status": {"phase": phase, **status}}


def container(name: str = "main", **state: Any) -> dict[str, Any]:
    return {"name": name, "state": state}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return container(waiting={"reason": reason, "message": message})


def ended(code: int, reason: str = "Error", name: str = "main", **more: Any) -> dict[str, Any]:
    return container(name, terminated={"exitCode": code, "reason": reason, **more})


def event(reason: str, message: str) -> dict[str, Any]:
    return {"reason": reason, "message": message, "metadata": {}}


def unscheduled(message: str, reason: str = "Unschedulable") -> list[dict[str, Any]]:
    return [{"type": "PodScheduled", "status": "False", "reason": reason, "message": message}]


DISRUPTED = [
    {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "API: evicting",
    }
]


@pytest.mark.parametrize("statuses", [{}, {"containerStatuses": None, "conditions": None}, {"containerStatuses": []}])
def test_pod_without_container_statuses_is_pending(statuses: dict[str, Any]) -> None:
    """Trap 6."""
    state = pod_state(pod(**statuses))
    assert (state.phase, state.started, state.pending_reason, state.failure) == ("Pending", False, "", "")


def test_pod_without_a_status_is_pending() -> None:
    assert pod_state({"metadata": {"name": "p"}}).phase == "Pending"


@pytest.mark.parametrize(
    ("status", "events", "reason"),
    [
        (
            {"conditions": unscheduled("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")},
            [],
            "unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
        ),
        (
            {"conditions": unscheduled("")},
            [event("FailedScheduling", "0/1 nodes are available: too many pods.")],
            "unschedulable: 0/1 nodes are available: too many pods.",
        ),
        (
            {"conditions": unscheduled("0/1 nodes: pod has unbound immediate PersistentVolumeClaims.")},
            [],
            "volume: 0/1 nodes: pod has unbound immediate PersistentVolumeClaims.",
        ),
        (
            {"conditions": unscheduled('persistentvolumeclaim "data" not found')},
            [],
            'volume: persistentvolumeclaim "data" not found',
        ),
        (
            {"conditions": unscheduled("Scheduling is blocked due to non-empty gates", "SchedulingGated")},
            [],
            "queue: Scheduling is blocked due to non-empty gates",
        ),
        (
            {"containerStatuses": [waiting("ImagePullBackOff", 'Back-off pulling image "x"')]},
            [
                event("Failed", 'Failed to pull image "x": manifest unknown'),
                event("Failed", "Error: ImagePullBackOff"),
            ],
            'image pull: Failed to pull image "x": manifest unknown',
        ),
        (
            {"containerStatuses": [waiting("ErrImagePull", "no such host")]},
            [],
            "image pull: no such host",
        ),
        (
            {"containerStatuses": [waiting("CreateContainerConfigError", "couldn't find key k in Secret lab/s")]},
            [],
            "container: CreateContainerConfigError: couldn't find key k in Secret lab/s",
        ),
        (
            {"containerStatuses": [waiting("ContainerCreating")]},
            [event("FailedMount", 'MountVolume.SetUp failed for volume "s" : secret "s" not found')],
            'volume: MountVolume.SetUp failed for volume "s" : secret "s" not found',
        ),
        (
            {"containerStatuses": [waiting("ContainerCreating")]},
            [event("Pulling", "Pulling image"), event("FailedCreatePodSandBox", "no CNI")],
            "node: no CNI",
        ),
        (
            {
                "initContainerStatuses": [container("prepare", running={})],
                "containerStatuses": [waiting("PodInitializing")],
            },
            [],
            "init container prepare is running",
        ),
        ({"containerStatuses": [waiting("ContainerCreating")]}, [], ""),
    ],
)
def test_reason_of_a_pending_pod_carries_the_clusters_text(
    status: dict[str, Any], events: list[dict[str, Any]], reason: str
) -> None:
    state = pod_state(pod(**status), events)
    assert state.pending_reason == reason
    assert not state.started


def test_running_pod_has_started_despite_old_events() -> None:
    state = pod_state(pod("Running", containerStatuses=[container(running={})]), [event("FailedMount", "once")])
    assert (state.started, state.pending_reason, state.failure) == (True, "", "")


def test_outputs_come_from_the_first_container_by_name() -> None:
    statuses = [ended(0, "Completed", "sidecar", message="not this"), ended(0, "Completed", message='{"a": 1}')]
    state = pod_state(pod("Succeeded", containerStatuses=statuses))
    assert (state.phase, state.message, state.failure, state.container) == ("Succeeded", '{"a": 1}', "", "")


@pytest.mark.parametrize(
    ("status", "expected", "sentence"),
    [
        (
            {"containerStatuses": [ended(1)]},
            ("main", "Error", 1, False),
            "container main ended with exit code 1",
        ),
        (
            {"containerStatuses": [ended(137, "OOMKilled")]},
            ("main", "OOMKilled", 137, False),
            "container main used more memory than its limit (OOMKilled, exit code 137)",
        ),
        (
            {"containerStatuses": [ended(137)]},
            ("main", "Error", 137, False),
            "container main ended with exit code 137; killed (SIGKILL)",
        ),
        (
            {"containerStatuses": [ended(0, "Completed"), ended(2, name="sidecar")]},
            ("sidecar", "Error", 2, False),
            "container sidecar ended with exit code 2",
        ),
        (
            {"initContainerStatuses": [ended(3, name="prepare")], "containerStatuses": [waiting("PodInitializing")]},
            ("prepare", "Error", 3, False),
            "container prepare ended with exit code 3",
        ),
        (
            {"containerStatuses": [ended(128, "StartError", message="exec: torchrun: not found")]},
            ("main", "StartError", 128, False),
            "container main could not run: StartError (exit code 128): exec: torchrun: not found",
        ),
        (
            {"reason": "Evicted", "message": "The node was low on resource: memory.", "containerStatuses": None},
            ("", "Evicted", None, False),
            "the pod ended: Evicted: The node was low on resource: memory.",
        ),
        (
            {"conditions": DISRUPTED, "containerStatuses": [ended(143)]},
            ("main", "Error", 143, True),
            "the pod ended: EvictionByEvictionAPI: API: evicting; "
            "container main ended with exit code 143; terminated (SIGTERM)",
        ),
        (
            {"reason": "DeadlineExceeded", "message": "Pod was active longer than the specified deadline"},
            ("", "DeadlineExceeded", None, False),
            "the pod ended: DeadlineExceeded: Pod was active longer than the specified deadline",
        ),
        ({}, ("", "", None, False), "the pod failed, and its status does not say why"),
    ],
)
def test_failed_pod_names_container_reason_and_exit_code(
    status: dict[str, Any], expected: tuple[Any, ...], sentence: str
) -> None:
    state = pod_state(pod("Failed", **status))
    assert (state.container, state.reason, state.exit_code, state.disrupted) == expected
    assert state.failure == sentence


def test_container_that_failed_counts_while_the_pod_still_runs() -> None:
    state = pod_state(pod("Running", containerStatuses=[ended(1), container("sidecar", running={})]))
    assert (state.phase, state.failure) == ("Running", "container main ended with exit code 1")


@pytest.mark.parametrize(
    ("found", "over"),
    [
        (pod(), False),
        (pod("Running", containerStatuses=[container(running={})]), False),
        (pod("Running", containerStatuses=[ended(0), container("sidecar", running={})]), True),
        (pod("Running", containerStatuses=[container(running={}), ended(0, name="sidecar")]), False),
        (pod("Failed", reason="Evicted"), True),
        ({"metadata": {}}, False),
    ],
)
def test_log_is_complete_when_the_container_or_its_pod_has_ended(found: dict[str, Any], over: bool) -> None:
    assert container_ended(found, "main") is over


@pytest.mark.parametrize(
    ("job", "events", "reason"),
    [
        ({"spec": {}}, [], ""),
        ({"spec": {"suspend": True}}, [], "queue: the Job is suspended until its queue admits it"),
        (
            {"spec": {"suspend": True}, "metadata": {"labels": {QUEUE_LABEL: "gpus"}}},
            [],
            "queue: the Job is suspended until its queue gpus admits it",
        ),
        (
            {"spec": {}},
            [event("FailedCreate", 'Error creating: pods "x" is forbidden: exceeded quota: gpus, limited: 4')],
            "quota: exceeded quota: gpus, limited: 4",
        ),
        (
            {"spec": {}},
            [event("FailedCreate", 'Error creating: pods "x" is forbidden: violates PodSecurity "restricted"')],
            'pod refused: violates PodSecurity "restricted"',
        ),
        (
            {"spec": {}},
            [event("FailedCreate", 'Error creating: admission webhook "p" denied the request: no such team')],
            'pod refused: admission webhook "p" denied the request: no such team',
        ),
        (
            {"spec": {}},
            [event("FailedCreate", 'Error creating: Internal error occurred: failed calling webhook "p": EOF')],
            'no pod yet: Internal error occurred: failed calling webhook "p": EOF',
        ),
        (
            {"spec": {}},
            [event("FailedCreate", 'Error creating: pods "x" is forbidden: no'), event("SuccessfulCreate", "Created")],
            "",
        ),
    ],
)
def test_reason_why_a_job_has_no_pod_is_reported(
    job: dict[str, Any], events: list[dict[str, Any]], reason: str
) -> None:
    assert job_pending_reason(job, events) == reason

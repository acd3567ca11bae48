"""What errors say about a refusal by the API server, and that they never show a Secret's value."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.cluster_client.conftest import CANARY, job, secret
from tests.fakes.api_server import ApiServer, Fault, Time
from utils.cluster.cluster import Cluster
from utils.cluster.errors import ClusterError, ForbiddenError, MissingKindError
from utils.cluster.kinds import CONFIG_MAP, JOB, POD, PYTORCH_JOB, SECRET
from utils.cluster.objects import create_once, create_or_attach, delete, delete_all, get, list_objects, patch
from utils.names import RUN_LABEL


@pytest.mark.parametrize(
    ("verb", "resource", "call"),
    [
        ("create", "jobs.batch", lambda c: create_once(c, job())),
        ("get", "jobs.batch", lambda c: get(c, JOB, "train")),
        ("list", "jobs.batch", lambda c: list_objects(c, JOB)),
        ("patch", "configmaps", lambda c: patch(c, CONFIG_MAP, "run", {})),
        ("delete", "jobs.batch", lambda c: delete(c, JOB, "train")),
        ("list", "pods", lambda c: delete_all(c, POD, "a=b")),
    ],
)
def test_missing_right_is_reported_with_verb_resource_namespace_and_role(
    api: ApiServer, cluster: Cluster, verb: str, resource: str, call: Callable[[Cluster], object]
) -> None:
    api.faults.append(Fault(verb, status=403, message=f'User "walker" cannot {verb} resource'))
    with pytest.raises(ForbiddenError) as caught:
        call(cluster)
    assert caught.value.what == f"no right to {verb} {resource} in the namespace lab"
    assert "the Role ilab-pipeline" in caught.value.cause
    assert f"kubectl auth can-i {verb} {resource} -n lab" in caught.value.remedy
    assert len(api.requests) == 1


def test_right_that_worked_before_counts_as_missing_only_if_it_stays_away(
    api: ApiServer, cluster: Cluster, time: Time
) -> None:
    api.put("jobs", "train")
    get(cluster, JOB, "train")
    api.faults += [Fault(status=403)] * 3  # as a server that has just started answers
    assert get(cluster, JOB, "train") is not None
    api.faults += [Fault(status=403)] * 100
    with pytest.raises(ForbiddenError):
        get(cluster, JOB, "train")
    assert sum(time.pauses) < 60


@pytest.mark.parametrize("status", [401, 403, 404])
def test_walk_waits_minutes_for_what_was_granted_before(
    api: ApiServer, cluster: Cluster, time: Time, status: int
) -> None:
    cluster = replace(cluster, patience=1800.0, regrant_seconds=1800.0)
    api.put("jobs", "train")
    get(cluster, JOB, "train")
    denied, until = Fault(status=status), time.now + 1500
    api.faults += [denied] * 1000

    def grant() -> None:
        if time.now > until:
            api.faults.clear()

    time.at_sleep = grant
    assert get(cluster, JOB, "train") is not None
    time.at_sleep = lambda: None
    api.faults += [denied] * 1000
    began = time.now
    with pytest.raises(ClusterError) as caught:
        get(cluster, JOB, "train")
    assert caught.value.status == status
    assert 1700 < time.now - began <= 1800


def test_verdict_of_admission_is_not_waited_for_like_a_missing_right(
    api: ApiServer, cluster: Cluster, time: Time
) -> None:
    cluster = replace(cluster, regrant_seconds=1800.0)
    create_once(cluster, job("a"))
    api.faults += [Fault("create", status=403, message='admission webhook "x" denied the request: no')] * 100
    with pytest.raises(ClusterError, match="denied the request"):
        create_once(cluster, job("b"))
    assert sum(time.pauses) < 60


def test_right_to_one_secret_does_not_imply_another(api: ApiServer, cluster: Cluster) -> None:
    get(cluster, SECRET, "may-read")
    api.faults.append(Fault("get", "secrets", status=403))
    with pytest.raises(ForbiddenError, match="or not for this name"):
        get(cluster, SECRET, "may-not-read")


@pytest.mark.parametrize(
    "message",
    [
        'pods "x" is forbidden: exceeded quota: gpu, requested: requests.nvidia.com/gpu=8, limited: 4',
        'pods "x" is forbidden: violates PodSecurity "restricted:latest"',
        'admission webhook "queue" denied the request: no queue of that name',
    ],
)
def test_refusal_by_admission_is_not_taken_for_a_missing_right(api: ApiServer, cluster: Cluster, message: str) -> None:
    api.faults.append(Fault(status=403, message=message))
    with pytest.raises(ClusterError) as caught:
        create_once(cluster, job())
    assert not isinstance(caught.value, ForbiddenError)
    assert caught.value.cause == message


@pytest.mark.parametrize("make", [create_once, create_or_attach])
def test_field_that_the_server_does_not_know_is_refused_and_the_overlay_named(
    api: ApiServer, cluster: Cluster, make: Callable[[Cluster, dict[str, Any]], object]
) -> None:
    fields = ("spec.template.spec.tolerationz", "spec.template.spec.containers[0].resource")
    unknown = ", ".join(f'unknown field "{field}"' for field in fields)
    message = f'Job in version "v1" cannot be handled as a Job: strict decoding error: {unknown}'
    api.faults.append(Fault("create", status=400, message=message, body={"reason": "BadRequest"}))
    with pytest.raises(ClusterError) as caught:
        make(cluster, job())
    assert api.requests[0].query == {"fieldValidation": "Strict"}
    assert caught.value.cause == message
    assert caught.value.remedy.startswith(f"correct {', '.join(fields)}: ")
    assert "in the --pod-overlay" in caught.value.remedy


def test_expired_login_is_named(api: ApiServer, cluster: Cluster) -> None:
    api.faults.append(Fault(status=401))
    with pytest.raises(ClusterError, match="does not know who we are") as caught:
        list_objects(cluster, JOB)
    assert "log in again" in caught.value.remedy


def test_missing_kind_is_an_error_but_deleting_its_objects_is_not(cluster: Cluster) -> None:
    with pytest.raises(MissingKindError, match="the cluster has no pytorchjobs.kubeflow.org"):
        get(cluster, PYTORCH_JOB, "x")
    assert not delete(cluster, PYTORCH_JOB, "x")
    assert delete_all(cluster, PYTORCH_JOB, f"{RUN_LABEL}=r") == 0


def test_missing_right_to_create_secrets_has_its_own_remedy(api: ApiServer, cluster: Cluster) -> None:
    message = "secrets is forbidden: User x cannot create resource secrets"
    api.faults.append(Fault("create", "secrets", status=403, message=message, body={"reason": "Forbidden"}))
    with pytest.raises(ForbiddenError, match="no right to create secrets") as caught:
        create_once(cluster, secret())
    assert "name a Secret instead, or apply what standalone.py show --rbac prints" in caught.value.remedy
    assert CANARY not in caught.value.render()


def test_no_secret_value_appears_in_an_error(api: ApiServer, cluster: Cluster) -> None:
    coded = base64.b64encode(CANARY.encode()).decode()
    for status in (400, 403, 422, 500):
        api.faults[:] = [Fault(status=status, message=f"bad value {CANARY} or {coded}")] * 100
        with pytest.raises(ClusterError) as caught:
            create_once(cluster, secret())
        assert CANARY not in caught.value.render()
        assert coded not in caught.value.render()
        assert "bad value ***" in caught.value.render()


def test_token_appears_in_no_message_and_no_repr(api: ApiServer, cluster: Cluster, told: list[str]) -> None:
    api.faults += [Fault()] * 100
    with pytest.raises(ClusterError) as caught:
        get(cluster, JOB, "x")
    assert "a-token" not in json.dumps([repr(cluster), caught.value.render(), *told])

"""Objects that a run finds in the cluster and leaves there: its record, Secrets, claims, objects of others."""

import threading
from typing import Any

import pytest

from tests.fakes.api_server import Fault
from tests.fakes.node import Act, values
from tests.runners.kubernetes.conftest import Lab
from tests.runners.kubernetes.pipelines import alone, mounted, tried_once, two
from utils.cluster.errors import ConflictError, ForbiddenError
from utils.errors import IlabError, UsageError
from utils.ir.model import Event, TaskState
from utils.names import RUN_LABEL


def test_run_ends_when_its_object_is_deleted(lab: Lab) -> None:
    lab.node.play("take", Act(holds=True))

    def delete(event: Event) -> None:
        if lab.node.objects["pods"] and "ilab-r1" in lab.node.objects["configmaps"]:
            lab.node.remove("configmaps", "ilab-r1")

    lab.on_event = delete
    with pytest.raises(IlabError, match="the run r1 is gone"):
        lab.run(tried_once)
    assert lab.left() == []


def test_objects_of_others_are_left_alone(lab: Lab) -> None:
    lab.node.put("configmaps", "ilab-r1", data={"a": "b"})
    with pytest.raises(UsageError, match="not a run's"):
        lab.run(two)
    assert lab.node.objects["configmaps"]["ilab-r1"]["data"] == {"a": "b"}


def secret(owner: Any, value: str = "hidden") -> list[dict[str, Any]]:
    metadata = {"name": "ilab-r1-teacher"}
    return [{"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"api_token": value}}]


def test_secrets_from_flags_belong_to_the_run_and_are_deleted_at_its_end(lab: Lab) -> None:
    seen: list[Any] = []
    lab.node.play("make", Act(values(Output=1)))
    lab.on_event = lambda event: seen.extend(lab.node.objects["secrets"].values())
    lab.run(two, extras=secret)
    made = seen[0]["metadata"]
    assert made["labels"][RUN_LABEL] == "r1"
    uid = lab.node.objects["configmaps"]["ilab-r1"]["metadata"]["uid"]
    assert made["ownerReferences"] == [{"apiVersion": "v1", "kind": "ConfigMap", "name": "ilab-r1", "uid": uid}]
    assert lab.left() == []
    assert "hidden" not in str(lab.record())


def test_a_secret_with_other_values_is_not_taken_for_the_same(lab: Lab) -> None:
    lab.node.play("make", Act(values(Output=1)))
    lab.node.put("secrets", "ilab-r1-teacher", metadata={"labels": {}}, data={"api_token": "b3RoZXI="})
    with pytest.raises(ConflictError, match="is not the one this run needs") as refused:
        lab.run(two, extras=secret)
    assert "data.api_token: another value" in refused.value.cause
    assert "hidden" not in str(refused.value.render())
    assert lab.node.created() == []


@pytest.mark.parametrize("value", ["hidden", "other"])
def test_secret_of_a_killed_process_is_used_again_only_with_the_same_value(lab: Lab, value: str) -> None:
    def kill(event: Event) -> None:
        raise SystemExit("killed")

    lab.on_event = kill
    with pytest.raises(SystemExit):
        lab.run(tried_once, extras=secret)
    assert lab.left() == ["secrets/ilab-r1-teacher"]
    lab.on_event = lambda event: None
    if value == "hidden":
        assert lab.run(tried_once, extras=secret).state is TaskState.SUCCEEDED
    else:
        with pytest.raises(ConflictError, match="is not the one this run needs"):
            lab.run(tried_once, extras=lambda owner: secret(owner, value))
        assert lab.node.created() == []


def test_conflicting_secret_is_left_alone(lab: Lab) -> None:
    part = frozenset({"make"})
    lab.run(alone, skip=part)
    lab.node.put("secrets", "ilab-r1-teacher", metadata={"labels": {}}, data={"api_token": "b3RoZXI="})
    with pytest.raises(ConflictError, match="is not the one this run needs"):
        lab.run(alone, skip=part, extras=secret)
    assert lab.left() == ["secrets/ilab-r1-teacher"]


def test_existing_claim_is_used_if_it_fits_and_refused_with_the_difference_if_not(lab: Lab) -> None:
    lab.run(mounted, "r1")
    claim = lab.node.objects["persistentvolumeclaims"]["c"]
    claim["spec"]["resources"]["requests"]["storage"] = "5Gi"
    result = lab.run(mounted, "r2")
    assert "is not the one this run needs" in result.error
    assert "spec.resources.requests.storage: 5Gi, wanted 1Gi" in result.error
    assert f"metadata.labels.{RUN_LABEL}: r1, wanted r2" in result.error


def test_claim_that_is_being_deleted_is_waited_for_and_recreated(lab: Lab) -> None:
    going = {"labels": {RUN_LABEL: "r1"}, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    lab.node.put("persistentvolumeclaims", "c", metadata=going, spec=spec)
    timer = threading.Timer(0.5, lab.node.remove, ("persistentvolumeclaims", "c"))
    timer.start()
    assert lab.run(mounted).state is TaskState.SUCCEEDED
    timer.join()
    assert "deletionTimestamp" not in lab.node.objects["persistentvolumeclaims"]["c"]["metadata"]


def test_missing_right_leaves_no_run_behind(lab: Lab) -> None:
    message = "configmaps is forbidden: User x cannot create resource configmaps"
    body = {"reason": "Forbidden"}
    lab.node.faults.append(Fault("create", "configmaps", 403, message=message, body=body))
    with pytest.raises(ForbiddenError, match="create"):
        lab.run(two)
    assert lab.node.objects["configmaps"] == {}

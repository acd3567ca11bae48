"""The volume at a run's beginning and end, on a real API server, volume controller and garbage collector."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.cluster.lab import Lab
from tests.cluster.node import wait_for
from tests.cluster.pods import pod, pod_spec, wait_until_ended
from tests.cluster.runs import Run, assert_nothing_left, names
from utils.cluster.client import pod_client
from utils.names import KFP_RUN_LABEL, OUTCOME_ANNOTATION, RUN_OWNER
from utils.stages.volume.claims import UNFINISHED, VolumeClaim, binding_mode, create_claim, wait_bound
from utils.stages.volume.ending import end_run, mark_outcome

CLAIMS = "persistentvolumeclaims"


# --- whole runs, as the Role of manifests/ lets them


@pytest.fixture(scope="module")
def runs(lab: Lab) -> dict[str, Run]:
    """Runs that end in each way, all at once."""
    return {
        "published": lab.start("ending", "published", published=True),
        "held-back": lab.start("ending", "held-back", published=False),
        "repaired": lab.start("ending", "repaired", published=True, needs="repaired"),
    }


def test_volume_is_deleted_when_the_candidate_was_published(lab: Lab, runs: dict[str, Run]) -> None:
    run = runs["published"]
    assert run.wait() == 0, run.output[-4000:]
    assert "the run succeeded; its volume claim ilab-published is deleted" in run.task_log("clean-up")
    assert "its volume is kept" not in run.output
    assert_nothing_left(lab.cluster, lab.namespace, run.run_id)


def test_volume_is_kept_when_the_gate_holds_the_candidate_back(lab: Lab, runs: dict[str, Run]) -> None:
    run = runs["held-back"]
    assert run.wait() == 0, run.output[-4000:]
    found = lab.cluster.get("pvc", "ilab-held-back", "-n", lab.namespace)["metadata"]
    outcome = found["annotations"][OUTCOME_ANNOTATION]
    assert outcome.endswith("The gate rejected it (min_mt_bench): nothing was published")
    assert "deletionTimestamp" not in found
    command = f"kubectl -n {lab.namespace} delete pvc ilab-held-back"
    assert f"its volume is kept; remove it: {command}" in run.output
    assert f"remove it: {command}" in run.task_log("clean-up")
    lab.cluster.kubectl(*command.split()[1:])
    assert_nothing_left(lab.cluster, lab.namespace, run.run_id)


def test_volume_is_kept_after_a_failure_and_deleted_when_the_resumed_run_succeeds(
    lab: Lab, runs: dict[str, Run]
) -> None:
    """Trap 54: a failed run keeps its results, so that it can be resumed."""
    run = runs["repaired"]
    assert run.wait() == 1, run.output[-4000:]
    assert "the run did not get to its end" in run.task_log("clean-up")
    assert "its volume is kept" in run.output
    if not lab.cluster.owned:
        pytest.skip("a volume's files are out of reach on a cluster that is not ours")
    (run.claim / "repaired").touch()
    run.words.append("--resume")
    again = run.again()
    assert again.wait() == 0, again.output[-4000:]
    assert_nothing_left(lab.cluster, lab.namespace, run.run_id)


# --- functions of the stages, under the account


@pytest.fixture
def here(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> str:
    """The namespace; the stages' functions act as the account."""
    # The client reads KUBECONFIG when it is imported, once.
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(lab.kubeconfig()))
    return pod_client().namespace


def mounting_pod(lab: Lab, name: str, claim: str, *command: str) -> None:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    mount = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    lab.cluster.apply(pod(lab.namespace, name, pod_spec(*command, **mount) | {"volumes": volumes}))


def claim_of(lab: Lab, run_id: str) -> str:
    return create_claim(VolumeClaim(run_id, "1Gi", lab.cluster.storage_class, "ReadWriteMany"))


def test_finished_pods_are_deleted_so_that_their_claim_is_deleted_at_once(
    lab: Lab, here: str, capsys: pytest.CaptureFixture
) -> None:
    """Trap 53. Pods of Kubeflow Pipelines belong to no Job that takes them along."""
    claim, other = (claim_of(lab, run) for run in ("pods", "pods-2"))
    mounting_pod(lab, "worked", claim, "true")
    mounting_pod(lab, "failed", claim, "false")
    mounting_pod(lab, "of-another-run", other, "true")
    for name in ("worked", "failed", "of-another-run"):
        wait_until_ended(lab.cluster, here, name)
    mark_outcome("pods", "succeeded")
    end_run("pods", "on_failure")
    assert "the run succeeded; its volume claim ilab-pods is deleted" in capsys.readouterr().out
    assert names(lab.cluster, here, CLAIMS, "ilab-pods") == ["persistentvolumeclaim/ilab-pods-2"]
    left = set(lab.cluster.kubectl("get", "pods", "-n", here, "-o", "name").split())
    assert "pod/of-another-run" in left
    assert not {"pod/worked", "pod/failed"} & left
    end_run("pods", "on_failure")
    assert "the run has no volume claim ilab-pods" in capsys.readouterr().out
    end_run("pods-2", "never")


def test_running_pod_is_left_alone_and_named(lab: Lab, here: str, capsys: pytest.CaptureFixture) -> None:
    claim = claim_of(lab, "busy")
    mounting_pod(lab, "works", claim, "sleep", "3600")
    lab.cluster.wait("condition=Ready", "pod/works", "-n", here)
    end_run("busy", "never")
    assert "ilab-busy is being deleted, and gone when these no longer mount it: works" in capsys.readouterr().out
    assert lab.cluster.get("pod", "works", "-n", here)["status"]["phase"] == "Running"
    lab.cluster.kubectl("delete", "pod", "works", "-n", here)
    wait_for("the claim's end", lambda: not names(lab.cluster, here, CLAIMS, claim))


@pytest.fixture
def workflow(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The owner of what a run on Kubeflow Pipelines makes: a Workflow, in name only where the cluster has no Argo."""
    kind = {"plural": "workflows", "singular": "workflow", "kind": "Workflow"}
    schema = {"openAPIV3Schema": {"type": "object"}}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": schema}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "workflows.argoproj.io"},
        "spec": {"group": "argoproj.io", "scope": "Namespaced", "names": kind, "versions": [version]},
    }
    has_argo = "workflows.argoproj.io" in lab.cluster.kubectl("get", "crd", "-o", "name")
    if not has_argo:
        lab.cluster.apply(definition)
        lab.cluster.wait("condition=Established", "crd/workflows.argoproj.io")
    named = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow"}
    lab.cluster.apply({**named, "metadata": {"name": "ilab-x", "namespace": lab.namespace}})
    uid = lab.cluster.get("workflow", "ilab-x", "-n", lab.namespace)["metadata"]["uid"]
    owner = {**named, "name": "ilab-x", "uid": uid}
    monkeypatch.setenv(RUN_OWNER, json.dumps([owner]))
    yield owner
    if not has_argo:
        lab.cluster.kubectl("delete", "crd", "workflows.argoproj.io")


def test_kept_claim_loses_its_workflow_as_owner_until_a_retry_succeeds(
    lab: Lab, here: str, workflow: dict[str, str]
) -> None:
    claim_of(lab, "retried")

    def metadata() -> dict[str, Any]:
        found: dict[str, Any] = lab.cluster.get("pvc", "ilab-retried", "-n", here)["metadata"]
        return found

    assert metadata()["ownerReferences"] == [workflow]
    assert metadata()["labels"][KFP_RUN_LABEL] == "retried"
    end_run("retried", "on_failure")
    assert metadata()["ownerReferences"] == [workflow], "no check has passed, and nothing is on it"
    mark_outcome("retried", UNFINISHED)
    end_run("retried", "on_failure")
    assert "ownerReferences" not in metadata()
    mark_outcome("retried", "succeeded")
    assert metadata()["ownerReferences"] == [workflow]
    assert metadata()["annotations"][OUTCOME_ANNOTATION] == "succeeded"
    claim_of(lab, "retried")
    assert metadata()["annotations"][OUTCOME_ANNOTATION] == UNFINISHED
    end_run("retried", "on_failure")
    mark_outcome("retried", "succeeded")
    lab.cluster.kubectl("delete", "workflow", "ilab-x", "-n", here)
    wait_for("the claim's end with its Workflow", lambda: not names(lab.cluster, here, CLAIMS, "ilab-retried"))


def test_kept_claim_outlives_its_workflow(lab: Lab, here: str, workflow: dict[str, str]) -> None:
    """The server deletes it a day after the run's end."""
    for run in ("left", "kept"):
        claim_of(lab, run)
    mark_outcome("kept", UNFINISHED)
    end_run("kept", "on_failure")
    lab.cluster.kubectl("delete", "workflow", "ilab-x", "-n", here)
    wait_for("the other claim's end", lambda: not names(lab.cluster, here, CLAIMS, "ilab-left"))
    assert "deletionTimestamp" not in lab.cluster.get("pvc", "ilab-kept", "-n", here)["metadata"]
    end_run("kept", "never")


@contextmanager
def storage_class(lab: Lab, mode: str) -> Iterator[str]:
    """A class whose provisioner nobody runs."""
    name = f"{lab.namespace}-{mode.lower()}"
    found = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}}
    lab.cluster.apply({**found, "provisioner": "nobody.example.com", "volumeBindingMode": mode})
    try:
        yield name
    finally:
        lab.cluster.kubectl("delete", "storageclass", name)


def pending(lab: Lab, name: str, class_name: str) -> None:
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    metadata = {"name": name, "namespace": lab.namespace}
    spec["storageClassName"] = class_name
    lab.cluster.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})


def has_event(lab: Lab, name: str) -> bool:
    return bool(
        lab.cluster.get("events", "-n", lab.namespace, "--field-selector", f"involvedObject.name={name}")["items"]
    )


@pytest.mark.parametrize("provisioner", ["nobody.example.com", ""], ids=["nobody provisions", "no such class"])
def test_claim_that_is_not_provisioned_fails_with_the_events_of_the_claim(
    lab: Lab, here: str, provisioner: str
) -> None:
    name = "never-1" if provisioner else "never-2"
    with storage_class(lab, "Immediate") as made:
        class_name, why = (made, f"external provisioner '{provisioner}'") if provisioner else ("no-such", "not found")
        pending(lab, name, class_name)
        wait_for("the event", lambda: has_event(lab, name))
        with pytest.raises(SystemExit, match=f"{name} in {here} was not bound within .*\n  cause: .*{why}"):
            wait_bound(pod_client(), name, 1)
    wait_for("the deletion", lambda: not names(lab.cluster, here, CLAIMS, name))


def test_claim_that_binds_at_its_first_pod_is_not_waited_for(
    lab: Lab, here: str, capsys: pytest.CaptureFixture
) -> None:
    """Nobody may read storage classes under the Role, which belongs to a namespace: the events tell."""
    with storage_class(lab, "WaitForFirstConsumer") as class_name:
        assert binding_mode(pod_client(), class_name) == ""
        pending(lab, "later", class_name)
        wait_bound(pod_client(), "later")
        assert "is bound when the first pod mounts it" in capsys.readouterr().out
        lab.cluster.kubectl("delete", "pvc", "later", "-n", here)


def test_claim_is_bound_after_create_volume(lab: Lab, here: str, capsys: pytest.CaptureFixture) -> None:
    name = claim_of(lab, "bound")
    assert "volume claim ilab-bound is bound to pvc-" in capsys.readouterr().out
    assert lab.cluster.get("pvc", name, "-n", here)["status"]["phase"] == "Bound"
    end_run("bound", "never")

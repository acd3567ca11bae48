"""The run's volume claim: created once, bound before the run continues, a directory on one machine."""

import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from components.create_volume import create_volume
from tests.fakes.kubernetes_api import KubernetesApi
from utils.cluster.client import pod_client
from utils.names import CLAIMS_DIR, OUTCOME_ANNOTATION, RUN_LABEL, RUN_OWNER
from utils.stages.volume.claims import UNFINISHED, VolumeClaim, create_claim, wait_bound

CLAIMS = "persistentvolumeclaims"
WANTED = VolumeClaim("r", "5Gi", "", "ReadWriteMany")
ON_NFS = replace(WANTED, storage_class="nfs")


@pytest.mark.parametrize("run_id", ["7f1c2d3e-0000-4000-8000-00000000000d", "ilab-sdg", "a-g-s-d"])
def test_claim_is_named_after_the_whole_run_id(api: KubernetesApi, run_id: str) -> None:  # trap 26
    name = create_volume.python_func(run_id=run_id, size="5Gi", storage_class="nfs", access_mode="ReadWriteMany")
    assert name == f"ilab-{run_id}"
    claim = api.objects[CLAIMS][name]
    assert claim["metadata"]["labels"] == {RUN_LABEL: run_id}
    assert claim["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "5Gi"}},
        "storageClassName": "nfs",
    }


def test_claim_belongs_to_the_runs_workflow(api: KubernetesApi) -> None:
    owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "ilab-x", "uid": "1"}
    api.add("pods", os.uname().nodename, metadata={"ownerReferences": [owner]}, status={})
    create_claim(WANTED)
    claim = api.objects[CLAIMS]["ilab-r"]
    assert claim["metadata"]["ownerReferences"] == [owner]
    assert "storageClassName" not in claim["spec"]


def test_claim_belongs_to_the_run_object_where_the_runner_names_one(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:  # trap 24: the claim must outlive the task's Job, and go with the run
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "ilab-r", "uid": "1"}
    monkeypatch.setenv(RUN_OWNER, json.dumps([owner]))
    create_claim(WANTED)
    assert api.objects[CLAIMS]["ilab-r"]["metadata"]["ownerReferences"] == [owner]


@pytest.mark.parametrize(("storage_class", "told"), [("nfs", "nfs"), ("", "(default)")])
def test_existing_claim_of_the_run_is_reused(
    api: KubernetesApi, capsys: pytest.CaptureFixture[str], storage_class: str, told: str
) -> None:
    wanted = replace(WANTED, storage_class=storage_class)
    name = create_claim(wanted)
    assert f"volume claim ilab-r: 5Gi, class {told}\n" in capsys.readouterr().out
    assert create_claim(replace(wanted, size="5120Mi")) == name
    assert "volume claim ilab-r already exists\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("size", "storage_class", "mode"),
    [("6Gi", "nfs", "ReadWriteMany"), ("5Gi", "other", "ReadWriteMany"), ("5Gi", "nfs", "ReadWriteOnce")],
)
def test_claim_of_another_size_or_class_is_refused(
    api: KubernetesApi, size: str, storage_class: str, mode: str
) -> None:  # trap 4
    create_claim(ON_NFS)
    with pytest.raises(SystemExit, match=r"not the one this run needs\n.*it has 5Gi, class nfs.*\n.*delete pvc ilab-r"):
        create_claim(VolumeClaim("r", size, storage_class, mode))


@pytest.mark.parametrize("size", ["200GB", "big", "100Gib", ""])
def test_size_that_is_no_quantity_is_told_before_any_request(api: KubernetesApi, size: str) -> None:
    """Prerequisites, which know this rule too, mount the volume and come too late."""
    with pytest.raises(SystemExit, match=f"k8s_storage_size is '{size}'\n.*\n  next: .*such as 100Gi"):
        create_claim(replace(WANTED, size=size))
    assert api.requests == []


@pytest.mark.parametrize("kept", ["1Ti", "1048576Mi"])
def test_size_is_the_same_however_the_cluster_writes_it(api: KubernetesApi, kept: str) -> None:
    create_claim(VolumeClaim("r", "1024Gi", "nfs", "ReadWriteMany"))
    api.objects[CLAIMS]["ilab-r"]["spec"]["resources"]["requests"]["storage"] = kept
    assert create_claim(VolumeClaim("r", "1024Gi", "nfs", "ReadWriteMany")) == "ilab-r"


@pytest.mark.parametrize(
    "metadata",
    [
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "ilab-r", "uid": "before"}]},
    ],
    ids=["it was deleted", "its run was deleted"],
)
def test_claim_that_is_being_deleted_is_waited_for_and_recreated(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch, metadata: dict
) -> None:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "ilab-r", "uid": "now"}
    monkeypatch.setenv(RUN_OWNER, json.dumps([owner]))
    create_claim(WANTED)
    api.objects[CLAIMS]["ilab-r"]["metadata"] |= metadata
    threading.Timer(0.1, lambda: api.objects[CLAIMS].pop("ilab-r")).start()
    create_claim(WANTED)
    claim = api.objects[CLAIMS]["ilab-r"]["metadata"]
    assert claim["ownerReferences"] == [owner]
    assert "deletionTimestamp" not in claim


def test_claim_that_is_never_deleted_is_an_error(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> None:
    create_claim(WANTED)
    api.objects[CLAIMS]["ilab-r"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(SystemExit, match=r"does not go\n.*pods that still mount it"):
        create_claim(WANTED)


def test_claim_of_another_owner_is_refused(api: KubernetesApi) -> None:
    create_claim(ON_NFS)
    api.objects[CLAIMS]["ilab-r"]["metadata"]["labels"] = {}
    with pytest.raises(SystemExit, match="is not the one this run needs"):
        create_claim(ON_NFS)


def test_refusal_by_the_api_server_is_reported(api: KubernetesApi) -> None:
    api.forbidden.add(CLAIMS)
    with pytest.raises(
        SystemExit,
        match=r"can't get persistentvolumeclaims .*\(403\)\n  cause: .*\n  next: apply manifests/access",
    ):
        create_claim(WANTED)


def test_api_server_restart_is_waited_for(api: KubernetesApi) -> None:
    api.faults.extend([0, 0, 0, 0, 503, 403] * 2)
    assert create_claim(WANTED) == "ilab-r"


def test_api_server_that_stays_away_fails_the_step(api: KubernetesApi) -> None:
    api.faults.extend([0] * 500)
    with pytest.raises(SystemExit, match=r"in lab \(no answer\)\n  cause: .*\n  next: .*when it is back"):
        create_claim(WANTED)


def test_a_run_that_resumes_has_not_ended_whatever_was_noted_before(api: KubernetesApi) -> None:
    create_claim(WANTED)
    api.objects[CLAIMS]["ilab-r"]["metadata"]["annotations"] = {OUTCOME_ANNOTATION: "succeeded", "other": "stays"}
    create_claim(WANTED)
    noted = {OUTCOME_ANNOTATION: UNFINISHED, "other": "stays"}
    assert api.objects[CLAIMS]["ilab-r"]["metadata"]["annotations"] == noted


# --- until it is bound


def event(api: KubernetesApi, name: str, reason: str, message: str, claim: str = "u1") -> None:
    involved = {"kind": "PersistentVolumeClaim", "name": "ilab-r", "uid": claim}
    api.add(
        "events",
        name,
        involvedObject=involved,
        reason=reason,
        message=message,
        lastTimestamp=f"2026-01-01T00:00:0{name}Z",
    )


def pending(api: KubernetesApi, *phases: str, storage_class: str = "nfs") -> None:
    """The run's claim, with these phases one after the other."""
    api.claim_phases.extend(phases or ["Pending"])
    spec = {"storageClassName": storage_class, "volumeName": "pvc-1"} if storage_class else {}
    api.add(CLAIMS, "ilab-r", metadata={"uid": "u1"}, spec=spec)


def test_claim_that_binds_at_once_is_waited_for(api: KubernetesApi, capsys: pytest.CaptureFixture) -> None:
    api.add("storageclasses", "nfs", provisioner="nfs.csi.k8s.io", volumeBindingMode="Immediate")
    pending(api, "Pending", "Pending", "Bound")
    event(api, "1", "ExternalProvisioning", "waiting for nfs.csi.k8s.io")
    wait_bound(pod_client(), "ilab-r", 60)
    printed = capsys.readouterr().out
    assert printed.count("is not bound yet: waiting for nfs.csi.k8s.io") == 1
    assert "volume claim ilab-r is bound to pvc-1" in printed


def test_claim_that_is_not_provisioned_fails_with_the_provisioners_events(api: KubernetesApi) -> None:
    api.add("storageclasses", "nfs", provisioner="nfs.csi.k8s.io")
    pending(api)
    event(api, "2", "ProvisioningFailed", "the server has no room for 100Gi")
    event(api, "1", "ExternalProvisioning", "waiting for nfs.csi.k8s.io")
    event(api, "3", "ProvisioningFailed", "of an earlier claim of this name", claim="u0")
    with pytest.raises(SystemExit) as caught:
        wait_bound(pod_client(), "ilab-r", 0.05)
    assert "ilab-r in lab was not bound within" in str(caught.value)
    assert "cause: waiting for nfs.csi.k8s.io; the server has no room for 100Gi\n" in str(caught.value)
    assert "k8s_storage_class_name" in str(caught.value)
    assert api.objects[CLAIMS] == {}, "an empty claim of a failed run is useless"


def test_claim_without_a_class_reports_that_there_is_no_default(api: KubernetesApi) -> None:
    pending(api, storage_class="")
    with pytest.raises(SystemExit, match=r"cause: it has no storage class, and the cluster has no default one"):
        wait_bound(pod_client(), "ilab-r", 0.05)


@pytest.mark.parametrize("readable", [True, False])
def test_claim_of_a_missing_class_is_not_waited_for_long(api: KubernetesApi, readable: bool) -> None:
    """Only a volume that was made by hand can be bound to it."""
    if not readable:
        api.forbidden.add("storageclasses")
    pending(api)
    event(api, "1", "ProvisioningFailed", 'storageclass.storage.k8s.io "nfs" not found')
    with pytest.raises(SystemExit, match=r'was not bound within 0.05 s, .*\n  cause: .*"nfs" not found'):
        wait_bound(pod_client(), "ilab-r", 900, 0.05)


def test_claim_that_binds_at_its_first_pod_is_not_waited_for(
    api: KubernetesApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.add("storageclasses", "nfs", provisioner="p", volumeBindingMode="WaitForFirstConsumer")
    pending(api)
    wait_bound(pod_client(), "ilab-r")
    assert "is bound when the first pod mounts it" in capsys.readouterr().out


def test_events_show_how_an_unreadable_class_binds(api: KubernetesApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.forbidden.add("storageclasses")
    pending(api)
    event(api, "1", "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
    wait_bound(pod_client(), "ilab-r")
    assert "is bound when the first pod mounts it" in capsys.readouterr().out
    event(api, "1", "ProvisioningFailed", "no room")
    with pytest.raises(SystemExit, match="no room"):
        wait_bound(pod_client(), "ilab-r", 0.05, 0)


def test_run_continues_when_neither_class_nor_events_may_be_read(
    api: KubernetesApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.forbidden |= {"storageclasses", "events"}
    pending(api)
    wait_bound(pod_client(), "ilab-r", 60, 0.05)
    assert "neither class nor events say why: continuing" in capsys.readouterr().out
    assert "ilab-r" in api.objects[CLAIMS]


def test_on_one_machine_the_claim_is_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CLAIMS_DIR, str(tmp_path))
    arguments = {"run_id": "r", "size": "5Gi", "storage_class": "", "access_mode": "ReadWriteMany"}
    assert create_volume.python_func(**arguments) == create_volume.python_func(**arguments) == "ilab-r"
    assert (tmp_path / "ilab-r").is_dir()
    (tmp_path / "ilab-r" / "file").touch()
    assert create_volume.python_func(**arguments) == "ilab-r"
    assert (tmp_path / "ilab-r" / "file").exists()

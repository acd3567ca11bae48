"""The run's volume claim: made once, deleted at the end, a directory on one machine."""

import json
import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.config import kube_config

from components.clean_up import clean_up
from components.create_volume import create_volume
from tests.kubernetes_api import KubernetesApi, short_sleep
from utils.stages.claims import create_claim

CLAIMS = "persistentvolumeclaims"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    monkeypatch.delenv("ILAB_CLAIMS_DIR", raising=False)
    server = KubernetesApi()
    server.write_kubeconfig(tmp_path / "kubeconfig")
    monkeypatch.setattr(time, "sleep", partial(short_sleep, time.sleep))
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    yield server
    server.stop()


def end(run_id: str, keep: str, state: str = "SUCCEEDED") -> None:
    clean_up.python_func(run_id=run_id, keep_volume=keep, status=SimpleNamespace(state=state))


@pytest.mark.parametrize("run_id", ["7f1c2d3e-0000-4000-8000-00000000000d", "ilab-sdg", "a-g-s-d"])
def test_claim_is_named_after_the_whole_run_id(api: KubernetesApi, run_id: str) -> None:  # trap 26
    name = create_volume.python_func(run_id=run_id, size="5Gi", storage_class="nfs", access_mode="ReadWriteMany")
    assert name == f"ilab-{run_id}"
    claim = api.objects[CLAIMS][name]
    assert claim["metadata"]["labels"] == {"ilab-pipeline/run": run_id}
    assert claim["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "5Gi"}},
        "storageClassName": "nfs",
    }


def test_claim_belongs_to_the_runs_workflow(api: KubernetesApi) -> None:
    owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "ilab-x", "uid": "1"}
    api.add("pods", os.uname().nodename, metadata={"ownerReferences": [owner]}, status={})
    create_claim("r", "5Gi", "", "ReadWriteMany")
    claim = api.objects[CLAIMS]["ilab-r"]
    assert claim["metadata"]["ownerReferences"] == [owner]
    assert "storageClassName" not in claim["spec"]


def test_claim_belongs_to_the_run_object_where_the_runner_names_one(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:  # trap 24: the claim must outlive the task's Job, and go with the run
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "ilab-r", "uid": "1"}
    monkeypatch.setenv("ILAB_RUN_OWNER", json.dumps([owner]))
    create_claim("r", "5Gi", "", "ReadWriteMany")
    assert api.objects[CLAIMS]["ilab-r"]["metadata"]["ownerReferences"] == [owner]


def test_claim_of_this_run_is_used_again(api: KubernetesApi) -> None:
    assert create_claim("r", "5Gi", "nfs", "ReadWriteMany") == create_claim("r", "5Gi", "nfs", "ReadWriteMany")


@pytest.mark.parametrize(
    ("size", "storage_class", "mode"),
    [("6Gi", "nfs", "ReadWriteMany"), ("5Gi", "other", "ReadWriteMany"), ("5Gi", "nfs", "ReadWriteOnce")],
)
def test_claim_of_another_size_or_class_is_refused(
    api: KubernetesApi, size: str, storage_class: str, mode: str
) -> None:  # trap 4
    create_claim("r", "5Gi", "nfs", "ReadWriteMany")
    with pytest.raises(SystemExit, match=r"is not the one wanted\n.*it has 5Gi, class nfs.*\n.*delete pvc ilab-r"):
        create_claim("r", size, storage_class, mode)


@pytest.mark.parametrize("kept", ["1Ti", "1048576Mi"])
def test_size_is_the_same_however_the_cluster_writes_it(api: KubernetesApi, kept: str) -> None:
    create_claim("r", "1024Gi", "nfs", "ReadWriteMany")
    api.objects[CLAIMS]["ilab-r"]["spec"]["resources"]["requests"]["storage"] = kept
    assert create_claim("r", "1024Gi", "nfs", "ReadWriteMany") == "ilab-r"


@pytest.mark.parametrize(
    "metadata",
    [
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "ilab-r", "uid": "before"}]},
    ],
    ids=["it was deleted", "its run was deleted"],
)
def test_claim_that_is_being_deleted_is_waited_for_and_made_anew(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch, metadata: dict
) -> None:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "ilab-r", "uid": "now"}
    monkeypatch.setenv("ILAB_RUN_OWNER", json.dumps([owner]))
    create_claim("r", "5Gi", "", "ReadWriteMany")
    api.objects[CLAIMS]["ilab-r"]["metadata"] |= metadata
    threading.Timer(0.1, lambda: api.objects[CLAIMS].pop("ilab-r")).start()
    create_claim("r", "5Gi", "", "ReadWriteMany")
    claim = api.objects[CLAIMS]["ilab-r"]["metadata"]
    assert claim["ownerReferences"] == [owner]
    assert "deletionTimestamp" not in claim


def test_claim_that_does_not_go_is_told(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> None:
    create_claim("r", "5Gi", "", "ReadWriteMany")
    api.objects[CLAIMS]["ilab-r"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(SystemExit, match=r"does not go\n.*pods that still mount it"):
        create_claim("r", "5Gi", "", "ReadWriteMany")


def test_claim_of_someone_else_is_refused(api: KubernetesApi) -> None:
    create_claim("r", "5Gi", "nfs", "ReadWriteMany")
    api.objects[CLAIMS]["ilab-r"]["metadata"]["labels"] = {}
    with pytest.raises(SystemExit, match="is not the one wanted"):
        create_claim("r", "5Gi", "nfs", "ReadWriteMany")


def test_refusal_of_the_api_is_told(api: KubernetesApi) -> None:
    api.forbidden.add(CLAIMS)
    with pytest.raises(SystemExit, match=r"could not be made in lab \(403\)"):
        create_claim("r", "5Gi", "", "ReadWriteMany")


@pytest.mark.parametrize(
    ("keep", "state", "left"),
    [
        ("never", "SUCCEEDED", False),
        ("never", "FAILED", False),
        ("on_failure", "SUCCEEDED", False),
        ("on_failure", "FAILED", True),
        ("on_failure", "CANCELLED", True),
        ("always", "SUCCEEDED", True),
    ],
)
def test_clean_up_deletes_the_runs_jobs_and_its_claim(
    api: KubernetesApi, keep: str, state: str, left: bool
) -> None:  # traps 24, 33
    create_claim("r", "5Gi", "", "ReadWriteMany")
    create_claim("r2", "5Gi", "", "ReadWriteMany")
    for run in ("r", "r2"):
        api.add("pytorchjobs", f"train-phase-1-{run}", metadata={"labels": {"ilab-pipeline/run": run}})
    end("r", keep, state)
    assert list(api.objects["pytorchjobs"]) == ["train-phase-1-r2"]
    assert list(api.objects[CLAIMS]) == (["ilab-r", "ilab-r2"] if left else ["ilab-r2"])


def test_api_server_that_restarts_meanwhile_is_waited_for(api: KubernetesApi) -> None:
    restart = [0, 0, 0, 0, 503, 403]  # the client itself tries a dropped connection four times
    api.faults.extend(restart * 2)
    create_claim("r", "5Gi", "", "ReadWriteMany")
    api.add("pytorchjobs", "train-phase-1-r", metadata={"labels": {"ilab-pipeline/run": "r"}})
    api.faults.extend(restart)
    end("r", "never", "FAILED")
    assert api.objects[CLAIMS] == api.objects["pytorchjobs"] == {}


def test_api_server_that_stays_away_fails_the_step(api: KubernetesApi) -> None:
    api.faults.extend([0] * 500)
    with pytest.raises(SystemExit, match="the Kubernetes API server stayed away"):
        create_claim("r", "5Gi", "", "ReadWriteMany")


def test_clean_up_of_a_run_that_made_nothing(api: KubernetesApi) -> None:
    end("r", "never", "FAILED")


def test_clean_up_tells_what_it_could_not_delete_and_deletes_the_rest(api: KubernetesApi) -> None:  # trap 9
    create_claim("r", "5Gi", "", "ReadWriteMany")
    api.forbidden.add("pytorchjobs")
    with pytest.raises(SystemExit, match=r"could be deleted in lab\n  cause: PyTorchJobs: 403"):
        end("r", "never")
    assert api.objects[CLAIMS] == {}


def test_job_that_is_gone_meanwhile_keeps_no_other_from_being_deleted(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:  # trap 25: it would go on holding GPUs
    for phase in (1, 2):
        api.add("pytorchjobs", f"train-phase-{phase}-r", metadata={"labels": {"ilab-pipeline/run": "r"}})
    answer = api.answer

    def once_gone(method: str, path: str, query: dict, body: Any) -> tuple[int, Any]:
        if method == "DELETE" and path.endswith("train-phase-1-r"):
            api.objects["pytorchjobs"].pop("train-phase-1-r", None)
        return answer(method, path, query, body)

    monkeypatch.setattr(api, "answer", once_gone)
    end("r", "always")
    assert api.objects["pytorchjobs"] == {}


def test_unknown_keep_volume_keeps_the_volume_and_fails(api: KubernetesApi) -> None:
    create_claim("r", "5Gi", "", "ReadWriteMany")
    with pytest.raises(SystemExit, match="never, on_failure or always"):
        end("r", "no")
    assert "ilab-r" in api.objects[CLAIMS]


def test_on_one_machine_the_claim_is_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ILAB_CLAIMS_DIR", str(tmp_path))
    arguments = {"run_id": "r", "size": "5Gi", "storage_class": "", "access_mode": "ReadWriteMany"}
    assert create_volume.python_func(**arguments) == create_volume.python_func(**arguments) == "ilab-r"
    assert (tmp_path / "ilab-r").is_dir()
    (tmp_path / "ilab-r" / "file").touch()
    end("r", "on_failure", "FAILED")
    assert (tmp_path / "ilab-r" / "file").exists()
    end("r", "never", "FAILED")
    assert not (tmp_path / "ilab-r").exists()
    end("r", "never", "FAILED")

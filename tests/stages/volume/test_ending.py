"""How a run ends: report records the outcome on the volume claim, and clean up acts on it."""

import json
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.clean_up import clean_up
from components.report import report
from tests.archives import write_files
from tests.fakes.kubernetes_api import KubernetesApi
from utils.names import CLAIMS_DIR, OUTCOME_ANNOTATION, RUN_LABEL, RUN_OWNER
from utils.stages.volume.claims import REVIEWED, UNFINISHED, VolumeClaim, create_claim
from utils.stages.volume.ending import end_run, mark_outcome

CLAIMS = "persistentvolumeclaims"
JOBS = ("pytorchjobs", "trainjobs", "trainingruntimes")
OUTCOME = OUTCOME_ANNOTATION
PUBLISHED = {"published": True, "key": "k", "gate": {"checks": []}}
NOT_COMPARED = "The candidate was not compared with the base model."
HELD_BACK = {"published": False, "key": "", "gate": {"checks": [{"name": "min_mt_bench", "passed": False}]}}


def end(run_id: str, keep: str) -> None:
    clean_up.python_func(run_id=run_id, keep_volume=keep)


def run_report(folder: Path, publication: dict[str, Any] | None) -> None:
    """Run the stage on a volume whose publish stage ended with this result."""
    marker = {"versions": {}, "finished": "2026-01-31T12:00:00Z", "stage": "publish", "inputs": {}, "seconds": 1.0}
    files = {"done/publish.json": json.dumps({**marker, "outputs": {}, "result": publication}).encode()}
    volume = write_files(folder / "volume", files if publication else {"done/none": b""})
    report.python_func(
        data_dir=str(volume), run_id="r", notes=[], ca_file="", name="", data_key="",
        store_secret_dir=str(folder / "none"),
        page=dsl.HTML(uri=str(folder / "page")), data=dsl.Artifact(uri=str(folder / "data")),
        metrics=dsl.Metrics(uri=str(folder / "metrics")),
    )  # fmt: skip


def make_claim(run_id: str) -> None:
    create_claim(VolumeClaim(run_id, "5Gi", "", "ReadWriteMany"))


def claim(api: KubernetesApi, outcome: str = "", **metadata: Any) -> dict[str, Any]:
    make_claim("r")
    found = api.objects[CLAIMS]["ilab-r"]
    found["metadata"] |= {"annotations": {OUTCOME: outcome} if outcome else {}, **metadata}
    return found


def pod(api: KubernetesApi, name: str, phase: str, mounts: str = "ilab-r") -> None:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": mounts}}, {"name": "tmp", "emptyDir": {}}]
    api.add("pods", name, spec={"containers": [], "volumes": volumes}, status={"phase": phase})


# --- the outcome


@pytest.mark.parametrize(
    ("publication", "outcome", "kept"),
    [
        (PUBLISHED, "succeeded", False),
        (HELD_BACK, f"{NOT_COMPARED} The gate rejected it (min_mt_bench): nothing was published", True),
        (None, f"{NOT_COMPARED} Nothing was published: the publish stage has not run", True),
    ],
    ids=["published", "held back", "never published"],
)
def test_report_records_the_outcome_that_clean_up_reads(
    api: KubernetesApi, tmp_path: Path, publication: dict[str, Any] | None, outcome: str, kept: bool
) -> None:
    run_claim = claim(api)
    run_report(tmp_path, publication)
    assert run_claim["metadata"]["annotations"] == {OUTCOME: outcome}
    end("r", "on_failure")
    assert ("ilab-r" in api.objects[CLAIMS]) == kept


@pytest.mark.parametrize("trouble", ["no right", "no claim", "no cluster", "server away"])
def test_result_is_not_lost_when_the_outcome_cannot_be_recorded(
    api: KubernetesApi, tmp_path: Path, capsys: pytest.CaptureFixture, trouble: str
) -> None:
    if trouble != "no claim":
        claim(api)
    if trouble == "no right":
        api.forbidden.add(CLAIMS)
    if trouble == "no cluster":
        (tmp_path / "kubeconfig").unlink()
    if trouble == "server away":
        api.faults.extend([0] * 500)
    run_report(tmp_path, PUBLISHED)
    assert (tmp_path / "page").exists()
    assert "how far the run has come could not be noted on its volume claim ilab-r (" in capsys.readouterr().out


def test_claim_of_a_retried_run_belongs_to_the_workflow_again(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a retry the server of Kubeflow Pipelines does not run the exit task again."""
    owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "w", "uid": "1"}
    monkeypatch.setenv(RUN_OWNER, json.dumps([owner]))
    run_claim = claim(api, UNFINISHED)
    end("r", "on_failure")
    assert "ownerReferences" not in run_claim["metadata"]
    mark_outcome("r", "The gate rejected it")
    assert "ownerReferences" not in run_claim["metadata"]
    mark_outcome("r", "succeeded")
    assert run_claim["metadata"]["ownerReferences"] == [owner]


# --- clean up


@pytest.mark.parametrize(
    ("keep", "outcome", "left"),
    [
        ("never", "succeeded", False),
        ("never", "", False),
        ("never", "The gate rejected it", False),
        ("on_failure", "succeeded", False),
        ("on_failure", "", True),
        ("on_failure", "The gate rejected it", True),
        ("always", "succeeded", True),
        ("always", "", True),
        ("never", REVIEWED, True),
        ("on_failure", REVIEWED, True),
    ],
)
def test_clean_up_deletes_the_runs_jobs_and_its_claim(
    api: KubernetesApi, capsys: pytest.CaptureFixture, keep: str, outcome: str, left: bool
) -> None:  # traps 24, 33
    make_claim("r2")
    claim(api, outcome)
    for run in ("r", "r2"):
        for kind in JOBS:
            api.add(kind, f"train-phase-1-{run}", metadata={"labels": {RUN_LABEL: run}})
    end("r", keep)
    assert [list(api.objects[kind]) for kind in JOBS] == [["train-phase-1-r2"]] * 3
    assert sorted(api.objects[CLAIMS]) == (["ilab-r", "ilab-r2"] if left else ["ilab-r2"])
    said = capsys.readouterr().out
    keeper = "sdg_review" if keep == "never" else f"k8s_keep_volume={keep}"
    assert (f"{keeper} keeps its volume claim ilab-r" in said) == left
    assert ("remove it: kubectl -n lab delete pvc ilab-r" in said) == left
    assert ("its volume claim ilab-r is deleted" in said) == (not left)
    how = {"succeeded": "the run succeeded", "": "the run did not get to its end"}.get(outcome, outcome)
    assert how in said


def test_kept_claim_outlives_the_workflow_but_not_the_run_object(
    api: KubernetesApi, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "w", "uid": "1"}
    record = {"apiVersion": "v1", "kind": "ConfigMap", "name": "ilab-r", "uid": "2"}
    monkeypatch.setenv(RUN_OWNER, json.dumps([workflow]))
    run_claim = claim(api, UNFINISHED)
    end("r", "on_failure")
    assert "ownerReferences" not in run_claim["metadata"]
    said = "it stays until it is deleted; remove it: kubectl -n lab delete pvc,pods -l pipeline/runid=r\n"
    assert said in capsys.readouterr().out
    api.objects[CLAIMS].clear()
    monkeypatch.setenv(RUN_OWNER, json.dumps([record]))
    run_claim = claim(api)
    end("r", "on_failure")
    assert run_claim["metadata"]["ownerReferences"] == [record]
    said = "it stays until it or ConfigMap ilab-r is deleted; remove it: kubectl -n lab delete pvc ilab-r\n"
    assert said in capsys.readouterr().out


def test_claim_of_a_run_whose_checks_failed_goes_with_the_workflow(
    api: KubernetesApi, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No stage has worked on it; until then the server's Retry finds it."""
    workflow = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "w", "uid": "1"}
    monkeypatch.setenv(RUN_OWNER, json.dumps([workflow]))
    run_claim = claim(api)
    end("r", "on_failure")
    assert run_claim["metadata"]["ownerReferences"] == [workflow]
    said = "it goes with the Workflow w, a day after the run's end on OpenShift AI; remove it: kubectl -n lab delete"
    assert said in capsys.readouterr().out


def test_finished_pods_that_mount_the_claim_are_deleted_with_it(api: KubernetesApi) -> None:  # trap 53
    claim(api, "succeeded")
    for name, phase in {"data-import": "Succeeded", "train": "Failed", "mt-bench": "Running"}.items():
        pod(api, name, phase)
    pod(api, "of-another-run", "Succeeded", mounts="ilab-r2")
    api.add("pods", "create-volume", spec={"containers": []}, status={"phase": "Succeeded"})
    end("r", "on_failure")
    assert sorted(api.objects["pods"]) == ["create-volume", "mt-bench", "of-another-run"]


def test_finished_pods_of_a_kept_claim_stay(api: KubernetesApi) -> None:
    claim(api)
    pod(api, "train", "Failed")
    end("r", "on_failure")
    assert list(api.objects["pods"]) == ["train"]


@pytest.mark.parametrize("forbidden", [False, True])
def test_claim_held_by_a_pod_is_not_reported_as_deleted(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, forbidden: bool
) -> None:
    """Kubernetes keeps a claim that is mounted (finalizer kubernetes.io/pvc-protection)."""
    run_claim = claim(api, "succeeded")
    pod(api, "still-training", "Running")
    if forbidden:
        api.forbidden.add("pods")
    answer = api.answer

    def protected(method: str, path: str, query: dict, body: Any) -> tuple[int, Any]:
        if method == "DELETE" and path.endswith("/ilab-r"):
            run_claim["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            return 200, run_claim
        return answer(method, path, query, body)

    monkeypatch.setattr(api, "answer", protected)
    end("r", "on_failure")
    said = capsys.readouterr().out
    assert "its volume claim ilab-r is being deleted, and gone when" in said
    assert ("(can't list pods in lab (403))" if forbidden else "mount it: still-training") in said


def test_clean_up_of_a_run_that_created_nothing_says_so(api: KubernetesApi, capsys: pytest.CaptureFixture) -> None:
    end("r", "on_failure")
    assert "the run has no volume claim ilab-r: nothing to keep or to delete" in capsys.readouterr().out


def test_clean_up_of_a_run_that_created_nothing_needs_no_right(
    api: KubernetesApi, capsys: pytest.CaptureFixture
) -> None:
    """Else a run that prerequisites ended for a missing right has two failures, and this one comes to no result."""
    api.forbidden.add("pytorchjobs")
    end("r", "on_failure")
    assert "pytorchjobs.kubeflow.org in lab (403): no loss, as nothing was trained" in capsys.readouterr().out


def test_clean_up_reports_what_it_could_not_delete_and_deletes_the_rest(api: KubernetesApi) -> None:  # trap 9
    claim(api)
    api.forbidden.add("pytorchjobs")
    with pytest.raises(SystemExit, match=r"could be deleted in lab\n  cause: can't list pytorchjobs.*\(403\)"):
        end("r", "never")
    assert api.objects[CLAIMS] == {}


def test_kind_that_the_account_may_not_create_either_is_not_looked_for(api: KubernetesApi) -> None:
    """A cluster may serve TrainJobs to others, and a Role of before they came has no rule for them."""
    claim(api)
    api.forbidden |= {"trainjobs", "trainingruntimes"}
    api.refused |= {"create trainjobs", "create trainingruntimes"}
    end("r", "never")
    assert api.objects[CLAIMS] == {}


def test_unreadable_claim_is_kept_and_reported(api: KubernetesApi) -> None:
    claim(api, "succeeded")
    api.forbidden.add(CLAIMS)
    with pytest.raises(SystemExit, match=r"persistentvolumeclaims ilab-r in lab \(403\): the volume claim is kept"):
        end("r", "on_failure")


def test_api_server_restart_is_waited_for(api: KubernetesApi) -> None:
    claim(api, "succeeded")
    api.add("pytorchjobs", "train-phase-1-r", metadata={"labels": {RUN_LABEL: "r"}})
    api.faults.extend([0, 0, 0, 0, 503, 403])
    end("r", "on_failure")
    assert api.objects[CLAIMS] == api.objects["pytorchjobs"] == {}


def test_job_that_vanished_does_not_prevent_deleting_the_others(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:  # trap 25: it would keep its GPUs
    for phase in (1, 2):
        api.add("pytorchjobs", f"train-phase-{phase}-r", metadata={"labels": {RUN_LABEL: "r"}})
    answer = api.answer

    def once_gone(method: str, path: str, query: dict, body: Any) -> tuple[int, Any]:
        if method == "DELETE" and path.endswith("train-phase-1-r"):
            api.objects["pytorchjobs"].pop("train-phase-1-r", None)
        return answer(method, path, query, body)

    monkeypatch.setattr(api, "answer", once_gone)
    end("r", "always")
    assert api.objects["pytorchjobs"] == {}


def test_unknown_keep_volume_keeps_the_volume_and_fails(api: KubernetesApi) -> None:
    claim(api, "succeeded")
    with pytest.raises(SystemExit, match="never, on_failure or always"):
        end("r", "no")
    assert "ilab-r" in api.objects[CLAIMS]


@pytest.mark.parametrize(
    ("keep", "publication", "left"),
    [("on_failure", PUBLISHED, False), ("on_failure", HELD_BACK, True), ("always", PUBLISHED, True)],
)
def test_on_one_machine_the_same_outcome_decides_about_the_directory(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    keep: str,
    publication: dict[str, Any],
    left: bool,
) -> None:
    monkeypatch.setenv(CLAIMS_DIR, str(tmp_path / "claims"))
    make_claim("r")
    run_report(tmp_path, publication)
    end_run("r", keep)
    assert (tmp_path / "claims/ilab-r").exists() == left
    said = capsys.readouterr().out
    assert ("remove it: ilab-pipeline clean r" in said) == left
    make_claim("r")
    end_run("r", "on_failure")
    assert (tmp_path / "claims/ilab-r").exists(), "a run that continues has not succeeded yet"
    end_run("r", "never")
    end_run("r", "never")
    assert "the run made no volume" in capsys.readouterr().out


def test_volume_of_a_run_that_may_wait_for_review_stays_on_one_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv(CLAIMS_DIR, str(tmp_path))
    mark_outcome("r", REVIEWED)
    end("r", "never")
    assert (tmp_path / "ilab-r").is_dir() and "sdg_review keeps its volume" in capsys.readouterr().out
    mark_outcome("r", "succeeded")
    end("r", "never")
    assert not (tmp_path / "ilab-r").exists()

"""Each right of the Role removed in turn: a message names it, and no objects of the run are left.

What the walker asks for is refused by the proxy; for what stages ask in their pods the Role really lacks the right.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.lab import Lab
from tests.cluster.pods import pod, pod_spec, wait_until_ended
from tests.cluster.proxy import Fault
from tests.cluster.runs import KINDS, Run, assert_nothing_left, names
from tests.cluster.scenario import ROOT
from utils.cluster.kinds import PYTORCH_JOB, TRAIN_JOB, TRAINING_RUNTIME, Kind
from utils.cluster.rbac import ROLE, rules
from utils.stages.cluster import stage_cluster
from utils.stages.prerequisites.rights import missing_rights
from utils.stages.train import job
from utils.stages.train.job_news import TrainingJob
from utils.stages.volume import claims, ending

RIGHTS = [(resource, verb) for rule in rules() for resource in rule["resources"] for verb in rule["verbs"]]
# A run continues without these: only its display shows less.
SHOWN_ALONE = {("pods/log", "get"), ("events", "list")}


def test_role_of_the_manifests_is_the_one_that_is_tested(lab: Lab) -> None:
    found = {(resource, verb) for rule in lab.rules for resource in rule["resources"] for verb in rule["verbs"]}
    assert found == {*RIGHTS, ("secrets", "get")}


# Pipeline that meets the verb, for each that the walker needs.
WALKER = {
    ("configmaps", "create"): "short",
    ("configmaps", "get"): "short",
    ("configmaps", "patch"): "short",
    ("jobs", "create"): "short",
    ("jobs", "list"): "short",
    ("jobs", "watch"): "short",
    ("jobs", "get"): "failing",
    ("jobs", "delete"): "failing",
    ("pods", "list"): "short",
    ("pods", "watch"): "short",
    ("pytorchjobs", "list"): "short",
}
# Without these the run has its result, and says what stays.
CAN_NOT_TIDY_UP = {("jobs", "delete"), ("pytorchjobs", "list")}


def run_id_of(right: tuple[str, str]) -> str:
    return f"no-{right[1]}-{right[0].replace('/', '-')}"


@pytest.fixture(scope="module")
def refused(lab: Lab) -> Iterator[dict[tuple[str, str], Any]]:
    """A run for each right, all at once, each through a proxy that refuses the one."""
    with ExitStack() as stack:
        found = {}
        for right in [*WALKER, *SHOWN_ALONE]:
            proxy = stack.enter_context(lab.new_proxy())
            proxy.faults = [Fault(right[1], right[0], 403, times=None)]
            run = lab.start(WALKER.get(right, "short"), run_id_of(right), proxy=proxy)
            found[right] = (run, proxy)
        yield found


@pytest.mark.parametrize("right", WALKER, ids=run_id_of)
def test_walker_names_the_right_it_lacks(lab: Lab, refused: dict[Any, Any], right: tuple[str, str]) -> None:
    run, proxy = refused[right]
    assert run.wait(240) == 1, run.output[-4000:]
    assert proxy.faults[0].met
    resource, verb = right
    group = {"jobs": ".batch", "pytorchjobs": ".kubeflow.org"}.get(resource, "")
    assert f"no right to {verb} {resource}{group}" in run.output, run.output[-4000:]
    assert f"the Role {ROLE}" in run.output
    if right in CAN_NOT_TIDY_UP:
        remove_what_stays(lab, run)
    assert_nothing_left(lab.cluster, lab.namespace, run.run_id)


def remove_what_stays(lab: Lab, run: Run) -> None:
    """Do as the message says, under the account with the whole Role; the record is there before and after."""
    state = "FAILED" if "failing" in str(run.words) else "SUCCEEDED"
    assert run.record()["run.json"]["state"] == state
    assert f"not all that the run {run.run_id} made could be deleted" in run.output
    stays = [f"job/{name.rpartition('/')[2]}" for name in names(lab.cluster, lab.namespace, "jobs", run.run_id)]
    assert [name for name in stays if name not in run.output] == []
    (command,) = [line.partition("): ")[2] for line in run.output.splitlines() if "  next: under an account" in line]
    account = f"system:serviceaccount:{lab.namespace}:{ROLE}"
    words = [*shlex.split(command), "--kubeconfig", str(lab.cluster.kubeconfig), f"--as={account}"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert run.record()["run.json"]["state"] == state


@pytest.mark.parametrize("right", sorted(SHOWN_ALONE), ids=run_id_of)
def test_run_continues_without_a_right_that_only_serves_display(
    lab: Lab, refused: dict[Any, Any], right: tuple[str, str]
) -> None:
    run, _ = refused[right]
    assert run.wait(240) == 0, run.output[-4000:]
    assert_nothing_left(lab.cluster, lab.namespace, run.run_id)


@pytest.fixture
def denied(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Fault]]:
    """Stages' functions called here act as the account, through a proxy that refuses what the list says."""
    with lab.new_proxy() as proxy:
        # The client reads KUBECONFIG when it is imported, once.
        place = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
        monkeypatch.setattr(place, str(lab.kubeconfig(proxy)))
        yield proxy.faults


def create_claim(lab: Lab) -> Any:
    return claims.create_claim(claims.VolumeClaim("denied", "1Gi", lab.cluster.storage_class, "ReadWriteMany"))


def delete_claim(lab: Lab) -> None:
    create_claim(lab)
    ending.end_run("denied", "never")


def create_job(*kinds: Kind) -> Callable[[Lab], Any]:
    """Create a job of the last kind, and what it needs before."""

    def create(lab: Lab) -> None:
        made = [
            {"apiVersion": kind.base.removeprefix("/apis/"), "kind": kind.name, "metadata": {"name": "denied"}}
            for kind in kinds
        ]
        with stage_cluster() as cluster:
            job.create_job(TrainingJob(cluster, kinds[-1], "denied"), made, [], 0.1)

    return create


def look_for(kind: Kind) -> Callable[[Lab], Any]:
    return lambda lab: job.job_is_there(kind, "denied", 1, 0.1, 5)


# What stages ask for in their pods, where a message must do; the rest is found beforehand by prerequisites.
STAGES: dict[tuple[str, str], tuple[Callable[[Lab], Any], str]] = {
    ("persistentvolumeclaims", "create"): (create_claim, "create persistentvolumeclaims"),
    ("persistentvolumeclaims", "delete"): (delete_claim, "delete persistentvolumeclaims"),
    ("pytorchjobs", "create"): (create_job(PYTORCH_JOB), "create pytorchjobs"),
    ("pytorchjobs", "get"): (look_for(PYTORCH_JOB), "get pytorchjobs"),
    ("trainjobs", "create"): (create_job(TRAIN_JOB), "create trainjobs"),
    ("trainjobs", "get"): (look_for(TRAIN_JOB), "get trainjobs"),
    ("trainingruntimes", "create"): (create_job(TRAINING_RUNTIME, TRAIN_JOB), "create trainingruntimes"),
}
OTHERS = {
    ("configmaps", "delete"),
    ("pods", "get"),
    ("pods", "delete"),
    ("persistentvolumeclaims", "get"),
    ("persistentvolumeclaims", "patch"),
    ("pytorchjobs", "delete"),
    *(("trainjobs", verb) for verb in ("list", "delete")),
    *(("trainingruntimes", verb) for verb in ("get", "list", "delete")),
    ("localqueues", "get"),
}


@pytest.mark.parametrize("right", STAGES, ids=run_id_of)
def test_stage_names_the_right_it_lacks(lab: Lab, denied: list[Fault], right: tuple[str, str]) -> None:
    ask, told = STAGES[right]
    denied.append(Fault(right[1], right[0], 403, times=None))
    with pytest.raises(SystemExit, match=f"(?s)403.*{told}|{told}.*403"):
        ask(lab)


def test_claim_is_created_without_the_right_to_read_the_stages_own_pod(lab: Lab, denied: list[Fault]) -> None:
    denied.append(Fault("get", "pods", 403, times=None))
    assert create_claim(lab) == "ilab-denied"
    ending.end_run("denied", "never")


def test_run_that_may_not_record_its_outcome_keeps_its_volume_and_says_so(
    lab: Lab, denied: list[Fault], capsys: pytest.CaptureFixture
) -> None:
    create_claim(lab)
    denied.append(Fault("patch", "persistentvolumeclaims", 403, times=None))
    ending.mark_outcome("denied", "succeeded")
    ending.end_run("denied", "on_failure")
    said = capsys.readouterr().out
    assert "how far the run has come could not be noted on its volume claim ilab-denied (can't patch" in said
    assert "let the account patch persistentvolumeclaims" in said
    assert names(lab.cluster, lab.namespace, "persistentvolumeclaims", "ilab-denied")
    ending.end_run("denied", "never")


def test_claim_held_by_a_pod_names_the_right_that_would_free_it(
    lab: Lab, denied: list[Fault], capsys: pytest.CaptureFixture
) -> None:
    create_claim(lab)
    spec = pod_spec("true") | {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "ilab-denied"}}]}
    lab.cluster.apply(pod(lab.namespace, "ended", spec))
    wait_until_ended(lab.cluster, lab.namespace, "ended")
    denied.append(Fault("delete", "pods", 403, times=None))
    ending.end_run("denied", "never")
    said = capsys.readouterr().out
    assert "its volume claim ilab-denied is being deleted, and gone when these no longer mount it: ended" in said
    assert "(can't delete pods ended in" in said
    denied.clear()
    ending.end_run("denied", "never")
    assert "its volume claim ilab-denied is deleted" in capsys.readouterr().out


def test_prerequisites_find_every_right_that_stages_lack(lab: Lab, denied: list[Fault]) -> None:
    lost = ("persistentvolumeclaims", "pytorchjobs", "trainjobs", "trainingruntimes")
    kept = [rule for rule in lab.rules if not set(lost) & set(rule["resources"])]
    with lab.only(kept):
        found = [one.problem + one.remedy for name in ("pytorchjob", "trainjob") for one in missing_rights(name)]
    for resource in lost:
        for verb in [verb for kind, verb in RIGHTS if kind == resource]:
            named = re.compile(rf"ServiceAccount {ROLE} may not [a-z, ]*{verb}[a-z, ]* {resource} in {lab.namespace}")
            assert any(named.search(text) and "kubectl apply -k manifests/access" in text for text in found), found
    assert missing_rights("pytorchjob") == missing_rights("trainjob") == []


def test_clean_names_the_right_it_lacks(lab: Lab) -> None:
    assert lab.start("short", "cleaned").wait() == 0
    words = [str(Path(sys.executable).with_name("ilab-pipeline")), "clean", "cleaned", "-y"]
    words += ["--home", str(lab.folder / "home")]
    with lab.only([{**rule, "verbs": sorted(set(rule["verbs"]) - {"delete"})} for rule in lab.rules]):
        refused = subprocess.run(words, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "no right to delete configmaps" in refused.stderr
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert names(lab.cluster, lab.namespace, "configmaps", "ilab-cleaned") == []


def test_standalone_names_the_secret_it_may_not_read(lab: Lab) -> None:
    words = [sys.executable, str(ROOT / "standalone.py"), "run", "--run-id", "no-secret", "--namespace", lab.namespace]
    words += ["--kubeconfig", str(lab.kubeconfig()), "--sdg-object-store-secret", "not-in-the-role"]
    words += ["--judge-serving-model-secret", "judge-secret"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=lab.folder)
    assert done.returncode != 0
    assert "no right to get secrets" in done.stderr
    assert ROLE in done.stderr
    assert names(lab.cluster, lab.namespace, KINDS, "no-secret") == []


def test_account_without_a_right_fails_the_task_that_needs_it(lab: Lab) -> None:
    with lab.only([rule for rule in lab.rules if rule["resources"] != ["persistentvolumeclaims"]]):
        run = lab.start("short", "really-without")
        assert run.wait(120) == 1
    assert "can't get persistentvolumeclaims" in run.output
    assert "is forbidden" in run.output
    assert_nothing_left(lab.cluster, lab.namespace, run.run_id)


def test_every_right_is_covered_by_a_test() -> None:
    assert set(RIGHTS) == {*WALKER, *SHOWN_ALONE, *STAGES, *OTHERS}

"""How a run ends: its last task notes the outcome on the volume claim, and clean up goes by it.

A claim without a note is that of a run that did not get to its end: a task failed, or it was stopped.
"""

import os
import shutil
import time
from typing import Any, Callable

from utils.messages import failure
from utils.names import CLAIMS_DIR, KFP_RUN_LABEL, OUTCOME_ANNOTATION, RUN_LABEL, claim_name
from utils.stages.volume.claims import kube_call, kube_namespace, run_owners


def mark_outcome(run_id: str, outcome: str) -> None:
    """Note on the run's volume claim how the run ended. When that can't be, it is told, and nothing fails.

    Args:
        outcome: `succeeded`, or in words why the run counts as failed.
    """
    name = claim_name(run_id)
    local = os.environ.get(CLAIMS_DIR)
    if local:
        os.makedirs(os.path.join(local, name), exist_ok=True)
        with open(os.path.join(local, name, "outcome"), "w") as file:
            file.write(outcome)
        return
    from kubernetes import client, config

    metadata: dict = {"annotations": {OUTCOME_ANNOTATION: outcome}}
    try:
        namespace, core = kube_namespace(), client.CoreV1Api()
        claim = kube_call(core.read_namespaced_persistent_volume_claim, name, namespace)
        if outcome == "succeeded" and not claim.metadata.owner_references:
            # Clean up kept it from going with the Workflow, and does not run again after a retry.
            metadata["ownerReferences"] = run_owners(namespace)
        kube_call(core.patch_namespaced_persistent_volume_claim, name, namespace, {"metadata": metadata})
    except client.ApiException as error:
        problem = f"{error.status} {error.reason}"
    except (config.ConfigException, SystemExit) as error:
        problem = str(error).splitlines()[0]
    else:
        return
    print(f"how the run ended could not be noted on its volume claim {name} ({problem})", flush=True)
    print("  the results are as they are; k8s_keep_volume=on_failure keeps the volume, as after a failure", flush=True)
    print(
        "  let the account patch persistentvolumeclaims; the log of clean up says how to remove the volume", flush=True
    )


def is_kept(keep_volume: str, outcome: str) -> bool:
    """Whether a claim stays when the run has ended; an unknown value keeps it."""
    return keep_volume != "never" and not (keep_volume == "on_failure" and outcome == "succeeded")


def in_words(outcome: str) -> str:
    """How the run ended."""
    if outcome == "succeeded":
        return "the run succeeded"
    return outcome or "the run did not get to its end: a task failed, or it was stopped"


def end_run_here(run_id: str, keep_volume: str) -> None:
    """Delete or keep the directory that is the run's claim on one machine."""
    folder = os.path.join(os.environ[CLAIMS_DIR], claim_name(run_id))
    outcome = ""
    if os.path.exists(os.path.join(folder, "outcome")):
        with open(os.path.join(folder, "outcome")) as file:
            outcome = file.read()
    if not os.path.isdir(folder):
        print("the run made no volume: nothing to keep or to delete", flush=True)
    elif is_kept(keep_volume, outcome):
        print(f"{in_words(outcome)}; k8s_keep_volume={keep_volume} keeps its volume {folder}", flush=True)
        print(f"  remove it: ilab-pipeline clean {run_id}", flush=True)
    else:
        shutil.rmtree(folder)
        print(f"{in_words(outcome)}; its volume {folder} is deleted", flush=True)


def end_run(run_id: str, keep_volume: str) -> None:
    """Delete the run's PyTorchJobs and, unless it is kept, its volume claim with the finished pods that mount it.

    What is gone already is fine.

    Args:
        keep_volume: never, on_failure or always.

    Raises:
        SystemExit: something could not be read or deleted; the rest was deleted.
    """
    if os.environ.get(CLAIMS_DIR):
        end_run_here(run_id, keep_volume)
        return
    namespace, name = kube_namespace(), claim_name(run_id)
    made = claim_may_be_there(namespace, name)
    problems = delete_training_jobs(namespace, f"{RUN_LABEL}={run_id}")
    if problems and not made:
        print(f"{'; '.join(problems)}: no loss, for without a volume nothing was trained", flush=True)
        problems = []
    problems += end_claim(namespace, name, keep_volume)
    if problems:
        raise failure(
            f"not everything of the run {run_id} could be deleted in {namespace}",
            "; ".join(problems),
            f"kubectl -n {namespace} delete pytorchjobs,pvc -l {RUN_LABEL}={run_id}",
        )


def claim_may_be_there(namespace: str, name: str) -> bool:
    """Whether there is a claim of this name, also when it may not be read."""
    from kubernetes import client

    try:
        kube_call(client.CoreV1Api().read_namespaced_persistent_volume_claim, name, namespace)
    except client.ApiException as error:
        return error.status != 404
    return True


def delete_training_jobs(namespace: str, label: str) -> list:
    """Delete the PyTorchJobs with this label; returns what could not be done."""
    from kubernetes import client

    api, jobs, problems = client.CustomObjectsApi(), ("kubeflow.org", "v1", namespace, "pytorchjobs"), []

    def attempt(what: str, call: Callable, *arguments: Any, **options: Any) -> dict:
        try:
            return kube_call(call, *arguments, **options)
        except client.ApiException as error:
            if error.status != 404:  # it is gone; or the kind is unknown: no training operator, no jobs
                problems.append(f"{what}: {error.status} {error.reason}")
            return {"items": []}

    found = attempt("PyTorchJobs", api.list_namespaced_custom_object, *jobs, label_selector=label)
    for job in [job["metadata"]["name"] for job in found["items"]]:
        print(f"deleting PyTorchJob {job}", flush=True)
        attempt(f"PyTorchJob {job}", api.delete_namespaced_custom_object, *jobs, job)
    return problems


def end_claim(namespace: str, name: str, keep_volume: str) -> list:
    """Delete or keep the run's claim, and say which and why; returns what could not be done.

    The finished pods that mount a claim that is kept stay as well, with their logs.
    """
    from kubernetes import client

    core, outcome = client.CoreV1Api(), ""
    claim: Any = None
    try:
        claim = kube_call(core.read_namespaced_persistent_volume_claim, name, namespace)
        outcome = (claim.metadata.annotations or {}).get(OUTCOME_ANNOTATION, "")
    except client.ApiException as error:
        if error.status == 404:
            print(f"the run has no volume claim {name}: nothing to keep or to delete", flush=True)
            return []
        if keep_volume != "never":
            return [f"volume claim {name}, which is kept, could not be read: {error.status} {error.reason}"]
    if is_kept(keep_volume, outcome):
        run = (claim.metadata.labels or {}).get(KFP_RUN_LABEL)
        what = f"pvc,pods -l {KFP_RUN_LABEL}={run}" if run else f"pvc {name}"
        print(f"{in_words(outcome)}; k8s_keep_volume={keep_volume} keeps its volume claim {name}", flush=True)
        print(f"  {keep_claim(namespace, claim)}; remove it: kubectl -n {namespace} delete {what}", flush=True)
        return []
    try:
        kube_call(core.delete_namespaced_persistent_volume_claim, name, namespace)
    except client.ApiException as error:
        if error.status != 404:
            return [f"volume claim {name}: {error.status} {error.reason}"]
    ended = in_words(outcome) if claim else "the run ended"
    held = wait_gone(namespace, name)
    print(f"{ended}; its volume claim {name} is {held or 'deleted'}", flush=True)
    return []


def keep_claim(namespace: str, claim: Any) -> str:
    """See to it that a claim stays until someone deletes it; returns how long it stays.

    The server of Kubeflow Pipelines deletes a Workflow a day after its end, and with it what belongs to it.
    """
    from kubernetes import client

    owners = {owner.kind: owner.name for owner in claim.metadata.owner_references or []}
    if "Workflow" not in owners:
        others = [f"{kind} {name}" for kind, name in owners.items()]
        return " or ".join(["it stays until it", *others]) + " is deleted"
    core = client.CoreV1Api()
    free = {"metadata": {"ownerReferences": None}}
    try:
        kube_call(core.patch_namespaced_persistent_volume_claim, claim.metadata.name, namespace, free)
    except client.ApiException as error:
        reason = f"it could not be freed from it: {error.status} {error.reason}"
        return f"it goes with the Workflow {owners['Workflow']}, a day after the run's end on OpenShift AI ({reason})"
    return "it stays until it is deleted"


def wait_gone(namespace: str, name: str) -> str:
    """Delete the finished pods that mount a claim that was deleted, which would stay as long as they do, and wait.

    Returns:
        "" when the claim has gone within a minute, else what it waits for.
    """
    from kubernetes import client

    core = client.CoreV1Api()
    for _ in range(30):
        running, refused = delete_finished_pods(namespace, name)
        try:
            kube_call(core.read_namespaced_persistent_volume_claim, name, namespace)
        except client.ApiException as error:
            if error.status != 404:
                return f"deleted (whether it is gone may not be read: {error.status} {error.reason})"
            return ""
        if refused:
            break
        time.sleep(2)
    mounting = f"these no longer mount it: {', '.join(running)}" if running else "no pod mounts it any more"
    return f"being deleted, and gone when {mounting}" + (f" ({refused})" if refused else "")


def delete_finished_pods(namespace: str, claim: str) -> tuple:
    """Delete the pods that have ended and mount a claim. One that runs, as this one does, is left alone.

    Returns:
        names of the pods that mount it still, and what was refused, or "".
    """
    from kubernetes import client

    core, left = client.CoreV1Api(), []
    try:
        for pod in kube_call(core.list_namespaced_pod, namespace).items:
            volumes = [one.persistent_volume_claim for one in pod.spec.volumes or [] if one.persistent_volume_claim]
            if claim not in [volume.claim_name for volume in volumes]:
                continue
            left.append(pod.metadata.name)
            if pod.status.phase in ("Succeeded", "Failed") and not pod.metadata.deletion_timestamp:
                kube_call(core.delete_namespaced_pod, pod.metadata.name, namespace)
                left.pop()
    except client.ApiException as error:
        if error.status != 404:
            return left, f"the account may not list and delete pods: {error.status} {error.reason}"
    return left, ""


def end_run_and_check(run_id: str, keep_volume: str) -> None:
    """`end_run`, for any keep_volume: an unknown one keeps the claim and fails afterwards.

    Raises:
        SystemExit: keep_volume is unknown; or as end_run.
    """
    end_run(run_id, keep_volume)
    if keep_volume not in ("never", "on_failure", "always"):
        raise failure(f"k8s_keep_volume is {keep_volume!r}", "it is unknown", "use never, on_failure or always")

"""How a run ends: its tasks note on the volume claim how far it has come, and clean up goes by it.

Prerequisites note that the checks passed, and report, the last task, how the run ended. No stage has worked on a
claim without a note.
"""

import shutil

from utils.cluster.client import Client, pod_client
from utils.cluster.errors import ClusterError
from utils.cluster.kinds import POD, PYTORCH_JOB, TRAIN_JOB, TRAINING_RUNTIME, VOLUME_CLAIM
from utils.cluster.objects import Object, delete, get, list_objects, patch
from utils.messages import failure
from utils.names import KFP_RUN_LABEL, OUTCOME_ANNOTATION, RUN_LABEL
from utils.stages.cluster import may, run_owners, stage_cluster
from utils.stages.volume.claims import REVIEWED, UNFINISHED, claim_of

SUCCEEDED = "succeeded"
"""The outcome of a run whose candidate was published; any other says in words why the run counts as failed."""


def mark_outcome(run_id: str, outcome: str) -> None:
    """Note on the run's volume claim how the run ended. When that can't be, it is told, and nothing fails.

    Args:
        outcome: SUCCEEDED, or in words why the run counts as failed.
    """
    name, folder = claim_of(run_id)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "outcome").write_text(outcome)
        return
    metadata: Object = {"annotations": {OUTCOME_ANNOTATION: outcome}}
    try:
        cluster = pod_client()
        claim = cluster.request("get", VOLUME_CLAIM, name)
        if outcome == SUCCEEDED and not claim["metadata"].get("ownerReferences"):
            # Clean up kept it from going with the Workflow, and does not run again after a retry.
            metadata["ownerReferences"] = run_owners(cluster)
        patch(cluster, VOLUME_CLAIM, name, {"metadata": metadata})
    except ClusterError as error:
        print(
            f"how far the run has come could not be noted on its volume claim {name} ({error.what})\n"
            "  the results are as they are, and k8s_keep_volume=on_failure keeps the volume, as after a failure\n"
            "  let the account patch persistentvolumeclaims; clean-up says how to remove the volume",
            flush=True,
        )


def is_kept(keep_volume: str, outcome: str) -> bool:
    """Whether a claim stays when the run has ended; an unknown value keeps it, and so does a run that may wait."""
    if keep_volume == "never":
        return outcome == REVIEWED
    return not (keep_volume == "on_failure" and outcome == SUCCEEDED)


def keeper(keep_volume: str) -> str:
    """What keeps a claim that is_kept, for people."""
    return "sdg_review" if keep_volume == "never" else f"k8s_keep_volume={keep_volume}"


def in_words(outcome: str) -> str:
    """How the run ended."""
    return "the run succeeded" if outcome == SUCCEEDED else outcome or UNFINISHED


def end_run_here(run_id: str, keep_volume: str) -> None:
    """Delete or keep the directory that is the run's claim on one machine."""
    name, folder = claim_of(run_id)
    if not folder:
        return
    deleted = folder.with_name(f".{name}.deleted")
    shutil.rmtree(deleted, ignore_errors=True)  # clean-up was killed
    if not folder.is_dir():
        print("the run made no volume: nothing to keep or to delete", flush=True)
        return
    noted = folder / "outcome"
    outcome = noted.read_text() if noted.exists() else ""
    if is_kept(keep_volume, outcome):
        print(f"{in_words(outcome)}; {keeper(keep_volume)} keeps its volume {folder}", flush=True)
        print(f"  remove it: ilab-pipeline clean {run_id}", flush=True)
    else:
        folder.rename(deleted)
        shutil.rmtree(deleted)
        print(f"{in_words(outcome)}; its volume {folder} is deleted", flush=True)


def end_run(run_id: str, keep_volume: str) -> None:
    """Delete the run's training jobs and, unless it is kept, its volume claim with the finished pods that mount it.

    What is gone already is fine.

    Args:
        keep_volume: never, on_failure or always.

    Raises:
        SystemExit: something could not be read or deleted; the rest was deleted.
    """
    name, folder = claim_of(run_id)
    if folder:
        end_run_here(run_id, keep_volume)
        return
    with stage_cluster() as cluster:
        claim, unread = None, ""
        try:
            claim = get(cluster, VOLUME_CLAIM, name)
        except ClusterError as error:
            unread = error.what
        problems = delete_training_jobs(cluster, f"{RUN_LABEL}={run_id}")
        if not claim and not unread:
            no_loss = "".join(f"; {problem}: no loss, as nothing was trained" for problem in problems)
            print(f"the run has no volume claim {name}: nothing to keep or to delete{no_loss}", flush=True)
            return
        outcome = claim["metadata"].get("annotations", {}).get(OUTCOME_ANNOTATION, "") if claim else ""
        if claim and is_kept(keep_volume, outcome):
            print(f"{in_words(outcome)}; {keeper(keep_volume)} keeps its volume claim {name}", flush=True)
            keep_claim(cluster, claim, not outcome)
        elif unread and keep_volume != "never":
            problems.append(f"{unread}: the volume claim is kept")
        else:
            problems += delete_claim(cluster, name, in_words(outcome) if claim else "the run ended")
        if problems:
            raise failure(
                f"not everything of the run {run_id} could be deleted in {cluster.namespace}",
                "; ".join(problems),
                f"kubectl -n {cluster.namespace} delete pytorchjobs,trainjobs,trainingruntimes,pvc "
                f"-l {RUN_LABEL}={run_id}",
            )


def delete_training_jobs(cluster: Client, label: str) -> list[str]:
    """Delete the training jobs with this label, and what they needed; returns what could not be done."""
    problems = []
    for kind in (PYTORCH_JOB, TRAIN_JOB, TRAINING_RUNTIME):
        try:
            for job in list_objects(cluster, kind, label):
                name = job["metadata"]["name"]
                print(f"deleting {kind.name} {name}", flush=True)
                try:
                    delete(cluster, kind, name, "Background")
                except ClusterError as error:
                    problems.append(error.what)
        except ClusterError as error:
            # Of a kind that is not served, or that it may not create, the run has none.
            if error.status != 404 and not (error.status == 403 and not may(cluster, kind, "create")):
                problems.append(error.what)
    return problems


def keep_claim(cluster: Client, claim: Object, empty: bool) -> None:
    """See to it that a claim stays until someone deletes it, and say how long it stays and what removes it.

    The server of Kubeflow Pipelines deletes a Workflow a day after its end, and with it what belongs to it. The
    finished pods that mount the claim stay as well, with their logs.

    Args:
        empty: whether no stage has worked on it. It then goes with the Workflow, and can be retried until then.
    """
    metadata = claim["metadata"]
    owners = {owner["kind"]: owner["name"] for owner in metadata.get("ownerReferences", [])}
    name, stays = metadata["name"], "it stays until it is deleted"
    if "Workflow" not in owners:
        others = [f"{kind} {owner}" for kind, owner in owners.items()]
        stays = " or ".join(["it stays until it", *others]) + " is deleted"
    else:
        goes = f"it goes with the Workflow {owners['Workflow']}, a day after the run's end on OpenShift AI"
        try:
            if empty:
                stays = goes
            else:
                patch(cluster, VOLUME_CLAIM, name, {"metadata": {"ownerReferences": None}})
        except ClusterError as error:
            stays = f"{goes} (it could not be freed from it: {error.what})"
    run = metadata.get("labels", {}).get(KFP_RUN_LABEL)
    what = f"pvc,pods -l {KFP_RUN_LABEL}={run}" if run else f"pvc {name}"
    print(f"  {stays}; remove it: kubectl -n {cluster.namespace} delete {what}", flush=True)


def delete_claim(cluster: Client, name: str, ended: str) -> list[str]:
    """Delete the run's claim, and say how the run ended; returns what could not be done."""
    try:
        delete(cluster, VOLUME_CLAIM, name, "Background")
    except ClusterError as error:
        return [error.what]
    print(f"{ended}; its volume claim {name} is {wait_gone(cluster, name) or 'deleted'}", flush=True)
    return []


def wait_gone(cluster: Client, name: str) -> str:
    """Delete the finished pods that mount a claim that was deleted, which would stay as long as they do, and wait.

    Returns:
        "" when the claim has gone within a minute, else what it waits for.
    """
    for _ in range(30):
        mounting, refused = delete_finished_pods(cluster, name)
        try:
            if not get(cluster, VOLUME_CLAIM, name):
                return ""
        except ClusterError as error:
            return f"deleted (whether it is gone is unknown: {error.what})"
        if refused:
            break
        cluster.sleep(2)
    held = f"these no longer mount it: {', '.join(mounting)}" if mounting else "no pod mounts it"
    return f"being deleted, and gone when {held}" + (f" ({refused})" if refused else "")


def delete_finished_pods(cluster: Client, claim: str) -> tuple[list[str], str]:
    """Delete the pods that have ended and mount a claim. One that runs, as this one does, is left alone.

    Returns:
        names of the pods that mount it still, and what was refused, or "".
    """
    left: list[str] = []
    try:
        for pod in list_objects(cluster, POD):
            volumes, metadata = pod["spec"].get("volumes", []), pod["metadata"]
            if claim not in [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in volumes]:
                continue
            left.append(metadata["name"])
            if pod["status"]["phase"] in ("Succeeded", "Failed") and "deletionTimestamp" not in metadata:
                delete(cluster, POD, metadata["name"], "Background")
                left.pop()
    except ClusterError as error:
        return left, error.what
    return left, ""


def end_run_and_check(run_id: str, keep_volume: str) -> None:
    """`end_run`, for any keep_volume: an unknown one keeps the claim and fails afterwards.

    Raises:
        SystemExit: keep_volume is unknown; or as end_run.
    """
    end_run(run_id, keep_volume)
    if keep_volume not in ("never", "on_failure", "always"):
        raise failure(f"k8s_keep_volume is {keep_volume!r}", "it is unknown", "use never, on_failure or always")

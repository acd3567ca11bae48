"""What stages of our pipeline make in a cluster themselves, foreseen without one."""

from utils.errors import UsageError
from utils.ir.model import Task
from utils.names import claim_name
from utils.runners.kubernetes.dry_run import Foreseen
from utils.runners.kubernetes.manifests import Manifest, PodSettings, claim_manifest
from utils.stages.train.stage import POD_LAUNCHERS, describe_training
from utils.stages.train.training import TrainingPhase, torchrun_arguments


def foresee(task: Task, pods: PodSettings) -> Foreseen:
    """The volume claim of `create-volume`, the job of a training phase; nothing for other tasks.

    Which job train_launcher=auto makes, only the cluster tells: the one that it prefers is shown.

    Raises:
        UsageError: a duration in the task's parameters is not valid.
    """
    given = task.inputs
    if task.component.startswith("comp-create-volume"):
        name, modes = claim_name(given["run_id"]), [given["access_mode"]]
        manifest = claim_manifest(name, given["size"], modes, given["storage_class"], pods)
        return Foreseen((manifest,), dict.fromkeys(task.output_parameters, name))
    if given.get("launcher") in ("auto", *POD_LAUNCHERS):
        return Foreseen(tuple(_training_job(task, pods)))
    return Foreseen()


def _training_job(task: Task, pods: PodSettings) -> list[Manifest]:
    """The job of a training task, and what it needs. What only the volume tells (rows, the checkpoint) is assumed."""
    given = TrainingPhase(**task.inputs)
    checkpoint = "phase_1/hf_format/samples_N" if given.phase == 2 else ""
    try:
        job = POD_LAUNCHERS["trainjob" if given.launcher == "auto" else given.launcher](given, dict(pods.overlay))
    except SystemExit as error:  # a stage's way to fail
        raise UsageError(str(error).removeprefix("error: ")) from None
    training = describe_training(given, max(given.effective_batch_size, 1), checkpoint, job)
    manifests: list[Manifest] = job.manifests(torchrun_arguments(training, full_state=True))
    for manifest in manifests if pods.namespace else ():
        manifest["metadata"]["namespace"] = pods.namespace
    return manifests

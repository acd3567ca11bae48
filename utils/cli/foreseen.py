"""What stages of our pipeline make in a cluster themselves, foreseen without one."""

from utils.errors import UsageError
from utils.ir.model import Task
from utils.names import claim_name
from utils.runners.kubernetes.dry_run import Foreseen
from utils.runners.kubernetes.manifests import Manifest, PodSettings, claim_manifest
from utils.stages.train.pytorchjob import PyTorchJob
from utils.stages.train.stage import describe_training
from utils.stages.train.training import TrainingPhase, torchrun_arguments


def foresee(task: Task, pods: PodSettings) -> Foreseen:
    """The volume claim of `create-volume`, the PyTorchJob of a training phase; nothing for other tasks.

    Raises:
        UsageError: a duration in the task's parameters is not valid.
    """
    given = task.inputs
    if task.component.startswith("comp-create-volume"):
        name, modes = claim_name(given["run_id"]), [given["access_mode"]]
        manifest = claim_manifest(name, given["size"], modes, given["storage_class"], pods)
        return Foreseen((manifest,), dict.fromkeys(task.output_parameters, name))
    if given.get("launcher") == "pytorchjob":
        return Foreseen((_training_job(task, pods),))
    return Foreseen()


def _training_job(task: Task, pods: PodSettings) -> Manifest:
    """The PyTorchJob of a training task. What only the volume tells (rows, the checkpoint) is assumed."""
    given = TrainingPhase(**task.inputs)
    checkpoint = "phase_1/hf_format/samples_N" if given.phase == 2 else ""
    try:
        job = PyTorchJob(given, dict(pods.overlay))
    except SystemExit as error:  # a stage's way to fail
        raise UsageError(str(error).removeprefix("error: ")) from None
    training = describe_training(given, max(given.effective_batch_size, 1), checkpoint, job)
    manifest: Manifest = job.manifest(torchrun_arguments(training, full_state=True))
    if pods.namespace:
        manifest["metadata"]["namespace"] = pods.namespace
    return manifest

"""Room on the run's volume: what training needs, and what it does with what there is."""

import glob
import math
import shutil
from dataclasses import dataclass

from utils.messages import failure
from utils.stages.marker import size_of
from utils.stages.train.checkpoints import model_tensors
from utils.stages.train.training import Training

GIB = 1 << 30


@dataclass(frozen=True)
class Room:
    """What the disk of a phase has room for.

    Attributes:
        kept: checkpoints to keep, the newest.
        full_state: save after each epoch what is needed to resume from there.
    """

    kept: int = 0
    full_state: bool = False


def checkpoint_size(model: str) -> int:
    """Bytes of a checkpoint of a model, whatever type its own weights have: 4 per parameter.

    instructlab.training (0.16) trains under FSDP with mixed precision, for which accelerate (1.15) turns all weights
    into float32 (`Accelerator.prepare_model`, "upcasting"), and saves them as they are: 25 GiB of granite-7b.

    Raises:
        SystemExit: the model is not whole.
    """
    size = 4 * sum(math.prod(tensor["shape"]) for tensor in model_tensors(model).values())
    if not size:
        raise failure(
            f"there is no whole model in {model}",
            "config.json or a *.safetensors file is missing or torn",
            "import the model again",
        )
    return size


def disk_room(folder: str, outputs: list[str]) -> int:
    """Bytes that are free on the disk of a folder, and those that outputs (folders on it) take."""
    return shutil.disk_usage(folder).free + sum(map(size_of, outputs))


def no_room(folder: str, count: int, one: int, room: int) -> SystemExit:
    """The failure of a disk with `room` bytes for `count` checkpoints of `one` bytes each."""
    return failure(
        f"training needs {count * one / GIB:.1f} GiB at {folder}, {room / GIB:.1f} GiB are free",
        f"{count} checkpoints of {one / GIB:.1f} GiB (4 bytes per parameter) must exist at the same time",
        "start a run with a larger k8s_storage_size (locally: free disk space, or another --home)",
    )


def require_training_room(data_dir: str) -> None:
    """End the stage when the volume is too small to train model/ in both phases; else say what it has room for.

    Phase 1, for which there must be knowledge, leaves a checkpoint; then phase 2 keeps at least one while it writes
    the next.
    """
    one = checkpoint_size(f"{data_dir}/model")
    room = disk_room(data_dir, [f"{data_dir}/phase_1", f"{data_dir}/phase_2"])
    need = 3 if glob.glob("taxonomy/knowledge/**/qna.yaml", root_dir=data_dir, recursive=True) else 2
    if room < need * one:
        raise no_room(data_dir, need, one, room)
    print(f"room for {room // one} checkpoints of {one / GIB:.1f} GiB; training needs {need}", flush=True)


def plan_room(training: Training) -> Room:
    """How many checkpoints are kept, and whether there is also room for full states.

    A full state takes up to 16 bytes per parameter (the weights twice, the two moments of Adam). While the newest is
    written, one more of each exists than is kept.

    Raises:
        SystemExit: there is no room to keep one checkpoint.
    """
    epochs, every = training.epochs, training.save_samples
    one, room = checkpoint_size(training.model), disk_room(training.output, [training.output])
    saved = epochs + (epochs * training.rows // every if every else 0)
    wanted, fit = min(training.keep or saved, saved), room // one
    kept = min(wanted, fit if fit >= saved else fit - 1)
    if kept < 1:
        raise no_room(training.output, min(saved, 2), one, room)
    if kept < wanted:
        print(f"no room for {wanted} checkpoints of {one / GIB:.1f} GiB: the newest {kept} are kept", flush=True)
    states = 8 * one
    full_state = epochs > 1 and min(saved, kept + 1) * one + states <= room
    if epochs > 1 and not full_state:
        print(f"no room for {states / GIB:.1f} GiB of training state: a restart repeats the whole phase", flush=True)
    return Room(kept, full_state)

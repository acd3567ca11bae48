"""A phase's folder: its room on the volume, made ready, read while it is trained, and what it holds in the end.

Models and states are read with care: torn ones, of a killed trainer, do not count.
"""

import glob
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from utils.messages import failure
from utils.stages.marker import from_record, read_json, size_of, write_json
from utils.stages.results import Trained
from utils.stages.train.trainer import whole_states
from utils.stages.train.training import Training

GIB = 1 << 30
DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""The types of weights that training can save, as safetensors and torch call them."""
LATE = 90
"""Seconds after which a file that another node has written is seen: NFS clients remember for a while that it is not
there."""


def tensors_of(path: str) -> dict[str, dict[str, Any]]:
    """Header of a safetensors file: tensor name to dtype, shape and data_offsets.

    Raises:
        ValueError: the file is torn.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, dict[str, Any]] = json.loads(file.read(min(length, 1 << 30)))
    header.pop("__metadata__", None)
    end = 8 + length + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    if not header or os.path.getsize(path) != end:
        raise ValueError(f"{path} is torn")
    return header


def model_tensors(folder: str) -> dict[str, dict[str, Any]]:
    """Headers of all weights of a model folder together, {} when a file is missing or torn."""
    files = {"model.safetensors"}
    tensors: dict[str, dict[str, Any]] = {}
    try:
        index = Path(folder, "model.safetensors.index.json")
        if index.exists():
            files = set(json.loads(index.read_text())["weight_map"].values())
        for name in files:
            tensors |= tensors_of(f"{folder}/{name}")
    except (OSError, ValueError):
        return {}
    return tensors if os.path.exists(f"{folder}/config.json") else {}


def weights_size(folder: str) -> int:
    """Bytes of the weights of a whole model folder."""
    return sum(end - start for start, end in (one["data_offsets"] for one in model_tensors(folder).values()))


def number_of(folder: str) -> int:
    """N of a folder samples_N."""
    return int(folder.rpartition("_")[2])


def checkpoints_of(output: str) -> list[str]:
    """Folders (samples_N) of the whole checkpoints of a phase, by number, the newest last."""
    return sorted(filter(model_tensors, glob.glob(f"{output}/hf_format/samples_*[0-9]")), key=number_of)


def prune_phase(output: str, keep: int, spares: Callable[[str], bool] = lambda _: False) -> None:
    """Delete what is no longer needed: checkpoints but the newest `keep` (0: none), full states but the newest.

    Args:
        spares: whether a folder must stay for now.
    """
    deleted = f"{output}/deleted"
    for folder in ["", *(checkpoints_of(output)[:-keep] if keep else []), *whole_states(output)[:-1]]:
        if folder and spares(folder):
            continue
        if folder:
            os.rename(folder, deleted)  # half of it must neither count nor stay when this process is killed
        if os.path.isdir(deleted):
            shutil.rmtree(deleted)


@dataclass(frozen=True)
class Room:
    """What the disk of a phase has room for.

    Attributes:
        kept: checkpoints to keep, the newest.
        full_state: save what is needed to resume, see `torchrun_arguments`.
        dtype, other_dtypes: what `saved_types` gives.
    """

    kept: int = 0
    full_state: bool = False
    dtype: str = "float32"
    other_dtypes: dict[str, str] = field(default_factory=dict)


def saved_types(base: str, wanted: str) -> tuple[str, dict[str, str]]:
    """The type of weights in checkpoints, and by name that of those which have another one.

    That of most of the base model's weights, which some files keep in float32 where their config.json names a shorter
    one; weights that differ from most of the base model's, such as biases of experts, stay as they are there.

    Args:
        base: its folder.
        wanted: train_checkpoint_dtype: one of DTYPES for all weights, or auto.
    """
    if wanted != "auto":
        return wanted, {}
    types, sizes = dict[str, str](), Counter[str]()
    for name, tensor in model_tensors(base).items():
        if tensor["dtype"] in DTYPES:
            types[name] = DTYPES[tensor["dtype"]]
            sizes[types[name]] += math.prod(tensor["shape"])
    dtype = most = max(sizes, key=sizes.__getitem__, default="float32")
    if most == "float32":
        config = read_json(Path(base, "config.json"))
        named = config.get("dtype") or config.get("torch_dtype")
        dtype = str(named) if named in DTYPES.values() else most
    return dtype, {name: other for name, other in types.items() if other != most}


def checkpoint_size(model: str, dtype: str) -> int:
    """Bytes of a checkpoint of a model: of granite-7b 12.6 GiB in bfloat16.

    Raises:
        SystemExit: the model is not whole.
    """
    size = (4 if dtype == "float32" else 2) * sum(math.prod(one["shape"]) for one in model_tensors(model).values())
    if not size:
        raise failure(
            f"there is no whole model in {model}",
            "config.json or a *.safetensors file is missing or torn",
            "import the model again",
        )
    return size


def room_for(count: int, one: int, folder: str, *outputs: str) -> int:
    """Bytes that are free on the disk of a folder, with those that outputs, folders on it, take.

    Raises:
        SystemExit: they are less than `count` checkpoints of `one` bytes each.
    """
    room = shutil.disk_usage(folder).free + sum(map(size_of, outputs))
    if room < count * one:
        raise failure(
            f"training needs {count * one / GIB:.1f} GiB at {folder}, {room / GIB:.1f} GiB are free",
            f"{count} checkpoints of {one / GIB:.1f} GiB must exist at once",
            "start a run with a larger k8s_storage_size (locally: free disk space, or another --home)",
        )
    return room


def require_training_room(data_dir: str, dtype: str) -> None:
    """End the stage when the volume is too small to train model/ in both phases; else say what it has room for.

    Phase 1, for which there must be knowledge, leaves a checkpoint; then phase 2 keeps at least one while it writes
    the next.

    Args:
        dtype: train_checkpoint_dtype.
    """
    one = checkpoint_size(f"{data_dir}/model", saved_types(f"{data_dir}/model", dtype)[0])
    need = 3 if glob.glob("taxonomy/knowledge/**/qna.yaml", root_dir=data_dir, recursive=True) else 2
    room = room_for(need, one, data_dir, f"{data_dir}/phase_1", f"{data_dir}/phase_2")
    print(f"room for {room // one} checkpoints of {one / GIB:.1f} GiB; training needs {need}", flush=True)


def plan_room(training: Training) -> Room:
    """How many checkpoints are kept, and whether there is also room for full states.

    A full state takes up to 16 bytes per parameter (the weights twice, the two moments of Adam). While the newest is
    written, one more of each exists than is kept.

    Raises:
        SystemExit: there is no room to keep one checkpoint.
    """
    epochs, every, output = training.num_epochs, training.save_samples, training.output
    dtype, others = saved_types(f"{training.data_dir}/model", training.checkpoint_dtype)
    one, states = checkpoint_size(training.model, dtype), 8 * checkpoint_size(training.model, "float32")
    # An earlier version of ours, or other parameters, have saved larger ones.
    one = max([one, *map(weights_size, checkpoints_of(output))])
    saved = epochs + (epochs * training.rows // every if every else 0)
    room = room_for(min(saved, 2), one, output, output)
    wanted, fit = min(training.keep_checkpoints or saved, saved), room // one
    kept = min(wanted, fit if fit >= saved else fit - 1)
    if kept < wanted:
        print(f"no room for {wanted} checkpoints of {one / GIB:.1f} GiB: the newest {kept} are kept", flush=True)
    full_state = min(saved, kept + 1) * one + states <= room
    if not full_state:
        print(f"no room for {states / GIB:.1f} GiB of training state: a restart repeats the whole phase", flush=True)
    return Room(kept, full_state, dtype, others)


def recorded_room(output: str) -> Room:
    """What the disk had room for when a phase's folder was last made ready."""
    return from_record(Room, _record(output))


def _record(output: str) -> dict[str, Any]:
    """The training, and the room for it, that a phase's folder was last made ready for; {} when it never was."""
    return read_json(Path(output, "training.json"))


def resumable_states(training: Training) -> list[str]:
    """Folders of the full states of this very training, the newest last."""
    before = {"algorithm": "sft", "algorithm_options": {}} | _record(training.output)  # earlier versions knew no other
    return whole_states(training.output) if {**before, **training.record()} == before else []


def start_phase(training: Training) -> Room:
    """Make the phase's folder ready, and plan the disk's room. Call it before training, never while it runs.

    When the folder holds a full state of this very training, torn checkpoints and states are deleted and training
    resumes from the newest state. Else it is emptied.

    Raises:
        SystemExit: the disk has no room for the checkpoints.
    """
    output, states = training.output, resumable_states(training)
    if states:
        shutil.rmtree(f"{output}/deleted", ignore_errors=True)
        for folder in {*glob.glob(f"{output}/*/*_[0-9]*")} - {*states, *checkpoints_of(output)}:
            shutil.rmtree(folder)
        for path in Path(output).glob("*.jsonl"):  # the next line is appended to what a killed trainer left of one
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
        print(f"resuming after {os.path.basename(states[-1])} (epochs are counted from 0)", flush=True)
    else:
        shutil.rmtree(output, ignore_errors=True)
        os.makedirs(output)
    room = plan_room(training)
    write_json(Path(output, "training.json"), training.record() | asdict(room))
    return room


@dataclass(frozen=True)
class Step:
    """An optimizer step: samples seen since the start of the phase, its loss, and the seconds it took."""

    samples: int
    loss: float
    seconds: float


def training_steps(output: str) -> list[Step]:
    """The optimizer steps so far; of steps that were repeated after a restart the last one counts.

    Training before 0.12 logs micro-batches, and their number in a step before them. Its throughput is that of
    `samples_per_gpu` on each GPU, however many there were; 0 when these are none.
    """
    path = Path(output, "training_params_and_metrics_global0.jsonl")
    steps: dict[int, Step] = {}
    start: dict[str, Any] = {}
    step: list[tuple[float, float]] = []
    for line in path.read_text().split("\n")[:-1] if path.exists() else ():  # the last may be cut
        entry = json.loads(line or "{}")
        if "num_gpus" in entry:
            start, step = entry, []
        loss, seen = entry.get("avg_loss", entry.get("total_loss")), entry.get("samples_seen")
        if loss is None or seen is None:
            continue
        count = start["samples_per_gpu"] * start["num_gpus"] if "samples_per_gpu" in start else entry["batch_size"]
        step.append((float(loss), count and count / entry["overall_throughput"]))
        if len(step) == start.get("grad_accum", 1):
            losses, seconds = zip(*step, strict=True)
            steps[seen], step = Step(seen, sum(losses) / len(losses), sum(seconds)), []
    return [steps[seen] for seen in sorted(steps)]


def ends_whole(output: str) -> bool:
    """Whether the last step's samples are those of a whole checkpoint."""
    found, steps = checkpoints_of(output), training_steps(output)
    return bool(found and steps) and number_of(found[-1]) == steps[-1].samples


def trained_phase(training: Training, tokens: int) -> Trained:
    """What the finished phase left: checkpoints, speed and loss curve.

    Args:
        tokens: of one epoch.

    Raises:
        SystemExit: the last epoch left no whole checkpoint, a checkpoint's tensors have wrong names, the loss is not a
            number, or not all samples were trained on.
    """
    output, wrong, steps = training.output, "", training_steps(training.output)
    found = [os.path.relpath(folder, os.path.dirname(output)) for folder in checkpoints_of(output)]
    given, remedy = training.num_epochs * training.rows, "try a lower learning rate"
    if not ends_whole(output):
        wrong = "the last epoch left no whole checkpoint"
    elif any(name.startswith("module.") for name in model_tensors(checkpoints_of(output)[-1])):
        wrong = f"the tensors of {found[-1]} are named module.*"
    elif not all(math.isfinite(step.loss) for step in steps):
        wrong = "the loss is not a number"
    elif steps[-1].samples < 0.95 * given:
        wrong = f"{steps[-1].samples} of {given} samples (rows × epochs) were trained on"
        remedy = "raise train_max_batch_len: this version of instructlab.training drops samples that do not fit"
    if wrong:
        raise failure(f"training in {output} went wrong: {wrong}", "see the log above", remedy)
    tokens = round(tokens * steps[-1].samples / training.rows)
    total = sum(step.seconds for step in steps)
    every = -(-len(steps) // 500)
    curve = [(i, round(step.loss, 5)) for i, step in enumerate(steps, 1) if i % every == 0 or i == 1]
    return Trained(
        phase=training.phase,
        launcher=training.launcher,
        skipped=False,
        device="cuda" if training.gpus else "cpu",
        checkpoint=found[-1],
        checkpoints=found,
        steps=len(steps),
        samples=steps[-1].samples,
        tokens=tokens,
        tokens_per_second=round(tokens / total, 1) if total else 0.0,
        loss=curve[-500:],
    )

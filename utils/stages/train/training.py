"""What a training phase is: its command, its checkpoints on disk, the room it needs, what it reports.

A training is a dict:
    model, data, output: paths of the model to start from, of data.jsonl and of the phase's folder;
    rows: samples in data.jsonl; epochs; batch: samples an optimizer step; learning_rate; warmup_steps;
    save_samples: samples between checkpoints inside an epoch, 0 none; max_batch_len: tokens; seed;
    keep: most checkpoints to keep, the newest, 0 all; cpu_offload: bool;
    chat_template: path of its Python file, "" for the tokenizer's own;
    nodes: pods; gpus: GPUs per node, 0 for CPU; flash_attention: bool;
known once the phase is started, from the room on the disk (`plan_room`):
    kept: checkpoints to keep; full_state: bool, save after each epoch what is needed to go on from there.
"""

import glob
import json
import math
import os
import shutil
import zipfile

from utils.durations import parse_duration
from utils.messages import failure


def seconds_of(duration: str) -> int:
    """Seconds of a duration like 90s, 30m, 72h or 7d."""
    try:
        return parse_duration(duration)
    except ValueError as error:
        raise failure(str(error), "it must be a whole number and s, m, h or d", "write for example 30m") from None


def torchrun_arguments(training: dict) -> list:
    """Arguments of torchrun; a pod and this machine run the same.

    With several nodes, the training operator sets RANK, MASTER_ADDR and MASTER_PORT and Kubernetes fills them in.
    On CPU, torchrun runs the file cpu_main_ds.py in the phase's folder instead of the library's module.
    """
    many = ["--node_rank=$(RANK)", "--rdzv_endpoint=$(MASTER_ADDR):$(MASTER_PORT)"]
    gpus, nodes = training["gpus"], training["nodes"]
    flags = {
        "model_name_or_path": training["model"],
        "data_path": training["data"],
        "output_dir": training["output"],
        "num_epochs": training["epochs"],
        "effective_batch_size": training["batch"],
        "learning_rate": training["learning_rate"],
        "num_warmup_steps": training["warmup_steps"],
        "save_samples": training["save_samples"],
        "max_batch_len": training["max_batch_len"],
        "seed": training["seed"],
        "log_level": "INFO",
        "distributed_training_framework": "fsdp",
        **({"chat-tmpl-path": training["chat_template"]} if training["chat_template"] else {}),
    }
    switches = {
        "checkpoint_at_epoch": True,
        "accelerate_full_state_at_epoch": training["full_state"],
        "cpu_offload_params_fsdp": training["cpu_offload"] and gpus,
        "cpu_offload_optimizer": training["cpu_offload"] and gpus,
        "disable_flash_attn": not (gpus and training["flash_attention"]),
    }
    return [
        f"--nnodes={nodes}",
        f"--nproc_per_node={gpus or 1}",
        *(many if nodes > 1 else ["--standalone"]),
        *(["-m", "instructlab.training.main_ds"] if gpus else [training["output"] + "/cpu_main_ds.py"]),
        *(f"--{name}={value}" for name, value in flags.items()),
        *(f"--{name}" for name, on in switches.items() if on),
    ]


def tensors_of(path: str) -> dict:
    """Header of a safetensors file: tensor name to dtype, shape and data_offsets.

    Raises:
        ValueError: the file is torn.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length < 1 << 30 else b""
    header = json.loads(text) if len(text) == length else {}
    header.pop("__metadata__", None)
    end = 8 + length + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    if not header or os.path.getsize(path) != end:
        raise ValueError(f"{path} is torn")
    return header


def model_tensors(folder: str) -> dict:
    """Headers of all weights of a model folder together, {} when a file is missing or torn."""
    tensors: dict = {}
    try:
        index = os.path.join(folder, "model.safetensors.index.json")
        files = ["model.safetensors"]
        if os.path.exists(index):
            with open(index) as file:
                files = sorted(set(json.load(file)["weight_map"].values()))
        for name in files:
            tensors.update(tensors_of(os.path.join(folder, name)))
    except (OSError, ValueError):
        return {}
    return tensors if os.path.exists(os.path.join(folder, "config.json")) else {}


def checkpoints_of(output: str) -> list:
    """Names (samples_N) of the whole checkpoints of a phase, by number, the newest last. Torn ones don't count."""
    folders = glob.glob(os.path.join(output, "hf_format", "samples_*"))
    numbers = sorted(int(f.rpartition("_")[2]) for f in folders if f.rpartition("_")[2].isdigit() and model_tensors(f))
    return [f"samples_{number}" for number in numbers]


def whole_states(output: str) -> list:
    """Folders of the phase's full states from which training can go on, the newest last.

    The library writes training_metadata.json (a zip file) last; a state without it, or with a torn one, doesn't count.
    """
    last = glob.glob(os.path.join(output, "full_state", "epoch_*", "training_metadata.json"))
    states = [os.path.dirname(path) for path in last if zipfile.is_zipfile(path)]
    return sorted(states, key=lambda state: int(state.rpartition("_")[2]))


def prune_phase(output: str, keep: int) -> None:
    """Delete what is no longer needed: checkpoints but the newest `keep` (0: none), full states but the newest."""
    old = [os.path.join(output, "hf_format", name) for name in checkpoints_of(output)[: -keep or None] if keep]
    for folder in [*old, *whole_states(output)[:-1]]:
        shutil.rmtree(folder)


def training_record(output: str) -> dict:
    """The training that a phase's folder was last made ready for, {} when there is none."""
    path = os.path.join(output, "training.json")
    if not os.path.exists(path):
        return {}
    with open(path) as file:
        return json.load(file)


def start_phase(training: dict) -> dict:
    """Make the phase's folder ready, and plan the disk's room. Call it before training, never while it runs.

    When the folder holds a full state of this very training, torn checkpoints and states are deleted and training goes
    on after the last whole epoch. Else it is emptied.

    Returns:
        the training with what `plan_room` adds, as `training_record` gives it back.

    Raises:
        SystemExit: the disk has no room for the checkpoints.
    """
    output, before = training["output"], training_record(training["output"])
    states = whole_states(output)
    if {**before, **training} == before and states:
        whole = [*states, *(os.path.join(output, "hf_format", name) for name in checkpoints_of(output))]
        for folder in {*glob.glob(os.path.join(output, "*", "*_*"))} - {*whole}:
            shutil.rmtree(folder)
        print(f"going on after {os.path.basename(states[-1])} (counted from 0)", flush=True)
    else:
        shutil.rmtree(output, ignore_errors=True)
        os.makedirs(output)
    training = {**training, **plan_room(training)}
    with open(os.path.join(output, "training.json"), "w") as file:
        json.dump(training, file)
    return training


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


def disk_room(folder: str, outputs: list) -> int:
    """Bytes that are free on the disk of a folder, and those that outputs (folders on it) take."""
    taken = [os.path.getsize(os.path.join(d, f)) for o in outputs for d, _, files in os.walk(o) for f in files]
    return shutil.disk_usage(folder).free + sum(taken)


def no_room(folder: str, count: int, one: int, room: int) -> SystemExit:
    """The failure of a disk with `room` bytes for `count` checkpoints of `one` bytes each."""
    gib = 1 << 30
    return failure(
        f"training needs {count * one / gib:.1f} GiB at {folder}, {room / gib:.1f} GiB are free",
        f"{count} checkpoints of {one / gib:.1f} GiB (4 bytes per parameter) must exist at the same time",
        "start a run with a larger k8s_storage_size (locally: free disk space, or another --home)",
    )


def require_training_room(data_dir: str) -> None:
    """End the stage when the volume is too small to train model/ in both phases; else say what it has room for.

    Phase 1, for which there must be knowledge, leaves a checkpoint; then phase 2 keeps at least one while it writes
    the next.
    """
    one = checkpoint_size(os.path.join(data_dir, "model"))
    room = disk_room(data_dir, [os.path.join(data_dir, f"phase_{phase}") for phase in (1, 2)])
    knowledge = glob.glob(
        os.path.join(glob.escape(data_dir), "taxonomy", "knowledge", "**", "qna.yaml"), recursive=True
    )
    need = 3 if knowledge else 2
    if room < need * one:
        raise no_room(data_dir, need, one, room)
    print(f"room for {room // one} checkpoints of {one / (1 << 30):.1f} GiB; training needs {need}", flush=True)


def plan_room(training: dict) -> dict:
    """{"kept", "full_state"}: how many checkpoints are kept, and whether there is also room for full states.

    A full state takes up to 16 bytes per parameter (the weights twice, the two moments of Adam). While the newest is
    written, one more of each exists than is kept.

    Raises:
        SystemExit: there is no room to keep one checkpoint.
    """
    output, epochs, gib = training["output"], training["epochs"], 1 << 30
    one, room = checkpoint_size(training["model"]), disk_room(output, [output])
    saved = epochs + (epochs * training["rows"] // training["save_samples"] if training["save_samples"] else 0)
    wanted, fit = min(training["keep"] or saved, saved), room // one
    kept = min(wanted, fit if fit >= saved else fit - 1)
    if kept < 1:
        raise no_room(output, min(saved, 2), one, room)
    if kept < wanted:
        print(f"no room for {wanted} checkpoints of {one / gib:.1f} GiB: the newest {kept} are kept", flush=True)
    states = 8 * one
    full_state = epochs > 1 and min(saved, kept + 1) * one + states <= room
    if epochs > 1 and not full_state:
        print(
            f"no room for {states / gib:.1f} GiB of training state: a restart would repeat the whole phase", flush=True
        )
    return {"kept": kept, "full_state": full_state}


def training_steps(output: str) -> list:
    """The optimizer steps so far, a dict each; of steps that were repeated after a restart the last one counts."""
    steps = {}
    for path in glob.glob(os.path.join(output, "training_params_and_metrics_global0.jsonl")):
        with open(path) as file:
            for line in file:
                entry = json.loads(line) if line.endswith("}\n") else {}
                loss = entry.get("avg_loss", entry.get("total_loss"))
                if loss is not None and "samples_seen" in entry:
                    steps[entry["samples_seen"]] = {**entry, "loss": float(loss)}
    return [steps[seen] for seen in sorted(steps)]


def phase_result(training: dict, tokens: int) -> dict:
    """What the finished phase leaves: its checkpoints (names), steps, samples, tokens, speed and loss curve.

    Args:
        tokens: of one epoch.

    Raises:
        SystemExit: the last epoch left no whole checkpoint, a checkpoint's tensors have wrong names, or the loss is
            no number.
    """
    output = training["output"]
    names, steps = checkpoints_of(output), training_steps(output)
    losses = [step["loss"] for step in steps]
    wrong = ""
    if not names or not steps or names[-1] != f"samples_{steps[-1]['samples_seen']}":
        wrong = f"the last epoch left no whole checkpoint (there are: {', '.join(names) or 'none'})"
    elif any(key.startswith("module.") for key in model_tensors(os.path.join(output, "hf_format", names[-1]))):
        wrong = f"the tensors of {names[-1]} are named module.*: no program would find them"
    elif not all(map(math.isfinite, losses)):
        wrong = "the loss is not a number"
    if wrong:
        raise failure(f"training in {output} went wrong: {wrong}", "see the log above", "try a lower learning rate")
    seconds = sum(step["batch_size"] / step["overall_throughput"] for step in steps)
    every = -(-len(steps) // 500)
    return {
        "checkpoints": names,
        "steps": len(steps),
        "samples": steps[-1]["samples_seen"],
        "tokens": tokens * training["epochs"],
        "tokens_per_second": round(tokens * training["epochs"] / seconds, 1),
        "loss": [[i + 1, round(loss, 5)] for i, loss in enumerate(losses) if (i + 1) % every == 0 or i == 0][-500:],
    }

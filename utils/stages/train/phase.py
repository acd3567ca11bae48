"""One training phase from its parameters to its marker; which launcher runs it is decided here."""

import importlib.util
import json
import os
import shutil
import time
from dataclasses import dataclass
from typing import Any

from utils.messages import failure, progress
from utils.names import POD_OVERLAY
from utils.stages.chat_template.files import chat_template_file
from utils.stages.marker import finished_result, read_marker, write_marker
from utils.stages.train.job import job_is_there, launch_pytorchjob
from utils.stages.train.process import copy_cpu_main_ds, launch_process, local_gpus
from utils.stages.train.pytorchjob import job_name, pytorchjob_manifest
from utils.stages.train.training import (
    phase_result,
    prune_phase,
    seconds_of,
    start_phase,
    torchrun_arguments,
    training_record,
    training_steps,
    whole_states,
)


@dataclass(frozen=True)
class Phase:
    """What the stage is given: the parameters of the component `train`."""

    data_dir: str
    run_id: str
    phase: int
    launcher: str
    image: str
    model: str
    num_epochs: int
    effective_batch_size: int
    learning_rate: float
    num_warmup_steps: int
    save_samples: int
    max_batch_len: int
    max_seq_len: int
    seed: int
    keep_checkpoints: int
    cpu_offload: bool
    num_workers: int
    gpu_per_worker: int
    gpu_identifier: str
    cpu_per_worker: str
    memory_per_worker: str
    tolerations: list[Any]
    node_selectors: dict[str, Any]
    volume_claim: str
    queue: str
    queue_timeout: str
    pending_timeout: str
    timeout: str
    force: bool


def describe_training(options: dict, data: dict, base: dict, gpus: int) -> dict:
    """The training (utils/stages/train/training.py) that the component's parameters ask for.

    Args:
        options: parameters of the component `train`.
        data: what data processing counted for this phase.
        base: result of phase 1, {} in phase 1. Phase 2 starts from its last checkpoint by number.
        gpus: GPUs of each node.
    """
    phase, data_dir, pods = options["phase"], options["data_dir"], options["launcher"] == "pytorchjob"
    kind = "knowledge" if phase == 1 else "skills"
    return {
        "model": os.path.join(data_dir, options["model"] or base.get("checkpoint") or "model"),
        "data": f"{data_dir}/processed/{kind}/data.jsonl",
        "output": f"{data_dir}/phase_{phase}",
        "rows": data["rows"],
        "epochs": options["num_epochs"],
        "batch": min(options["effective_batch_size"], data["rows"]),
        "learning_rate": options["learning_rate"],
        "warmup_steps": options["num_warmup_steps"],
        "save_samples": options["save_samples"],
        "max_batch_len": options["max_batch_len"],
        "seed": options["seed"],
        "keep": options["keep_checkpoints"] or (1 if phase == 1 else 0),
        "cpu_offload": options["cpu_offload"],
        "chat_template": chat_template_file(data_dir, "template.py"),
        "nodes": options["num_workers"] if pods else 1,
        "gpus": gpus,
        "flash_attention": pods or importlib.util.find_spec("flash_attn") is not None,
    }


def training_manifest(training: dict, options: dict, overlay: dict) -> dict:
    """The PyTorchJob of a training, see `pytorchjob_manifest`; options are the parameters of the component `train`."""
    job = {
        "name": job_name(options["run_id"], options["phase"]),
        "nodes": training["nodes"],
        "gpus": training["gpus"],
        "cpu": options["cpu_per_worker"],
        "memory": options["memory_per_worker"],
        "claim": options["volume_claim"],
        "pending": seconds_of(options["pending_timeout"]),
        "timeout": seconds_of(options["timeout"]),
    }
    same = ("run_id", "image", "data_dir", "gpu_identifier", "tolerations", "node_selectors", "queue")
    job |= {name: options[name] for name in same}
    return pytorchjob_manifest(job, torchrun_arguments(training), overlay)


def launch_training(training: dict, options: dict, pending: int, timeout: int) -> SystemExit | None:
    """Run the training with the launcher that was asked for, and leave the manifest or command as artifact.

    The runner on plain Kubernetes names in ILAB_POD_OVERLAY (JSON) what training pods get as every other pod does.

    Returns:
        None when it succeeded, the failure to raise when its pods failed.
    """
    steps = training["epochs"] * -(-training["rows"] // training["batch"])
    if training["warmup_steps"] >= steps:
        print(f"{training['warmup_steps']} warm-up steps, {steps} steps: the learning rate never reaches its peak")
    done, looked = 0, 0.0

    def tick() -> None:
        nonlocal done, looked
        if time.monotonic() - looked > 2:
            prune_phase(training["output"], training["kept"])
            count, looked = len(training_steps(training["output"])), time.monotonic()
            if count > done:
                progress(count, max(steps, count), "steps")
            done = count

    if not training["gpus"]:
        copy_cpu_main_ds(training["output"])
    arguments, pods = torchrun_arguments(training), options["launcher"] == "pytorchjob"
    overlay = json.loads(os.environ.get(POD_OVERLAY, "{}"))
    made = training_manifest(training, options, overlay) if pods else {"command": ["torchrun", *arguments]}
    with open(options["manifest"], "w") as file:
        json.dump(made, file, indent=1)
    error = None
    if pods:
        error = launch_pytorchjob(made, pending, timeout, tick, queued=seconds_of(options["queue_timeout"]))
    else:
        launch_process(training, arguments, timeout, tick)
    looked = 0.0
    tick()
    return error


def run_training(training: dict, options: dict) -> None:
    """Train, from the last whole epoch on when this training was begun before.

    Training pods that failed (killed, evicted, a lost node) are started again, without end while each try gains a
    whole epoch, else once; all within the phase's timeouts, those of its queue and its pods' start included.
    """
    output, pods = training["output"], options["launcher"] == "pytorchjob"
    pending, timeout = seconds_of(options["pending_timeout"]), seconds_of(options["timeout"])
    end, gained = time.monotonic() + seconds_of(options["queue_timeout"]) + pending + timeout, None
    while True:
        # A job that outlived its launcher writes to the phase's folder: it is gone on with, and nothing touched there.
        runs = pods and job_is_there(job_name(options["run_id"], options["phase"]), pending)
        started = training_record(output) if runs else start_phase(training)
        plan = {"kept": started.get("kept", 0), "full_state": started.get("full_state", False)}
        left = int(min(timeout, end - time.monotonic()))
        error = launch_training({**training, **plan}, options, pending, left)
        if error is None:
            return
        newest = whole_states(output)[-1:]
        if newest == gained or time.monotonic() > end:
            raise error
        print(f"{error}\ntraining is started again, from its last whole epoch", flush=True)
        gained = newest


def finished_phase(options: dict) -> dict:
    """Train a phase unless it is finished or has no data, and leave its marker.

    Args:
        options: the parameters of the component `train`.

    Returns:
        the marker's result: phase, skipped, reason, checkpoint (the last by number), checkpoints (folders under
        data_dir), launcher, device, steps, samples, tokens, tokens_per_second, loss ([[step, loss], …]).
    """
    started = time.time()
    phase, data_dir, launcher = options["phase"], options["data_dir"], options["launcher"]
    if launcher not in ("pytorchjob", "process"):
        raise failure(f"train_launcher is {launcher!r}", "it is unknown", "use pytorchjob or process")
    if options["max_batch_len"] < options["max_seq_len"]:
        raise failure("train_max_batch_len is below train_max_seq_len", "long samples would be lost", "raise it")
    before = read_marker(data_dir, "data_processing" if phase == 1 else "train_phase_1")
    names = ["model", "launcher", "image", "num_epochs", "effective_batch_size", "learning_rate", "num_warmup_steps"]
    names += ["save_samples", "max_batch_len", "seed", "keep_checkpoints", "cpu_offload"]
    inputs = {name: options[name] for name in [*names, "num_workers", "gpu_per_worker"]}
    inputs["upstream"] = before.get("inputs_hash", "")
    stage, output = f"train_phase_{phase}", f"phase_{phase}"
    result = finished_result(data_dir, stage, inputs, options["force"])
    if result is None:
        data = read_marker(data_dir, "data_processing")["result"]["knowledge" if phase == 1 else "skills"]
        result = {"phase": phase, "launcher": launcher, "skipped": not data["rows"], "reason": "", "device": "cpu"}
        if data["rows"]:
            gpus = options["gpu_per_worker"] if launcher == "pytorchjob" else local_gpus()
            training = describe_training(options, data, before["result"] if phase == 2 else {}, gpus)
            run_training(training, options)
            result |= {**phase_result(training, data["tokens"]), "device": "cuda" if gpus else "cpu"}
            result["checkpoints"] = [f"{output}/hf_format/{name}" for name in result["checkpoints"]]
            result["checkpoint"] = result["checkpoints"][-1]
        else:
            result |= {"reason": f"the taxonomy gave no {'knowledge' if phase == 1 else 'skills'} samples"}
            result |= {"checkpoint": "", "checkpoints": [], "steps": 0, "samples": 0, "tokens": 0}
            result |= {"tokens_per_second": 0.0, "loss": []}
            print(f"phase {phase} is skipped: {result['reason']}", flush=True)
        write_marker(data_dir, stage, inputs, result["checkpoints"], result, started)
    shutil.rmtree(f"{data_dir}/{output}/full_state", ignore_errors=True)
    return result


def train_phase(given: Phase, manifest: str) -> dict[str, float]:
    """Train a phase unless it is finished or has no data; returns the stage's metrics.

    Args:
        manifest: path for the PyTorchJob, or the command of this machine (JSON).
    """
    result = finished_phase({**vars(given), "manifest": manifest})
    kind = "knowledge" if given.phase == 1 else "skills"
    measured = {f"{kind}_train_{name}": result[name] for name in ("steps", "samples", "tokens_per_second")}
    if result["loss"]:
        measured[f"{kind}_train_first_loss"] = result["loss"][0][1]
        measured[f"{kind}_train_last_loss"] = result["loss"][-1][1]
    return measured

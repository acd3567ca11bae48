"""Stage 5: one training phase, from its parameters to its marker. Which launcher runs it is decided here."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

from utils.messages import failure, progress
from utils.names import POD_OVERLAY
from utils.stages.chat_template.files import chat_template_file
from utils.stages.disk import tells_full_disk
from utils.stages.marker import finished_result, from_record, read_json, result_of, upstream_hash, write_marker
from utils.stages.results import DataCounts, Processed, Trained
from utils.stages.train import packing, progress_server
from utils.stages.train.algorithms import options_of
from utils.stages.train.choice import LAUNCHERS, choose_launcher
from utils.stages.train.estimate import tell_estimate
from utils.stages.train.folder import (
    LATE,
    ends_whole,
    prune_phase,
    recorded_room,
    start_phase,
    trained_phase,
    training_steps,
)
from utils.stages.train.grace import GRACE
from utils.stages.train.hub import HUB
from utils.stages.train.late import TooLate, note_late, refuse_repeat
from utils.stages.train.launcher import Launcher
from utils.stages.train.mirror import Mirror, mirror_of
from utils.stages.train.pods import PodLauncher, job_name
from utils.stages.train.process import ProcessLauncher, copy_cpu_main_ds
from utils.stages.train.pytorchjob import PyTorchJob
from utils.stages.train.trainer import TRAINER, whole_states, within_epoch
from utils.stages.train.training import HYPERPARAMETERS, Training, TrainingPhase, seconds_of, torchrun_arguments
from utils.stages.train.trainjob import TrainJob

__all__ = ["TrainingPhase", "train_phase"]

DECIDING = (
    *("model", "launcher", "image"),
    *HYPERPARAMETERS,
    *("keep_checkpoints", "cpu_offload", "num_workers", "gpu_per_worker"),
)
"""Parameters that decide what a phase leaves: with others, a finished phase is another one."""
STACKED = "train_strategy is stacked: phase 2 trains on knowledge and skills together"
POD_LAUNCHERS: dict[str, type[PodLauncher]] = {"trainjob": TrainJob, "pytorchjob": PyTorchJob}


def launcher_of(given: TrainingPhase) -> Launcher:
    """The launcher that was asked for.

    Raises:
        SystemExit: it is unknown, or a duration is not valid.
    """
    choice = choose_launcher(given.launcher, job_name(PyTorchJob.start.format(given.phase), given.run_id))
    print(f"train_launcher is {choice.launcher}: {choice.why}", flush=True)
    if choice.launcher == "process":
        return ProcessLauncher(given.output, seconds_of(given.timeout), seconds_of(given.grace_period))
    if choice.launcher not in POD_LAUNCHERS:
        raise failure(f"train_launcher is {given.launcher!r}", "it is unknown", f"use {LAUNCHERS}")
    # The runner on plain Kubernetes names what every pod gets.
    return POD_LAUNCHERS[choice.launcher](given, json.loads(os.environ.get(POD_OVERLAY, "{}")))


def describe_training(given: TrainingPhase, rows: int, checkpoint: str, launcher: Launcher) -> Training:
    """The training that the parameters ask for.

    Args:
        rows: samples of the phase.
        checkpoint: the last of the phase before, a folder below the volume's root; "" for none.
        launcher: where it runs.
    """
    completed = {
        "launcher": launcher.title,
        "model": os.path.join(given.data_dir, given.model or checkpoint or "model"),
        # At least one for each GPU: training before 0.12 divides it by their number.
        "effective_batch_size": max(min(given.effective_batch_size, rows), launcher.nodes * launcher.gpus),
        "keep_checkpoints": given.keep_checkpoints or (1 if given.phase == 1 else 0),
    }
    template = chat_template_file(given.data_dir, "template.py")
    return Training(
        **vars(given) | completed | {"algorithm_options": options_of(given.algorithm, given.algorithm_options)},
        rows=rows,
        chat_template=template,
        nodes=launcher.nodes,
        gpus=launcher.gpus,
    )


class Watch:
    """Looks into a phase's folder while it is trained: shows progress, copies, deletes what is no longer needed."""

    def __init__(self, training: Training, kept: int, mirror: Mirror | None) -> None:
        self.training, self.kept, self.mirror, self.done, self.looked = training, kept, mirror, 0, 0.0

    def look(self, pause: float = 2) -> None:
        """Look, unless the last look was less than `pause` seconds ago."""
        if time.monotonic() - self.looked < pause:
            return
        output, before = self.training.output, self.done
        if self.mirror:
            self.mirror.look()
            prune_phase(output, self.kept, self.mirror.spares)
        else:
            prune_phase(output, self.kept)
        self.done, self.looked = len(training_steps(output)), time.monotonic()
        if self.done > before:
            progress(self.done, max(self.training.steps, self.done), "steps")


def stack_data(training: Training) -> None:
    """Write the data of both kinds to one file; training shuffles its rows in each epoch."""
    os.makedirs(os.path.dirname(training.data), exist_ok=True)
    with open(training.data, "wb") as file:
        for part in training.parts:
            with part.open("rb") as rows:
                shutil.copyfileobj(rows, file)


def counts_of(given: TrainingPhase, processed: Processed) -> DataCounts:
    """The samples that a phase trains on."""
    if not given.stacked:
        return processed.knowledge if given.phase == 1 else processed.skills
    if given.phase == 1:
        return DataCounts()
    both = (processed.knowledge, processed.skills)
    return DataCounts(sum(c.rows for c in both), sum(c.tokens for c in both), max(c.longest for c in both))


def run_training(training: Training, launcher: Launcher, manifest: str, mirror: Mirror | None = None) -> None:
    """Train, from the last state that was saved when this training was begun before.

    Training pods that failed (killed, evicted, a lost node) are started again, without end while each try leaves a
    newer state, else once; all within the time that the launcher may wait and train.

    Args:
        manifest: path for what the launcher starts (JSON).

    Raises:
        TooLate: that time is over.
        SystemExit: training failed for another reason.
    """
    output, gained = training.output, None
    end = time.monotonic() + launcher.waiting + launcher.timeout
    if training.num_warmup_steps >= training.steps:
        steps = f"{training.num_warmup_steps} warm-up steps, {training.steps} steps"
        print(f"{steps}: the learning rate never reaches its peak")
    while True:
        # What outlived its launcher writes to the phase's folder: it is attached to, and nothing touched there.
        if launcher.running():
            room = recorded_room(output)
        else:
            if mirror and mirror.bring():
                return
            room = start_phase(training)
            if training.stacked:
                stack_data(training)
            # Pods run them from there, also those of a launcher that is elsewhere.
            for program in (TRAINER, packing.__file__, progress_server.__file__, HUB, GRACE):
                shutil.copy(program, output)
            if not training.gpus:
                copy_cpu_main_ds(output)
        arguments, watch = torchrun_arguments(training, room.full_state), Watch(training, room.kept, mirror)
        made = launcher.manifests(arguments)
        Path(manifest).write_text(json.dumps(made if made[1:] else made[0], indent=1))
        error = launcher.launch(arguments, min(launcher.timeout, round(end - time.monotonic())), watch.look)
        watch.look(0)
        if error is None:
            return
        newest = whole_states(output)[-1:]
        if time.monotonic() > end:
            raise TooLate(error.code)
        if newest == gained:
            raise error
        last = "saved step" if any(map(within_epoch, newest)) else "whole epoch"
        print(f"{error}\ntraining is started again, from its last {last}", flush=True)
        gained = newest


def train(given: TrainingPhase, launcher: Launcher, manifest: str) -> Trained:
    """Train a phase that has not finished; one without data is skipped.

    Raises:
        SystemExit: a stage before it has not finished, or training failed.
    """
    processed = result_of(given.data_dir, "data_processing", Processed)
    base = result_of(given.data_dir, "train_phase_1", Trained) if given.phase == 2 else Trained(0, "", skipped=True)
    if processed is None or base is None:
        what = f"there is nothing to train phase {given.phase} on"
        raise failure(what, "data processing or phase 1 has not finished on this volume", "run it first")
    data = counts_of(given, processed)
    if not data.rows:
        reason = STACKED if given.stacked else f"the taxonomy gave no {given.kind} samples"
        print(f"phase {given.phase} is skipped: {reason}", flush=True)
        return Trained(given.phase, launcher.title, True, reason)
    if data.longest > given.max_batch_len:
        what = (
            f"the longest {given.kind} sample has {data.longest} tokens, train_max_batch_len is {given.max_batch_len}"
        )
        raise failure(what, "it was lowered after data processing; long samples would be lost", f"set {data.longest}")
    training = describe_training(given, data.rows, base.checkpoint, launcher)
    refuse_repeat(training.output, vars(given))
    counted = training.gpus and training.algorithm == "sft"  # osft takes much longer
    mirror = mirror_of(training)
    estimated = tell_estimate(training.model, data.tokens * training.num_epochs) if counted else 0.0
    try:
        run_training(training, launcher, manifest, mirror)
    except (SystemExit, KeyboardInterrupt) as error:
        if isinstance(error, TooLate):
            note_late(training.output, vars(given), error)
        if mirror:  # nothing waits for a training that failed; who stops it soon ends this process, too
            mirror.close(20 if isinstance(error, KeyboardInterrupt) else 3600)
        raise
    seen = time.monotonic() + LATE
    while not ends_whole(training.output) and time.monotonic() < seen:
        time.sleep(2)
    trained = trained_phase(training, data.tokens)
    if mirror:
        mirror.finish()
    return replace(trained, estimated_gpu_hours=estimated, mirror=mirror.where if mirror else "")


@tells_full_disk
def train_phase(given: TrainingPhase, manifest: str) -> dict[str, float]:
    """Train a phase unless it is finished or has no data, and leave its marker; returns the stage's metrics.

    Args:
        manifest: path for the PyTorchJob, or the command of this machine (JSON).
    """
    started, launcher = time.time(), launcher_of(given)
    if given.max_batch_len < given.max_seq_len:
        raise failure("train_max_batch_len is below train_max_seq_len", "long samples would be lost", "raise it")
    stage, before = f"train_phase_{given.phase}", "data_processing" if given.phase == 1 else "train_phase_1"
    inputs = {name: getattr(given, name) for name in DECIDING} | {"upstream": upstream_hash(given.data_dir, before)}
    if given.stacked:  # without it, a phase that an earlier version finished stays finished
        inputs["strategy"] = given.strategy
    if given.checkpoint_dtype != "auto":  # phases of earlier versions count
        inputs["checkpoint_dtype"] = given.checkpoint_dtype
    if given.algorithm != "sft":
        inputs["algorithm"] = [given.algorithm, options_of(given.algorithm, given.algorithm_options)]
    record = finished_result(given.data_dir, stage, inputs, given.force)
    result = train(given, launcher, manifest) if record is None else from_record(Trained, record)
    if record is None:
        # Of a phase without data there are none, and none of a trainer of an earlier version of ours.
        versions = read_json(Path(given.output, "versions.json"))
        write_marker(given.data_dir, stage, inputs, result.checkpoints, result, started, versions)
    shutil.rmtree(given.output + "/full_state", ignore_errors=True)
    measured = {name: getattr(result, name) for name in ("steps", "samples", "tokens_per_second")}
    if result.loss:
        measured |= {"first_loss": result.loss[0][1], "last_loss": result.loss[-1][1]}
    return {f"{given.kind}_train_{name}": value for name, value in measured.items()}

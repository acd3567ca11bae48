"""A phase's folder: made ready, read while it is trained, and what it holds in the end."""

import glob
import json
import math
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from utils.messages import failure
from utils.stages.marker import from_record
from utils.stages.results import Trained
from utils.stages.train.checkpoints import checkpoints_of, model_tensors, number_of, whole_states
from utils.stages.train.room import Room, plan_room
from utils.stages.train.training import Training


def recorded_room(output: str) -> Room:
    """What the disk had room for when a phase's folder was last made ready."""
    return from_record(Room, _record(output))


def _record(output: str) -> dict[str, Any]:
    """The training, and the room for it, that a phase's folder was last made ready for; {} when it never was."""
    path = Path(output, "training.json")
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return record


def start_phase(training: Training) -> Room:
    """Make the phase's folder ready, and plan the disk's room. Call it before training, never while it runs.

    When the folder holds a full state of this very training, torn checkpoints and states are deleted and training
    resumes after the last whole epoch. Else it is emptied.

    Raises:
        SystemExit: the disk has no room for the checkpoints.
    """
    output, before, wanted = training.output, _record(training.output), asdict(training)
    states = whole_states(output)
    if {**before, **wanted} == before and states:
        for folder in {*glob.glob(f"{output}/*/*_*")} - {*states, *checkpoints_of(output)}:
            shutil.rmtree(folder)
        print(f"resuming after {os.path.basename(states[-1])} (counted from 0)", flush=True)
    else:
        shutil.rmtree(output, ignore_errors=True)
        os.makedirs(output)
    room = plan_room(training)
    Path(output, "training.json").write_text(json.dumps(wanted | asdict(room)))
    return room


@dataclass(frozen=True)
class Step:
    """An optimizer step: samples seen since the start of the phase, its loss, and the seconds it took."""

    samples: int
    loss: float
    seconds: float


def training_steps(output: str) -> list[Step]:
    """The optimizer steps so far; of steps that were repeated after a restart the last one counts."""
    path, steps = Path(output, "training_params_and_metrics_global0.jsonl"), dict[int, Step]()
    for line in path.read_text().split("\n")[:-1] if path.exists() else ():  # the last may be cut
        entry = json.loads(line or "{}")
        loss, seen = entry.get("avg_loss", entry.get("total_loss")), entry.get("samples_seen")
        if loss is not None and seen is not None:
            steps[seen] = Step(seen, float(loss), entry["batch_size"] / entry["overall_throughput"])
    return [steps[seen] for seen in sorted(steps)]


def trained_phase(training: Training, phase: int, launcher: str, tokens: int) -> Trained:
    """What the finished phase left: checkpoints, speed and loss curve.

    Args:
        tokens: of one epoch.

    Raises:
        SystemExit: the last epoch left no whole checkpoint, a checkpoint's tensors have wrong names, or the loss is
            not a number.
    """
    output, wrong, steps = training.output, "", training_steps(training.output)
    found = [os.path.relpath(folder, os.path.dirname(output)) for folder in checkpoints_of(output)]
    if not found or not steps or number_of(found[-1]) != steps[-1].samples:
        wrong = f"the last epoch left no whole checkpoint (there are: {', '.join(found) or 'none'})"
    elif any(name.startswith("module.") for name in model_tensors(checkpoints_of(output)[-1])):
        wrong = f"the tensors of {found[-1]} are named module.*: no program would find them"
    elif not all(math.isfinite(step.loss) for step in steps):
        wrong = "the loss is not a number"
    if wrong:
        raise failure(f"training in {output} went wrong: {wrong}", "see the log above", "try a lower learning rate")
    tokens *= training.epochs
    every = -(-len(steps) // 500)
    curve = [(i, round(step.loss, 5)) for i, step in enumerate(steps, 1) if i % every == 0 or i == 1]
    return Trained(
        phase=phase,
        launcher=launcher,
        skipped=False,
        device="cuda" if training.gpus else "cpu",
        checkpoint=found[-1],
        checkpoints=found,
        steps=len(steps),
        samples=steps[-1].samples,
        tokens=tokens,
        tokens_per_second=round(tokens / sum(step.seconds for step in steps), 1),
        loss=curve[-500:],
    )

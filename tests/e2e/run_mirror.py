"""Runs in the stages' interpreter: `run_mirror.py FOLDER SECRET`, prints JSON last.

A phase on two ranks, as in run_preemption.py, whose states are copied to the object store of the Secret. Its pods get
SIGTERM, the run ends and its volume is lost; a run on a new volume with the same data trains the rest.
"""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.run_preemption import LENGTHS, Pods, norm
from tests.e2e.run_ranks import prepare_volume
from tests.e2e.volume import options
from utils.stages.train.folder import training_steps
from utils.stages.train.mirror import note_mirror
from utils.stages.train.stage import TrainingPhase, train

STOPPED_AFTER = 14
"""Steps of 30, ten for each epoch."""


@dataclass(frozen=True)
class LostPods(Pods):
    """Pods that are preempted, and then can't be started again."""

    def launch(self, arguments: list[str], *more: Any) -> SystemExit | None:
        if list(Path(self.output).with_name("logs").glob("0_*")):
            raise SystemExit("the run is over")
        return super().launch(arguments, *more)


def phase(data_dir: Path, secret: str) -> TrainingPhase:
    """A new volume, and the phase's parameters."""
    data_dir.mkdir(parents=True)
    prepare_volume(data_dir, LENGTHS)
    changes = {"num_epochs": 3, "max_batch_len": 60, "store_secret_dir": secret}
    return TrainingPhase(**{**options(data_dir), **changes})


def main(folder: Path, secret: str) -> dict[str, Any]:
    """Loss by samples and weights' norms of a training that nothing stopped, and of the two runs; steps of each log."""
    found: dict[str, Any] = {}
    whole, first, second = (folder / name for name in ("whole", "first", "second"))
    given = phase(whole, secret)
    result = train(given, Pods(given.output, ()), str(folder / "manifest.json"))
    found["whole"] = told(whole, given, result.checkpoints)
    given = phase(first, secret)
    note_mirror(given.data_dir, True, "")
    try:
        train(given, LostPods(given.output, ((15, STOPPED_AFTER),)), str(folder / "manifest.json"))
    except SystemExit as error:
        assert str(error) == "the run is over", error
    shutil.rmtree(first)
    for number in (1, 2):  # once more: the phase has finished then
        given = phase(second, secret)
        note_mirror(given.data_dir, True, "")
        result = train(given, Pods(given.output, ()), str(folder / "manifest.json"))
        found[f"second_{number}"] = told(second, given, result.checkpoints)
        shutil.rmtree(second)
    return found


def told(data_dir: Path, given: TrainingPhase, checkpoints: list[str]) -> dict[str, Any]:
    return {
        "loss": {step.samples: step.loss for step in training_steps(given.output)},
        "weights": {name: norm(data_dir / name) for name in checkpoints},
        "logs": [path.read_text() for path in sorted(data_dir.glob("logs/0_*"))],
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))

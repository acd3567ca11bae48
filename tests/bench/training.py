"""Measure training in the stages' interpreter: `python -m tests.bench.training`. Exit code 1 if a promise is broken.

Ours, a phase with the `process` launcher, which watches it, saves what it needs to resume and heeds SIGTERM, against
bare `torchrun … main_ds` on the same data with the same arguments. They take turns, and each step counts with its
shortest time: on a shared machine, what else runs must not be mistaken for either. Tokens per second are those of the
steps; the time to the first step, with imports and the model's loading, stands beside it.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.bench.bare import bare_command
from tests.e2e.run_ranks import prepare_volume
from tests.e2e.volume import options
from utils.cpu import PROGRAMS
from utils.names import CPU_PROGRAMS
from utils.stages.train.folder import training_steps
from utils.stages.train.process import ProcessLauncher
from utils.stages.train.stage import TrainingPhase, train

LENGTHS = [200] * 64
"""Tokens of each row: the same, since packing different lengths without flash attention is ours, and differs."""
BATCH, EPOCHS, ROUNDS = 8, 2, 3
LIMIT = 0.98
METRICS = "training_params_and_metrics_global0.jsonl"


@dataclass(frozen=True)
class Measured:
    """Seconds of each step, and to the first."""

    steps: list[float]
    first: float


def volume(folder: Path) -> TrainingPhase:
    prepare_volume(folder, LENGTHS)
    sizes = {"effective_batch_size": BATCH, "num_epochs": EPOCHS, "max_batch_len": BATCH * max(LENGTHS)}
    return TrainingPhase(**{**options(folder), **sizes, "num_workers": 1})


def ours(given: TrainingPhase) -> None:
    train(given, ProcessLauncher(given.output, 3600), f"{given.data_dir}/manifest.json")


def theirs(given: TrainingPhase) -> None:
    """The library's program as it is."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(os.cpu_count()), "TQDM_DISABLE": "1"}
    command = bare_command(given, len(LENGTHS))
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def measured(work: Callable[[TrainingPhase], None], folder: Path) -> Measured:
    given, started = volume(folder), time.time()
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        work(given)
    lines = Path(given.output, METRICS).read_text().splitlines()
    first = next(entry for entry in map(json.loads, lines) if "samples_seen" in entry)
    begun = datetime.fromisoformat(first["timestamp"]).timestamp() - started
    return Measured([step.seconds for step in training_steps(given.output)], begun)


def speed(rounds: list[Measured]) -> float:
    """Tokens per second of the steps, each with its shortest time."""
    return EPOCHS * sum(LENGTHS) / sum(map(min, zip(*[one.steps for one in rounds], strict=True)))


def main(folder: Path) -> int:
    made: dict[str, list[Measured]] = {"bare torchrun main_ds": [], "ours, process": []}
    for number in range(ROUNDS):
        for name, work in zip(made, (theirs, ours), strict=True):
            made[name].append(measured(work, folder / f"{work.__name__}-{number}"))
    base, own = map(speed, made.values())
    verdict = f"at least {LIMIT:g} {'ok' if own / base >= LIMIT else 'BROKEN'}"
    print(f"{EPOCHS} epochs of {sum(LENGTHS)} tokens, {BATCH} samples per step, the best of {ROUNDS} rounds")
    print(f"{'':<24} {'tokens/s':>8}  ratio  s to the first step")
    for (name, rounds), value, text in zip(made.items(), (base, own), ("", verdict), strict=True):
        first = min(one.first for one in rounds)
        print(f"{name:<24} {value:>8.0f} {value / base:>6.3f} {first:>6.1f}  {text}".rstrip())
    return 0 if own / base >= LIMIT else 1


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", CPU_PROGRAMS: str(PROGRAMS)}
    with tempfile.TemporaryDirectory() as made:
        sys.exit(main(Path(made)))

"""Runs in the stages' interpreter: `run_preemption.py DATA_DIR SIGNALS [ALGORITHM]`, prints JSON last.

A phase of three epochs on two nodes of one rank each, as in pods: grace.py starts each torchrun. SIGNALS, as JSON, are
sent one after the other, one to each start of the first node: [number, steps of this start after which it is sent].
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.run_ranks import prepare_volume
from tests.e2e.volume import options
from utils.stages.evaluation.serving import free_port
from utils.stages.train.folder import training_steps
from utils.stages.train.stage import TrainingPhase, train

LENGTHS = [20 + number % 5 * 10 for number in range(40)]


@dataclass(frozen=True)
class Pods:
    """Two pods; when one has failed, the other is ended as an operator does, and the job can be started again."""

    output: str
    signals: tuple[tuple[int, int], ...]
    title, nodes, gpus, flash_attention, waiting, timeout = "pytorchjob", 2, 0, False, 0, 3600

    def running(self) -> bool:
        return False

    def manifests(self, arguments: list[str]) -> list[dict[str, Any]]:
        return [{"command": arguments}]

    def launch(self, arguments: list[str], timeout: int, tick: Callable[[], None]) -> SystemExit | None:
        logs = Path(self.output).with_name("logs")  # the phase's folder is emptied where nothing was saved
        logs.mkdir(exist_ok=True)
        number = len(list(logs.glob("0_*")))
        port = str(free_port())
        pods = [self.start(rank, arguments, port, logs / f"{rank}_{number}") for rank in "01"]
        signals, before = list(self.signals[number : number + 1]), lines(self.output)
        while pods[0].poll() is None and pods[1].poll() is None:
            tick()
            if signals and lines(self.output) >= before + signals[0][1]:
                self.send(pods[0], signals.pop()[0])
            time.sleep(0.005)
        failed, codes = any(pod.poll() for pod in pods), []
        for pod in pods:
            if failed:
                pod.terminate()  # what has ended takes no notice
            codes.append(pod.wait(600))
        if any(codes):
            log = "".join((logs / f"{rank}_{number}").read_text()[-3000:] for rank in "01")
            return SystemExit(f"{codes}: {log}")
        return None

    def start(self, rank: str, arguments: list[str], port: str, log: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, f"{self.output}/grace.py", sys.executable, "-m", "torch.distributed.run", *arguments]
        for name, value in {"$(RANK)": rank, "$(MASTER_ADDR)": "127.0.0.1", "$(MASTER_PORT)": port}.items():
            command = [argument.replace(name, value) for argument in command]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
        with log.open("w") as file:
            return subprocess.Popen(command, stdout=file, stderr=file, env=environment)

    @staticmethod
    def send(pod: subprocess.Popen[bytes], number: int) -> None:
        """SIGTERM to the pod's first process, SIGKILL to all."""
        found = [pod.pid]
        if number == 9:
            for pid in found:
                found += [child for child in children(pid) if child not in found]
        for pid in found:
            os.kill(pid, number)


def lines(output: str) -> int:
    """Lines of steps so far."""
    path = Path(output, "training_params_and_metrics_global0.jsonl")
    return path.read_text().count('"samples_seen"') if path.exists() else 0


def children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def norm(model: Path) -> float:
    """Sum of all weights' magnitudes."""
    from safetensors import safe_open

    with safe_open(model / "model.safetensors", "pt") as file:
        return sum(float(file.get_tensor(name).double().abs().sum()) for name in file.keys())  # noqa: SIM118


def main(data_dir: Path, signals: str, algorithm: str = "sft") -> dict[str, Any]:
    """What came of it: loss by samples, samples in the order of the log, weights' norms, and the log of each start."""
    prepare_volume(data_dir, LENGTHS)
    given = TrainingPhase(**{**options(data_dir), "num_epochs": 3, "max_batch_len": 60, "algorithm": algorithm})
    launcher = Pods(given.output, tuple((number, step) for number, step in json.loads(signals)))
    result = None
    while result is None:
        try:
            result = train(given, launcher, str(data_dir / "manifest.json"))
        except SystemExit:  # pods that failed without a newer state: the stage is retried
            if len(list(data_dir.glob("logs/0_*"))) > len(launcher.signals):
                raise
    output = Path(given.output)
    metrics = (output / "training_params_and_metrics_global0.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in metrics]
    return {
        "loss": {step.samples: step.loss for step in training_steps(given.output)},
        "seen": [entry["samples_seen"] for entry in entries if "avg_loss" in entry or "total_loss" in entry],
        "weights": {name: norm(data_dir / name) for name in result.checkpoints},
        "logs": [path.read_text() for path in sorted(data_dir.glob("logs/0_*"))],
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), *sys.argv[2:])))

"""Trainings and phases' folders for the tests of the stage."""

import json
import math
import zipfile
from pathlib import Path
from typing import Any

from utils.stages.train.training import Training

PHASE: dict[str, Any] = {
    "data_dir": "/data", "run_id": "run-1", "phase": 1, "launcher": "pytorchjob", "image": "registry/image@sha256:0",
    "model": "", "num_epochs": 3, "effective_batch_size": 10, "learning_rate": 2e-5, "num_warmup_steps": 5,
    "save_samples": 0, "max_batch_len": 5000, "max_seq_len": 4096, "seed": 42, "keep_checkpoints": 0,
    "cpu_offload": True, "num_workers": 2, "gpu_per_worker": 4, "gpu_identifier": "nvidia.com/gpu",
    "cpu_per_worker": "2", "memory_per_worker": "250Gi", "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "node_selectors": {"zone": "a"}, "volume_claim": "ilab-run-1", "queue": "", "queue_timeout": "24h",
    "pending_timeout": "60m", "timeout": "2h", "force": False, "grace_period": "300s",
}  # fmt: skip
"""The fields of a TrainingPhase."""


def described(data_dir: Path, **changes: Any) -> Training:
    values: dict[str, Any] = {
        "data_dir": str(data_dir), "phase": 2, "model": str(data_dir / "model"),
        "rows": 100, "chat_template": "", "nodes": 1, "gpus": 0,
    }  # fmt: skip
    return Training(**PHASE | values | changes)


def save_model(
    folder: Path, name: str = "model.embed_tokens.weight", shape: tuple[int, ...] = (2, 2), dtype: str = "F32"
) -> None:
    folder.mkdir(parents=True)
    size = (4 if dtype == "F32" else 2) * math.prod(shape)
    header = json.dumps({name: {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(size))
    (folder / "config.json").write_text("{}")


def save_state(output: Path, epoch: int | str, whole: bool = True) -> None:
    folder = output / "full_state" / f"epoch_{epoch}"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "training_metadata.json", "w") as file:
        file.writestr("data.pkl", b"x")
    if not whole:
        torn = (folder / "training_metadata.json").read_bytes()[:-20]
        (folder / "training_metadata.json").write_bytes(torn)


def save_steps(output: Path, entries: list[dict[str, Any]]) -> None:
    output.mkdir(exist_ok=True)
    lines = [json.dumps(e) + "\n" for e in [{"model_name_or_path": "x"}, *entries]]
    (output / "training_params_and_metrics_global0.jsonl").write_text("".join(lines))


def step(samples: int, loss: float = 1.0) -> dict[str, Any]:
    return {"samples_seen": samples, "avg_loss": loss, "batch_size": 10, "overall_throughput": 5.0}

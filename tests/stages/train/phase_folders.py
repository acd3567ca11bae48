"""Trainings and phases' folders for the tests of the stage."""

import json
import math
import zipfile
from pathlib import Path
from typing import Any

from utils.stages.train.training import Training


def described(data_dir: Path, **changes: Any) -> Training:
    values: dict[str, Any] = {
        "model": str(data_dir / "model"), "data": str(data_dir / "data.jsonl"), "output": str(data_dir / "phase_2"),
        "rows": 100, "epochs": 3, "batch": 10, "learning_rate": 2e-5, "warmup_steps": 5, "save_samples": 0,
        "max_batch_len": 5000, "seed": 42, "keep": 0, "cpu_offload": True, "chat_template": "", "nodes": 1, "gpus": 0,
        "flash_attention": False,
    }  # fmt: skip
    return Training(**values | changes)


def save_model(folder: Path, name: str = "model.embed_tokens.weight", shape: tuple[int, ...] = (2, 2)) -> None:
    folder.mkdir(parents=True)
    size = 4 * math.prod(shape)
    header = json.dumps({name: {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(size))
    (folder / "config.json").write_text("{}")


def save_state(output: Path, epoch: int, whole: bool = True) -> None:
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

"""A volume for training alone, and a phase's parameters; imports only what an image for training has."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from utils.stages.results import DataCounts, Processed, Trained


def leave_skills(data_dir: Path, rows: Iterable[dict[str, Any]]) -> Processed:
    """Leave what data processing and a phase 1 without knowledge leave; the volume has its model.

    Args:
        rows: of data.jsonl: input_ids, labels, len.
    """
    data, lengths = data_dir / "processed/skills/data.jsonl", []
    data.parent.mkdir(parents=True)
    with data.open("w") as file:
        for row in rows:
            lengths.append(row["len"])
            file.write(json.dumps(row) + "\n")
    counts = Processed(DataCounts(), DataCounts(len(lengths), sum(lengths), max(lengths)))
    (data_dir / "done").mkdir(exist_ok=True)
    for stage, result in {"data_processing": counts, "train_phase_1": Trained(1, "process", True)}.items():
        text = json.dumps({"inputs_hash": stage, "result": result}, default=vars)
        (data_dir / "done" / f"{stage}.json").write_text(text)
    return counts


def options(data_dir: Path) -> dict[str, Any]:
    return {
        "data_dir": str(data_dir), "run_id": "e2e", "phase": 2, "launcher": "process", "image": "", "model": "",
        "num_epochs": 2, "effective_batch_size": 4, "learning_rate": 1e-3, "num_warmup_steps": 0, "save_samples": 0,
        "max_batch_len": 100, "max_seq_len": 100, "seed": 42, "keep_checkpoints": 0, "cpu_offload": False,
        "num_workers": 2, "gpu_per_worker": 0, "gpu_identifier": "nvidia.com/gpu", "cpu_per_worker": "2",
        "memory_per_worker": "4Gi", "tolerations": [], "node_selectors": {}, "volume_claim": "", "queue": "",
        "queue_timeout": "24h", "pending_timeout": "2m", "timeout": "10m", "force": False,
        "progress": True, "grace_period": "300s",
        "flash_attention": True, "strategy": "phased",
    }  # fmt: skip

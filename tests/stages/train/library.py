"""Stands for the program of every rank: it writes what instructlab.training 0.16.2 writes, in the same order.

A line of metrics per step, appended (async_logger.py); per epoch a checkpoint: config.json, tokenizer, weights
(`save_hf_format_accelerate`), then a full state, whose training_metadata.json comes last (`save_full_state`). Training
resumes from the full state with the largest number, whole or not (`load_latest_full_state`).
"""

import json
import sys
import zipfile
from pathlib import Path

from tests.kills import join

EPOCHS, STEPS = 3, 2


def main() -> None:
    given = dict(word[2:].split("=", 1) for word in sys.argv if word.startswith("--") and "=" in word)
    output = Path(given["output_dir"])
    weight, seen, first = 1.0, 0, 0
    states = sorted(output.glob("full_state/*"), key=lambda path: int(path.name.rpartition("_")[2]))
    if states:
        with zipfile.ZipFile(states[-1] / "training_metadata.json") as file:
            before = json.loads(file.read("data.pkl"))
        weight = json.loads((states[-1] / "optimizer.bin").read_text())
        seen, first = before["samples_seen"], before["current_epoch"] + 1
    note(output, {"model_name_or_path": given["model_name_or_path"], "num_epochs": EPOCHS})
    for epoch in range(first, EPOCHS):
        for _ in range(STEPS):
            weight, seen = weight * 0.7 + 0.1, seen + 10
            note(output, {"samples_seen": seen, "avg_loss": weight, "batch_size": 10, "overall_throughput": 5.0})
        save_checkpoint(output / "hf_format" / f"samples_{seen}", weight)
        if "--accelerate_full_state_at_epoch" in sys.argv:
            state = output / "full_state" / f"epoch_{epoch}"
            state.mkdir(parents=True)
            (state / "optimizer.bin").write_text(json.dumps(weight))
            with zipfile.ZipFile(state / "training_metadata.json", "w") as file:
                file.writestr("data.pkl", json.dumps({"current_epoch": epoch, "samples_seen": seen}))


def note(output: Path, entry: dict[str, object]) -> None:
    with (output / "training_params_and_metrics_global0.jsonl").open("a") as file:
        file.write(json.dumps(entry) + "\n")


def save_checkpoint(folder: Path, weight: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    data = json.dumps(weight).ljust(16).encode()
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data[:16])


if __name__ == "__main__":
    join()
    main()

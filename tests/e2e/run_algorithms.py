"""Runs in the stages' interpreter: `run_algorithms.py DATA_DIR ALGORITHM OPTIONS`, prints JSON last.

Two epochs of one step each, on two nodes of one rank: the second step's loss is that of the first epoch's checkpoint.
"""

import json
import sys
from pathlib import Path
from typing import Any

from tests.e2e.run_ranks import TwoNodes, options, prepare_volume
from utils.stages.marker import read_json
from utils.stages.train.folder import model_tensors
from utils.stages.train.stage import TrainingPhase, train

ROWS = [20 + number % 5 * 10 for number in range(16)]


def changes(base: Path, checkpoint: Path) -> dict[str, list[float]]:
    """Of some matrices: singular values of what training added, and its part in the base's strongest three quarters."""
    import torch
    from safetensors.torch import load_file

    found = {}
    before, after = (load_file(folder / "model.safetensors") for folder in (base, checkpoint))
    for name in ("mlp.down_proj", "mlp.up_proj", "self_attn.v_proj"):
        key = f"model.layers.0.{name}.weight"
        added = after[key].float() - before[key].float()
        left, _, right = torch.linalg.svd(before[key].float(), full_matrices=False)
        kept = len(right) * 3 // 4
        frozen = left[:, :kept].T @ added @ right[:kept].T
        found[name] = [*torch.linalg.svdvals(added).tolist(), float(frozen.norm() / added.norm())]
    return found


def loss_of(checkpoint: Path, data: Path) -> float:
    """Loss per learnt token of a checkpoint, over all rows one by one."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    total, count = 0.0, 0
    for line in data.read_text().splitlines():
        row = json.loads(line)
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
        learnt = int((labels[:, 1:] != -100).sum())
        with torch.no_grad():
            total, count = total + model(input_ids=ids, labels=labels).loss.item() * learnt, count + learnt
    return total / count


def main(data_dir: Path, algorithm: str, given: str) -> dict[str, Any]:
    """What training left."""
    prepare_volume(data_dir, ROWS)
    wanted = {"effective_batch_size": len(ROWS), "learning_rate": 2e-2, "algorithm": algorithm}
    phase = TrainingPhase(**{**options(data_dir), **wanted, "algorithm_options": json.loads(given)})
    result = train(phase, TwoNodes(phase.output, 600), str(data_dir / "manifest.json"))
    checkpoint = data_dir / result.checkpoints[0]
    tensors = [model_tensors(str(folder)) for folder in (data_dir / "model", checkpoint)]
    return {
        "checkpoints": result.checkpoints,
        "tensors": [{name: [one["shape"], one["dtype"]] for name, one in found.items()} for found in tensors],
        "use_cache": read_json(checkpoint / "config.json")["use_cache"],
        "changes": changes(data_dir / "model", checkpoint),
        "logged": [loss for _, loss in result.loss],
        "checked": loss_of(checkpoint, data_dir / "processed/skills/data.jsonl"),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), *sys.argv[2:])))

"""Models and states that training leaves in a phase's folder. Torn ones, of a killed trainer, do not count."""

import glob
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any


def tensors_of(path: str) -> dict[str, dict[str, Any]]:
    """Header of a safetensors file: tensor name to dtype, shape and data_offsets.

    Raises:
        ValueError: the file is torn.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, dict[str, Any]] = json.loads(file.read(min(length, 1 << 30)))
    header.pop("__metadata__", None)
    end = 8 + length + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    if not header or os.path.getsize(path) != end:
        raise ValueError(f"{path} is torn")
    return header


def model_tensors(folder: str) -> dict[str, dict[str, Any]]:
    """Headers of all weights of a model folder together, {} when a file is missing or torn."""
    files, tensors = {"model.safetensors"}, dict[str, dict[str, Any]]()
    try:
        index = Path(folder, "model.safetensors.index.json")
        if index.exists():
            files = set(json.loads(index.read_text())["weight_map"].values())
        for name in files:
            tensors |= tensors_of(f"{folder}/{name}")
    except (OSError, ValueError):
        return {}
    return tensors if os.path.exists(f"{folder}/config.json") else {}


def number_of(folder: str) -> int:
    """N of a folder samples_N or epoch_N."""
    return int(folder.rpartition("_")[2])


def checkpoints_of(output: str) -> list[str]:
    """Folders (samples_N) of the whole checkpoints of a phase, by number, the newest last."""
    return sorted(filter(model_tensors, glob.glob(f"{output}/hf_format/samples_*[0-9]")), key=number_of)


def whole_states(output: str) -> list[str]:
    """Folders of the phase's full states from which training can resume, the newest last.

    The library writes training_metadata.json (a zip file) last; a state without it, or with a torn one, doesn't count.
    """
    last = glob.glob(f"{output}/full_state/epoch_*/training_metadata.json")
    return sorted(map(os.path.dirname, filter(zipfile.is_zipfile, last)), key=number_of)


def prune_phase(output: str, keep: int) -> None:
    """Delete what is no longer needed: checkpoints but the newest `keep` (0: none), full states but the newest."""
    old = checkpoints_of(output)[:-keep] if keep else []
    for folder in [*old, *whole_states(output)[:-1]]:
        shutil.rmtree(folder)

"""Finds the programs that replace CUDA ones on a machine without a GPU."""

import os

from utils.messages import failure
from utils.names import CPU_PROGRAMS


def cpu_program(name: str) -> str:
    """Path of a program that replaces one that needs a GPU. It comes with the machine, not with pipeline.yaml.

    Raises:
        SystemExit: this machine has none.
    """
    folder = os.environ.get(CPU_PROGRAMS, "")
    path = os.path.join(folder, name)
    if not folder or not os.path.exists(path):
        raise failure(
            f"there is no GPU here, and no {name} to do without one",
            f"{CPU_PROGRAMS}, the folder with such programs, is {folder!r}",
            "ask for a GPU (train_gpu_per_worker, eval_engine=vllm), or run on one machine, where it is set",
        )
    return path

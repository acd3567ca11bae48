"""Programs that stages start: found, where they replace CUDA ones on a machine without a GPU; started; and ended."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from utils.messages import failure
from utils.names import CPU_PROGRAMS


def cpu_program(name: str) -> str:
    """Path of a program that replaces one that needs a GPU. It comes with the machine, not with pipeline.yaml.

    Raises:
        SystemExit: this machine has none.
    """
    folder = os.environ.get(CPU_PROGRAMS, "")
    path = f"{folder}/{name}"
    if not os.path.exists(path):
        raise failure(
            f"there is no GPU here and no {name}",
            f"{CPU_PROGRAMS} is {folder!r}",
            "ask for a GPU (train_gpu_per_worker, eval_engine=vllm), or run on one machine",
        )
    return path


def start_group(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a program that leads a process group; on Linux the kernel ends it with this process, even on SIGKILL.

    Args:
        options: of Popen.
    """
    # Looked up here: the child of a process with threads may not import or load anything.
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=(lambda: prctl(1, signal.SIGTERM)) if prctl else None,  # PR_SET_PDEATHSIG
        **options,
    )


def end_group(process: subprocess.Popen[Any], patience: float) -> None:
    """End such a program and all that it has started: gently, and by force after `patience` seconds."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

"""Programs in the interpreter that has torch and the InstructLab libraries."""

import os
import subprocess

from utils.cpu import PROGRAMS
from utils.files import ROOT
from utils.names import CPU_PROGRAMS

# Stages that leave a marker on the volume, in a whole run.
STAGES = [
    "data_import",
    "sdg",
    "data_processing",
    "train_phase_1",
    "train_phase_2",
    "mt_bench",
    "final_eval",
    "publish",
]


def environment() -> dict[str, str]:
    """What the local runner gives the processes of stages."""
    return {**os.environ, "PYTHONPATH": str(ROOT), CPU_PROGRAMS: str(PROGRAMS)}


def in_stages(*arguments: str) -> str:
    """Last line of what a program prints in the stages' interpreter ($ILAB_PYTHON, set by `make e2e`)."""
    interpreter = os.environ["ILAB_PYTHON"]
    done = subprocess.run([interpreter, *arguments], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return (done.stdout.splitlines() or [""])[-1]

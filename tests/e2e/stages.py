"""Programs in the interpreter that has torch and the InstructLab libraries."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def in_stages(*arguments: str) -> str:
    """Last line of what a program prints in the stages' interpreter ($ILAB_PYTHON, set by `make e2e`)."""
    interpreter = os.environ["ILAB_PYTHON"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ILAB_CPU_PROGRAMS": str(ROOT / "utils/cpu")}
    done = subprocess.run([interpreter, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return (done.stdout.splitlines() or [""])[-1]

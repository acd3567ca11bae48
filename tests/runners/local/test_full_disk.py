"""A disk that is full, a real one: no task waits for it, it is told once, and after room was made the run continues."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from utils.files import ROOT

OWN_MOUNTS = ["unshare", "--map-root-user", "--mount"]


def test_full_disk_blocks_no_task_and_the_run_continues_after_room_is_made(tmp_path: Path, packages: Path) -> None:
    if subprocess.run([*OWN_MOUNTS, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this user can't mount a small disk; test_output.py has a log without room")
    words = [sys.executable, "-m", "tests.runners.local.full_disk", str(tmp_path), str(packages / "filling.yaml")]
    done = subprocess.run([*OWN_MOUNTS, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    first, again = json.loads(done.stdout)
    assert first["code"] == 1 and again["code"] == 0, (first, again)
    assert "the disk of " in first["said"] and "make room, then: ilab-pipeline resume r1" in first["said"]
    assert "Traceback" not in first["said"]

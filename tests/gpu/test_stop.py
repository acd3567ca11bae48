"""The program of `make gpu` when it is stopped, without a GPU."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from utils.files import ROOT

PART = """#!/bin/sh
trap 'echo over > "{folder}/over"; exit 1' TERM
echo began > "{folder}/began"
while read -r line < "{folder}/never"; do :; done
"""
"""Stands for the interpreter that runs a part; waits until it is stopped."""
PROGRAM = "import sys; from tests.gpu import __main__ as program; sys.executable = sys.argv.pop(1); program.main()"


def test_stopped_program_ends_the_part_at_work(tmp_path: Path) -> None:
    for name in ("began", "never"):
        os.mkfifo(tmp_path / name)
    part = tmp_path / "part"
    part.write_text(PART.format(folder=tmp_path))
    part.chmod(0o755)
    command: list[str | Path] = [sys.executable, "-c", PROGRAM, part, tmp_path / "work", "--only", "volume"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        assert (tmp_path / "began").read_text() == "began\n"
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert (tmp_path / "over").exists()

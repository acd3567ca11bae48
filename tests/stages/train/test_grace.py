"""The program that starts torchrun in pods: who gets SIGTERM, and how it ends."""

import ast
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from utils.stages.train.grace import GRACE

# Starts a rank, in a session of its own; on SIGTERM kills it, as torchrun does after 30 s.
TORCHRUN = """
import signal, subprocess, sys
rank = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
def stop(*_):
    rank.kill()
    print("torchrun was told", flush=True)
signal.signal(signal.SIGTERM, stop)
sys.exit(bool(rank.wait()))
"""
SAVES = """
import signal, sys
def save(*_):
    print("saved", flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
signal.pause()
"""


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, GRACE, sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_sigterm_goes_to_the_ranks_and_not_to_torchrun() -> None:
    with start(TORCHRUN, SAVES) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.read() == "saved\n"
        assert process.wait(20) == 1


def test_ranks_that_cannot_save_end_at_once() -> None:
    """Training 0.10, and any version while it loads the model."""
    with start(TORCHRUN, 'import signal; print("ready", flush=True); signal.pause()') as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.read() == ""
        assert process.wait(20) == 1


def test_torchrun_without_ranks_is_ended() -> None:
    """It waits for the other pods."""
    with start('import signal; print("ready", flush=True); signal.pause()') as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait(20) == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("program", "code"), [("", 0), ("import sys; sys.exit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_exit_code_is_that_of_torchrun(program: str, code: int) -> None:
    with start(program) as process:
        assert process.wait(20) == code


def test_it_runs_in_any_python_of_an_image() -> None:
    """`python3` may be the system's, 3.9, and torchrun the image's own."""
    source = Path(GRACE).read_text()
    tree = ast.parse(source, feature_version=(3, 9))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= sys.stdlib_module_names
    assert "from __future__" in source or " | " not in source, "3.9 evaluates annotations"

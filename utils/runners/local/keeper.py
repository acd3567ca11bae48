"""Ends what a dead run left behind: run as a script, it waits for its runner's end and then cleans up after it.

A runner that is killed with SIGKILL can't stop anything. So each run starts this script beside it, with a pipe
as standard input: end of file there means that the runner is gone, however it went. It imports nothing but the
standard library: it runs alone, without the packages around it.

A task's processes are known by their environment (`ILAB_RUN_DIR`, `ILAB_TASK_ID`), which children inherit whatever
session they move to; children and session mates of such processes count too, in case one cleared its environment.
Limits: this reads /proc, so it works on Linux; a process that cleared its environment, left the session and lost its
parent is not found; neither keeper nor runner survives a power cut, and then nothing else does either.
"""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

RUN_MARK = "ILAB_RUN_DIR"
TASK_MARK = "ILAB_TASK_ID"


def processes_of(run_dir: str, task_id: str = "") -> set[int]:
    """Ids of the living processes of a run's tasks, or of one task, wherever they moved."""
    marks = [f"{RUN_MARK}={run_dir}".encode()] + ([f"{TASK_MARK}={task_id}".encode()] if task_id else [])
    found: set[int] = set()
    others: list[tuple[int, int, int]] = []
    for pid in _pids():
        state, parent, session = _status(pid)
        if state in "ZX":
            continue
        variables = _environment(pid)
        if all(mark in variables for mark in marks):
            found.add(pid)
        else:
            others.append((pid, parent, session))
    grown = bool(found)
    while grown:
        more = {pid for pid, parent, session in others if parent in found or session in found} - found
        found |= more
        grown = bool(more)
    return found - {os.getpid()}


def end_processes(run_dir: str, task_id: str = "", grace: float = 10.0) -> None:
    """End the processes of a run's tasks, or of one task: SIGTERM, and SIGKILL for those left after `grace` seconds."""
    _signal_all(processes_of(run_dir, task_id), signal.SIGTERM)
    deadline = time.monotonic() + grace
    pause = 0.005
    while left := processes_of(run_dir, task_id):
        if time.monotonic() >= deadline:
            _signal_all(left, signal.SIGKILL)
        time.sleep(pause)
        pause = min(2 * pause, 0.1)


def kill_processes(run_dir: str, task_id: str) -> None:
    """SIGKILL whatever is left of a task that ended: in a container it would be gone too."""
    while left := processes_of(run_dir, task_id):
        _signal_all(left, signal.SIGKILL)
        time.sleep(0.002)


def _pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - a scan of all processes
    except FileNotFoundError:
        return []


def _status(pid: int) -> tuple[str, int, int]:
    """State, parent and session of a process; state X when it is gone. Fields: proc(5), /proc/pid/stat."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return "X", 0, 0
    return fields[0].decode(), int(fields[1]), int(fields[3])


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []  # gone, or another user's


def _signal_all(pids: set[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def main(run_dir: str, private_dir: str, grace: str) -> None:
    """Wait for the runner's end, then end its tasks' processes and remove the folder with its secrets."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    end_processes(run_dir, grace=float(grace))
    shutil.rmtree(private_dir, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

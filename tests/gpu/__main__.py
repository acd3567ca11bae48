"""`python -m tests.gpu WORK_DIR`: evaluation and SDG with a real vLLM on a GPU. Prints a line for each check.

It needs vLLM, instructlab-eval and instructlab-sdg beside torch and transformers, and no network. Exits with 1 when a
check failed. `--small --patience 10` tries the program itself with a vLLM for CPUs.
"""

import argparse
import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.gpu import parts
from tests.gpu.volume import make_volume
from utils.files import ROOT
from utils.stages.evaluation.serving import Server
from utils.stages.programs import end_group, start_group

DEADLINES = {
    "volume": 90,
    "mt_bench": 240,
    "final_eval": 240,
    "teacher": 150,
    "stopped": 120,
    "no_memory": 120,
    "unknown_argument": 60,
}
"""Seconds after which a part is ended and has failed."""
GRACE = 20
"""Seconds that a part which is ended has for its servers: a stage ends one by force after 15."""
SLACK = 64
"""MiB by which the GPUs' used memory may differ."""


@dataclass
class Program:
    """The parts one after the other, and what came of them."""

    work: Path
    small: bool
    patience: float
    failed: list[str] = field(default_factory=list)

    def check(self, name: str, expected: object, seen: object, seconds: float) -> None:
        """Print and remember a check."""
        right = expected == seen
        print(f"{'ok    ' if right else 'FAILED'} {seconds:6.1f} s  {name}: {seen!r}", end="", flush=True)
        print("" if right else f", expected {expected!r}", flush=True)
        if not right:
            self.failed.append(name)

    def part(self, name: str) -> None:
        """Run a part to its end or its deadline; then nothing of it may be left."""
        before, started = used_memory(), time.monotonic()
        log = self.work / f"{name}.log"
        command = [sys.executable, "-m", "tests.gpu", "--part", name, str(self.work), *(["--small"] * self.small)]
        with log.open("wb") as output:
            process = start_group(command, stdout=output, cwd=ROOT)
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    if name == "stopped":
                        self.stop(process)
                    process.wait(DEADLINES[name] * self.patience)
                code, seconds = process.poll(), time.monotonic() - started
            finally:  # also when this process is stopped
                end_group(process, GRACE)
        lines = log.read_text(errors="replace").splitlines()
        if name == "stopped":
            self.check(f"{name}: exit status", 128 + signal.SIGTERM, code, seconds)
        elif code == 0:
            for check, (expected, seen) in json.loads(lines[-1]).items():
                self.check(f"{name}: {check}", expected, seen, seconds)
        else:
            self.check(f"{name}: exit status", 0, "none in time" if code is None else code, seconds)
        for line in lines:
            if line.startswith("ready after") or " requests in flight" in line:
                print(f"                {name}: {line}", flush=True)
        if code != (128 + signal.SIGTERM if name == "stopped" else 0):
            print("\n".join(lines[-40:]), flush=True)
        self.check(f"{name}: processes left", [], left(), seconds)
        self.check(f"{name}: GPU memory left", True, freed(before), seconds)

    def stop(self, process: "subprocess.Popen[Any]") -> None:
        """Send SIGTERM once vLLM has answered a question, and check how long the stage takes to end."""
        deadline = time.monotonic() + DEADLINES["stopped"] * self.patience
        while process.poll() is None and time.monotonic() < deadline:
            logs = (self.work / "stopped").glob("scores/mt_bench.part/*/*/server.log")
            if any(b'completions HTTP/1.1" 200' in log.read_bytes() for log in logs):
                break
            time.sleep(0.05)
        process.terminate()
        started = time.monotonic()
        process.wait(60)
        self.check("stopped: ends within 20 s of SIGTERM", True, time.monotonic() - started < 20, 0)


def used_memory() -> list[int]:
    """MiB of memory in use on each GPU; [] without one."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        return [int(line) for line in subprocess.run(query, capture_output=True, text=True, timeout=30).stdout.split()]
    except FileNotFoundError:
        return []


def freed(before: list[int]) -> bool:
    """Whether the GPUs' memory comes back to what it was: the driver takes a moment."""
    deadline = time.monotonic() + 10
    while any(now > then + SLACK for now, then in zip(used_memory(), before, strict=True)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def left() -> list[str]:
    """Processes of vLLM, by the command line that they show."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if re.search(r"-m vllm\.|^VLLM::", line):
                lines.append(line[:200])
    return lines


def run_part(name: str, work: Path, small: bool) -> dict[str, Any]:
    """One part, in this process; what it says of servers' starts is measured here."""
    wait_ready = Server.wait_ready

    def timed(server: Server, timeout: float) -> None:
        started = time.monotonic()
        wait_ready(server, timeout)
        print(f"ready after {time.monotonic() - started:.1f} s", flush=True)

    Server.wait_ready = timed  # type: ignore[method-assign, assignment]
    if name == "volume":
        make_volume(work / "volume", small)
        return {}
    part: Callable[[Path], parts.Seen] = getattr(parts, name)
    return part(work)


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.gpu", description="Evaluation and SDG with a real vLLM.")
    parser.add_argument("work", type=Path, help="an empty folder")
    parser.add_argument("--small", action="store_true", help="models for a vLLM for CPUs")
    parser.add_argument("--patience", type=float, default=1, help="factor of all deadlines")
    parser.add_argument("--only", default=",".join(DEADLINES), help="parts, separated by commas")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    given = parser.parse_args()
    work = given.work.resolve()
    if given.part != "stopped":  # where the stage itself must heed it
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if given.part:
        print("\n" + json.dumps(run_part(given.part, work, given.small)))
        return 0
    work.mkdir(parents=True, exist_ok=True)
    started, program = time.monotonic(), Program(work, given.small, given.patience)
    for name in given.only.split(","):
        program.part(name)
    print(f"{len(program.failed)} checks failed, {time.monotonic() - started:.0f} s", flush=True)
    return min(len(program.failed), 1)


if __name__ == "__main__":
    sys.exit(main())

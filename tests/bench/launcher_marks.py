"""How far a training has got at what time: by its processes, its launcher's log, and the library's first step."""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.cluster.errors import ClusterError

METRICS = "training_params_and_metrics_global0.jsonl"
CREATED = " created; "
"""In the line that a launcher prints when there is a job."""
COLUMNS = ("row", "job", "torchrun", "ranks", "first step", "all", "launcher")


@dataclass(frozen=True)
class Marks:
    """Times of a training, in seconds since 1970.

    Attributes:
        task: the start of the stage's process; of the first torchrun, where there is no launcher.
        job: the job is created; None: there is none.
        torchrun: the last torchrun is started; in a pod, the program that starts it.
        ranks: the last rank is started, which torchrun does when all have found each other.
        step: the first optimizer step is done.
    """

    task: float
    job: float | None
    torchrun: float
    ranks: float
    step: float

    @property
    def total(self) -> float:
        """Seconds from the start to the first step."""
        return self.step - self.task


@dataclass(frozen=True)
class Begun:
    """A training that has begun.

    Attributes:
        started: when, in seconds since 1970.
        output: path of the phase's folder.
        log: file with what its processes print.
        nodes: how many there are, with a rank each.
        pods: whether they are pods of a job.
        processes: of this machine, which must not end before the first step.
    """

    started: float
    output: Path
    log: Path
    nodes: int
    pods: bool
    processes: Sequence["subprocess.Popen[bytes]"]


def started_programs(output: Path) -> Iterator[tuple[int, str, float]]:
    """What trains into a folder, in pods of this machine, too: process id, torchrun or ranks, seconds since 1970."""
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended just now
            words = (folder / "cmdline").read_text(errors="replace").split("\0")
            ticks = int((folder / "stat").read_text().rpartition(")")[2].split()[19])
            started = booted + ticks / os.sysconf("SC_CLK_TCK")
            if f"--output_dir={output}" not in words:
                continue
            if words[1].endswith("/grace.py") or words[1:3] == ["-m", "torch.distributed.run"]:
                yield int(folder.name), "torchrun", started
            elif words[1] == "-u" and words[2].endswith("/cpu_main_ds.py"):
                yield int(folder.name), "ranks", started


def first_step(output: Path) -> float:
    """When the first optimizer step was done, in seconds since 1970; 0: it is not. The library's times are UTC."""
    with suppress(FileNotFoundError):
        lines = (output / METRICS).read_text().splitlines(keepends=True)
        for entry in (json.loads(line) for line in lines if line.endswith("\n")):
            if "samples_seen" in entry:
                return datetime.fromisoformat(f"{entry['timestamp']}+00:00").timestamp()
    return 0.0


def watch(begun: Begun, seconds: float) -> Marks:
    """Follow a training until its first step.

    Raises:
        ClusterError: it ended before, takes longer than this, or part of it was not seen.
    """
    found: dict[int, tuple[str, float]] = {}
    created, deadline = None, time.monotonic() + seconds
    while not (step := first_step(begun.output)):
        log = begun.log.read_text(errors="replace")
        if any(one.poll() is not None for one in begun.processes) or time.monotonic() > deadline:
            raise ClusterError("the training did not get to its first step", log[-3000:], "correct that")
        created = created or (time.time() if CREATED in log else None)
        found |= {pid: (what, at) for pid, what, at in started_programs(begun.output)}
        time.sleep(0.1)
    torchruns, ranks = ([at for what, at in found.values() if what == wanted] for wanted in ("torchrun", "ranks"))
    if (len(torchruns), len(ranks), created is not None) != (begun.nodes, begun.nodes, begun.pods):
        raise ClusterError("not all of the training was seen", f"job {created}, {found}", "see started_programs")
    return Marks(begun.started, created, max(torchruns), max(ranks), step)


def table(measured: Mapping[str, Marks]) -> str:
    """A Markdown table of seconds, each counted from the column before; what a launcher costs is until torchrun."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for name, marks in measured.items():
        job = marks.task if marks.job is None else marks.job
        before = "" if marks.job is None else f"{job - marks.task:.1f}"
        times = [marks.torchrun - job, marks.ranks - marks.torchrun, marks.step - marks.ranks, marks.total]
        cells = [name, before, *[f"{max(0, one):.1f}" for one in times], f"{max(0, marks.torchrun - marks.task):.1f}"]
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return "\n".join(lines)

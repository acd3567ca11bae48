"""Measure training on a machine with GPUs: `python -m tests.bench.gpu [--tiny] [--seconds N] [--folder DIR] [ROW …]`.

A model of random weights trains on packed samples of random tokens and different lengths, as a phase with the
`process` launcher does it; `bare` is `torchrun … main_ds` on the same data. A row is printed when it is measured. Exit
code 1 if a row failed or was left out for lack of time.

tokens/s    per GPU, without padding, on the clock, after two steps of warm-up
ratio       to the tokens/s of `bare`
MFU         model FLOPs utilization, see gpu_figures.training_flops
peak        GiB in use on the fullest GPU, as nvidia-smi shows it: with what torch holds in reserve
first       seconds from the start to the end of the first step
saved       seconds from the end of the last step until the checkpoint's last file is written (not until it is on disk)
checkpoint  GiB; the library saves float32, ours the base model's type, here bfloat16
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.bench.gpu_figures import Shape, difference, utilization
from tests.bench.gpu_training import (
    GIB,
    CardMemory,
    Measured,
    Size,
    bare,
    figures,
    make_model,
    ours,
    preempted,
    query_cards,
    samples,
    volume,
)
from utils.cpu import PROGRAMS
from utils.names import CPU_PROGRAMS
from utils.stages.train.process import ProcessLauncher

TOLERANCE = 0.01
"""How much the losses of a training that was stopped may differ, relative: flash attention's backward pass adds up in
any order, so no two trainings are equal."""


# granite-7b at half its width, of 20 layers: 1.1 billion parameters, heads of 128. granite-3.3-2b as it is: 2.5
# billion, heads of 64.
FULL = Size(
    Shape("llama", 2048, 5504, 20, 16, 16, 32008),
    Shape("granite", 2048, 8192, 40, 32, 8, 49159, tie_word_embeddings=True),
    *(200, 2000, 64, 20000, 8),
)
TINY = Size(
    Shape("llama", 32, 64, 2, 2, 2, 200),
    Shape("granite", 32, 64, 2, 2, 1, 200, tie_word_embeddings=True),
    *(20, 60, 4, 200, 6),
)


@dataclass(frozen=True)
class Row:
    """A row: what differs from the row `ours`.

    Attributes:
        changes: of the phase's parameters.
        steps: how many; 0: as `ours`.
        stop: after how many steps SIGTERM ends the training, which then continues; 0: never.
    """

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    model: str = "llama"
    steps: int = 0
    stop: int = 0


ROWS = {
    "bare": Row("bare torchrun main_ds"),
    "ours": Row("ours"),
    "preempted": Row("ours, preempted", stop=4),
    "padded": Row("ours, no flash attention", {"flash_attention": False}),
    "offload": Row("ours, cpu_offload", {"cpu_offload": True}, steps=4),
    "granite": Row("ours, granite-3.3-2b", model="granite"),
}


@dataclass(frozen=True)
class Bench:
    """One measurement.

    Attributes:
        folder: for models, volumes and logs.
        end: when it must have ended, on the monotonic clock.
    """

    folder: Path
    size: Size
    card: str
    gpus: int
    end: float

    def measure(self, key: str) -> Measured:
        """Measure a row.

        Raises:
            SystemExit, subprocess.SubprocessError, ValueError, OSError: it failed.
        """
        row, seconds = ROWS[key], self.left()
        model, shape = self.folder / ROWS[key].model, self.shape(key)
        if not model.exists():
            make_model(model, shape)
        rows = list(samples(self.size, shape, row.steps or self.size.steps))
        given = volume(self.folder / f"volume-{key}", model, rows, self.size, row.changes)
        with CardMemory(bool(self.card)) as memory, (self.folder / f"{key}.log").open("w") as log, redirect_stdout(log):
            started, note = time.time(), ""
            if key == "bare":
                bare(given, len(rows), seconds)
            elif row.stop:
                note = preempted(given, row.stop, seconds)
            else:
                ours(given, seconds)
        return figures(given, started, memory.peak, self.gpus, note)

    def left(self) -> int:
        """Seconds that a row may take.

        Raises:
            TimeoutError: too few are left to start one.
        """
        seconds = round(self.end - time.monotonic())
        if seconds < 20:
            raise TimeoutError("no time is left (--seconds)")
        return min(seconds - 10, 150)  # at the end, a training that is stopped needs some

    def shape(self, key: str) -> Shape:
        return self.size.granite if ROWS[key].model == "granite" else self.size.llama

    def line(self, key: str, made: dict[str, Measured]) -> str:
        """The table's line, and its note, of a row that was measured."""
        one, base = made[key], made.get("bare")
        ratio = one.speed / base.speed if one.speed and base and base.speed and ROWS[key].model == "llama" else None
        lengths = [row["len"] for row in samples(self.size, self.shape(key), self.size.steps)]
        cells = (
            cell(one.speed, ".0f"),
            cell(ratio, ".3f"),
            cell(one.speed and utilization(self.shape(key), lengths, one.speed, self.card), ".1%"),
            cell(one.peak, ".1f"),
            cell(one.first, ".1f"),
            cell(one.saved, ".1f"),
            cell(one.checkpoint / GIB, ".2f"),
        )
        return f"{ROWS[key].name:<25}{''.join(cells)}" + (one.note and f"\n{one.note}")


def cell(value: float | None, how: str) -> str:
    return f"{'-' if value is None else format(value, how):>11}"


HEADER = f"{'':<25}" + "".join(
    f"{name:>11}" for name in ("tokens/s", "ratio", "MFU", "peak", "first", "saved", "checkpoint")
)


def compare_losses(made: dict[str, Measured]) -> str:
    """How the losses differ from those of `ours`, a line for each row.

    Raises:
        ValueError: those of the training that was stopped differ by more than TOLERANCE.
    """
    found = {key: difference(made[key].losses, made["ours"].losses) for key in ("bare", "preempted") if key in made}
    told = "; ".join(f"{key} {value:.2%}" for key, value in found.items())
    if found.get("preempted", 0) > TOLERANCE:
        raise ValueError(f"losses differ from those of `ours` by {told}, at most {TOLERANCE:.0%} is allowed")
    return f"losses differ from those of `ours` by at most: {told}"


def setting(bench: Bench) -> str:
    """What is measured, where and with what."""
    names = ("torch", "transformers", "accelerate", "instructlab-training", "flash-attn")
    versions = [f"{name} {version_of(name)}" for name in names]
    free, size = shutil.disk_usage(bench.folder).free / GIB, bench.size
    kind = subprocess.run(["stat", "-f", "-c", "%T", bench.folder], check=True, capture_output=True, text=True).stdout
    return (
        f"{bench.gpus} GPUs: {bench.card or 'none'}; {os.cpu_count()} cores\n"
        f"Python {sys.version.split()[0]}, {', '.join(versions)}\n"
        f"files on {kind.strip()}, {free:.0f} GiB free\n"
        f"{size.steps} steps of {size.batch} samples of {size.shortest} to {size.longest} tokens, in micro-batches of "
        f"at most {size.max_batch_len}\n"
    )


def version_of(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def measure_all(bench: Bench, keys: list[str]) -> bool:
    """Measure rows and print each when it is; returns whether all could be measured."""
    print(f"{setting(bench)}\n{HEADER}", flush=True)
    made, whole = dict[str, Measured](), True
    for key in keys:
        try:
            made[key] = bench.measure(key)
            print(bench.line(key, made), flush=True)
            if key == "preempted" and "ours" in made:
                print(f"  {compare_losses(made)}", flush=True)
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- the other rows count
            whole = False
            print(f"{ROWS[key].name:<25} FAILED: {type(error).__name__}: {error}", flush=True)
        # What a killed training leaves there takes the room of the next.
        shutil.rmtree(bench.folder / f"volume-{key}", ignore_errors=True)
    return whole


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"which, of {', '.join(ROWS)} (all)")
    parser.add_argument("--tiny", action="store_true", help="a tiny model, on CPU too: tries the program, not the GPU")
    parser.add_argument("--seconds", type=int, default=900, help="when it must have ended (900)")
    parser.add_argument("--folder", type=Path, help="where files go, 60 GB; it is made, and kept (a temporary folder)")
    given = parser.parse_args()
    end = time.monotonic() + given.seconds
    if unknown := set(given.rows) - set(ROWS):
        parser.error(f"there is no row {', '.join(unknown)}")
    gpus = ProcessLauncher("", 0).gpus
    if not gpus and not given.tiny:
        parser.error("torch sees no GPU here; --tiny tries the program without one")
    card = ""
    if gpus and shutil.which("nvidia-smi"):
        card = query_cards("name")[0]
    with tempfile.TemporaryDirectory() as made:
        folder = given.folder or Path(made)
        folder.mkdir(exist_ok=True)
        bench = Bench(folder, TINY if given.tiny else FULL, card, gpus, end)
        return 0 if measure_all(bench, given.rows or list(ROWS)) else 1


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", CPU_PROGRAMS: str(PROGRAMS)}
    sys.exit(main())

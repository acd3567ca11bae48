"""The times of `make bench-launchers`, and their table."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.bench.launcher_marks import METRICS, Begun, Marks, first_step, started_programs, table, watch
from tests.cluster.errors import ClusterError

PARAMETERS, STEP = {"num_epochs": 4}, {"samples_seen": 4, "timestamp": "1970-01-02T00:00:01.500000"}


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("", 0),
        (json.dumps(PARAMETERS) + "\n", 0),
        (json.dumps(PARAMETERS) + "\n" + json.dumps(STEP)[:9], 0),
        (json.dumps(PARAMETERS) + "\n" + (json.dumps(STEP) + "\n") * 2, 86401.5),
    ],
)
def test_first_step_is_the_first_whole_entry_with_samples(tmp_path: Path, text: str, when: float) -> None:
    assert first_step(tmp_path) == 0
    (tmp_path / METRICS).write_text(text)
    assert first_step(tmp_path) == when


def test_programs_of_a_training_are_found_with_their_start(tmp_path: Path) -> None:
    """As in a pod: grace.py, which starts torchrun (not counted), which starts a rank."""
    output = f"--output_dir={tmp_path}"
    commands = {
        "torchrun": [str(tmp_path / "grace.py"), "torchrun", output],
        "": [str(tmp_path / "torchrun"), output],
        "ranks": ["-u", str(tmp_path / "cpu_main_ds.py"), output],
        "other": ["-u", str(tmp_path / "cpu_main_ds.py"), f"{output}-2"],
    }
    for name in ("grace.py", "torchrun", "cpu_main_ds.py"):
        (tmp_path / name).write_text("input()")
    began = time.time()
    running = {
        what: subprocess.Popen([sys.executable, *words], stdin=subprocess.PIPE) for what, words in commands.items()
    }
    try:
        found = {pid: (what, at) for pid, what, at in started_programs(tmp_path)}
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    assert {pid: what for pid, (what, _) in found.items()} == {running[one].pid: one for one in ("torchrun", "ranks")}
    assert all(began - 0.1 <= at <= time.time() + 0.1 for _, at in found.values())


@pytest.mark.parametrize(
    ("step", "said"), [(False, "did not get to its first step"), (True, "not all of the training was seen")]
)
def test_training_that_is_not_wholly_seen_is_an_error(tmp_path: Path, step: bool, said: str) -> None:
    log = tmp_path / "log"
    log.write_text("CUDA out of memory")
    if step:
        (tmp_path / METRICS).write_text(json.dumps(STEP) + "\n")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with pytest.raises(ClusterError, match=said):
        watch(Begun(0, tmp_path, log, 1, False, [ended]), 600)


def test_table_counts_from_column_to_column_and_shows_what_the_launcher_takes() -> None:
    assert table({"bare": Marks(10, None, 10, 15, 30), "trainjob": Marks(10, 12.5, 14, 19, 34)}).splitlines()[2:] == [
        "| bare | | 0.0 | 5.0 | 15.0 | 20.0 | 0.0 |",
        "| trainjob | 2.5 | 1.5 | 5.0 | 15.0 | 24.0 | 4.0 |",
    ]

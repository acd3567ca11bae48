"""Training processes of this machine: real processes, with a small program in the place of torchrun."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.stages.train import torchrun
from utils.cpu import PROGRAMS, main_ds
from utils.names import CPU_PROGRAMS
from utils.stages.train.late import TooLate
from utils.stages.train.process import ProcessLauncher, copy_cpu_main_ds, has_gpu

# Starts a worker in a session of its own, as torchrun does, and ends it on SIGTERM.
TORCHRUN = """
import os, signal, subprocess, sys
output = next(a for a in sys.argv if a.startswith("--output_dir=")).partition("=")[2]
worker = subprocess.Popen([sys.executable, output + "/worker.py", *sys.argv[1:]], start_new_session=True)
def stop(*_):
    worker.kill()
    sys.exit(1)
signal.signal(signal.SIGTERM, stop)
code = worker.wait()
if code:
    print("E1122 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 1)")
    print("ChildFailedError")
sys.exit(bool(code))
"""
SLEEPER = 'import pathlib, sys, time\nprint("training", flush=True)\ntime.sleep(300)\n'
MakeLauncher = Callable[[str], ProcessLauncher]


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeLauncher:
    """Make a training whose worker runs the given program."""
    torchrun.put_in_place(TORCHRUN, tmp_path, monkeypatch)
    output = tmp_path / "phase_1"
    output.mkdir()

    def make(program: str) -> ProcessLauncher:
        (output / "worker.py").write_text(program)
        return ProcessLauncher(str(output), timeout=60)

    return make


def run(training: ProcessLauncher, timeout: int = 60, tick: Callable[[], None] = lambda: None) -> None:
    training.launch([f"--output_dir={training.output}"], timeout, tick)


def trainers(output: str) -> list[int]:
    """Processes that train into this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if f"--output_dir={output}".encode() in command:
            found.append(int(path.parent.name))
    return found


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def test_output_is_shown_while_training_runs(training: MakeLauncher, capfd: pytest.CaptureFixture) -> None:
    ticks: list[int] = []
    run(training('print("one")\nprint("two")\n'), tick=lambda: ticks.append(1))
    assert capfd.readouterr().out.splitlines() == ["one", "two"]
    assert len(ticks) == 2


def test_failed_training_fails_with_the_trainers_last_lines(training: MakeLauncher) -> None:
    with pytest.raises(SystemExit) as error:
        run(training('raise RuntimeError("CUDA out of memory")'))
    text = str(error.value)
    assert "failed with exit code 1" in text
    assert text.index("CUDA out of memory") < text.index("next:")
    assert "ChildFailedError" not in text


def test_full_disk_is_reported(training: MakeLauncher) -> None:
    with pytest.raises(SystemExit, match=r"cause: the disk is full: \d+ MiB are free"):
        run(training('raise OSError(28, "No space left on device")'))


def test_training_is_stopped_after_its_timeout(training: MakeLauncher) -> None:
    sleeping = training(SLEEPER)
    with pytest.raises(TooLate, match="it ran longer than 1 s"):
        run(sleeping, timeout=1)
    assert trainers(sleeping.output) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_trainer_outlives_its_launcher(training: MakeLauncher, number: int) -> None:
    sleeping = training(SLEEPER)
    launcher = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\nfrom utils.stages.train.process import ProcessLauncher\n"
            "output = sys.argv[1]\n"
            "ProcessLauncher(output, 60).launch(['--output_dir=' + output], 60, lambda: None)",
            sleeping.output,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == "training\n"
    assert len(trainers(sleeping.output)) == 2
    launcher.send_signal(number)
    assert launcher.wait(20) != 0
    wait_for(lambda: not trainers(sleeping.output))
    launcher.stdout.close()


# Saves on SIGTERM; torchrun, on SIGTERM, would kill it.
SAVER = """
import pathlib, signal, sys
def save(*_):
    pathlib.Path(__file__).with_name("saved").touch()
    print("saved", flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
print("training", flush=True)
while True:
    signal.pause()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_ranks_save_before_torchrun_is_ended(
    training: MakeLauncher, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    """torchrun 2.6 to 2.11 gives them 30 s, whatever one asks for."""
    saving = training(SAVER)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(saving, tick=interrupt)
    assert (Path(saving.output) / "saved").exists()
    wait_for(lambda: not trainers(saving.output))
    (Path(saving.output) / "saved").unlink()
    with pytest.raises(TooLate, match="it ran longer than 1 s"):
        run(saving, timeout=1)
    assert (Path(saving.output) / "saved").exists()
    assert capfd.readouterr().out.count("saved") >= 1


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_ranks_that_take_too_long_to_save_are_killed(training: MakeLauncher) -> None:
    stubborn = replace(training(SAVER.replace("sys.exit(143)", "")), grace=1)
    with pytest.raises(TooLate):
        run(stubborn, timeout=1)
    assert (Path(stubborn.output) / "saved").exists()
    assert trainers(stubborn.output) == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("first", [run, ProcessLauncher.running], ids=["launch", "running"])
def test_trainer_left_by_an_earlier_launcher_is_stopped_first(
    training: MakeLauncher, first: Callable[[ProcessLauncher], object]
) -> None:
    """Before the phase's folder is touched, which it may write to, and before another one starts."""
    new = training("")
    command = [sys.executable, "-c", "import time; time.sleep(300)", f"--output_dir={new.output}"]
    other = [*command[:-1], f"--output_dir={new.output}2"]
    with subprocess.Popen(command) as left, subprocess.Popen(other) as stranger:
        assert not first(new)
        assert left.wait(60) == -signal.SIGKILL
        assert stranger.poll() is None
        stranger.kill()


def test_cpu_training_refuses_other_versions_of_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "instructlab_training-0.17.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: instructlab-training\nVersion: 0.17.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SystemExit, match=r"made for instructlab-training 0\.10 and 0\.16, this is 0\.17\.1: use a GPU"):
        main_ds.main()


def test_cpu_script_is_self_contained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CPU_PROGRAMS, str(PROGRAMS))
    copy_cpu_main_ds(str(tmp_path))
    result = subprocess.run(
        [sys.executable, "-I", tmp_path / "cpu_main_ds.py"], capture_output=True, text=True, check=False
    )
    assert "PackageNotFoundError: No package metadata was found for instructlab-training" in result.stderr


def test_without_gpu_and_cpu_programs_training_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CPU_PROGRAMS, raising=False)
    with pytest.raises(SystemExit, match=r"no GPU here(.|\n)*ask for a GPU"):
        copy_cpu_main_ds(str(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("devices", "found"), [("nvidia0", True), ("nvidiactl", False), ("kfd", True), ("dri", False), ("null", False)]
)
def test_gpus_of_nvidia_and_amd_are_found_by_their_device_files(tmp_path: Path, devices: str, found: bool) -> None:
    """With AMD's, training ran on the CPU without a word."""
    (tmp_path / devices).touch()
    assert has_gpu(str(tmp_path)) == found

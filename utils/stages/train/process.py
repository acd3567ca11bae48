"""Train on this machine: a real torchrun of instructlab.training, on its GPUs if it has any, else on CPU."""

import collections
import ctypes
import glob
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from utils.messages import failure
from utils.stages.cpu_program import cpu_program


def local_gpus() -> int:
    """GPUs that torch can use here; torch is imported only when the machine has a device file for one."""
    if not glob.glob("/dev/nvidia[0-9]*"):
        return 0
    import torch

    return torch.cuda.device_count()


def copy_cpu_main_ds(output: str) -> None:
    """Put the program that trains without CUDA into the phase's folder, where torchrun finds it, in pods too."""
    shutil.copyfile(cpu_program("main_ds.py"), os.path.join(output, "cpu_main_ds.py"))


def stop_earlier(output: str) -> None:
    """End a trainer of this phase that outlived its launcher: two must never write to one folder.

    Raises:
        SystemExit: it could not be ended.
    """
    wanted, deadline = f"--output_dir={output}".encode(), time.monotonic() + 60
    left = True
    while left:
        left = False
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as file:
                    if wanted in file.read().split(b"\0"):
                        left = True
                        os.kill(int(path.split("/")[2]), signal.SIGKILL)
            except OSError:  # it ended just now, or is another user's
                continue
        if left and time.monotonic() > deadline:
            raise failure(f"another trainer writes to {output}", "it could not be ended", "end it, and run again")
        time.sleep(0.1 if left else 0)


def training_failure(output: str, code: int, log: str) -> SystemExit:
    """The error of a torchrun that ended with this exit code and these last lines."""
    cause, remedy = log, "correct that and run again: it goes on after the last whole epoch"
    free = shutil.disk_usage(output).free
    full = ("No space left", "unexpected pos", "PytorchStreamWriter failed")  # torch's words for it are the last two
    if free < 1 << 24 or any(sign in log for sign in full):
        cause, remedy = f"the disk is full: {free >> 20} MiB are free at {output}", "make room, or a larger volume"
    return failure(f"training in {output} failed with exit code {code}", cause, remedy)


def end_process(process: Any) -> None:
    """End a subprocess.Popen that leads its session, if it still runs: gently, after 40 s with all it has started."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def launch_process(training: dict, arguments: list, timeout: int, tick: Callable) -> None:
    """Train in processes of this machine. They end with this process, however it ends.

    Args:
        arguments: of torchrun.
        timeout: seconds.
        tick: called now and then while training runs.

    Raises:
        SystemExit: training failed, filled the disk, or took longer than timeout; the last lines of its log are told.
    """

    def follow_parent() -> None:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    output, ended = training["output"], False
    stop_earlier(output)
    environment = {"OMP_NUM_THREADS": str(os.cpu_count()), "COLUMNS": "160", "TQDM_DISABLE": "1", **os.environ}
    command = [sys.executable, "-m", "torch.distributed.run", *arguments]
    last: collections.deque = collections.deque(maxlen=15)
    before = signal.signal(signal.SIGTERM, end)
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        start_new_session=True, preexec_fn=follow_parent,
    )  # fmt: skip
    late = threading.Timer(timeout, process.terminate)
    late.start()
    try:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            ended = ended or "torch/distributed/elastic" in line  # from there torchrun talks, not the trainer
            if not ended or "failed (exitcode" in line:  # -9 there is the only sign of a trainer that was killed
                last.append(line.removeprefix("[rank0]: "))
            tick()
        code = process.wait()
    finally:
        expired = late.finished.is_set()
        late.cancel()
        end_process(process)
        signal.signal(signal.SIGTERM, before)
    if code:
        raise training_failure(output, code, f"it ran longer than {timeout} s" if expired else "".join(last).strip())

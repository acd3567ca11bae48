"""Train on this machine: a real torchrun of instructlab.training, on its GPUs if it has any, else on CPU."""

import collections
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.messages import failure
from utils.stages.disk import disk_failure, filled
from utils.stages.programs import cpu_program, end_group, start_group
from utils.stages.train.grace import end_ranks
from utils.stages.train.late import TooLate


def copy_cpu_main_ds(output: str) -> None:
    """Put the program that trains without CUDA into the phase's folder, where torchrun finds it, in pods too."""
    shutil.copyfile(cpu_program("main_ds.py"), f"{output}/cpu_main_ds.py")


def stop_earlier(output: str) -> None:
    """End a trainer of this phase that outlived its launcher: two must never write to one folder.

    Raises:
        SystemExit: it could not be ended.
    """
    for _ in range(600):
        left = False
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # it ended just now, or is another user's
                if f"--output_dir={output}" in path.read_text(errors="replace").split("\0"):
                    left = True
                    os.kill(int(path.parent.name), signal.SIGKILL)
        if not left:
            return
        time.sleep(0.1)
    raise failure(f"another trainer writes to {output}", "it could not be ended", "end it, and run again")


def training_failure(output: str, code: int, log: str) -> SystemExit:
    """The error of a torchrun that ended with this exit code and these last lines."""
    if filled(output, log):
        return disk_failure(output)
    remedy = "correct it, then retry or resume the run: it resumes from the last state that was saved"
    return failure(f"training in {output} failed with exit code {code}", log, remedy)


def end_training(process: subprocess.Popen[str], grace: float) -> None:
    """End a torchrun: its ranks have `grace` seconds to save their state."""
    end_ranks(process.pid)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace)
    process.terminate()


def has_gpu(devices: str = "/dev") -> bool:
    """Whether there is a device file of a GPU: NVIDIA's of each, or the one of all of AMD's."""
    return any(any(Path(devices).glob(name)) for name in ("nvidia[0-9]*", "kfd"))


@dataclass(frozen=True)
class ProcessLauncher:
    """Trains in processes of this machine. They end with this process, however it ends.

    Attributes:
        output: path of the phase's folder.
        timeout: seconds that it may train.
        grace: seconds that it has to save its state when it is stopped.
    """

    output: str
    timeout: int
    grace: int = 300
    title, nodes, waiting = "process", 1, 0

    @property
    def gpus(self) -> int:
        """GPUs that torch can use here; torch is imported only when the machine has a device file for one."""
        if not has_gpu():
            return 0
        import torch

        count: int = torch.cuda.device_count()
        return count

    def running(self) -> bool:
        """Nothing outlives its launcher, or it is ended here."""
        stop_earlier(self.output)
        return False

    def manifests(self, arguments: list[str]) -> list[dict[str, Any]]:
        """The command."""
        return [{"command": ["torchrun", *arguments]}]

    def launch(self, arguments: list[str], timeout: int, tick: Callable[[], None]) -> None:
        """Train, see `Launcher.launch`.

        Raises:
            TooLate: it took too long.
            SystemExit: it failed, or filled the disk; with the last lines of its log.
        """
        stop_earlier(self.output)
        environment = {"OMP_NUM_THREADS": str(os.cpu_count()), "COLUMNS": "160", "TQDM_DISABLE": "1", **os.environ}
        # For whoever ends all processes of a stage at once; torch before 2.12 does not know it, and gives them 30 s.
        environment["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(self.grace)
        last: collections.deque[str] = collections.deque(maxlen=15)
        ended, expired = False, threading.Event()
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        process = start_group(
            [sys.executable, "-m", "torch.distributed.run", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
        )

        def expire() -> None:
            expired.set()
            end_training(process, self.grace)

        def show() -> None:
            for line in process.stdout or ():
                print(line, end="", flush=True)

        late = threading.Timer(timeout, expire)
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
            late.cancel()
            try:
                if process.poll() is None:
                    threading.Thread(target=show, daemon=True).start()  # what is not read blocks them
                    end_training(process, self.grace)
            finally:
                end_group(process, 40)
                signal.signal(signal.SIGTERM, before)
        if code:
            log = f"it ran longer than {timeout} s" if expired.is_set() else "".join(last).strip()
            error = training_failure(self.output, code, log)
            raise TooLate(error.code) if expired.is_set() else error

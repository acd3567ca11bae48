"""Train on this machine: a real torchrun of instructlab.training, on its GPUs if it has any, else on CPU."""

from collections.abc import Callable

from utils.stages.outcome import failure


def local_gpus() -> int:
    """GPUs that torch can use here; torch is imported only when the machine has a device file for one."""
    import glob

    if not glob.glob("/dev/nvidia[0-9]*"):
        return 0
    import torch

    return torch.cuda.device_count()


def cpu_main_ds() -> None:
    """Run the library's own main_ds on a machine without CUDA. The source of this function is a script for torchrun.

    What needs CUDA is replaced: device placement, memory statistics, and FSDP with bf16, by accelerate's CPU mode. Two
    more things save time: no processes to load a few rows, and bfloat16 arithmetic on weights that stay float32 where
    the processor has it. Checkpoints lose the prefix that DistributedDataParallel gives to names; full states keep it,
    and are no safetensors, which can't hold the tied embeddings of small models.

    Raises:
        SystemExit: another version of the library than those this was made for.
    """
    import importlib.metadata
    import os
    import runpy
    from typing import Any

    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # threads that spin while others compute cost a factor of 2 to 5
    os.environ["NUMBA_DISABLE_JIT"] = "1"  # compiling takes longer than packing a few rows
    version = importlib.metadata.version("instructlab-training")
    if not version.startswith("0.16."):
        raise SystemExit(f"training on CPU was made for instructlab-training 0.16, this is {version}: use a GPU")
    import accelerate
    import instructlab.training.accelerator as library
    import instructlab.training.batch_loss_manager as losses
    import instructlab.training.sampler as sampler
    import torch

    class CpuAccelerator(accelerate.Accelerator):
        def __init__(self, **options: Any) -> None:
            fast = torch.cpu._is_avx512_bf16_supported()
            super().__init__(cpu=True, mixed_precision="bf16" if fast else "no")

        def prepare(self, model: Any, *others: Any, **options: Any) -> Any:
            if hasattr(model, "gradient_checkpointing_disable") and model.num_parameters() < 500_000_000:
                model.gradient_checkpointing_disable()  # it halves the memory of activations for a third more time
            prepared = super().prepare(model.float(), *others, **options)
            del self._models[:-1]  # prepared twice by the library, it would be saved twice in each full state
            return prepared

        def get_state_dict(self, model: Any, unwrap: bool = True) -> dict:
            state = super().get_state_dict(model, unwrap)
            return {name.removeprefix("module."): state[name] for name in state} if unwrap else state

        def save_state(self, output_dir: Any) -> str:
            return super().save_state(output_dir, safe_serialization=False)

    def on_cpu(self: Any, *arguments: Any, **options: Any) -> None:
        start(self, *arguments, **options)
        self.torch_device = torch.device("cpu")

    start, loader = losses.BatchLossManager.__init__, sampler.get_data_loader
    losses.BatchLossManager.__init__ = on_cpu
    sampler.get_data_loader = lambda **options: loader(**{**options, "num_workers": 0})
    library.TransformersAccel = CpuAccelerator
    torch.cuda.set_device = lambda *_: None
    torch.cuda.memory_stats = lambda *_: {"num_alloc_retries": 0}
    torch.Tensor.cuda = lambda tensor, *_: tensor
    runpy.run_module("instructlab.training.main_ds", run_name="__main__", alter_sys=True)


def write_cpu_main_ds(output: str) -> None:
    """Put cpu_main_ds as a script into the phase's folder, where torchrun finds it, in pods too."""
    import inspect
    import os
    import textwrap

    with open(os.path.join(output, "cpu_main_ds.py"), "w") as file:
        file.write(textwrap.dedent(inspect.getsource(cpu_main_ds)) + "\n\ncpu_main_ds()\n")


def stop_earlier(output: str) -> None:
    """End a trainer of this phase that outlived its launcher: two must never write to one folder.

    Raises:
        SystemExit: it could not be ended.
    """
    import glob
    import os
    import signal
    import time

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
    import shutil

    cause, remedy = log, "correct that and run again: it goes on after the last whole epoch"
    free = shutil.disk_usage(output).free
    full = ("No space left", "unexpected pos", "PytorchStreamWriter failed")  # torch's words for it are the last two
    if free < 1 << 24 or any(sign in log for sign in full):
        cause, remedy = f"the disk is full: {free >> 20} MiB are free at {output}", "make room, or a larger volume"
    return failure(f"training in {output} failed with exit code {code}", cause, remedy)


def launch_process(training: dict, arguments: list, timeout: int, tick: Callable) -> None:
    """Train in processes of this machine. They end with this process, however it ends.

    Args:
        arguments: of torchrun.
        timeout: seconds.
        tick: called now and then while training runs.

    Raises:
        SystemExit: training failed, filled the disk, or took longer than timeout; the last lines of its log are told.
    """
    import collections
    import ctypes
    import os
    import signal
    import subprocess
    import sys
    import threading

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
            if not ended:
                last.append(line.removeprefix("[rank0]: "))
            tick()
        code = process.wait()
    finally:
        expired = late.finished.is_set()
        late.cancel()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        signal.signal(signal.SIGTERM, before)
    if code:
        raise training_failure(output, code, f"it ran longer than {timeout} s" if expired else "".join(last).strip())

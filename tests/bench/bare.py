"""The library's own training, which ours is compared with."""

import sys
from importlib.util import find_spec
from pathlib import Path

from utils.stages.marker import write_json
from utils.stages.train.process import ProcessLauncher, copy_cpu_main_ds
from utils.stages.train.stage import TrainingPhase, describe_training
from utils.stages.train.training import torchrun_arguments


def bare_command(given: TrainingPhase, rows: int) -> list[str]:
    """`torchrun … main_ds` with a phase's arguments, and the library's program as it is; makes the phase's folder.

    Without a GPU it runs in the program that replaces CUDA, which ours runs in, too.
    """
    training = describe_training(given, rows, "", ProcessLauncher(given.output, 3600))
    spec = find_spec("instructlab.training.main_ds")
    assert spec and spec.origin
    Path(given.output).mkdir()
    if not training.gpus:
        copy_cpu_main_ds(given.output)
        write_json(Path(given.output, "training.json"), training.record())  # where it reads the algorithm
    arguments = torchrun_arguments(training, full_state=False)
    program = [spec.origin if one == f"{given.output}/trainer.py" else one for one in arguments]
    return [sys.executable, "-m", "torch.distributed.run", *program]

"""The library's own training, which ours is compared with.

`python -m tests.bench.bare NODES PHASE` prints the command for a phase (JSON of its parameters), as JSON.
"""

import json
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from utils.stages.marker import result_of, write_json
from utils.stages.results import Processed
from utils.stages.train.process import ProcessLauncher, copy_cpu_main_ds
from utils.stages.train.stage import TrainingPhase, describe_training
from utils.stages.train.training import torchrun_arguments


def bare_command(given: TrainingPhase, rows: int, nodes: int = 1) -> list[str]:
    """`torchrun … main_ds` with a phase's arguments, and the library's program as it is; makes the phase's folder.

    Without a GPU it runs in the program that replaces CUDA, which ours runs in, too. With several nodes, each still
    has to put its rank and the address of the first into the arguments.
    """
    training = replace(describe_training(given, rows, "", ProcessLauncher(given.output, 3600)), nodes=nodes)
    spec = find_spec("instructlab.training.main_ds")
    assert spec and spec.origin
    Path(given.output).mkdir()
    if not training.gpus:
        copy_cpu_main_ds(given.output)
        write_json(Path(given.output, "training.json"), training.record())  # where it reads the algorithm
    arguments = torchrun_arguments(training, full_state=False)
    program = [spec.origin if one == f"{given.output}/trainer.py" else one for one in arguments]
    return [sys.executable, "-m", "torch.distributed.run", *program]


if __name__ == "__main__":
    phase = TrainingPhase(**json.loads(sys.argv[2]))
    processed = result_of(phase.data_dir, "data_processing", Processed)
    assert processed
    print(json.dumps(bare_command(phase, processed.knowledge.rows, int(sys.argv[1]))))

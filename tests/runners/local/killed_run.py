"""Works on a run and kills itself, by SIGKILL, right after a chosen event: HOME RUN_ID TASK STATE [MESSAGE]."""

import os
import signal
import sys
from pathlib import Path

from utils.ir.load import load
from utils.ir.model import Event
from utils.runners.local.session import work_on
from utils.runners.run_folder import RunFolder


def main(home: str, run_id: str, task: str, state: str, message: str = "") -> None:
    def on_event(event: Event) -> None:
        if (event.task_id.split("/")[-1], event.state) == (task, state) and message in event.message:
            os.kill(os.getpid(), signal.SIGKILL)

    folder = RunFolder(Path(home), run_id)
    work_on(folder, load(folder.package), on_event)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A real model server (llama.cpp) on the loopback interface: the demo's teacher and judge."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.cpu import PROGRAMS
from utils.demo.child import end_with_parent
from utils.errors import TaskFailed
from utils.stages.evaluation.serving import free_port, stop_group, wait_ready


@contextmanager
def model_server(python: str, gguf: str, name: str, folder: Path, slots: int = 4) -> Iterator[str]:
    """Serve a GGUF model while the block runs; yields the base URL (`http://127.0.0.1:<port>/v1`).

    Args:
        python: interpreter that has xllamacpp.
        name: the model's name in requests.
        folder: for the log, model-server.log.
        slots: number of parallel requests, and the largest number of completions (`n`) of one request.

    Raises:
        TaskFailed: the server exited while it loaded the model.
    """
    port = free_port()
    command = [python, str(PROGRAMS / "llama_cpp.py"), gguf, name, str(port), str(slots), ""]
    log = folder / "model-server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=end_with_parent(signal.SIGTERM),
        )
    try:
        try:
            wait_ready(process, port, str(log), timeout=120)
        except SystemExit as error:
            raise TaskFailed("the demo's model server did not start", str(error), f"see {log}") from None
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        stop_group(process)

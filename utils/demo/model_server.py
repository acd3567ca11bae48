"""A real model server (llama.cpp) on the loopback interface: the demo's teacher and judge."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.cpu import PROGRAMS
from utils.errors import TaskFailed
from utils.stages.evaluation.serving import free_port, start_server


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
    server = start_server(command, str(log), port)
    try:
        try:
            server.wait_ready(timeout=120)
        except SystemExit as error:
            raise TaskFailed("the demo's model server did not start", str(error), f"see {log}") from None
        yield server.url
    finally:
        server.stop()

"""A model of this run as an OpenAI-compatible server on loopback, for as long as its answers are needed."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from utils.messages import failure
from utils.stages.disk import MAKE_ROOM, filled
from utils.stages.evaluation.server_arguments import tensor_parallel
from utils.stages.programs import cpu_program, end_group, start_group
from utils.stages.service_errors import THEN

MOST_TOKENS = 16384
"""Of a question with its answer: vLLM reserves memory for one request of that length."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
OVERHEAD = 2 << 30
"""Bytes that vLLM takes on each GPU for activations and CUDA graphs, of the 0.9 of its memory that it uses."""
OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
"""A server of a local folder asks no hub, and reports to nobody."""


@dataclass(frozen=True)
class Server:
    """A model server that was started on loopback; it leads a process group of its own.

    Attributes:
        log: path of the file that gets its output, after that of earlier servers.
        start: where its own output begins there, in bytes.
    """

    process: subprocess.Popen[bytes]
    port: int
    log: str
    start: int

    @property
    def url(self) -> str:
        """Base URL of its OpenAI API."""
        return f"http://127.0.0.1:{self.port}/v1"

    def wait_ready(self, timeout: float) -> None:
        """Return when `/health` answers 200.

        Args:
            timeout: seconds.

        Raises:
            SystemExit: it ended, which is noticed at once, or was not ready in time.
        """
        deadline, pool = time.monotonic() + timeout, urllib3.PoolManager()
        while self.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                if pool.request("GET", f"http://127.0.0.1:{self.port}/health", timeout=5, retries=False).status == 200:
                    return
            time.sleep(0.1)
        raise self.failed()

    def failed(self) -> SystemExit:
        """The failure of this server: the errors in its log, or else its last 20 lines."""
        code = self.process.poll()
        text = Path(self.log).read_bytes()[self.start :].decode(errors="replace")
        said = error_lines(text) or ["its last output:", *text.splitlines()[-20:]]
        if filled(os.path.dirname(self.log), " ".join(said)):
            said.append("the disk is full")
        searched = f"ended with {code}: " + " ".join(said)
        remedy = next(what for pattern, what in REMEDIES.items() if re.search(pattern, searched, re.I))
        return failure(
            f"the model server {'is not ready' if code is None else f'ended with {code}'}; its log is {self.log}",
            "\n    ".join(said),
            remedy,
        )

    def stop(self) -> None:
        """End it and its children: vLLM's workers hold GPU memory."""
        end_group(self.process, 15)


@contextlib.contextmanager
def serve(
    model_dir: str,
    name: str,
    engine: str,
    work_dir: str,
    slots: int,
    template: str = "",
    more: Sequence[str] = (),
    gpus: Sequence[str] = (),
) -> Iterator[Server]:
    """Serve model_dir while the block runs; yields the server when it is ready (see `running`).

    Args:
        name: the model's name in requests.
        engine: `vllm` or `llama.cpp` (CPU; the model is converted first).
        work_dir: for the converted model, removed afterwards, and `server.log`.
        slots: requests answered at a time (llama.cpp).
        template: Jinja file of the chat template, "" for the tokenizer's own.
        more: arguments for vLLM, checked by `arguments_fault`.
        gpus: those that vLLM serves with, as in CUDA_VISIBLE_DEVICES, tensor parallel.

    Raises:
        SystemExit: the server ended, or was not ready in time; the message has its last output.
    """
    os.makedirs(work_dir, exist_ok=True)
    port, converted = free_port(), f"{work_dir}/served.gguf"
    if engine == "llama.cpp":
        command = llama_cpp_command(model_dir, name, port, slots, converted, template)
    else:
        command = vllm_command(model_dir, name, port, template, more, len(gpus))
    try:
        with running(command, f"{work_dir}/server.log", port, 1800, gpus) as server:
            yield server
    finally:
        Path(converted).unlink(missing_ok=True)


@contextlib.contextmanager
def running(command: Sequence[str], log: str, port: int, timeout: float, gpus: Sequence[str] = ()) -> Iterator[Server]:
    """Run a server while the block runs; yields it when it is ready.

    It is stopped on every way out: end of the block, exception, and the death of this process; on SIGTERM and SIGINT
    in a block of `stopped_by_signals`.
    """
    server = start_server(command, log, port, gpus)
    try:
        server.wait_ready(timeout)
        yield server
    except (Exception, SystemExit) as error:
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(3)  # vLLM answers 500 before it ends
        if server.process.poll() is None:
            raise
        raise server.failed() from error
    finally:
        server.stop()
        RUNNING.remove(server)


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGINT end this process with all of its servers while the block runs, in the main thread."""

    def stop_and_exit(number: int, _frame: object) -> None:
        # Not by an exception: the evaluation library's thread pool would first answer all its questions.
        servers = [*RUNNING]  # threads remove theirs meanwhile
        for server in servers:
            server.process.terminate()
        for server in servers:
            server.stop()
        os._exit(128 + number)

    before = {s: signal.signal(s, stop_and_exit) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


RUNNING: list[Server] = []
"""The servers of this process."""


def start_server(command: Sequence[str], log: str, port: int, gpus: Sequence[str] = ()) -> Server:
    """Start a server that sees these GPUs, or all if there is none; on Linux it ends with this thread."""
    visible = {VISIBLE: ",".join(gpus)} if gpus else {}
    with open(log, "ab") as output:
        start = output.tell()
        server = Server(start_group(command, stdout=output, env=os.environ | OFFLINE | visible), port, log, start)
    RUNNING.append(server)
    return server


def error_lines(log: str) -> list[str]:
    """The last lines of a log that name an error, each once; of pydantic's errors also the line that says more.

    vLLM puts the process's name before a line, and its logger the time and the place in the source, as in
    `(EngineCore_0 pid=7) ERROR 08-26 09:12:15 [core.py:700] ValueError: …`; older versions end the place with `]` alone
    (`engine.py:389] `). Between them may be colors. Errors that only point to another one above come last, and count
    if there is no other.
    """
    found: dict[str, bool] = {}
    lines = [re.sub(_PREFIX, "", line) for line in log.splitlines()]
    for line, following in zip(lines, [*lines[1:], ""], strict=False):
        if re.match(_ERROR, line):
            more = f" {following.strip()}" if "validation error" in line else ""
            found[(line + more)[:400]] = bool(re.search("root cause|EngineDead|background (thread|loop)", line, re.I))
    return ([line for line, points in found.items() if not points] or [*found])[-4:]


_PREFIX = r"^(\x1b\[[\d;]*m ?|\([^()]* pid=[^()]*\) ?|ERROR [-\d]+ [:\d]+ \[?[\w.]+:\d+\] ?)+"
_ERROR = r"([\w.]*(Error|Exception)(:|$)|\S+: error: |.*No module named )"
REMEDIES = {
    r"error: (unrecognized |ambiguous option|argument )": "start a run with other eval_server_arguments",
    "the disk is full": MAKE_ROOM,
    "Read-only file|Permission denied": f"let the task's user read and write that path{THEN}",
    "architecture": f"give an image whose vLLM knows this model (--image instructlab=REF){THEN}",
    "No module named": f"give an image with vLLM and all that it imports (--image instructlab=REF){THEN}",
    "KV cache|max.?model.?len|max seq": "start a run with a GPU of more memory, or a model with a shorter context",
    "out of memory|Free memory|cache blocks": f"end what else uses this GPU{THEN}; or start a run with a larger GPU",
    "ended with -9": "give the task more memory (its pod or machine ended the server)" + THEN,
    "": f"look at that log: correct the checkpoint or the volume{THEN}",
}
"""Remedy by what a failed server said."""


def free_port() -> int:
    """A TCP port that is free on loopback, another one each time.

    A server takes seconds to listen at its port: meanwhile the system may name it again, and one server would pass for
    the other.
    """
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
            if port not in PORTS:
                PORTS.add(port)  # before it is free again
                return port


PORTS = set[int]()
"""All that `free_port` has given."""


def vllm_command(
    model_dir: str, name: str, port: int, template: str, more: Sequence[str] = (), gpus: int = 1
) -> list[str]:
    """argv of vLLM's OpenAI server over this number of GPUs.

    vLLM (0.8.5) does not start where one request of the model's whole length does not fit the GPU: 128k do not fit
    40 GB. It would serve a model that training saved as float32 in float16, which has not the range of bfloat16.
    """
    length = language_config(model_dir).get("max_position_embeddings")
    return [
        *[sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model_dir],
        *["--served-model-name", name, "--host", "127.0.0.1", "--port", str(port)],
        *["--tensor-parallel-size", str(max(gpus, 1)), "--dtype", "bfloat16" if has_bfloat16() else "half"],
        *(["--max-model-len", str(min(length, MOST_TOKENS))] if length else []),
        # Without the model's own sampling defaults: base and candidate are sampled alike.
        *["--generation-config", "vllm"],
        *(["--chat-template", template] if template else []),
        *more,
    ]


def language_config(model_dir: str) -> dict[str, Any]:
    """The configuration of a model; of one that sees, too, that of its language model."""
    config: dict[str, Any] = json.loads(Path(model_dir, "config.json").read_text())
    return config | (config.get("text_config") or {})


def has_bfloat16() -> bool:
    """Whether the GPUs compute in bfloat16: vLLM refuses it on those before Ampere (capability 8)."""
    import torch

    return not torch.cuda.is_available() or torch.cuda.get_device_capability()[0] >= 8


def llama_cpp_command(
    model: str, name: str, port: int, slots: int, converted: str = "", template: str = ""
) -> list[str]:
    """argv of llama.cpp's server; a model in Hugging Face layout is first converted to the file `converted`."""
    return [sys.executable, cpu_program("llama_cpp.py"), model, name, str(port), str(slots), converted, template]


def gpu_groups(engine: str, model_dir: str, more: Sequence[str]) -> list[list[str]]:
    """The visible GPUs, as in CUDA_VISIBLE_DEVICES, of each of the servers that run side by side; [[]] for none.

    Args:
        model_dir: one of the models, which are of one size.
        more: arguments for vLLM, which may say how many GPUs each server needs.
    """
    sizes = [] if engine == "llama.cpp" else gpu_memory()
    if not sizes:
        return [[]]
    named = [name for name in os.environ.get(VISIBLE, "").split(",") if name]
    names = (named or [str(number) for number in range(len(sizes))])[: len(sizes)]
    each = min(tensor_parallel(more) or gpus_needed(model_dir, min(sizes), len(sizes)), len(sizes))
    return [names[i : i + each] for i in range(0, len(names) - each + 1, each)]


def gpus_needed(model_dir: str, memory: int, most: int) -> int:
    """The fewest GPUs over which vLLM can split a model so that it fits, with one request of the greatest length.

    Where not even all of them suffice, as many as possible. One where its configuration names no attention heads, over
    which it is split.

    Args:
        memory: bytes of each GPU.
    """
    config = language_config(model_dir)
    heads = config.get("num_attention_heads") or 1
    saved = 4 if "float32" in (config.get("torch_dtype"), config.get("dtype")) else 2  # bytes of a weight
    files = [*Path(model_dir).glob("*.safetensors")] or [*Path(model_dir).glob("*.bin")]
    weights = sum(path.stat().st_size for path in files) * 2 // saved
    width = config.get("head_dim") or config.get("hidden_size", 0) // heads
    token = 4 * config.get("num_hidden_layers", 0) * width * (config.get("num_key_value_heads") or heads)
    request = token * min(config.get("max_position_embeddings") or MOST_TOKENS, MOST_TOKENS)
    fitting = [n for n in range(1, most + 1) if heads % n == 0]
    enough = [n for n in fitting if (weights + request) / n + OVERHEAD <= 0.9 * memory]
    return (enough or fitting[-1:])[0]


def gpus_held(engine: str) -> int:
    """Number of GPUs that this task has for its models; 0 where its engine computes on the CPU."""
    return 0 if engine == "llama.cpp" else len(gpu_memory())


def gpu_memory() -> list[int]:
    """Bytes of memory of each visible GPU."""
    import torch

    count = torch.cuda.device_count()
    return [int(torch.cuda.get_device_properties(number).total_memory) for number in range(count)]

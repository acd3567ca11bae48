"""A model of this run as an OpenAI-compatible server on loopback, for as long as its answers are needed."""

import contextlib
import ctypes
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from utils.messages import failure
from utils.stages.cpu_program import cpu_program


def serve(
    model_dir: str, name: str, engine: str, work_dir: str, slots: int, template: str = "", timeout: float = 1800.0
) -> Any:
    """A context manager that serves model_dir and yields the base URL (`http://127.0.0.1:<port>/v1`).

    The server is stopped on every way out: end of the block, exception, SIGTERM, SIGINT, and the death of this process.

    Args:
        name: the model's name in requests.
        engine: `vllm` (all visible GPUs, tensor parallel) or `llama.cpp` (CPU; the model is converted first).
        work_dir: for the converted model, removed afterwards, and `server.log`.
        slots: requests answered at a time (llama.cpp).
        template: Jinja file of the chat template, "" for the tokenizer's own.
        timeout: seconds until the server must be ready.

    Raises:
        SystemExit: the server ended, or was not ready in time; the message has its last output.
    """

    @contextlib.contextmanager
    def serving() -> Iterator[str]:
        os.makedirs(work_dir, exist_ok=True)
        port = free_port()
        converted = os.path.join(work_dir, "served.gguf")
        if engine == "llama.cpp":
            command = llama_cpp_command(model_dir, name, port, slots, converted, template)
        else:
            command = vllm_command(model_dir, name, port, template)
        try:
            with server_process(command, os.path.join(work_dir, "server.log"), port, timeout):
                yield f"http://127.0.0.1:{port}/v1"
        finally:
            if os.path.exists(converted):
                os.remove(converted)

    return serving()


def server_process(command: list, log_path: str, port: int, timeout: float) -> Any:
    """A context manager around one server process: started, watched until ready, always stopped."""
    # The kernel ends the server with this process, even on SIGKILL (Linux: prctl PR_SET_PDEATHSIG).
    prctl = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None

    @contextlib.contextmanager
    def running() -> Iterator[None]:
        with open(log_path, "wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=(lambda: prctl(1, signal.SIGTERM)) if prctl else None,
            )

        def stop_and_exit(number: int, _frame: Any) -> None:
            # Not by an exception: the evaluation library's thread pool would first answer all its questions.
            stop_group(process)
            os._exit(128 + number)

        before = {}
        try:
            if threading.current_thread() is threading.main_thread():
                before = {s: signal.signal(s, stop_and_exit) for s in (signal.SIGINT, signal.SIGTERM)}
            wait_ready(process, port, log_path, timeout)
            try:
                yield
            except (Exception, SystemExit) as error:
                if process.poll() is None:
                    raise
                raise server_ended(process.returncode, log_path, "while it was in use") from error
        finally:
            stop_group(process)
            for number, handler in before.items():
                signal.signal(number, handler)

    return running()


def wait_ready(process: Any, port: int, log_path: str, timeout: float) -> None:
    """Return when `/health` answers 200; a server that ends while it loads fails at once."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise server_ended(process.returncode, log_path, "while it loaded the model")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise failure(
        f"the model server was not ready after {timeout:.0f} s",
        f"its last output:\n{last_lines(log_path)}",
        "look for what it waits for in that output (GPU memory, a slow volume) and run again",
    )


def server_ended(code: int, log_path: str, when: str) -> SystemExit:
    """The failure of a server that ended by itself, with its last output."""
    return failure(
        f"the model server ended with {code} {when}",
        f"its last output:\n{last_lines(log_path)}",
        "most often memory is short or the checkpoint is damaged; correct it, then retry or resume the run",
    )


def last_lines(path: str) -> str:
    """The last 20 lines of a log, indented."""
    with open(path, errors="replace") as file:
        return "".join("    " + line for line in file.readlines()[-20:]).rstrip() or "    (none)"


def stop_group(process: Any) -> None:
    """End a process that leads its own group, and its children (vLLM's workers hold GPU memory)."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    """A TCP port that is free on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def vllm_command(model_dir: str, name: str, port: int, template: str) -> list:
    """argv of vLLM's OpenAI server over as many visible GPUs as the model's attention heads allow."""
    with open(os.path.join(model_dir, "config.json")) as file:
        heads = json.load(file)["num_attention_heads"]
    gpus = [n for n in range(1, visible_gpus("vllm") + 1) if heads % n == 0]
    return [
        *[sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model_dir],
        *["--served-model-name", name, "--host", "127.0.0.1", "--port", str(port)],
        *["--tensor-parallel-size", str(max(gpus, default=1))],
        *(["--chat-template", template] if template else []),
    ]


def llama_cpp_command(model: str, name: str, port: int, slots: int, converted: str = "", template: str = "") -> list:
    """argv of llama.cpp's server; a model in Hugging Face layout is first converted to the file `converted`."""
    return [sys.executable, cpu_program("llama_cpp.py"), model, name, str(port), str(slots), converted, template]


def visible_gpus(engine: str) -> int:
    """GPUs that the engine serves with."""
    if engine == "llama.cpp":
        return 0
    import torch

    return torch.cuda.device_count()


def eval_workers(max_workers: str, gpus: int) -> int:
    """Requests at a time: a positive integer as text, or `auto`.

    `auto` is instructlab-eval's rule, 10 per GPU but not more than CPU cores; without a GPU, 2 per core, at most 8.
    """
    if max_workers == "auto":
        cores = len(os.sched_getaffinity(0))
        return max(1, min(10 * gpus, cores)) if gpus else min(2 * cores, 8)
    if not max_workers.isdecimal() or int(max_workers) < 1:
        raise failure(
            f"max_workers is {max_workers!r}",
            "it must be auto or a positive integer",
            "correct mt_bench_max_workers or final_eval_max_workers",
        )
    return int(max_workers)


def model_client(options: dict, seen: dict, count: Callable, ca: str = "", secret: str = "") -> Any:
    """An httpx.Client that merges options into each request body, counts answers and remembers the last error.

    Args:
        options: fields to add or replace in the body, such as max_tokens or grammar; {} for none.
        seen: gets `error`, the last response or connection that failed, for messages.
        count: called without arguments after each good answer.
        ca: a CA bundle for TLS; "" for the public roots. A client without `secret` ignores proxies (loopback).
        secret: the token that is sent; it is kept out of messages.

    Raises:
        SystemExit: from a request, when the server answers 401, 403 or 404: trying again would not help.
    """
    import httpx

    class Client(httpx.Client):
        def send(self, request: Any, **kwargs: Any) -> Any:
            if options and request.method == "POST":
                body = json.dumps({**json.loads(request.read()), **options}).encode()
                headers = {**request.headers, "content-length": str(len(body))}
                request = httpx.Request(
                    request.method, request.url, headers=headers, content=body, extensions=request.extensions
                )
            try:
                response = super().send(request, **kwargs)
            except httpx.HTTPError as error:
                seen["error"] = f"{type(error).__name__}: {error}"
                raise
            if response.is_success:
                count()
                return response
            text = response.read().decode(errors="replace")[:300]
            seen["error"] = f"HTTP {response.status_code}: {text.replace(secret, '***') if secret else text}"
            if response.status_code in (401, 403, 404):
                raise failure(
                    "a model server refused a request",
                    seen["error"],
                    "check api_token, model_name and endpoint in the judge's Secret, then retry or resume the run",
                )
            return response

    verify = ssl.create_default_context(cafile=ca) if ca else True
    return Client(verify=verify, timeout=600, trust_env=bool(ca or secret))

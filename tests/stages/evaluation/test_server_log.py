"""What a failed model server's log tells. The lines are of vLLM 0.6 (V0), 0.8, 0.10.1, 0.11 and 0.19, shortened."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from utils.stages.evaluation import serving
from utils.stages.evaluation.serving import error_lines

CYAN, RESET = "\x1b[1;36m", "\x1b[0;0m"
MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 50.00 MiB."
CACHE = "ValueError: The model's max seq len (131072) is larger than the maximum number of tokens in KV cache (58496)."
POINTS = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
DEAD = (
    "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root"
)
CORE = f"{CYAN}(EngineCore_0 pid=7){RESET} "
CONFIG = "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig"
TEMPLATE = (
    "vllm.entrypoints.chat_utils.ChatTemplateResolutionError: As of transformers v4.44, default chat template is no"
)
LOGS = {
    "0.6": (
        f"ERROR 02-07 11:28:26 engine.py:389]     raise ValueError(\nERROR 02-07 11:28:26 engine.py:389] {CACHE}\n",
        CACHE,
    ),
    "0.8": (f"ERROR 04-17 15:10:09 [engine.py:448] {CACHE}\nProcess SpawnProcess-1:\n{CACHE}\n", CACHE),
    "0.10.1": (
        f"{CORE}ERROR 08-26 09:12:15 [core.py:700] {MEMORY}\n{CORE}Traceback (most recent call last):\n"
        f"{CORE}{MEMORY}\n{CYAN}(APIServer pid=1){RESET} {POINTS}\n",
        MEMORY,
    ),
    "workers": (
        f"(EngineCore pid=3) (RayWorkerWrapper pid=1, ip=10.0.0.1) ERROR 03-19 10:00:00 [w.py:1] {MEMORY}\n",
        MEMORY,
    ),
    "rank": (f"(VllmWorker rank=1 pid=240) {MEMORY}\n{POINTS}\n", MEMORY),
    "dies": (
        f"(EngineCore pid=9) ERROR 05-05 12:36:59 [core.py:1] {MEMORY}\n"
        f"(APIServer pid=1) ERROR 05-05 12:36:59 [serving.py:1173] {DEAD}\nINFO: 500 Internal Server Error\n",
        MEMORY,
    ),
    "config": (
        f"(APIServer pid=5) {CONFIG}\n(APIServer pid=5)   Value error, Model architectures ['X'] are not supported\n",
        f"{CONFIG} Value error, Model architectures ['X'] are not supported",
    ),
    "template": (f"(APIServer pid=5) {TEMPLATE}\n", TEMPLATE),
    "arguments": (
        "usage: x\napi_server.py: error: unrecognized arguments: --y\n",
        "api_server.py: error: unrecognized arguments: --y",
    ),
    "points alone": (f"(APIServer pid=1) {POINTS}\n", POINTS),
}


@pytest.mark.parametrize("version", LOGS)
def test_error_is_found_in_the_log_of_each_version(version: str) -> None:
    log, error = LOGS[version]
    noise = "INFO 08-26 09:12:15 [core.py:1] Loading\n"
    assert error_lines(noise * 50 + log + noise * 50) == [error]


def test_log_without_an_error_has_none() -> None:
    assert error_lines("INFO: no Error here\n  raise ValueError(\nwaiting for ErrorHandler\n") == []


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (MEMORY, "what else uses this GPU"),
        (CACHE, "a model with a shorter context"),
        ("ValueError: Free memory on device (3.22/4.0 GiB) on startup is less than desired", "what else uses this GPU"),
        ("ValueError: Model architectures ['X'] are not supported for now.", "--image instructlab=REF"),
        ("/usr/bin/python: No module named vllm", "--image instructlab=REF"),
        ("OSError: no such file", "look at that log"),
        ("api_server.py: error: unrecognized arguments: --y", "start a run with other eval_server_arguments"),
        ("api_server.py: error: argument --dtype: invalid choice: 'x'", "start a run with other eval_server_arguments"),
        ("OSError: [Errno 28] No space left on device: '/data/scores/served.gguf'", "make room there"),
        ("OSError: [Errno 122] Disk quota exceeded: '/tmp/cache/vllm'", "make room there"),
        ("safetensors_rust.SafetensorError: I/O error: No space left on device (os error 28)", "make room there"),
        ("OSError: [Errno 30] Read-only file system: '/.cache'", "let the task's user read and write that path"),
        ("PermissionError: [Errno 13] Permission denied: '/.triton'", "let the task's user read and write that path"),
    ],
)
def test_failed_server_names_its_log_its_error_and_what_helps(tmp_path: Path, said: str, remedy: str) -> None:
    command = [sys.executable, "-c", "import sys; print(sys.argv[1]); print('INFO bye\\n' * 40); sys.exit(1)", said]
    log = tmp_path / "server.log"
    with pytest.raises(SystemExit) as failed, serving.running(command, str(log), serving.free_port(), 20):
        pytest.fail("it was never ready")
    what, cause, *_, told = str(failed.value).splitlines()
    assert what.endswith(f"ended with 1; its log is {log}")
    assert said in cause and remedy in told


def test_server_whose_last_words_the_disk_did_not_take_needs_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with (
        pytest.raises(SystemExit, match="the disk is full\n  next: make room"),
        serving.running([sys.executable, "-c", "exit(1)"], str(tmp_path / "log"), serving.free_port(), 20),
    ):
        pytest.fail("it was never ready")


def test_killed_server_needs_more_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    with (
        pytest.raises(SystemExit, match="more memory"),
        serving.running(command, str(tmp_path / "log"), serving.free_port(), 20),
    ):
        pytest.fail("it was never ready")


def test_log_survives_the_next_start_whose_failure_shows_its_own_errors(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    for number in (1, 2):
        command = [sys.executable, "-c", f"print('ValueError: number {number}'); raise SystemExit(1)"]
        with pytest.raises(SystemExit) as failed, serving.running(command, str(log), serving.free_port(), 20):
            pytest.fail("it was never ready")
        assert f"number {number}" in str(failed.value) and f"number {3 - number}" not in str(failed.value)
    assert log.read_text() == "ValueError: number 1\nValueError: number 2\n"

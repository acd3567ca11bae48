"""The server watcher with real processes, and the client with real HTTP servers on loopback."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.waiting import FakeTime
from utils.stages.credentials import ModelServer
from utils.stages.evaluation import final_eval, judging, mt_bench, serving
from utils.stages.evaluation.client import ModelClient
from utils.stages.evaluation.scores import Rated
from utils.stages.marker import read_marker

HEALTHY = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        if self.path == "/die": os._exit(9)
    def log_message(self, *a): pass
open(sys.argv[2], "w").write(str(os.getpid()))
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
# A stage that serves and then waits for ever.
PARENT = """
import sys, time
from utils.stages.evaluation.serving import free_port, running, stopped_by_signals
port = free_port()
with stopped_by_signals(), running([sys.executable, "-c", sys.argv[1], str(port), sys.argv[2]], sys.argv[3], port, 20):
    print("ready", flush=True)
    time.sleep(60)
"""


def gone(pid: int) -> bool:
    """Whether the process has ended (a zombie that nobody has reaped yet has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until_gone(pid: int, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not gone(pid):
        assert time.monotonic() < deadline, "the server is still running"
        time.sleep(0.02)


@pytest.fixture
def healthy(tmp_path: Path) -> tuple[list[str], int, Path]:
    """Command of a server that is ready at once, its port, and the file that gets its pid."""
    port = serving.free_port()
    return [sys.executable, "-c", HEALTHY, str(port), str(tmp_path / "pid")], port, tmp_path / "pid"


def test_server_that_dies_while_loading_fails_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; print('CUDA out of memory'); sys.exit(3)"]
    started = time.monotonic()
    with (
        pytest.raises(SystemExit, match=r"ended with 3(.|\n)*CUDA out of memory"),
        serving.running(command, str(tmp_path / "log"), serving.free_port(), 1200),
    ):
        pytest.fail("it was never ready")
    assert time.monotonic() - started < 10


def test_server_that_is_never_ready_fails_at_the_deadline_and_is_stopped(tmp_path: Path) -> None:
    program = "import os, time; print('pid', os.getpid(), flush=True); time.sleep(60)"
    with (
        pytest.raises(SystemExit, match=r"not ready(.|\n)*pid"),
        serving.running([sys.executable, "-c", program], str(tmp_path / "log"), serving.free_port(), 1),
    ):
        pytest.fail("it was never ready")
    wait_until_gone(int((tmp_path / "log").read_text().split()[1]))


def test_server_is_stopped_after_use_and_after_an_error(tmp_path: Path, healthy: tuple[list[str], int, Path]) -> None:
    command, port, pid_file = healthy
    with serving.stopped_by_signals(), serving.running(command, str(tmp_path / "log"), port, 20):
        assert not gone(int(pid_file.read_text()))
    wait_until_gone(int(pid_file.read_text()))
    with pytest.raises(ValueError, match="mine"), serving.running(command, str(tmp_path / "log"), port, 20):
        raise ValueError("mine")
    wait_until_gone(int(pid_file.read_text()))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_server_that_dies_in_use_is_named_as_the_cause(tmp_path: Path, healthy: tuple[list[str], int, Path]) -> None:
    command, port, pid_file = healthy
    with (
        pytest.raises(SystemExit, match="ended with -9"),
        serving.running(command, str(tmp_path / "log"), port, 20),
    ):
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
        wait_until_gone(int(pid_file.read_text()))
        raise ConnectionError("connection refused")


class Probe:
    """A socket to which the system gives the next of these ports."""

    ports: Iterator[int]

    def __enter__(self) -> "Probe":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def bind(self, _: object) -> None:
        self.port = next(self.ports)

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", self.port


def test_servers_side_by_side_have_ports_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Probe, "ports", iter([7, 7, 7, 8]), raising=False)
    monkeypatch.setattr(serving.socket, "socket", Probe)
    monkeypatch.setattr(serving, "PORTS", set())
    assert [serving.free_port(), serving.free_port()] == [7, 8]


class Ending:
    """A server that ends as another thread's use of it ends: that thread takes it off the list."""

    def __init__(self, ended: list["Ending"]) -> None:
        self.process, self.ended = self, ended

    def terminate(self) -> None:
        serving.RUNNING.remove(self)  # type: ignore[arg-type]

    def stop(self) -> None:
        self.ended.append(self)


def test_signal_ends_every_server_while_threads_end_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[Ending] = []
    servers = [Ending(ended) for _ in range(4)]
    monkeypatch.setattr(serving, "RUNNING", [*servers])
    codes: list[int] = []
    monkeypatch.setattr(serving.os, "_exit", codes.append)
    with serving.stopped_by_signals():
        signal.raise_signal(signal.SIGTERM)
    assert (ended, codes) == (servers, [143])


def test_server_is_known_until_it_has_ended(tmp_path: Path, healthy: tuple[list[str], int, Path]) -> None:
    """A signal between the two would leave its GPU memory taken."""
    command, port, _ = healthy
    with serving.running(command, str(tmp_path / "log"), port, 20) as server:
        known: list[bool] = []
        stop = server.stop

        def stopped() -> None:
            known.append(server in serving.RUNNING)
            stop()

        object.__setattr__(server, "stop", stopped)
    assert known == [True] and server not in serving.RUNNING


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends the server with its parent on Linux only")
def test_server_ends_with_its_stage(tmp_path: Path, number: signal.Signals) -> None:
    arguments = [HEALTHY, str(tmp_path / "pid"), str(tmp_path / "log")]
    with subprocess.Popen([sys.executable, "-c", PARENT, *arguments], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout and parent.stdout.readline() == "ready\n"
        parent.send_signal(number)
        assert parent.wait(20) in (128 + number, -number)
    wait_until_gone(int((tmp_path / "pid").read_text()))


class Judge(ThreadingHTTPServer):
    """An OpenAI-compatible server that answers each request with `status` and keeps the bodies."""

    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.bodies: list[dict[str, Any]] = []


class Answer(BaseHTTPRequestHandler):
    server: Judge

    def do_POST(self) -> None:
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(f"you sent {self.headers['authorization']}".encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def judge_server() -> Iterator[Judge]:
    with Judge() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def judge_of(server: Judge) -> ModelServer:
    return ModelServer(f"http://127.0.0.1:{server.server_port}/v1", "m", "canary-token")


def test_options_are_merged_into_request_bodies_and_answers_counted(judge_server: Judge) -> None:
    counted: list[int] = []
    added = {"max_tokens": 7, "grammar": "root ::= x"}
    with ModelClient(judge_of(judge_server), added, lambda: counted.append(1)) as client:
        client.post(judge_of(judge_server).endpoint, json={"model": "m", "max_tokens": 2048})
    assert judge_server.bodies == [{"model": "m", "max_tokens": 7, "grammar": "root ::= x"}]
    assert counted == [1]


def test_log_has_the_requests_in_flight_each_minute_and_at_the_end(
    judge_server: Judge, capsys: pytest.CaptureFixture[str]
) -> None:
    time = FakeTime()
    with ModelClient(judge_of(judge_server), {}, patience=time.patience(), most=4) as client:
        for _ in range(6):
            time.now += 20
            client.post(judge_of(judge_server).endpoint, json={})
        client.tell()
    assert capsys.readouterr().out.splitlines() == [
        "m: 0.0 requests in flight (at most 4), 180 answers/h",  # of four in 80 seconds
        "m: 0.0 requests in flight (at most 4), 180 answers/h",
    ]


def test_judge_that_answers_passes_the_check(judge_server: Judge) -> None:
    judging.check_judge(judge_of(judge_server), "", FakeTime().patience())
    assert len(judge_server.bodies) == 1


def test_judge_that_refuses_the_token_fails_at_once_without_showing_it(judge_server: Judge) -> None:
    judge_server.status = 401
    with pytest.raises(SystemExit, match="HTTP 401") as error:
        judging.check_judge(judge_of(judge_server), "", FakeTime().patience())
    assert len(judge_server.bodies) == 1
    assert "canary" not in str(error.value)


def test_failing_judge_is_tried_for_half_an_hour(judge_server: Judge) -> None:
    judge_server.status, time = 503, FakeTime()
    with pytest.raises(SystemExit, match=r"m at http://127\S+/v1 does not answer(.|\n)*HTTP 503"):
        judging.check_judge(judge_of(judge_server), "", time.patience())
    assert 1700 < time.now <= 1800


def test_judge_that_is_down_is_tried_for_half_an_hour_and_named() -> None:
    time = FakeTime()
    judge = ModelServer(f"http://127.0.0.1:{serving.free_port()}/v1", "m")
    with pytest.raises(SystemExit, match=r"m at http://127\S+/v1 does not answer(.|\n)*ConnectError"):
        judging.check_judge(judge, "", time.patience())
    assert 1700 < time.now <= 1800


@pytest.mark.parametrize(("length", "served"), [(131072, "16384"), (16384, "16384"), (4096, "4096"), (None, None)])
def test_vllm_reserves_memory_for_a_question_not_for_the_longest_text(
    length: int | None, served: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "has_bfloat16", lambda: True)
    config = {"num_attention_heads": 4, "max_position_embeddings": length}
    for written in (config, {"text_config": config}):  # the second: of a model that sees, too
        (tmp_path / "config.json").write_text(json.dumps(written))
        command = serving.vllm_command(str(tmp_path), "m", 1, "")
        given: dict[str, str] = dict(zip(command, command[1:], strict=False))
        assert given.get("--max-model-len") == served


@pytest.mark.parametrize(("bfloat16", "dtype"), [(True, "bfloat16"), (False, "half")])
def test_vllm_serves_in_the_type_that_the_gpu_has(
    bfloat16: bool, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that was saved as float32 was served in float16; T4 and V100 have no bfloat16."""
    monkeypatch.setattr(serving, "has_bfloat16", lambda: bfloat16)
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 4}))
    command = serving.vllm_command(str(tmp_path), "m", 1, "")
    assert command[command.index("--dtype") + 1] == dtype


def test_arguments_of_the_run_come_last_and_no_shell_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "has_bfloat16", lambda: True)
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 4, "max_position_embeddings": 4096}))
    more = ["--max-model-len", "1024", "--hf-overrides", '{"a": "$(touch evil)"}']
    command = serving.vllm_command(str(tmp_path), "m", 1, "", more)
    assert command[-4:] == more and command.index("--max-model-len") < len(command) - 4


def test_arguments_for_a_server_that_takes_none_end_the_stage(tmp_path: Path) -> None:
    given = judging.Evaluation(str(tmp_path), "", "", "llama.cpp", "1", False, 0, {}, {}, False, 0.25, ["--a"])
    with pytest.raises(SystemExit, match="eval_server_arguments must be nothing for llama.cpp"):
        judging.prepare_bench(given, ModelServer("", ""))


GIB = 1 << 30
SEVEN = {"num_attention_heads": 32, "num_hidden_layers": 32, "hidden_size": 4096, "torch_dtype": "bfloat16"}


def write_model(folder: Path, config: dict[str, Any], weights: int) -> str:
    """A model of this number of bytes, of which the disk holds none."""
    (folder / "config.json").write_text(json.dumps(config))
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(weights)
    return str(folder)


@pytest.mark.parametrize(
    ("memory", "visible", "config", "weights", "more", "groups"),
    [
        ([80] * 1, "", SEVEN, 14, [], [["0"]]),
        ([80] * 4, "", SEVEN, 14, [], [["0"], ["1"], ["2"], ["3"]]),
        ([80] * 4, "", SEVEN | {"torch_dtype": "float32"}, 28, [], [["0"], ["1"], ["2"], ["3"]]),
        ([24] * 4, "", SEVEN, 14, [], [["0", "1"], ["2", "3"]]),  # a request of 16384 tokens takes 8 GiB more
        ([24] * 4, "", SEVEN | {"num_key_value_heads": 8}, 14, [], [["0"], ["1"], ["2"], ["3"]]),
        ([40] * 3, "", SEVEN, 60, [], [["0", "1"]]),  # 32 heads are not split over 3
        ([16] * 2, "", SEVEN, 200, [], [["0", "1"]]),  # does not fit: vLLM says by how much
        ([80] * 4, "", SEVEN, 14, ["--tensor-parallel-size=2"], [["0", "1"], ["2", "3"]]),
        ([80] * 2, "", SEVEN, 14, ["--tensor_parallel_size", "8"], [["0", "1"]]),
        ([80] * 2, "GPU-a,GPU-b", SEVEN, 14, [], [["GPU-a"], ["GPU-b"]]),
        ([80] * 2, "6,7", SEVEN, 14, [], [["6"], ["7"]]),
        ([], "", SEVEN, 14, [], [[]]),
        ([24] * 4, "", {"text_config": SEVEN}, 14, [], [["0", "1"], ["2", "3"]]),  # a model that sees, too
        ([24] * 2, "", {}, 14, [], [["0"], ["1"]]),  # no attention heads: over how many it splits is not known
        ([24] * 2, "", {}, 14, ["--tensor-parallel-size=2"], [["0", "1"]]),
    ],
)
def test_a_server_gets_as_many_gpus_as_its_model_needs(
    memory: list[int],
    visible: str,
    config: dict[str, Any],
    weights: int,
    more: list[str],
    groups: list[list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving, "gpu_memory", lambda: [size * GIB for size in memory])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    model = write_model(tmp_path, config | {"max_position_embeddings": 32768}, weights * GIB)
    assert serving.gpu_groups("vllm", model, more) == groups


@pytest.mark.parametrize(("engine", "gpus"), [("vllm", 4), ("llama.cpp", 0)])
def test_marker_says_how_many_gpus_the_task_had(
    engine: str, gpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "gpu_memory", lambda: [80 * GIB] * 4)
    for stage in (mt_bench, final_eval):
        monkeypatch.setattr(stage, "model_server", lambda *_: ModelServer("http://x/v1", "judge"))
        monkeypatch.setattr(stage, "prepare_bench", lambda *_: None)
    monkeypatch.setattr(mt_bench, "trained_checkpoints", lambda *_: ["a"])
    monkeypatch.setattr(mt_bench, "scored_checkpoints", lambda *_: [Rated("a", 5.0, [], [], 0.0, "")])
    monkeypatch.setattr(final_eval, "write_scores", lambda *_: {"mt_bench_branch": {}, "likelihood": {}})
    given = judging.Evaluation(str(tmp_path), "", "", engine, "auto", False, 0, {}, {}, False, 0.25, [])
    mt_bench.score_checkpoints(mt_bench.CheckpointScoring(**vars(given), audit=0))
    few_shots: dict[str, Any] = {"few_shots": 5, "batch_size": "auto", "mmlu_tasks": [], "eval_tasks": []}
    store: dict[str, Any] = {"store_secret_dir": "", "data_key": "", "reuse_base": False}
    final_eval.compare(final_eval.Comparison(**vars(given), **few_shots, **store))
    markers = [read_marker(str(tmp_path), stage) for stage in ("mt_bench", "final_eval")]
    assert [marker.get("gpus", 0) for marker in markers] == [gpus, gpus]


def test_server_sees_its_own_gpus_only(tmp_path: Path) -> None:
    show = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    for number, gpus in enumerate((["0", "1"], ["GPU-c"])):
        server = serving.start_server([sys.executable, "-c", show], str(tmp_path / f"log{number}"), 1, gpus)
        server.process.wait()
        assert (tmp_path / f"log{number}").read_text() == ",".join(gpus) + "\n"


def test_server_asks_no_hub_and_reports_to_nobody(tmp_path: Path) -> None:
    show = "import os; print(os.environ['HF_HUB_OFFLINE'], os.environ['VLLM_NO_USAGE_STATS'], os.environ['PATH'])"
    server = serving.start_server([sys.executable, "-c", show], str(tmp_path / "log"), 1)
    server.process.wait()
    assert (tmp_path / "log").read_text().startswith("1 1 /")

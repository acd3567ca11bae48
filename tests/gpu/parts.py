"""What is tried on the GPU, each in a process of its own: `python -m tests.gpu PART WORK_DIR` prints JSON last.

Each function returns checks: by name what was expected and what was seen. The checks of processes and memory that are
left are those of the process that starts these.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.fakes.models import Models
from tests.gpu.volume import CHECKPOINTS
from utils.stages.credentials import ModelServer
from utils.stages.evaluation.final_eval import Comparison, compare
from utils.stages.evaluation.judging import eval_workers
from utils.stages.evaluation.mt_bench import CheckpointScoring, score_checkpoints
from utils.stages.evaluation.serving import MOST_TOKENS, gpus_held, serve
from utils.stages.in_flight import InFlight
from utils.stages.marker import read_marker
from utils.stages.sdg.formats import Formats, cards_of
from utils.stages.sdg.stage import Generation, generate
from utils.stages.sdg.teacher import Teacher

Seen = dict[str, tuple[Any, Any]]
"""Of each check what was expected and what was seen."""
NAME = "Llama-3.1-8B-Instruct"
"""The folder of the teacher: vLLM lists it as `root`, and it says in which format SDG asks."""


def teacher(work: Path) -> Seen:
    """SDG with a served model as its teacher, plain completions and then chats; and what SDG reads of the server."""
    model = work / "teacher" / NAME
    model.parent.mkdir()
    model.symlink_to(work / "volume/model")
    with serve(str(model), "teacher", "vllm", str(model.parent), 64) as server, peaks() as most:
        secret = write_secret(model.parent / "secret", server.url, "teacher")
        listing = Teacher(ModelServer(server.url, "teacher"), model).models()
        card, read = cards_of(listing)["teacher"], Formats("auto", "teacher", cards_of(listing)).of("teacher")
        samples = {family: generated(work, family, secret) for family in ("auto", "chat")}
        log = Path(server.log).read_text()
    return {
        "longest request in /v1/models": (MOST_TOKENS, card["max_model_len"]),
        "format by its root": ("llama", read[0]),
        "samples of 10 seed examples, two each": ({"auto": 20, "chat": 20}, samples),
        "plain completions and chats": (True, '"POST /v1/completions' in log and '"POST /v1/chat/completions' in log),
        "several requests at a time": (True, max(most.values()) > 1),
    }


def generated(work: Path, family: str, secret: str) -> float:
    """The number of samples that SDG makes with the teacher asked in the format of this family."""
    volume = work / f"sdg-{family}"
    volume.mkdir()
    for name in ("model", "taxonomy"):
        (volume / name).symlink_to(work / "volume" / name)
    steps = pipeline(volume / "pipeline")
    return generate(Generation(str(volume), secret, "", steps, family, 3, 1.0, 4, 8, "", 0, False))["generated_samples"]


def pipeline(folder: Path) -> str:
    """An SDG pipeline that takes whatever a random model says: a router's one token, two questions, their answers."""
    folder.mkdir()
    prompt = {"system": "", "introduction": "Say", "principles": "", "examples": "", "generation": "{{seed_question}}"}
    (folder / "prompt.yaml").write_text(yaml.safe_dump({**prompt, "start_tags": [""], "end_tags": [""]}))
    begun = {"extra_body": {"min_tokens": 8}}
    asked: dict[str, dict[str, Any]] = {
        "word": {"max_tokens": 1, "extra_body": {"allowed_token_ids": [300]}},
        # vLLM refuses several greedy texts; a random model may end its text with the first token.
        "question": {"max_tokens": 128, "n": 2, "temperature": 0.7, **begun},
        "response": {"max_tokens": 512, **begun},
    }
    blocks = [
        {
            **{"name": column, "type": "LLMBlock"},
            "config": {"config_path": "prompt.yaml", "output_cols": [column], "gen_kwargs": options},
        }
        for column, options in asked.items()
    ]
    for name in ("knowledge", "grounded_skills", "freeform_skills"):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"version": "1.0", "blocks": blocks}))
    return str(folder)


def write_secret(folder: Path, endpoint: str, model: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for key, value in (("endpoint", endpoint), ("model_name", model)):
        (folder / key).write_text(value)
    return str(folder)


@contextmanager
def peaks() -> Iterator[dict[str, int]]:
    """The most requests in flight by server, counted while the block runs."""
    most, count = dict[str, int](), InFlight._count

    def counted(self: InFlight, change: int) -> None:
        count(self, change)
        most[self.server] = max(most.get(self.server, 0), self.now)

    InFlight._count = counted  # type: ignore[method-assign]
    yield most
    InFlight._count = count  # type: ignore[method-assign]


@contextmanager
def judged(volume: Path, **changes: Any) -> Iterator[dict[str, Any]]:
    """The parameters of both evaluations, with their defaults, and a judge on loopback."""
    judge = Models(lambda body: "A good answer. Rating: [[7]]")
    secret = write_secret(volume.parent / "judge", judge.url, "judge")
    try:
        yield {
            **{"data_dir": str(volume), "judge_secret_dir": secret, "ca_file": "", "engine": "vllm"},
            **{"max_workers": "auto", "merge_system_user_message": False, "max_questions": 0, "answer_options": {}},
            **{"judge_options": {}, "force": False, "max_error_rate": 0.25, "server_arguments": []},
            **changes,
        }
    finally:
        judge.stop()


def mt_bench(work: Path) -> Seen:
    """MT-Bench of both checkpoints: 80 questions, two turns. A random model seldom ends its answer by itself."""
    volume = work / "volume"
    with judged(volume, answer_options={"max_tokens": 256}) as given, peaks() as most:
        started = time.monotonic()
        score_checkpoints(CheckpointScoring(**given, audit=4))
        took = time.monotonic() - started
    print(f"mt_bench: 320 answers of two models in {took:.1f} s, with two starts", flush=True)
    scores = json.loads((volume / "scores/mt_bench.json").read_text())
    judge = Path(given["judge_secret_dir"], "endpoint").read_text() + "/v1"
    flying = max(most[server] for server in most if server != judge)
    return {
        "checkpoints": (CHECKPOINTS, [one["model"] for one in scores["checkpoints"]]),
        "share without answer or rating": ([0, 0], [one["error_rate"] for one in scores["checkpoints"]]),
        "ratings": ([160, 160], [len(one["qa_scores"]) for one in scores["checkpoints"]]),
        "requests in flight": (eval_workers("auto", gpus_held("vllm")), flying),
        "GPUs in the marker": (gpus_held("vllm"), read_marker(str(volume), "mt_bench").get("gpus", 0)),
    }


def final_eval(work: Path) -> Seen:
    """Candidate and base: served for MT-Bench-branch, then in this process for MMLU-branch and likelihood."""
    volume = work / "volume"
    more: dict[str, Any] = {"few_shots": 2, "batch_size": "auto", "mmlu_tasks": [], "eval_tasks": []}
    store: dict[str, Any] = {"store_secret_dir": "", "data_key": "", "reuse_base": False}
    with judged(volume) as given:
        compare(Comparison(**given, **more, **store))
    scores = {path.stem: json.loads(path.read_text()) for path in (volume / "scores").glob("*.json")}
    likelihood, names = scores["likelihood"], ("mt_bench_branch", "mmlu_branch", "likelihood")
    return {
        "questions": (
            [10, 16, 8],
            [scores[name]["questions"] for name in names],
        ),
        "share without rating": (0, scores["mt_bench_branch"]["error_rate"]),
        "random models foresee nothing": (True, 8 < likelihood["nll"] < 12 and 8 < likelihood["base_nll"] < 12),
        "answers shown": (6, len(likelihood["samples"])),
        "memory that stays allocated": (True, allocated() < 64 << 20),
    }


def allocated() -> int:
    """Bytes of GPU memory that tensors of this process hold, once what nothing refers to is freed."""
    import gc

    import torch

    gc.collect()
    return int(torch.cuda.memory_allocated()) if torch.cuda.is_available() else 0


def other_volume(work: Path, name: str) -> Path:
    """A volume with the same models, on which nothing has been evaluated."""
    volume = work / name
    shutil.copytree(work / "volume/done", volume / "done", ignore=lambda _, names: {"mt_bench.json", "final_eval.json"})
    for folder in ("model", "phase_2"):
        (volume / folder).symlink_to(work / "volume" / folder)
    return volume


EAGER = "--enforce-eager"
"""Starts sooner, without what makes vLLM faster later."""


def refused(volume: Path, *arguments: str) -> str:
    """The failure of a stage whose server does not start with these arguments."""
    with judged(volume, server_arguments=[*arguments]) as given:
        try:
            score_checkpoints(CheckpointScoring(**given, audit=0))
        except SystemExit as error:
            print(error, flush=True)
            return str(error)
    return ""


def unknown_argument(work: Path) -> Seen:
    """A flag that vLLM does not know."""
    said = refused(other_volume(work, "unknown"), "--no-such-flag")
    return {
        "cause": (True, "unrecognized arguments: --no-such-flag" in said),
        "remedy": (True, "next: start a run with other eval_server_arguments" in said),
    }


def no_memory(work: Path) -> Seen:
    """A share of the GPU's memory in which the model has no room."""
    said = refused(other_volume(work, "no_memory"), EAGER, "--gpu-memory-utilization", "0.001")
    return {
        "cause": (True, "vailable memory" in said or "KV cache" in said),
        "remedy": (True, "GPU" in said.partition("next: ")[2]),
    }


def stopped(work: Path) -> Seen:
    """MT-Bench of other checkpoints, until somebody stops this process."""
    with judged(other_volume(work, "stopped"), server_arguments=[EAGER]) as given:
        score_checkpoints(CheckpointScoring(**given, audit=0))
    return {"it was stopped": (True, False)}

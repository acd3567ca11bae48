"""The trainings that `tests.bench.gpu` measures: on what, how they run, and what they left."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench.bare import bare_command
from tests.bench.gpu_figures import Shape, logged_steps, tokens_per_second
from tests.e2e.volume import leave_skills, options
from utils.stages.marker import size_of
from utils.stages.programs import end_group, start_group
from utils.stages.train.folder import checkpoints_of, training_steps
from utils.stages.train.process import ProcessLauncher
from utils.stages.train.stage import TrainingPhase, train
from utils.stages.train.trainer import METADATA, whole_states

GIB = 1 << 30
METRICS = "training_params_and_metrics_global0.jsonl"
GRACE = 60
"""Seconds that a training has to save its state when it is stopped."""


@dataclass(frozen=True)
class Size:
    """Models, tokens of the shortest and the longest sample, samples of a step, and tokens of a micro-batch."""

    llama: Shape
    granite: Shape
    shortest: int
    longest: int
    batch: int
    max_batch_len: int
    steps: int


@dataclass(frozen=True)
class Measured:
    """See `tests.bench.gpu`; `note` is printed below the row."""

    speed: float | None
    peak: float | None
    first: float
    saved: float
    checkpoint: int
    losses: list[float]
    note: str = ""


class CardMemory(threading.Thread):
    """Samples the memory in use on the fullest GPU, until the `with` ends; `peak` in GiB, None if nothing tells it."""

    def __init__(self, known: bool) -> None:
        super().__init__(daemon=True)
        self.ended, self.known = threading.Event(), known
        self.peak: float | None = None

    def run(self) -> None:
        while self.known and not self.ended.wait(0.3):
            self.peak = max([self.peak or 0.0, *(int(used) / 1024 for used in query_cards("memory.used"))])

    def __enter__(self) -> "CardMemory":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()


def query_cards(names: str) -> list[str]:
    """What nvidia-smi says of each GPU."""
    command = ["nvidia-smi", f"--query-gpu={names}", "--format=csv,noheader,nounits"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.splitlines()


def make_model(folder: Path, shape: Shape) -> None:
    """A model of random bfloat16 weights, and a tokenizer: the samples are tokens already."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    words = {token: number for number, token in enumerate(special.values())}
    ids = {f"{name}_id": words[token] for name, token in special.items() if name != "unk_token"}
    config = AutoConfig.for_model(**asdict(shape), **ids)
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<unk>")), **special
    )
    tokenizer.chat_template = "{{ messages }}"
    tokenizer.save_pretrained(folder)


def samples(size: Size, shape: Shape, steps: int) -> Iterator[dict[str, Any]]:
    draw = random.Random(1)
    for _ in range(steps * size.batch):
        tokens = draw.choices(range(4, shape.vocab_size), k=draw.randint(size.shortest, size.longest))
        yield {"input_ids": tokens, "labels": [-100, *tokens[1:]], "len": len(tokens)}


def volume(folder: Path, model: Path, rows: list[dict[str, Any]], size: Size, changes: dict[str, Any]) -> TrainingPhase:
    folder.mkdir()
    (folder / "model").symlink_to(model)
    leave_skills(folder, rows)
    sizes = {"effective_batch_size": size.batch, "max_batch_len": size.max_batch_len, "max_seq_len": size.longest}
    other = {"num_epochs": 1, "num_workers": 1, "learning_rate": 2e-5, "run_id": "bench"}
    return TrainingPhase(**{**options(folder), **sizes, **other, **changes})


def bare(given: TrainingPhase, rows: int, seconds: int) -> None:
    """Train with the library's program as it is.

    Raises:
        subprocess.SubprocessError: it failed, or took longer.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(os.cpu_count()), "TQDM_DISABLE": "1"}
    process = start_group(bare_command(given, rows), env=environment, stdout=sys.stdout)
    try:
        if code := process.wait(seconds):
            raise subprocess.CalledProcessError(code, "torchrun")
    finally:
        end_group(process, 5)


def ours(given: TrainingPhase, seconds: int) -> None:
    train(given, ProcessLauncher(given.output, seconds, GRACE), f"{given.data_dir}/manifest.json")


def preempted(given: TrainingPhase, stop: int, seconds: int) -> str:
    """Train, but SIGTERM comes after `stop` steps; then train again, to the end. Returns what that cost.

    Raises:
        SystemExit: training failed.
        ValueError: it was not stopped, or did not save its state.
    """
    sent, over = list[float](), threading.Event()

    def send() -> None:
        while not over.wait(0.02):
            if len(training_steps(given.output)) >= stop:
                sent.append(time.time())
                os.kill(os.getpid(), signal.SIGTERM)
                return

    threading.Thread(target=send, daemon=True).start()
    try:
        ours(given, seconds)
    except KeyboardInterrupt:  # what the launcher makes of SIGTERM
        ended = time.time()
    finally:
        over.set()
    states = whole_states(given.output)
    if not sent or not states:
        raise ValueError("the training was not stopped, or saved no state")
    saved, size, again = Path(states[-1], METADATA).stat().st_mtime, size_of(states[-1]), time.time()
    ours(given, seconds)
    after = next(step.time for step in logged_steps(Path(given.output, METRICS).read_text()) if step.time > again)
    return (
        f"  SIGTERM after step {stop}: a state of {size / GIB:.2f} GiB was saved after {saved - sent[0]:.1f} s, and "
        f"training ended after {ended - sent[0]:.1f} s\n"
        f"  started again: its next step ended after {after - again:.1f} s"
    )


def figures(given: TrainingPhase, started: float, peak: float | None, gpus: int, note: str) -> Measured:
    """What a training left; one with a note was stopped, and has no speed."""
    steps = logged_steps(Path(given.output, METRICS).read_text())
    checkpoint = Path(checkpoints_of(given.output)[-1])
    written = max(path.stat().st_mtime for path in checkpoint.rglob("*"))
    return Measured(
        speed=None if note else tokens_per_second(steps) / max(1, gpus),
        peak=peak,
        first=steps[0].time - started,
        saved=written - steps[-1].time,
        checkpoint=size_of(str(checkpoint)),
        losses=[step.loss for step in training_steps(given.output)],
        note=note,
    )

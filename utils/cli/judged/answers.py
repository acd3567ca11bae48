"""The answers of a run that its judge rated, from its report: what people and other judges are given to rate."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from utils.cli.reports import Report
from utils.errors import IlabError, UsageError
from utils.foreign_text import SHAPE_ERRORS
from utils.stages.data_processing.held_out import short_hash

NAMES = {"mt_bench_branch": "MT-Bench-branch", "mt_bench": "MT-Bench"}
"""The measures that a judge rates, the one that compares candidate and base first."""
_REFERENCE = re.compile(r"The Start of Reference Answer(?:]|\|>)\n+(.*?)\n+(?:\[|<\|)The End of Reference", re.DOTALL)


@dataclass(frozen=True)
class Judged:
    """One answer with the judge's rating.

    Attributes:
        id: a hash that does not show the model.
        measure: mt_bench_branch or mt_bench; model: candidate or base.
        question: its id in the measure; leaf: of the taxonomy, "" for none.
        asked: the question, with the conversation before it; reference: "" for none.
        prompt: what the judge was asked; "" in reports of earlier versions.
        rating: the judge's, 1 to 10.
    """

    id: str
    measure: str
    model: str
    question: str
    leaf: str
    asked: str
    answer: str
    reference: str
    prompt: str
    rating: float


def judged_answers(report: Report) -> list[Judged]:
    """The rated answers of candidate and base model, MT-Bench-branch first.

    Raises:
        UsageError: the report has none.
        IlabError: it does not have the shape of a report's.
    """
    try:
        found = [*_found(str(report.facts.get("run_id") or report.name), report.facts["scores"])]
    except SHAPE_ERRORS as error:
        raise IlabError(f"the answers in {report.address} can't be read", repr(error), "name another run") from None
    if not found:
        raise UsageError(
            f"{report.name} has no rated answers",
            "no judge rated any, or an earlier version made the report, which kept none",
            "name a run whose evaluation has finished",
        )
    return found


def _found(run_id: str, scores: dict[str, Any]) -> Iterator[Judged]:
    branch, bench = scores.get("mt_bench_branch") or {}, scores.get("mt_bench") or {}
    for model, entry in (("candidate", "qa_scores"), ("base", "base_qa_scores")):
        for one in branch.get(entry) or []:
            yield _judged(run_id, "mt_bench_branch", model, one)
    for checkpoint in bench.get("checkpoints") or []:
        if checkpoint["model"] == bench["candidate"]:
            for one in checkpoint["qa_scores"]:
                if "answer" in one and "turn" in one:
                    yield _judged(run_id, "mt_bench", "candidate", one)


def _judged(run_id: str, measure: str, model: str, entry: dict[str, Any]) -> Judged:
    question, turn, rating = str(entry["question_id"]), int(entry.get("turn", 1)), float(entry["score"])
    questions, answers = list(entry["question"])[:turn], list(entry["answer"][0]["turns"])[:turn]
    if not (len(questions) == len(answers) == turn and 1 <= rating <= 10):
        raise ValueError(f"question {question}, turn {turn}")
    earlier = zip(questions[:-1], answers[:-1], strict=True)
    before = "".join(f"{asked}\n\n[answer]\n{said}\n\n[next question]\n" for asked, said in earlier)
    prompt = str(entry.get("prompt", ""))
    reference = _REFERENCE.search(prompt)
    return Judged(
        short_hash(f"{run_id}/{measure}/{model}/{question}/{turn}"),
        measure,
        model,
        question,
        str(entry.get("qna_file", "")),
        before + str(questions[-1]),
        str(answers[-1]),
        reference[1].strip() if reference else "",
        prompt,
        rating,
    )


def sampled(answers: Sequence[Judged], measure: str, number: int, seed: int) -> list[Judged]:
    """About that many answers of a measure, of questions drawn at random: all answers of each, side by side.

    The answers of a question are in random order, so that their place does not tell the model. Whoever rates from the
    first line on can stop anywhere: what is rated is drawn at random, too.
    """
    random, questions = Random(seed), defaultdict[str, list[Judged]](list)
    for answer in answers:
        if answer.measure == measure:
            questions[answer.question].append(answer)
    found: list[Judged] = []
    for question in random.sample(sorted(questions), len(questions)):
        of = questions[question]
        # The two turns of a conversation stay in their order.
        found += random.sample(of, len(of)) if measure == "mt_bench_branch" else of
        if len(found) >= number:
            break
    return found

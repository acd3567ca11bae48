"""Two runs side by side, from their reports: what differs in what they were given, and in what came of it.

Where both were asked the same questions, the difference is that of pairs, with an interval and a word that says whether
it may be chance (utils.stages.evaluation.statistics).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from utils.cli.reports import Report
from utils.errors import IlabError
from utils.foreign_text import SHAPE_ERRORS
from utils.stages.evaluation.statistics import Answered, Difference, compared
from utils.stages.evaluation.verdict import kinds_of
from utils.stages.marker import from_record
from utils.stages.report.facts import measures_of

JUDGED = ("mt_bench", "mt_bench_branch")


@dataclass(frozen=True)
class Scored:
    """A measure in two runs: the score of each run's candidate.

    Attributes:
        first, second: None where the run has no such score.
        questions: asked in the first, in the second, and the same in both.
        difference: the second minus the first, of the questions that are the same; None without any.
        note: why there is no difference, or what limits it; "" for nothing.
        what: a line that says what is measured.
        lower_is_better: of the scores.
    """

    key: str
    name: str
    digits: int
    first: float | None
    second: float | None
    questions: tuple[int, int, int]
    difference: Difference | None
    note: str
    what: str
    lower_is_better: bool


@dataclass(frozen=True)
class Changed:
    """What the two runs were given differently; "" where one was not given it."""

    name: str
    first: str
    second: str


def compare_scores(first: Report, second: Report, confidence: float) -> list[Scored]:
    """Each measure that one of them has.

    Raises:
        IlabError: a report does not have the shape of one.
    """
    found = []
    both = {**second.facts["scores"], **first.facts["scores"]}
    kinds = [kinds_of(scores) for scores in (both, {**both, **second.facts["scores"]})]
    for key, name, entry, digits, what in measures_of(both):
        sides = [_side(report, key, entry) for report in (first, second)]
        if all(score is None for score, _, _ in sides):
            continue
        (old, answers, judge), (new, others, other) = sides
        pairs, left = paired(answers, others)
        counts = len(answers), len(others), len(pairs)
        note = f"{left} of the same questions have other tokens" if left else ""
        if None in (old, new):
            pairs, note = [], f"not measured in {(first if old is None else second).name}"
        elif judge != other:
            pairs, note = [], f"{'judged' if key in JUDGED else 'measured'} by {judge} and {other}"
        elif not pairs:
            note = note or ("no question is the same" if answers and others else "the answers were not kept")
        lower, exact = ([kind.get(key, (False, False))[n] for kind in kinds] for n in (0, 1))
        difference = compared(pairs, confidence, lower[0], all(exact)) if pairs else None
        found.append(Scored(key, name, digits, old, new, counts, difference, note, what, lower[0]))
    return found


def _side(report: Report, key: str, entry: str) -> tuple[float | None, dict[tuple[str, str], Answered], str]:
    """Score of the candidate, its answers by leaf and question, and the judge, or the metric of a task."""
    score = report.facts["scores"].get(key) or {}
    try:
        if key == "mt_bench":
            chosen = [one for one in score.get("checkpoints", []) if one["model"] == score["candidate"]]
            rated = chosen[0] if chosen else {}
            answers = [
                # What is drawn is a question: its two turns are one conversation.
                Answered(f"{one['question_id']}, turn {one['turn']}", "", None, one["score"], 1.0, one["question_id"])
                for one in rated.get("qa_scores", [])
                if "turn" in one
            ]
            value = rated.get(entry)
        else:
            answers = [from_record(Answered, one) for one in score.get("answers", [])]
            value = score.get(entry)
        known = {(one.leaf, one.question): one for one in answers if one.candidate is not None}
        by = score.get("judge_model" if key in JUDGED else "metric", "")
        return None if value is None else float(value), known, str(by)
    except SHAPE_ERRORS as error:
        raise IlabError(f"the scores in {report.address} can't be read", f"{key}: {error!r}") from None


def paired(
    first: Mapping[tuple[str, str], Answered], second: Mapping[tuple[str, str], Answered]
) -> tuple[list[Answered], int]:
    """Answers of two candidates to the same questions, the first as base; and how many were left out.

    A question counts as another one where the reference answer has other tokens: with other weights, the sums of their
    likelihoods can't be compared.
    """
    same = [(first[key], second[key]) for key in first if key in second]
    pairs = [
        Answered(one.question, one.leaf, one.candidate, other.candidate, one.weight, one.document)
        for one, other in same
        if one.weight == other.weight
    ]
    return pairs, len(same) - len(pairs)


def compare_given(first: Report, second: Report) -> list[Changed]:
    """What differs: parameters of the pipeline if they are known of both, else what the stages were given; versions."""
    if first.parameters and second.parameters:
        sides = [dict(report.parameters) for report in (first, second)]
    else:
        sides = [_stage_inputs(report) for report in (first, second)]
    for side, report in zip(sides, (first, second), strict=True):
        versions = report.facts.get("versions") or {}
        side |= {f"version of {name}": ", ".join(map(str, found)) for name, found in versions.items()}
        side |= {"code": report.facts.get("code") or "", **_origin(report)}
    names = sorted({*sides[0], *sides[1]})
    changed = [Changed(name, *(_text(side.get(name)) for side in sides)) for name in names]
    return [one for one in changed if one.first != one.second]


def _stage_inputs(report: Report) -> dict[str, Any]:
    """Of each stage what it was given, by `stage.name`."""
    stages = report.facts["done"].items()
    return {
        f"{stage}.{name}": value
        for stage, marker in stages
        for name, value in marker.get("inputs", {}).items()
        if name != "upstream"
    }


def _origin(report: Report) -> dict[str, Any]:
    """What the run worked on, beside its parameters."""
    result = {stage: marker.get("result") or {} for stage, marker in report.facts["done"].items()}
    imported, generated = result.get("data_import", {}), result.get("sdg", {})
    return {
        "sha256 of the archive": imported.get("sha256"),
        "commit of the taxonomy": imported.get("taxonomy_commit"),
        "generated samples": generated.get("samples"),
    }


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else str(value)


def score_rows(scores: Sequence[Scored], confidence: float) -> list[list[str]]:
    """The rows of a table of scores, its heading first."""
    rows = [["measure", "first", "second", f"change ({confidence:.0%})", "same questions"]]
    for one in scores:
        old, new = ("–" if score is None else f"{score:.{one.digits}f}" for score in (one.first, one.second))
        change = "–"
        if (found := one.difference) and found.change is not None:
            change = f"{found.change:+.{one.digits}f}"
            if found.low is not None and found.high is not None:
                change += f" ({found.low:+.{one.digits}f} to {found.high:+.{one.digits}f})"
        rows.append([one.name, old, new, change, str(one.questions[2]) if one.difference else "–"])
    return rows


def verdict_line(one: Scored) -> str:
    """What is said of a measure's change, or why nothing is."""
    return "; ".join(filter(None, [one.difference.said if one.difference else "", one.note]))

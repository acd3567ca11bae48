"""The page of `ilab-pipeline compare`."""

from collections.abc import Sequence
from typing import Any

from utils.cli.comparison import Changed, Scored
from utils.cli.pages.page import MARKS, Bar, page, scaled
from utils.cli.reports import Report
from utils.stages.evaluation.statistics import BETTER, SAME, WORSE
from utils.stages.report.text import listed


def compare_page(runs: Sequence[Report], scores: Sequence[Scored], given: Sequence[Changed], confidence: float) -> str:
    """HTML of two runs side by side."""
    values = {
        "runs": runs,
        "scores": scores,
        "given": given,
        "confidence": confidence,
        "headline": headline(runs, scores),
        "marks": MARKS,
        "chart": _chart(scores),
    }
    return page("compare", values)


def headline(runs: Sequence[Report], scores: Sequence[Scored]) -> str:
    """What became of the second run's candidate, by measure."""
    said: list[str] = []
    for word, than in ((BETTER, "than"), (WORSE, "than"), (SAME, "from")):
        if names := listed([one.name for one in scores if one.difference and one.difference.word == word]):
            said.append(f"{word} on {names}" if said else f"is {word} {than} that of {runs[0].name} on {names}")
    return f"The candidate of {runs[1].name} {'; '.join(said) or f'can not be compared with that of {runs[0].name}'}"


def _chart(scores: Sequence[Scored]) -> dict[str, Any]:
    """Better is on the right, whether that is a larger or a smaller number."""
    bars, told = [], []
    for one in scores:
        found = one.difference
        if not found or found.change is None:
            continue
        lower = one.lower_is_better
        low, high = (found.low, found.high) if not lower else (_negative(found.high), _negative(found.low))
        bars.append(Bar(one.name, -found.change if lower else found.change, low, high))
        ends = f" ({found.low:.3f} to {found.high:.3f})" if found.low is not None and found.high is not None else ""
        told.append(f"{one.name}: {found.change:.3f}{ends}, {found.said}")
    return {**scaled(bars, 0.0), "told": told}


def _negative(value: float | None) -> float | None:
    return None if value is None else -value

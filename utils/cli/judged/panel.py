"""Several judges side by side: each one's scores of both models, and how far they agree."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from utils.cli.judged.agreement import Agreement, agreement
from utils.cli.judged.answers import NAMES, Judged
from utils.cli.judged.others import Rater
from utils.stages.evaluation.statistics import Answered, Difference, compared


@dataclass(frozen=True)
class Row:
    """A judge's scores: mean ratings of the models, and what their difference says; None without a base.

    Attributes:
        unrated: number of the measure's answers that it did not rate.
    """

    judge: str
    base: float | None
    candidate: float | None
    difference: Difference | None
    unrated: int


@dataclass(frozen=True)
class Panel:
    """The judges of a measure. ordinal, interval: their agreement on single answers."""

    measure: str
    name: str
    rows: list[Row]
    ordinal: Agreement
    interval: Agreement

    @property
    def words(self) -> set[str]:
        """What the judges say of the candidate."""
        return {row.difference.word for row in self.rows if row.difference}


def panels(answers: Iterable[Judged], raters: Sequence[Rater], confidence: float) -> list[Panel]:
    """Each measure that the run's judge rated. raters: the run's judge first."""
    measures = [name for name in NAMES if any(one.measure == name for one in answers)]
    return [_panel(name, list(answers), raters, confidence) for name in measures]


def _panel(measure: str, answers: Sequence[Judged], raters: Sequence[Rater], confidence: float) -> Panel:
    asked = [one for one in answers if one.measure == measure]
    ratings = defaultdict[str, list[float]](list)
    for rater in raters:
        for one in rater.answers:
            ratings[one.id].append(one.rating)
    units, questions = [ratings[one.id] for one in asked], [one.question for one in asked]
    return Panel(
        measure,
        NAMES[measure],
        [_row(rater, measure, len(asked), confidence) for rater in raters],
        agreement(units, "ordinal", confidence, questions),
        agreement(units, "interval", confidence, questions),
    )


def _row(rater: Rater, measure: str, asked: int, confidence: float) -> Row:
    """The judge's scores are of the questions that it rated for both models."""
    found = [one for one in rater.answers if one.measure == measure]
    sides = {model: {one.question: one for one in found if one.model == model} for model in ("base", "candidate")}
    base, candidate = sides["base"], sides["candidate"]
    if not base:
        mean = fmean(one.rating for one in found) if found else None
        return Row(rater.name, None, mean, None, asked - len(found))
    both = [
        Answered(name, base[name].leaf, base[name].rating, candidate[name].rating)
        for name in sorted(base.keys() & candidate.keys())
    ]
    if not both:
        return Row(rater.name, None, None, None, asked - len(found))
    means = fmean(one.base or 0 for one in both), fmean(one.candidate or 0 for one in both)
    return Row(rater.name, *means, compared(both, confidence), asked - len(found))

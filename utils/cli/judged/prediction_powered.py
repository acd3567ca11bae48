"""The mean rating that people would give, from few ratings of people and many of a judge. Pure functions.

Sources:

- Prediction-powered inference: Angelopoulos, Bates, Fannjiang, Jordan and Zrnic, "Prediction-powered inference",
  Science 382 (2023), arXiv:2301.09633.
- Its weight, PPI++: Angelopoulos, Duchi and Zrnic, "PPI++: Efficient Prediction-Powered Inference" (2023),
  arXiv:2311.01453, section 6 (power tuning), for the mean; and the authors' ppi_py, `ppi_mean_ci`.
- Sums of clusters in place of single errors: Cameron and Miller, "A Practitioner's Guide to Cluster-Robust Inference",
  J. Human Resources 50 (2015). Degrees of freedom of a sum of variances: Satterthwaite, Biometrics Bulletin 2 (1946).
- Skewed errors: Hall, see utils.stages.evaluation.statistics.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, variance

from utils.stages.evaluation.statistics import (
    effective,
    skewed,
    skewness,
    student_quantile,
)

FEWEST = 12
"""Questions rated by people for an interval: with 6 of skewed ratings, an interval of 95 percent covers 92."""
FEWEST_LEAVES = 6


@dataclass(frozen=True)
class Question:
    """What was rated by the judge, and maybe by people.

    Attributes:
        leaf: of the taxonomy; "" for none.
        judge, human: ratings, or differences of two models' ratings; human is None where people have not rated it.
    """

    leaf: str
    judge: float
    human: float | None


@dataclass(frozen=True)
class Corrected:
    """A judge's mean, and what it becomes by ratings of people.

    Attributes:
        questions: that the judge rated; rated: those of them that people rated, too.
        judge: the judge's mean over all questions.
        estimate: of the mean that people would give; None without ratings of people.
        low, high: its interval; None with too few ratings of people, or if these are all the same.
        weight: how much the judge's other ratings count, 0 to 1: 0 if they tell nothing about those of people.
        unit: whose answers count as alike: leaf, or question.
    """

    questions: int
    rated: int
    judge: float
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    weight: float = 0.0
    unit: str = "question"


def corrected(questions: Sequence[Question], confidence: float, least: float, most: float) -> Corrected:
    """The mean that people would give, by PPI++.

    With n questions that people rated (Y) and N others, judge's ratings f, and weight w:

        estimate = mean of Y - w f over the n + w * mean of f over the N
        w = cov(Y, f) / ((1 + n/N) var(f)), from 0 to 1

    Its variance is that of both means. Where w comes from the same few ratings, the first has n - 2 degrees of freedom,
    and the interval is Student's. Questions of one taxonomy leaf are alike: with at least FEWEST_LEAVES leaves, their
    errors are added up by leaf, before they are squared. A skewed sum widens the interval on its side. In simulations,
    intervals of 95 percent cover 93 to 97 (tests/cli/judged/test_prediction_powered.py).

    What people rated must have been drawn at random; `ilab-pipeline sample` does so.

    Args:
        least, most: ends of the scale, which no interval leaves.
    """
    rated = [(one.leaf, one.judge, one.human) for one in questions if one.human is not None]
    others = [(one.leaf, one.judge) for one in questions if one.human is None]
    found = Corrected(len(questions), len(rated), fmean(one.judge for one in questions))
    if not rated:
        return found
    weight = best_weight([y for _, _, y in rated], [f for _, f, _ in rated], [f for _, f in others])
    rests = [y - weight * f for _, f, y in rated]
    rest, rough = fmean(rests), weight * fmean(f for _, f in others) if others else 0.0
    found = replace(found, estimate=min(max(rest + rough, least), most), weight=weight)
    free = len(rated) - (2 if 0 < weight < 1 else 1)
    if len(rated) < FEWEST or len({y for _, _, y in rated}) == 1:
        return found
    stretch = math.sqrt(len(rated) / free) / len(rated)
    own = [(leaf, stretch * (one - rest)) for (leaf, _, _), one in zip(rated, rests, strict=True)]
    more = [(leaf, (weight * f - rough) / len(others)) for leaf, f in others]
    counts = Counter(leaf for leaf, _ in own)
    by_leaf = FEWEST_LEAVES <= len(counts) < len(own)
    errors, freedom = leaf_errors(own + more, counts) if by_leaf else question_errors(own, more, free)
    if not any(errors):
        return found
    size, skew, reach = math.hypot(*errors), skewness(errors), student_quantile(confidence, freedom)
    low = rest + rough - size * max(reach, skewed(reach, skew))
    high = rest + rough - size * min(-reach, skewed(-reach, skew))
    return replace(found, low=max(low, least), high=min(high, most), unit="leaf" if by_leaf else "question")


def leaf_errors(errors: Sequence[tuple[str, float]], rated: Mapping[str, int]) -> tuple[list[float], float]:
    """The error of each leaf, and their degrees of freedom. rated: number of questions of each that people rated."""
    sums = defaultdict[str, float](float)
    for leaf, error in errors:
        sums[leaf] += error
    freedom = effective([*rated.values()]) - 1
    return [error * math.sqrt((freedom + 1) / freedom) for error in sums.values()], freedom


def question_errors(
    own: Sequence[tuple[str, float]], more: Sequence[tuple[str, float]], free: int
) -> tuple[list[float], float]:
    """The error of each question, and their degrees of freedom. free: those of `own`, which people rated."""
    parts = [(sum(error**2 for _, error in of), n) for of, n in ((own, free), (more, max(1, len(more) - 1)))]
    uncertain = sum(part**2 / n for part, n in parts)
    return [error for _, error in [*own, *more]], sum(part for part, _ in parts) ** 2 / uncertain if uncertain else 1.0


def best_weight(human: Sequence[float], judge: Sequence[float], others: Sequence[float]) -> float:
    """PPI++'s weight of the judge's ratings, which makes the variance smallest; 0 where it can't be told.

    Args:
        human, judge: ratings of the same questions.
        others: the judge's ratings of the other questions.
    """
    every = [*judge, *others]
    if len(human) < 3 or not others or len({*every}) == 1:
        return 0.0
    centre, middle = fmean(human), fmean(judge)
    common = sum((y - centre) * (f - middle) for y, f in zip(human, judge, strict=True)) / (len(human) - 1)
    return min(max(common / ((1 + len(human) / len(others)) * variance(every)), 0.0), 1.0)

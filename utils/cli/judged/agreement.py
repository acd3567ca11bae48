"""How far raters agree: Krippendorff's alpha. Pure functions, the same result each time.

Sources:

- Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), and "Content Analysis", 4th edition (2019),
  chapter 12. At least 0.8 is reliable, below 0.667 not even for tentative conclusions.
- Its interval by drawing units: Zapf et al., "Measuring inter-rater reliability for nominal data: which coefficients
  and confidence intervals are appropriate?", BMC Medical Research Methodology 16 (2016). Here units that belong to one
  question are drawn together.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

RESAMPLES = 1000
RELIABLE, TENTATIVE = 0.8, 0.667
Level = Literal["nominal", "ordinal", "interval"]


@dataclass(frozen=True)
class Agreement:
    """Krippendorff's alpha: 1 for perfect agreement, 0 for what chance gives, below 0 for less.

    Attributes:
        units: answers that at least two raters rated.
        alpha: None where there are none, or all ratings are the same: then there is nothing to agree on.
        low, high: its interval; None with fewer than 8 questions.
    """

    units: int
    alpha: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def word(self) -> str:
        """What Krippendorff says of such an alpha."""
        if self.alpha is None:
            return "not known"
        return "reliable" if self.alpha >= RELIABLE else "tentative" if self.alpha >= TENTATIVE else "not reliable"


def agreement(
    units: Sequence[Sequence[float]], level: Level, confidence: float, questions: Sequence[Hashable] = ()
) -> Agreement:
    """Alpha of ratings, with its interval.

    Args:
        units: of each unit the ratings it has, of one rater or more.
        level: what the distance of two ratings is: of ranks (ordinal), or of numbers (interval).
        questions: of each unit what it belongs to; () if each stands alone.
    """
    import numpy as np

    kept = [(unit, of) for unit, of in zip(units, questions or range(len(units)), strict=True) if len(unit) > 1]
    if not kept:
        return Agreement(0)
    values = np.array(sorted({value for unit, _ in kept for value in unit}))
    groups = {of: number for number, of in enumerate(dict.fromkeys(of for _, of in kept))}
    table = np.zeros((len(groups), len(values), len(values)))
    for unit, of in kept:
        count = np.bincount(np.searchsorted(values, unit), minlength=len(values)).astype(float)
        table[groups[of]] += (np.outer(count, count) - np.diag(count)) / (len(unit) - 1)
    alpha = alpha_of(table.sum(axis=0), values, level)
    if alpha is None or len(groups) < 8:
        return Agreement(len(kept), alpha)
    random, flat = np.random.default_rng(0), table.reshape(len(groups), -1)
    drawn = random.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), RESAMPLES)
    found = [alpha_of((one @ flat).reshape(table.shape[1:]), values, level) for one in drawn]
    # A draw in which all ratings are the same does not disagree.
    ends = np.quantile([1.0 if one is None else one for one in found], [(1 - confidence) / 2, (1 + confidence) / 2])
    return Agreement(len(kept), alpha, float(ends[0]), float(ends[1]))


def alpha_of(coincidences: Any, values: Any, level: Level) -> float | None:
    """1 - observed / expected disagreement, of a matrix of coincidences; None where all ratings are the same.

    Args:
        coincidences: how often each pair of values met in a unit, (values, values).
        values: in ascending order.
    """
    import numpy as np

    counts = coincidences.sum(axis=0)
    if level == "ordinal":
        ranks = np.cumsum(counts) - counts / 2
        distances = (ranks[:, None] - ranks[None, :]) ** 2
    elif level == "interval":
        distances = (values[:, None] - values[None, :]) ** 2
    else:
        distances = values[:, None] != values[None, :]
    total = counts.sum()
    expected = (np.outer(counts, counts) * distances).sum() / (total - 1)
    return float(1 - (coincidences * distances).sum() / expected) if expected else None

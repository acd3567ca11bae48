"""Whether two models differ on the same questions by more than chance. Pure functions, the same result each time.

Sources:

- Pairs, and errors of answers that belong together: Miller, "Adding Error Bars to Evals" (2024), arXiv:2411.00640.
- Bootstrap, of clusters and with Student's t: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters
  6 and 12; Cameron and Miller, "A Practitioner's Guide to Cluster-Robust Inference", J. Human Resources 50 (2015).
- Effective number of clusters of unequal size: Kish, "Survey Sampling" (1965).
- Skewed differences: Hall, "On the Removal of Skewness by Transformation", J. Royal Statistical Society B 54 (1992).
- Right or wrong: McNemar, Psychometrika 12 (1947), in its exact form; Bonett and Price, "Adjusted Wald Confidence
  Interval for a Difference of Binomial Proportions Based on Paired Data", J. Educational and Behavioral Statistics 37
  (2012).
- Several tests: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian J. Statistics 6 (1979).
- Student's t by the normal distribution: Wallace, Annals of Mathematical Statistics 30 (1959).
- The best of several by the same questions: Tsamardinos et al., "Bootstrapping the out-of-sample predictions for
  efficient and accurate cross-validation", Machine Learning 107 (2018).
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from statistics import NormalDist, fmean
from typing import Any

BETTER, WORSE, SAME = "better", "worse", "not distinguishable"
RESAMPLES = 2000
"""They leave a standard error exact to 2 percent."""
POWER = 0.8
"""How probably the number of questions that is named finds a difference that is as large as it looks."""
NORMAL = NormalDist()


@dataclass(frozen=True)
class Answered:
    """A question that both models were asked: an entry of `answers` in a score file.

    Attributes:
        question: a hash, the same in each run.
        leaf: of the taxonomy, as the benchmark names it.
        base, candidate: what the answer scored: rating, 1 for right, or negative log-likelihood of all its tokens.
            None or NaN for an answer that has no score: the question is left out.
        weight: 1, or the number of tokens.
        document: a hash of what the question was made from, "" if it is not known.
    """

    question: str
    leaf: str
    base: float | None
    candidate: float | None
    weight: float = 1.0
    document: str = ""


@dataclass(frozen=True)
class Difference:
    """Candidate against base by one measure.

    Attributes:
        questions: those that have a score for both.
        change: the candidate's mean minus the base's.
        low, high: interval of the change; None where the questions are too few for one, or no answer differs.
        p: how probable so large a change is where there is none; by leaf, corrected for the number of leaves.
        word: better, worse or not distinguishable; said: the same with the number of questions that would be needed,
            or why there is none.
        needed: number of questions that would probably tell a change of this size from none; None where there is no
            change that any number could tell, or it has been told.
        unit: what was drawn for the interval: leaf, document or question.
        left_out: number of questions that have no score for one of the two.
        leaves: the same by taxonomy leaf.
    """

    questions: int = 0
    change: float | None = None
    low: float | None = None
    high: float | None = None
    p: float = 1.0
    word: str = SAME
    said: str = SAME
    needed: int | None = None
    unit: str = "question"
    left_out: int = 0
    leaves: dict[str, "Difference"] = field(default_factory=dict)


def compared(
    answers: Sequence[Answered], confidence: float, lower_is_better: bool = False, right_or_wrong: bool = False
) -> Difference:
    """The difference over all answers, and by leaf.

    With more than one leaf, a leaf's word comes from a p that Holm's procedure has corrected: with 20 leaves and no
    difference anywhere, one of them would look better or worse by chance. A leaf's interval is not corrected.

    Questions that have no score for one of the two are left out. What is left makes no candidate better that has no
    score for some: it may have failed at the hard ones. The same of the base and worse.
    """

    def worded(found: Difference, of: Sequence[Answered]) -> Difference:
        word = BETTER if ((found.change or 0) < 0) == lower_is_better else WORSE
        told = found.p < 1 - confidence
        silent = {
            "candidate": (word == BETTER or not told) and sum(not scored(one.candidate) for one in of),
            "base model": (word == WORSE or not told) and sum(not scored(one.base) for one in of),
        }
        if (told or not found.questions) and any(silent.values()):
            why = " and ".join(f"{number:,} answers of the {model}" for model, number in silent.items() if number)
            return replace(found, low=None, high=None, p=1.0, needed=None, said=f"{SAME}: {why} have no score")
        if told:
            return replace(found, word=word, said=word, needed=None)
        if found.needed:
            number = "at least" if found.low is None else "about"
            return replace(found, said=f"{SAME}: {number} {found.needed:,} questions needed")
        return replace(found, said=f"{SAME}: no answer differs") if found.questions and found.low is None else found

    leaves: dict[str, list[Answered]] = {}
    answers = [answer for answer in answers if answer.weight]  # an answer without a token has nothing to score
    for answer in answers:
        leaves.setdefault(answer.leaf, []).append(answer)
    found = {leaf: difference(of, confidence, right_or_wrong, len(leaves)) for leaf, of in sorted(leaves.items())}
    every = difference(answers, confidence, right_or_wrong) if len(leaves) != 1 else [*found.values()][0]
    corrected = holm({leaf: one.p for leaf, one in found.items()})
    by_leaf = {leaf: worded(replace(one, p=corrected[leaf]), leaves[leaf]) for leaf, one in found.items()}
    return replace(worded(every, answers), leaves=by_leaf)


def difference(answers: Sequence[Answered], confidence: float, right_or_wrong: bool, tests: int = 1) -> Difference:
    """The change with its interval and p, without a word. tests: how many there are, for the number of questions.

    The interval is Student's: the bootstrap gives the standard error of the change, whose denominator (tokens) varies
    too, and the effective number of clusters the degrees of freedom. It reaches as far as Hall's on the side to which
    the differences are skewed: a candidate that is a little better at most answers and lost at a few would look better.
    A percentile interval of 6 to 20 clusters covers 84 to 92 percent of 95, this one 93 to 97, skewed differences
    included (tests/stages/evaluation/test_statistics.py).

    p is that of the interval, or a larger one: for right or wrong, McNemar's exact one, which takes questions for
    independent; of single questions, 2^(1-n), the least that flipping the signs of n differences can give: six ratings
    that happen to be nearly equal don't outweigh twenty leaves. So better and worse need at least 6 questions at 95
    percent and have an interval that excludes zero; every other interval is stretched to include it. Ratings that are
    all equal give none: one from 0 to 0 would claim to know.
    """
    pairs = [a for a in answers if scored(a.base) and scored(a.candidate)]
    if not pairs:
        return Difference(left_out=len(answers))
    count, fewest = len(pairs), 2 + math.floor(-math.log2(1 - confidence))
    unit, gains, weights = clusters(pairs, fewest)
    change, n = sum(gains) / sum(weights), len(gains)
    error = resampled_error(gains, weights) if n > 1 else 0.0
    p, skew = 0.0, 0.0
    if unit == "question" or not error or n < fewest:
        p = 2.0 ** (1 - n) if change else 1.0
    if right_or_wrong:
        up, down = (sum(gain(a) == sign for a in pairs) for sign in (1, -1))
        p = max(p, mcnemar(up, down))
        seen, net = (up + down + 2) / (count + 2), (up - down) / (count + 2)
        error = max(error, math.sqrt((seen - net**2) / (count + 2)))
    elif error:
        skew = skewness([of - change * weight for of, weight in zip(gains, weights, strict=True)])
    freedom = max(1.0, effective(weights) - 1)
    reach = student_quantile(confidence, freedom)
    if error:
        t = change / error
        p = max(p, *(student_p(max(0.0, math.copysign(one, t * one)), freedom) for one in (t, unskewed(t, skew))))
    needed = fewest if n < fewest else None
    if abs(change) * 1000 > error > 0:
        ratio = (NORMAL.inv_cdf(1 - (1 - confidence) / 2 / tests) + NORMAL.inv_cdf(POWER)) * error / change
        needed = round_up(max(fewest, count + 1, math.ceil(count * ratio**2)))
    found = Difference(count, change, p=p, needed=needed, unit=unit, left_out=len(answers) - count)
    if n < fewest or not (change or error):
        return found
    stretch = 0.0 if p >= 1 - confidence else change
    low, high = (change - error * max(reach, skewed(reach, skew)), change - error * min(-reach, skewed(-reach, skew)))
    return replace(found, low=min(low, stretch), high=max(high, stretch))


def skewness(deviations: Sequence[float]) -> float:
    """Of a sum of them, 0 where there are none."""
    squares = sum(one**2 for one in deviations)
    return sum(one**3 for one in deviations) / squares**1.5 if squares else 0.0


def unskewed(t: float, skew: float) -> float:
    """Hall's transformation of Student's t: as if the differences were not skewed."""
    return t + skew * (t**2 / 3 + 1 / 6) + skew**2 * t**3 / 27


def skewed(t: float, skew: float) -> float:
    """The inverse of unskewed."""
    return 3 / skew * (math.cbrt(1 + skew * (t - skew / 6)) - 1) if abs(skew) > 1e-6 else t


def scored(score: float | None) -> bool:
    """Whether an answer has a score: NaN and infinity are none."""
    return score is not None and math.isfinite(score)


def round_up(number: int) -> int:
    """A number of questions with two digits that count: 1234 becomes 1300."""
    step: int = 10 ** max(0, len(str(number)) - 2)
    return -(-number // step) * step


def gain(answer: Answered) -> float:
    """The candidate's score minus the base's, of an answer that has both."""
    return (answer.candidate or 0.0) - (answer.base or 0.0)


def clusters(pairs: Sequence[Answered], fewest: int) -> tuple[str, list[float], list[float]]:
    """What is drawn for the bootstrap: leaves, else documents, else questions; the first of which there are enough.

    Answers of a leaf, or about one document, are alike: 50 of them tell less than 50 others. Too few clusters give no
    interval, nor do those of which one outweighs the others; then the leaves count as given, and what is asked is
    whether more questions of these would agree.

    Returns:
        the unit's name; sum of gains and sum of weights of each cluster.
    """
    documents = [(a.leaf, a.document or i) for i, a in enumerate(pairs)]
    coarse: dict[str, list[Any]] = {"leaf": [a.leaf for a in pairs], "document": documents}
    for unit, keys in coarse.items():
        gains, weights = defaultdict[Any, float](float), defaultdict[Any, float](float)
        for key, answer in zip(keys, pairs, strict=True):
            gains[key] += gain(answer)
            weights[key] += answer.weight
        if fewest <= len(gains) < len(pairs) and effective([*weights.values()]) >= 2:
            return unit, [*gains.values()], [*weights.values()]
    return "question", [gain(a) for a in pairs], [a.weight for a in pairs]


def effective(weights: Sequence[float]) -> float:
    """Kish's number of clusters: of equal ones their number, fewer where some outweigh the others."""
    return sum(weights) ** 2 / sum(weight**2 for weight in weights)


def resampled_error(gains: Sequence[float], weights: Sequence[float]) -> float:
    """Standard error of sum of gains / sum of weights, clusters drawn with replacement."""
    import numpy as np

    n, random = len(gains), np.random.default_rng(0)
    sums, means = np.array([gains, weights]).T, np.empty(0)
    at_once = max(1, 2**21 // n)  # 14,000 questions of MMLU would take half a GiB
    while len(means) < RESAMPLES:
        drawn = random.multinomial(n, np.full(n, 1 / n), min(at_once, RESAMPLES - len(means))) @ sums
        means = np.append(means, drawn[:, 0] / drawn[:, 1])
    return float(means.std() * math.sqrt(n / (n - 1)))


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p of McNemar's test: questions right for one model alone fall on either by a fair coin."""
    n = gained + lost
    return min(1.0, sum(math.comb(n, k) for k in range(min(gained, lost) + 1)) / 2 ** (n - 1)) if n else 1.0


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p values corrected for their number: the smallest counts for all, the next for all but one, and so on."""
    corrected, largest = {}, 0.0
    for done, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, p_values[name] * (len(p_values) - done)))
        corrected[name] = largest
    return corrected


def student_quantile(confidence: float, freedom: float) -> float:
    """Two-sided quantile of Student's t; from 4 degrees of freedom on exact to 1 percent, below too large."""
    z = NORMAL.inv_cdf((1 + confidence) / 2)
    return math.sqrt(freedom * math.expm1((z * (8 * freedom + 3) / (8 * freedom + 1)) ** 2 / freedom))


def student_p(t: float, freedom: float) -> float:
    """Two-sided p of Student's t, the inverse of student_quantile."""
    z = (8 * freedom + 1) / (8 * freedom + 3) * math.sqrt(freedom * math.log1p(t**2 / freedom))
    return 2 * NORMAL.cdf(-z)


def corrected_best(ratings: Sequence[Sequence[tuple[str, float]]]) -> float | None:
    """What the best of several models would score on other questions.

    The best by its score owes part of it to questions that happen to suit it. Here questions are drawn again and again,
    the best is chosen by them, and scored by those that were not drawn (Tsamardinos et al. 2018). A split of the
    questions would waste half of 80 on the choice. One model was not chosen: its score stands.

    Args:
        ratings: of each model, in the order of training, (question, rating); a question may have two, or none.

    Returns:
        None with fewer than two questions.
    """
    tables = [defaultdict[str, list[float]](list) for _ in ratings]
    for table, of in zip(tables, ratings, strict=True):
        for question, rating in of:
            table[question].append(rating)
    questions = sorted({question for table in tables for question in table})
    random, left = Random(0), []
    for _ in range(RESAMPLES if len(questions) > 1 else 0):
        drawn = random.choices(questions, k=len(questions))
        best = max(reversed(tables), key=lambda table: mean_rating(table, drawn))
        left.append(mean_rating(best, {*questions} - {*drawn}))
    left = [rating for rating in left if rating]
    if not left:
        return None
    most = max(mean_rating(table, questions) for table in tables)
    return most if len(tables) == 1 else min(fmean(left), most)


def mean_rating(table: Mapping[str, Sequence[float]], questions: Iterable[str]) -> float:
    """Mean over these questions; 0 where none has a rating."""
    rated = [rating for question in questions for rating in table.get(question, ())]
    return fmean(rated) if rated else 0.0

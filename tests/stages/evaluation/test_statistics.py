"""What is called better is better: coverage and false alarms by simulation, and the cases that have no answer."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from utils.stages.evaluation import statistics
from utils.stages.evaluation.statistics import (
    BETTER,
    SAME,
    WORSE,
    Answered,
    compared,
    corrected_best,
    difference,
    holm,
    mcnemar,
    resampled_error,
    student_p,
    student_quantile,
)

Random = np.random.Generator


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer draws for each of many simulated runs; the error they leave is far below what is measured."""
    monkeypatch.setattr(statistics, "RESAMPLES", 400)


def ratings(random: Random, leaf: str, effect: float, shift: float) -> Answered:
    """Whole ratings; answers of a leaf rise and fall together."""
    base = float(random.integers(1, 11))
    return Answered("q", leaf, base, base + round(1.5 * (effect + random.normal() * 0.8) + shift))


def likelihoods(random: Random, leaf: str, effect: float, shift: float) -> Answered:
    """Answers of very different lengths, whose change per token is known better the longer they are."""
    tokens = float(int(math.exp(random.normal(3, 0.7))) + 1)
    change = shift + 0.3 * effect + 0.5 * random.normal() / math.sqrt(tokens / 20)
    return Answered("q", leaf, 2 * tokens, (2 + change) * tokens, tokens)


def skewed(random: Random, leaf: str, effect: float, shift: float) -> Answered:
    """A little better at most questions, lost at a few: the mean of what is seen looks too good."""
    return Answered("q", leaf, 5.0, 5.0 + shift + effect + math.exp(0.125) - math.exp(0.5 * random.normal()))


def simulated(
    seed: int, runs: int, leaves: int, sizes: tuple[int, int], alike: float, one: Callable[..., Answered], shift: float
) -> list[tuple[list[Answered], float]]:
    """Answers of that many runs; sizes: questions of a leaf, from and below; alike: variance that a leaf shares."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(runs):
        answers = []
        for leaf in range(leaves):
            effect = random.normal() * math.sqrt(alike)
            answers += [one(random, str(leaf), effect, shift) for _ in range(random.integers(*sizes))]
        found.append((answers, shift))
    return found


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("one", [ratings, likelihoods, skewed])
@pytest.mark.parametrize(
    ("leaves", "sizes", "alike"), [(1, (10, 11), 0.0), (3, (10, 15), 0.0), (8, (9, 12), 0.3), (30, (2, 25), 0.3)]
)
def test_intervals_cover_the_truth_and_false_alarms_are_rare(
    one: Callable[..., Answered], leaves: int, sizes: tuple[int, int], alike: float
) -> None:
    runs = simulated(5, 800, leaves, sizes, alike, one, 0.0)
    found = [difference(answers, 0.95, right_or_wrong=False) for answers, _ in runs]
    covered = np.mean([d.low <= 0 <= d.high for d in found if d.low is not None and d.high is not None])
    assert 0.93 <= covered <= 0.97
    assert np.mean([d.p < 0.05 and (d.change or 0) > 0 for d in found]) <= 0.05
    assert np.mean([d.p < 0.05 and (d.change or 0) < 0 for d in found]) <= 0.05


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("shift", [0.3, -0.2])
def test_intervals_cover_a_difference_that_there_is(shift: float) -> None:
    runs = simulated(6, 500, 12, (5, 20), 0.3, likelihoods, shift)
    found = [difference(answers, 0.95, right_or_wrong=False) for answers, _ in runs]
    assert 0.93 <= np.mean([(d.low or 0) <= shift <= (d.high or 0) for d in found]) <= 0.97
    right, wrong = (BETTER, WORSE) if shift < 0 else (WORSE, BETTER)
    words = [compared(answers, 0.95, lower_is_better=True).word for answers, _ in runs[:100]]
    assert words.count(right) > 50 and wrong not in words


@pytest.mark.usefixtures("quick")
def test_questions_of_a_leaf_do_not_count_as_independent() -> None:
    """Taken one by one, they would see a difference in every second run that has none."""
    runs = simulated(7, 200, 10, (20, 21), 0.5, ratings, 0.0)
    assert np.mean([difference(answers, 0.95, right_or_wrong=False).p < 0.05 for answers, _ in runs]) < 0.08
    alone = [
        difference([Answered("q", str(i), a.base, a.candidate) for i, a in enumerate(answers)], 0.95, False)
        for answers, _ in runs
    ]
    assert np.mean([d.p < 0.05 for d in alone]) > 0.3


@pytest.mark.usefixtures("quick")
def test_leaves_of_very_different_sizes_raise_few_false_alarms() -> None:
    """One leaf may have most of the questions: they do not stand for other leaves."""
    random = np.random.default_rng(9)
    words = []
    for _ in range(300):
        answers = []
        for leaf in range(8):
            effect = random.normal() * 0.5
            size = min(int(random.pareto(1.5) * 5) + 2, 200)
            answers += [Answered("q", str(leaf), 5.0, 5.0 + effect + random.normal()) for _ in range(size)]
        words.append(compared(answers, 0.95).word)
    assert words.count(BETTER) <= 15 and words.count(WORSE) <= 15


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("questions", [6, 10])
def test_one_of_many_leaves_seldom_looks_different_where_none_is(questions: int) -> None:
    """Six ratings that happen to be nearly equal have a tiny p by Student's t, which no correction makes up for."""
    random = np.random.default_rng(10)
    alarms = 0
    for _ in range(100):
        rows = [
            Answered("q", str(leaf), 5.0, 5.0 + float(random.integers(-2, 3)))
            for leaf in range(20)
            for _ in range(questions)
        ]
        alarms += any(leaf.word != SAME for leaf in compared(rows, 0.95).leaves.values())
    assert alarms <= 5


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("gained", [0.05, 0.2, 0.4])
@pytest.mark.parametrize("questions", [8, 60])
def test_right_or_wrong_covers_and_seldom_raises_a_false_alarm(gained: float, questions: int) -> None:
    """Exact: where few answers differ it covers more than it must, never less."""
    random = np.random.default_rng(8)
    found = []
    for _ in range(400):
        kinds = random.choice(3, questions, p=[gained, gained, 1 - 2 * gained])
        answers = [Answered("q", "leaf", float(k == 1), float(k == 0)) for k in kinds]
        found.append(difference(answers, 0.95, right_or_wrong=True))
    assert np.mean([(d.low or 0) <= 0 <= (d.high or 0) for d in found]) >= 0.93
    assert np.mean([d.p < 0.05 and (d.change or 0) > 0 for d in found]) <= 0.05


def answered(*pairs: tuple[Any, Any], leaf: str = "leaf") -> list[Answered]:
    return [Answered(str(i), leaf, base, candidate) for i, (base, candidate) in enumerate(pairs)]


@pytest.mark.parametrize(
    ("pairs", "word", "change", "interval", "needed"),
    [
        ([], SAME, None, None, None),
        ([(5, 9)], SAME, 4.0, None, 6),
        ([(5, 9), (4, 9)], SAME, 4.5, None, 6),
        ([(5, 5)] * 40, SAME, 0.0, None, None),
        ([(5, 6)] * 5, SAME, 1.0, None, 6),
        ([(5, 6)] * 6, BETTER, 1.0, (1.0, 1.0), None),
        ([(5, None), (None, 5), (math.nan, 3)], SAME, None, None, None),
        ([(5, None), *[(5, 4), (5, 3)] * 5], WORSE, -1.5, (-1.88, -1.12), None),
        ([(5, math.inf), *[(5, 6), (5, 7)] * 5], SAME, 1.5, None, None),
        ([(None, 5), *[(5, 6), (5, 7)] * 5], BETTER, 1.5, (1.12, 1.88), None),
        ([(None, 5), *[(5, 4), (5, 3)] * 5], SAME, -1.5, None, None),
    ],
    ids=[
        *("none", "one", "two", "ties", "constant, too few", "constant", "no pair", "missing pair"),
        *("better by the answers it gave", "base has none", "worse by the answers that the base gave"),
    ],
)
def test_cases_without_spread_or_pairs(
    pairs: Sequence[tuple[Any, Any]], word: str, change: float | None, interval: Any, needed: int | None
) -> None:
    found = compared(answered(*pairs), 0.95)
    assert (found.word, found.change, found.needed) == (word, change, needed)
    assert (found.low, found.high) == (pytest.approx(interval, abs=0.01) if interval else (None, None))


@pytest.mark.parametrize(
    ("pairs", "lower_is_better", "said"),
    [
        ([(5, 9)], False, "at least 6 questions needed"),
        ([(5, 5)] * 40, False, "no answer differs"),
        ([(5, None), (5, math.nan), *[(5, 6), (5, 7)] * 5], False, "2 answers of the candidate have no score"),
        ([(5, math.nan)] * 9, True, "9 answers of the candidate have no score"),
        ([(None, 5), (None, None)], True, "1 answers of the candidate and 2 answers of the base model have no score"),
    ],
)
def test_reason_why_the_two_are_not_distinguishable_is_said(
    pairs: Sequence[tuple[Any, Any]], lower_is_better: bool, said: str
) -> None:
    found = compared(answered(*pairs), 0.95, lower_is_better)
    assert (found.word, found.said) == (SAME, f"{SAME}: {said}")


@pytest.mark.parametrize(("number", "rounded"), [(7, 7), (99, 99), (100, 100), (101, 110), (12345, 13000)])
def test_number_of_questions_that_is_said_has_two_digits_that_count(number: int, rounded: int) -> None:
    assert statistics.round_up(number) == rounded


def test_no_number_of_questions_is_named_for_a_change_of_nothing() -> None:
    found = compared(answered(*[(5, 5.1), (5, 4.9)] * 20), 0.95)
    assert (found.needed, found.said) == (None, SAME)


def test_answers_without_a_token_do_not_count_as_missing() -> None:
    rows = [*answered(*[(5, 6), (5, 7)] * 5), Answered("empty", "leaf", math.nan, math.nan, 0)]
    assert (compared(rows, 0.95).word, compared(rows, 0.95).left_out) == (BETTER, 0)


def test_many_questions_are_resampled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of MMLU would take half a GiB at once; the result is the same."""
    values = np.random.default_rng(3).normal(size=3000).tolist()
    asked: list[int] = []
    real = np.random.Generator.multinomial

    class Counting:
        def __init__(self, seed: int) -> None:
            self.random = np.random.Generator(np.random.PCG64(seed))

        def multinomial(self, n: int, shares: Any, size: int) -> Any:
            asked.append(n * size)
            return real(self.random, n, shares, size)

    monkeypatch.setattr(np.random, "default_rng", Counting)
    assert resampled_error(values, [1.0] * 3000) == pytest.approx(1 / math.sqrt(3000), rel=0.06)
    assert sum(asked) == 3000 * statistics.RESAMPLES and max(asked) <= 2**21


def test_result_is_the_same_each_time() -> None:
    answers = simulated(1, 1, 9, (3, 9), 0.2, likelihoods, 0.1)[0][0]
    assert compared(answers, 0.95) == compared(answers, 0.95)


@pytest.mark.parametrize(
    ("right", "word"),
    [([(0, 1)] * 8, BETTER), ([(1, 0)] * 8, WORSE), ([(0, 1)] * 5, SAME), ([(0, 1)] * 9 + [(1, 0)] * 3, SAME)],
)
def test_right_or_wrong_needs_enough_answers_that_differ(right: list[tuple[int, int]], word: str) -> None:
    found = compared(answered(*right, *[(1, 1)] * 4), 0.95, right_or_wrong=True)
    assert found.word == word
    assert (word == SAME) == ((found.low or 0) <= 0 <= (found.high or 0))


def test_more_questions_are_asked_for_when_the_difference_is_smaller() -> None:
    few = answered(*[(5, 7), (5, 4)] * 10)
    less = answered(*[(5, 6.5), (5, 4)] * 10)
    found, smaller = compared(few, 0.95), compared(less, 0.95)
    assert found.word == smaller.word == SAME
    assert 20 < (found.needed or 0) < (smaller.needed or 0)
    enough = answered(*[(5, 7), (5, 4)] * (found.needed or 0))
    assert compared(enough, 0.95).word == BETTER


def test_higher_confidence_is_harder_to_convince() -> None:
    answers = answered(*[(5, 7), (5, 6), (5, 5)] * 2)
    assert compared(answers, 0.95).word == BETTER
    assert compared(answers, 0.999).word == SAME


def test_what_is_drawn_is_the_coarsest_unit_of_which_there_are_enough() -> None:
    def unit(keys: Sequence[tuple[str, str]]) -> str:
        rows = [Answered("q", leaf, 1.0, 2.0 + i % 3, 1.0, document) for i, (leaf, document) in enumerate(keys)]
        return difference(rows, 0.95, right_or_wrong=False).unit

    assert unit([(str(i % 6), "") for i in range(30)]) == "leaf"
    assert unit([(str(i % 3), str(i % 10)) for i in range(60)]) == "document"
    assert unit([("a", "b")] * 30) == "question"
    assert unit([(str(i), "") for i in range(30)]) == "question"
    assert unit([("large", "")] * 60 + [(str(i % 6), "") for i in range(12)]) == "question"


def test_leaf_that_looks_better_by_chance_is_corrected_for_the_number_of_leaves() -> None:
    lucky = answered(*[(5, 6), (5, 7)] * 3, (5, 5), leaf="lucky")
    assert compared(lucky, 0.95).leaves["lucky"].word == BETTER
    others = [row for i in range(20) for row in answered(*[(5, 6), (5, 4)] * 4, leaf=f"leaf {i}")]
    found = compared(lucky + others, 0.95)
    assert found.leaves["lucky"].word == SAME and found.leaves["lucky"].p > 0.05
    assert len(found.leaves) == 21


def test_holm_is_the_published_procedure() -> None:
    """The p values of Holm's own scheme: 0.01·4, 0.02·3, 0.03·2, 0.04·1, never below one before."""
    assert holm({"c": 0.03, "a": 0.01, "d": 0.04, "b": 0.02}) == pytest.approx(
        {"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.06}
    )
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


@pytest.mark.parametrize(
    ("gained", "lost", "p"), [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (6, 0, 0.03125), (9, 3, 0.1460), (4, 4, 1.0)]
)
def test_mcnemar_is_exact(gained: int, lost: int, p: float) -> None:
    assert mcnemar(gained, lost) == mcnemar(lost, gained) == pytest.approx(p, abs=1e-4)


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(4, 2.7764), (5, 2.5706), (10, 2.2281), (30, 2.0423), (1000, 1.9623)]
)
def test_students_quantile_is_that_of_the_tables(freedom: int, quantile: float) -> None:
    assert student_quantile(0.95, freedom) == pytest.approx(quantile, rel=0.01)
    assert student_p(student_quantile(0.95, freedom), freedom) == pytest.approx(0.05)


def test_inverse_of_halls_transformation_gives_t_back() -> None:
    for t in (-3.0, 0.0, 0.4, 2.5):
        for skew in (-0.6, 0.0, 1e-9, 0.3):
            assert statistics.skewed(statistics.unskewed(t, skew), skew) == pytest.approx(t, abs=1e-6)


def test_interval_reaches_farther_where_the_differences_are_skewed() -> None:
    found = compared(answered(*[(5, 5.2)] * 20, (5, 2), (5, 3), (5, 5.1)), 0.95)
    assert found.low is not None and found.high is not None and found.change is not None
    assert found.change - found.low > 1.2 * (found.high - found.change)


def test_resampled_error_is_that_of_the_mean() -> None:
    values = np.random.default_rng(2).normal(size=200)
    assert resampled_error(values.tolist(), [1.0] * 200) == pytest.approx(values.std(ddof=1) / math.sqrt(200), rel=0.05)


def test_best_of_equal_checkpoints_is_not_better_for_being_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 100)
    random = np.random.default_rng(4)
    chosen, corrected = [], []
    for _ in range(60):
        table = [[(str(q), random.normal(6, 2)) for q in range(40)] for _ in range(8)]
        chosen.append(max(np.mean([rating for _, rating in of]) for of in table))
        corrected.append(corrected_best(table) or 0.0)
    assert np.mean(chosen) > 6.3
    assert abs(np.mean(corrected) - 6) < 0.15


def test_best_checkpoint_that_is_really_better_keeps_its_score() -> None:
    table = [[(q, 4.0) for q in "pqrs"], [(q, 8.0) for q in "pqrpqr"]]
    assert corrected_best(table) == pytest.approx(8.0, abs=0.1)
    assert corrected_best(table[1:]) == pytest.approx(8.0)
    assert corrected_best([[("p", 4.0)], [("p", 5.0)]]) is None
    assert corrected_best([]) is corrected_best([[]]) is None


def test_only_checkpoint_keeps_its_score_and_no_correction_raises_one() -> None:
    """A limit that the score meets exactly must not fail by the luck of the draw."""
    random = np.random.default_rng(5)
    tables = [[(str(q), float(random.integers(1, 11))) for q in range(12)] for _ in range(2)]
    means = [float(np.mean([rating for _, rating in of])) for of in tables]
    assert corrected_best(tables[:1]) == means[0]
    same = [tables[0], tables[0]]
    assert (corrected_best(same) or 0.0) <= means[0]

"""A judge against people: its bias, and what its scores become by ratings of people."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from utils.cli.judged.agreement import Agreement, agreement
from utils.cli.judged.answers import NAMES, Judged
from utils.cli.judged.prediction_powered import FEWEST, Corrected, Question, corrected
from utils.stages.evaluation.statistics import BETTER, SAME, WORSE, Answered, Difference, difference

_SCALE = 1.0, 10.0


@dataclass(frozen=True)
class Score:
    """A mean rating, or a mean difference.

    Attributes:
        bias: the judge's minus people's, of the questions that both rated, with its interval.
        mean: the judge's over all questions, and what it becomes.
    """

    bias: Difference
    mean: Corrected


@dataclass(frozen=True)
class Checked:
    """The judge's ratings of a measure, checked by people.

    Attributes:
        answers: number that people rated; left_out: questions of which people rated only some answers.
        scores: `base`, `candidate` and `change` where there are both models, else `candidate`.
        said: what the corrected change says: better, worse, not distinguishable, or why nothing; "" without a base.
        ordinal, interval: agreement of judge and people on single answers.
    """

    measure: str
    name: str
    answers: int
    left_out: int
    scores: dict[str, Score]
    said: str
    ordinal: Agreement
    interval: Agreement


def checked(answers: Iterable[Judged], ratings: Mapping[str, float], confidence: float) -> list[Checked]:
    """Each measure that people rated. ratings: by the answer's id."""
    measures = defaultdict[str, list[Judged]](list)
    for one in answers:
        measures[one.measure].append(one)
    return [
        _checked(name, measures[name], ratings, confidence)
        for name in NAMES
        if any(one.id in ratings for one in measures[name])
    ]


def _checked(measure: str, answers: Sequence[Judged], ratings: Mapping[str, float], confidence: float) -> Checked:
    questions = defaultdict[str, list[Judged]](list)
    for one in answers:
        questions[one.question].append(one)
    rated = [one for one in answers if one.id in ratings]
    whole = {name: all(one.id in ratings for one in of) for name, of in questions.items()}
    tables: dict[str, list[Question]] = defaultdict(list)
    for name, of in questions.items():
        models = {model: [one for one in of if one.model == model] for model in ("base", "candidate")}
        judge = {model: fmean(one.rating for one in found) for model, found in models.items() if found}
        human = {model: fmean(ratings[one.id] for one in models[model]) for model in judge} if whole[name] else {}
        for model, rating in judge.items():
            tables[model].append(Question(of[0].leaf, rating, human.get(model)))
        if len(judge) == 2:
            change = human["candidate"] - human["base"] if human else None
            tables["change"].append(Question(of[0].leaf, judge["candidate"] - judge["base"], change))
    least, most = _SCALE
    ends = {"change": (least - most, most - least)}
    scores: dict[str, Score] = {
        name: Score(bias(tables[name], confidence), corrected(tables[name], confidence, *ends.get(name, _SCALE)))
        for name in ("base", "candidate", "change")
        if name in tables
    }
    pairs = [(one.rating, ratings[one.id]) for one in rated], [one.question for one in rated]
    return Checked(
        measure,
        NAMES[measure],
        len(rated),
        len({one.question for one in rated if not whole[one.question]}),
        scores,
        said_of(scores["change"].mean) if "change" in scores else "",
        agreement(pairs[0], "ordinal", confidence, pairs[1]),
        agreement(pairs[0], "interval", confidence, pairs[1]),
    )


def bias(questions: Sequence[Question], confidence: float) -> Difference:
    """The judge's ratings minus those of people."""
    rated = [Answered(str(i), one.leaf, one.human, one.judge) for i, one in enumerate(questions)]
    return difference([one for one in rated if one.base is not None], confidence, right_or_wrong=False)


def said_of(change: Corrected) -> str:
    """Better, worse or not distinguishable, with a reason where there is no interval."""
    if change.low is None or change.high is None:
        few = f"an interval needs {FEWEST} questions of which all answers are rated, and has {change.rated}"
        return f"{SAME}: {few if change.rated < FEWEST else 'people see the same change in each question'}"
    return BETTER if change.low > 0 else WORSE if change.high < 0 else SAME

"""The verdict on a candidate: one object for gate, report, metrics, archive and terminal."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from utils.stages.evaluation.eval_names import PREFIX
from utils.stages.evaluation.statistics import Answered, Difference, compared
from utils.stages.marker import from_record

CONFIDENCE = 0.95
MEASURES = {
    "likelihood": (True, False),
    "mmlu_branch": (False, True),
    "mmlu": (False, True),
    "mt_bench_branch": (False, False),
}
"""Comparison, by its score file: whether lower is better, and whether an answer is right or wrong."""


def kinds_of(scores: Mapping[str, Any]) -> dict[str, tuple[bool, bool]]:
    """The same of all score files: those of `eval_tasks` say it themselves."""
    others = {name: score for name, score in scores.items() if name.startswith(PREFIX)}
    return MEASURES | {
        name: (score["lower_is_better"], score["right_or_wrong"]) for name, score in sorted(others.items())
    }


@dataclass(frozen=True)
class Verdict:
    """Candidate against base by each measure that was taken: scores/verdict.json.

    Each measure is judged by itself: of three without a difference, each has a chance of 1 - confidence to look better
    or worse.

    Attributes:
        confidence: of the intervals and of the words, 0.5 to 0.999.
        measures: by the name of the score file.
        lower_is_better: names of such measures.
    """

    confidence: float
    measures: dict[str, Difference]
    lower_is_better: list[str]

    def loss(self, measure: str) -> float | None:
        """How much worse than the base the candidate may be: the end of the interval, above 0 for a loss.

        None where there is no interval, or some answers have no score.
        """
        found = self.measures.get(measure, Difference())
        if found.low is None or found.high is None or found.left_out:
            return None
        return found.high if measure in self.lower_is_better else -found.low


def verdict_on(scores: Mapping[str, Any], confidence: float = CONFIDENCE) -> Verdict:
    """The verdict, from the pairs in the score files.

    Args:
        scores: the score files by name. Those that earlier versions wrote keep no pairs: they are not judged.
    """
    kinds = kinds_of(scores)
    return Verdict(
        confidence,
        {
            name: compared([from_record(Answered, row) for row in scores[name]["answers"]], confidence, *kind)
            for name, kind in kinds.items()
            if scores.get(name, {}).get("answers")
        },
        [name for name, (lower, _) in kinds.items() if lower],
    )

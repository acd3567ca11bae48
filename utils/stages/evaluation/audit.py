"""How far a judge can be trusted: the same answer twice, both turns of a conversation, whose family it is of.

A judge prefers answers of its own family: Panickssery, Bowman and Feng, "LLM Evaluators Recognize and Favor Their Own
Generations" (2024), arXiv:2404.13076. So a judge of the teacher's family favors what was trained on the teacher's
answers.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from threading import Lock

from utils.stages.evaluation.scores import Rated
from utils.stages.results import Audit

FAMILIES = {
    "Mistral": r"mi[sx]tral|ministral|magistral|devstral|codestral|zephyr|merlinite|prometheus(?!.*13b)",
    "Llama": r"(code-?)?llama|vicuna|tulu|prometheus.*13b",
    "Granite": "granite",
    "Qwen": r"qwen|qwq",
    "Gemma": r"gemma|gemini",
    "Phi": r"phi-?\d",
    "DeepSeek": "deepseek",
    "GPT": r"gpt-?[345o]|chatgpt",
    "Claude": "claude",
    "SmolLM": "smollm",
}
"""Models that are trained on another belong to its family: Prometheus 2 to Mistral, Merlinite too."""


class Twice:
    """Chooses which judgments of a model are asked for twice, spread evenly, and keeps their two ratings."""

    def __init__(self, wanted: int, total: int) -> None:
        """Choose `wanted` of `total` judgments."""
        self.wanted, self.total, self.seen = wanted, total, 0
        self.ratings: list[tuple[float, float]] = []
        self._lock = Lock()

    def due(self) -> bool:
        """Whether the next judgment is one of them."""
        with self._lock:
            self.seen += 1
            return self.seen * self.wanted // self.total > (self.seen - 1) * self.wanted // self.total


def audited(scores: Sequence[Rated], judge: str, teacher: str) -> Audit:
    """What the ratings of all models say about the judge.

    Args:
        teacher: its name; "" when the data were generated elsewhere.
    """
    pairs = [pair for score in scores for pair in score.twice]
    conversations = defaultdict[tuple[str, str], list[float]](list)
    for score in scores:
        for entry in score.qa_scores:
            conversations[score.model, entry["question_id"]].append(entry["score"])
    both = [ratings for ratings in conversations.values() if len(ratings) == 2]
    differences = [abs(first - second) for first, second in pairs]
    return Audit(
        len(pairs),
        sum(difference > 0 for difference in differences),
        fmean(differences) if pairs else None,
        fmean(abs(first - second) <= 1 for first, second in both) if both else None,
        never_varies(scores),
        kinship(judge, teacher),
    )


def never_varies(scores: Sequence[Rated]) -> str:
    """Why the ratings say nothing; "" where they vary, or there are not two."""
    ratings = [entry["score"] for score in scores for entry in score.qa_scores]
    if len(ratings) < 2 or len({*ratings}) > 1:
        return ""
    return f"uninformative: the judge rated all {len(ratings):,} answers {ratings[0]:g}"


def kinship(judge: str, teacher: str) -> str:
    """What the judge has in common with the teacher; "" for nothing that their names tell."""
    favor = "it may favor what was trained on the teacher's answers"
    if teacher and judge == teacher:
        return f"the judge {judge} is the teacher: {favor}"
    if shared := sorted(families(judge) & families(teacher)):
        return f"the judge {judge} and the teacher {teacher} are both of the family {shared[0]}: {favor}"
    return ""


def families(name: str) -> set[str]:
    """The families that a model's name tells; a distilled model's may be two."""
    return {family for family, words in FAMILIES.items() if re.search(rf"(?<![a-z])({words})", name.lower())}

"""Training samples that hold the words of a question of the evaluation."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from utils.stages.data_processing.similar import normal

WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]+")
"""A word; in scripts without spaces between words, a letter."""
FEWEST, COMMON = 8, 3
"""Questions of fewer words are compared by their letters alone. Words in a row that more than 3 questions have are how
such questions are put, and say nothing about one of them."""


class Overlap:
    """Questions by their words in a row (n-grams).

    13 words in a row, at least 8 where a text is shorter, are what Brown et al., "Language Models are Few-Shot
    Learners", 2020, appendix C, take for contamination; they leave out what is common, too.
    """

    def __init__(self, words: int) -> None:
        """Args: words in a row that a sample may not have of a question, 8 or more; 0: any."""
        self.words = words
        self.source: dict[str, str] = {}
        self.lengths: list[int] = []

    def add(
        self, name: str, questions: Iterable[str], among: Iterable[str] | None = None, fewest: int = FEWEST
    ) -> None:
        """Take in questions.

        Args:
            name: where they are from, for people.
            fewest: questions of fewer words are not compared.
            among: those in which wording may be common; None: the questions themselves.
        """
        asked = [*map(normal, questions)]
        times = Counter(gram for one in {*(map(normal, among) if among else asked)} for gram in self.grams(one, fewest))
        for question in asked if self.words else []:
            self.source.update((gram, name) for gram in self.grams(question, fewest) if times[gram] <= COMMON)
        self.lengths = sorted({gram.count(" ") + 1 for gram in self.source})

    def grams(self, question: str, fewest: int) -> set[str]:
        """A question's words in a row, all of its words where it has fewer; none of a short question."""
        length = min(self.words, len(WORD.findall(question)))
        return {*grams(question, length)} if length >= min(fewest, self.words) else set()

    def found_in(self, text: str) -> str:
        """Words of a question in a text, and where the question is from; "" for none."""
        text = normal(text)
        for length in self.lengths:
            for gram in grams(text, length):
                if gram in self.source:
                    return f"{self.source[gram]}: {gram}"
        return ""


def grams(text: str, length: int) -> Iterator[str]:
    """All words in a row of this length."""
    words = WORD.findall(text)
    for i in range(len(words) - length + 1):
        yield " ".join(words[i : i + length])

"""Texts that say nearly the same: MinHash finds those that may, and their letters decide.

MinHash: Broder, "On the resemblance and containment of documents", 1997. Its signatures are cut into bands: Leskovec,
Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3.4.
"""

import functools
import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LETTERS, HASHES = 5, 128
"""Letters in a row that are compared; length of a signature."""


@dataclass(frozen=True)
class Text:
    """What is compared.

    Attributes:
        parts: each must be like the other text's; as `normal` makes them.
        group: texts of different groups are never alike.
    """

    parts: tuple[str, ...]
    group: tuple[str, ...]


def text_of(parts: Sequence[str], *group: str) -> Text:
    """A text in parts. Where the numbers differ, it is another text: samples that count or calculate look alike."""
    parts = tuple(map(normal, parts))
    return Text(parts, (*group, *re.findall(r"\d+", " ".join(parts))))


def normal(text: str) -> str:
    """A text without differences in case, white space and the forms of a letter."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


@dataclass(frozen=True)
class Prepared:
    """A text with its signature and the keys of its bands."""

    text: Text
    signature: Any
    keys: list[int]


class Similar:
    """Texts, among which those are found that are like another one.

    100,000 samples of 600 letters took 30 s of one core of an AMD EPYC, and 614 MiB of memory
    (`python -m tests.bench.near_duplicates 100000`).
    """

    def __init__(self, threshold: float) -> None:
        """Args: threshold is the Jaccard index of all letters in a row, above 0, from which parts are alike."""
        self.threshold = threshold
        # As many hashes per band as find 99 in 100 of the texts at the threshold.
        self.rows = next(r for r in (16, 8, 4, 2, 1) if r == 1 or (1 - threshold**r) ** (HASHES // r) <= 0.01)
        self.texts: list[Prepared] = []
        self.bands = defaultdict[int, list[int]](list)

    def prepare(self, text: Text) -> Prepared:
        """What `find` and `add` take."""
        made = signature("\n".join(text.parts))
        bands = made.reshape(-1, self.rows)
        return Prepared(text, made, [hash((i, band.tobytes(), text.group)) for i, band in enumerate(bands)])

    def find(self, one: Prepared) -> list[int]:
        """Numbers of the texts that it is like, from 0 in the order in which they were added."""
        numbers = sorted({number for key in one.keys for number in self.bands.get(key, ())})
        # The estimate's standard error is at most 0.045: no text at the threshold is lost to it.
        near = [n for n in numbers if (self.texts[n].signature == one.signature).mean() > self.threshold - 0.2]
        return [n for n in near if alike(self.texts[n].text, one.text, self.threshold)]

    def add(self, one: Prepared) -> None:
        """Let later texts be compared with this one."""
        for key in one.keys:
            self.bands[key].append(len(self.texts))
        self.texts.append(one)


def alike(one: Text, other: Text, threshold: float) -> bool:
    """Whether the Jaccard index of each part is as high as the threshold, the length alike, and the group the same."""
    return one.group == other.group and all(
        min(map(len, pair)) >= threshold * max(map(len, pair)) and jaccard(*pair) >= threshold
        for pair in zip(one.parts, other.parts, strict=True)
    )


def jaccard(one: str, other: str) -> float:
    """The share of letters in a row that two texts have in common, 0 to 1; 1 for two that are empty."""
    import numpy

    if one == other:
        return 1.0
    first, second = letters_of(one), letters_of(other)
    common = len(numpy.intersect1d(first, second, assume_unique=True))
    return common / (len(first) + len(second) - common)


def letters_of(text: str) -> Any:
    """Hashes of all `LETTERS` letters in a row, each once: a sorted numpy array of uint64."""
    import numpy

    codes = numpy.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype("u8")
    if 0 < len(codes) < LETTERS:
        codes = numpy.pad(codes, (0, LETTERS - len(codes)))
    number = max(len(codes) - LETTERS + 1, 0)
    value = numpy.zeros(number, "u8")
    for i in range(LETTERS):  # a polynomial, modulo 2**64
        value = value * numpy.uint64(0x9E3779B97F4A7C15) + codes[i : i + number]
    value = (value ^ (value >> numpy.uint64(32))) * numpy.uint64(0xD6E8FEB86659FD93)
    return numpy.unique(value ^ (value >> numpy.uint64(32)))


def signature(text: str) -> Any:
    """The MinHash signature: `HASHES` numbers, of which two texts share about as many as their Jaccard index says."""
    import numpy

    factors, added = hash_numbers()
    letters = letters_of(text)
    if not len(letters):
        return numpy.zeros(HASHES, "u4")
    values = factors * letters
    values += added
    return (values.min(axis=1) >> numpy.uint64(32)).astype("u4")


@functools.cache
def hash_numbers() -> tuple[Any, Any]:
    """The numbers of the hash functions, the same in every process."""
    import numpy

    drawn = numpy.frombuffer(hashlib.shake_128(b"minhash").digest(16 * HASHES), "<u8").reshape(2, HASHES, 1)
    return drawn[0] | numpy.uint64(1), drawn[1]

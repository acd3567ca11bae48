"""Near duplicates: found in any order, and nothing else is taken for one."""

import random
import string

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.stages.data_processing.volumes import WORDS as NOUNS
from utils.stages.data_processing.similar import HASHES, Similar, Text, alike, jaccard, normal, signature, text_of

SEARCH = settings(
    max_examples=25, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
WORDS = st.text("abcdefghijklmnopqrstuvwxyzäöåñß漢字かな", min_size=1, max_size=9)
SENTENCES = st.lists(WORDS, min_size=12, max_size=60).map(" ".join)


def near(threshold: float, texts: list[str]) -> set[str]:
    """Those of the texts that are found to be like one before."""
    similar, found = Similar(threshold), set()
    for text in texts:
        prepared = similar.prepare(text_of([text]))
        if similar.find(prepared):
            found.add(text)
        else:
            similar.add(prepared)
    return found


@SEARCH
@given(st.text(), st.text())
def test_similarity_is_symmetric_between_0_and_1_and_1_of_a_text_with_itself(one: str, other: str) -> None:
    one, other = normal(one), normal(other)
    assert 0 <= jaccard(one, other) == jaccard(other, one) <= 1
    assert jaccard(one, one) == 1


@SEARCH
@given(SENTENCES, st.integers(0, 10**6))
def test_text_with_another_case_and_white_space_is_found(text: str, seed: int) -> None:
    drawn = random.Random(seed)
    changed = "".join(drawn.choice((c.upper(), c)) if c.isascii() else c for c in text).replace(" ", "\n  ")
    assume(changed != text)
    assert near(0.9, [text, changed]) == {changed}


@SEARCH
@given(SENTENCES)
def test_long_text_with_one_more_letter_is_found(text: str) -> None:
    text = " ".join([text] * 3)
    assume(len(normal(text)) > 60)
    assert near(0.9, [text, text + "."]) in ({text + "."}, set())
    assert alike(text_of([text]), text_of([text + "."]), 0.9) == (near(0.9, [text, text + "."]) != set())


@SEARCH
@given(st.lists(st.text(max_size=60), max_size=12), st.floats(0.5, 0.99))
def test_only_texts_that_are_alike_are_found(texts: list[str], threshold: float) -> None:
    similar, added = Similar(threshold), list[Text]()
    for text in map(text_of, ([one] for one in texts)):
        prepared = similar.prepare(text)
        for number in similar.find(prepared):
            assert alike(added[number], text, threshold)
        similar.add(prepared)
        added.append(text)


@SEARCH
@given(st.lists(SENTENCES, min_size=2, max_size=8, unique=True), st.randoms(use_true_random=False))
def test_texts_of_different_words_are_never_found(texts: list[str], drawn: random.Random) -> None:
    different = [" ".join(f"{word}{'xyzw'[i % 4] * (i + 1)}" for word in text.split()) for i, text in enumerate(texts)]
    drawn.shuffle(different)
    assert near(0.9, different) == set()


@SEARCH
@given(st.integers(0, 10**9), st.integers(0, 10**9), SENTENCES)
def test_texts_with_different_numbers_are_never_found(one: int, other: int, text: str) -> None:
    assume(one != other)
    assert near(0.5, [f"{text} {one} {text}", f"{text} {other} {text}"]) == set()


def test_texts_of_one_template_about_different_things_are_kept() -> None:
    questions = [f"What is the capital of {name}, and since when?" for name in ("Orrin", "Selm", "Lumera", "Pell")]
    assert near(0.9, questions) == set()


def test_empty_text_is_like_an_empty_one_alone() -> None:
    assert near(0.9, ["", "a"]) == set()
    assert near(0.9, ["", " \n"]) == {" \n"}
    assert jaccard("", "a") == 0


def test_each_part_must_be_alike() -> None:
    """Questions about one long text have nearly the same letters, and are not the same question."""
    text = " ".join(f"{word} {other}" for word in NOUNS for other in NOUNS)
    one = text_of([f"{text}\nWho built it?", "Who built it?", "Yes."])
    other = text_of([f"{text}\nWho sold it?", "Who sold it?", "Yes."])
    assert jaccard(one.parts[0], other.parts[0]) > 0.9
    assert not alike(one, other, 0.9)


def test_texts_of_different_groups_are_kept() -> None:
    similar = Similar(0.9)
    similar.add(similar.prepare(text_of(["It rises twice a day."], "one document")))
    assert similar.find(similar.prepare(text_of(["It rises twice a day."], "another"))) == []
    assert similar.find(similar.prepare(text_of(["It rises twice a day."], "one document"))) == [0]


def test_signatures_estimate_the_similarity_and_are_the_same_in_every_process() -> None:
    drawn = random.Random(3)
    words = ["".join(drawn.choices(string.ascii_lowercase, k=6)) for _ in range(300)]
    one, other = " ".join(words[:200]), " ".join(words[20:220])
    estimate = (signature(one) == signature(other)).mean()
    assert abs(estimate - jaccard(one, other)) < 3 * 0.5 / HASHES**0.5
    assert signature("the same in every process").tolist()[:2] == [335867276, 238086827]


def test_nine_of_ten_texts_at_the_threshold_are_found() -> None:
    """What may be missed is only where the index is close to the threshold."""
    drawn, found = random.Random(5), 0
    for _ in range(200):
        words = ["".join(drawn.choices(string.ascii_lowercase, k=5)) for _ in range(100)]
        changed = [*words[:96], "other", *words[97:]]
        assert alike(text_of([" ".join(words)]), text_of([" ".join(changed)]), 0.9)
        found += len(near(0.9, [" ".join(words), " ".join(changed)]))
    assert found >= 198

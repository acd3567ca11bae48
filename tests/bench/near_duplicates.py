"""Seconds of processor time to find near duplicates: `python -m tests.bench.near_duplicates [SAMPLES]`.

Each sample has a question of 120 letters and an answer of 480, of random words; one in ten is a near duplicate.
"""

import random
import resource
import string
import sys
import time

from utils.stages.data_processing.similar import Similar, text_of


def main(number: int) -> None:
    drawn = random.Random(1)
    words = ["".join(drawn.choices(string.ascii_lowercase, k=drawn.randint(2, 9))) for _ in range(20000)]
    rows: list[tuple[str, str]] = []
    for i in range(number):
        if i % 10 == 9:
            question, answer = drawn.choice(rows)
            rows.append((question, f"{answer} {drawn.choice(words)[:2]}"))
        else:
            rows.append((" ".join(drawn.choices(words, k=18)), " ".join(drawn.choices(words, k=74))))
    started, similar, found = time.process_time(), Similar(0.9), 0
    for row in rows:
        prepared = similar.prepare(text_of(row))
        if similar.find(prepared):
            found += 1
        else:
            similar.add(prepared)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{number} samples, {found} near duplicates: {time.process_time() - started:.1f} s, {memory} MiB")


if __name__ == "__main__":
    main(int((sys.argv[1:] or ["100000"])[0]))

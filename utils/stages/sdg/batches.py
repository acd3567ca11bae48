"""Seed records go to the teacher in batches, those of several leaves side by side; what a batch gave is kept."""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.stages.json_lines import write_lines

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What the teacher is to do for one leaf.

    Attributes:
        kept: a folder for the results, one file per batch.
        seeds: the seed records.
        ask: what the teacher makes of some of them; called in threads.
        finish: what is done with that of all of them, in their order.
    """

    kept: Path
    seeds: Callable[[], list[Row]]
    ask: Callable[[list[Row]], Iterable[Row]]
    finish: Callable[[list[Row]], None]


def seed_keys(rows: Iterable[Row]) -> list[str]:
    """A key of each seed record, always the same for the same one: those that repeat have different ones."""
    texts, times = [json.dumps(row, sort_keys=True) for row in rows], Counter[str]()
    for at, text in enumerate(texts):
        texts[at] += "+" * times[text]
        times[text] += 1
    return [hashlib.sha256(text.encode()).hexdigest() for text in texts]


class Begun:
    """A job whose batches are asked; a batch of another start counts while its seed records are among these."""

    def __init__(self, job: Job, size: int) -> None:
        self.job, rows, done = job, job.seeds(), set[str]()
        job.kept.mkdir(parents=True, exist_ok=True)
        keys = seed_keys(rows)
        self.place = {key: at for at, key in enumerate(keys)}
        self.made: dict[str, list[Row]] = {}
        for file in sorted(job.kept.glob("*.json")):
            found = json.loads(file.read_text())
            if self.place.keys() - done >= {*found["seeds"]}:
                self.made[found["seeds"][0]] = found["rows"]
                done.update(found["seeds"])
        left = [(key, row) for key, row in zip(keys, rows, strict=True) if key not in done]
        self.batches = [left[at : at + size] for at in range(0, len(left), size)]
        self.missing = len(self.batches)

    def ask(self, batch: list[tuple[str, Row]]) -> tuple[str, list[Row]]:
        """What the teacher makes of a batch, which is kept, and the key of its first seed record."""
        new, first = [*self.job.ask([row for _, row in batch])], batch[0][0]
        file = self.job.kept / f"{first}.json"
        write_lines(file.with_suffix(".part"), [{"seeds": [key for key, _ in batch], "rows": new}])
        file.with_suffix(".part").replace(file)
        return first, new

    def add(self, first: str, rows: list[Row]) -> None:
        """A batch has been answered; after the last one, the job is finished."""
        self.made[first] = rows
        self.missing -= 1
        self.end()

    def end(self) -> None:
        """Finish the job when nothing is missing. Whatever the order of answers, that of rows is their seeds'."""
        if not self.missing:
            self.job.finish([row for key in sorted(self.made, key=self.place.__getitem__) for row in self.made[key]])


def answer(
    jobs: Iterable[Job], size: int, workers: int, heard: Callable[[list[Row]], None] = lambda rows: None
) -> None:
    """Have all jobs done, `workers` batches at a time, in their order.

    After the first batch that fails, none is begun: a teacher that fails for good is asked no further. Batches that
    were asked already end by themselves, and those that succeed are kept.

    Args:
        jobs: seed records of a job are read when its turn comes.
        size: rows in a batch.
        heard: is called with the rows of each batch.
    """
    stop, running = threading.Event(), dict[Future[tuple[str, list[Row]] | None], Begun]()

    def ask(job: Begun, batch: list[tuple[str, Row]]) -> tuple[str, list[Row]] | None:
        try:
            return None if stop.is_set() else job.ask(batch)
        except BaseException:
            stop.set()
            raise

    def collect(most: int) -> None:
        while len(running) > most:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job, answered = running.pop(future), future.result()
                if answered:
                    heard(answered[1])
                    job.add(*answered)

    with ThreadPoolExecutor(workers) as pool:
        try:
            for job in map(lambda job: Begun(job, size), jobs):
                job.end()
                for batch in job.batches:
                    running[pool.submit(ask, job, batch)] = job
                    collect(2 * workers)
            collect(0)
        finally:
            stop.set()

"""All leaves are asked for side by side, and the log says how that goes."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from utils.messages import progress
from utils.stages.json_lines import count_lines
from utils.stages.sdg.batches import Job, Row, answer
from utils.stages.sdg.samples import SdgRun, generated, question_files, question_pipeline, questions_job, samples_job

QUIET_SECONDS = 60.0
"""After so long without a line in the log, the next batch prints one: a leaf may take hours."""


class Told:
    """What the log says: how many leaves are done, requests in flight, samples (and questions) per hour."""

    def __init__(self, run: SdgRun, total: int) -> None:
        self.requests, self.total, self.done, self.rows = run.teacher.requests, total, 0, 0
        self.started = self.last = time.monotonic()

    def say(self, what: str = "") -> None:
        """Print a line of progress."""
        self.last = time.monotonic()
        pace = self.rows * 3600 / max(self.last - self.started, 1e-3)
        progress(self.done, self.total, f"leaves ({what}{self.requests.over_time()}, {pace:.0f} samples/h)")

    def heard(self, rows: list[Row]) -> None:
        """A batch has been answered."""
        self.rows += len(rows)
        if time.monotonic() - self.last > QUIET_SECONDS:
            self.say()


def ask_for_all(run: SdgRun, names: Mapping[str, str], pipelines: Mapping[str, Any]) -> None:
    """Generate samples for each leaf, then questions for those of knowledge, unless they are there.

    Args:
        names: leaves, with the names of their files.
        pipelines: the SDG pipeline by the kind of seed records.
    """
    knowledge = [leaf for leaf in names if leaf.startswith("knowledge/")]
    asker = question_pipeline(run) if knowledge else None
    told = Told(run, len(names) + len(knowledge))

    def jobs() -> Iterator[Job]:
        for leaf in names:
            if generated(run, leaf).exists():
                done(leaf, "samples")
            else:
                yield finishing(samples_job(run, leaf, pipelines), leaf, "samples")
        for leaf in knowledge:
            if question_files(run, names[leaf])[1].exists():
                done(leaf, "questions")
            else:
                yield finishing(questions_job(run, leaf, names[leaf], asker), leaf, "questions")

    def finishing(job: Job, leaf: str, what: str) -> Job:
        def finish(rows: list[Row]) -> None:
            job.finish(rows)
            done(leaf, what)

        return replace(job, finish=finish)

    def done(leaf: str, what: str) -> None:
        file = generated(run, leaf) if what == "samples" else question_files(run, names[leaf])[0]
        told.done += 1
        told.say(f"{count_lines(file)} {what} for {leaf}; ")

    answer(jobs(), run.batch_size, run.num_workers, told.heard)

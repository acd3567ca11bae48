"""Stage 6: generated samples are checked and become token ids, after some questions have been set aside."""

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from utils.messages import failure
from utils.stages.chat_template.files import chat_template_choice
from utils.stages.data_processing.checks import Checks, Dropped, seed_texts
from utils.stages.data_processing.evaluation_questions import add_evaluation_questions, task_questions
from utils.stages.data_processing.held_out import (
    HeldOut,
    Sample,
    choose_held_out,
    find_questions,
    located_samples,
    question_key,
)
from utils.stages.data_processing.limits import Limits, limits_of
from utils.stages.data_processing.overlap import Overlap
from utils.stages.data_processing.review import Decisions, place_of, read_decisions, samples_to_review
from utils.stages.data_processing.table import HELD_OUT, KEPT, Table, log_lines, require_enough
from utils.stages.data_processing.tokenizing import left_out_rows, tokenize_rows
from utils.stages.disk import tells_full_disk
from utils.stages.json_lines import read_lines, write_lines
from utils.stages.leaves import taxonomy_leaves
from utils.stages.marker import finished_result, from_record, result_of, upstream_hash, write_json, write_marker
from utils.stages.results import DataCounts, Generated, Imported, Processed

CHECKED = "checks.json"
"""In processed/: what became of the samples of each leaf, for the report."""


@dataclass(frozen=True)
class Processing:
    """What the stage is given: the parameters of the component `data_processing`."""

    data_dir: str
    held_out_fraction: float
    max_seq_len: int
    max_batch_len: int
    seed: int
    force: bool
    checks: dict[str, Any] = field(default_factory=dict)
    mmlu_tasks: list[str] = field(default_factory=list)
    eval_tasks: list[str] = field(default_factory=list)
    review: str = "off"
    run_id: str = ""
    store_secret_dir: str = ""
    ca_file: str = ""

    @property
    def limits(self) -> Limits:
        """Of the checks."""
        return limits_of(self.checks)

    @property
    def max_len(self) -> int:
        """Tokens; samples of as many or more are dropped: no training could hold them."""
        return min(self.max_seq_len, self.max_batch_len)


@tells_full_disk
def process(given: Processing) -> dict[str, float]:
    """Turn both data sets into token ids, unless that is done; returns the stage's metrics."""
    started = time.time()
    inputs: dict[str, object] = {
        "held_out_fraction": given.held_out_fraction,
        "max_len": given.max_len,
        "seed": given.seed,
        "upstream": upstream_hash(given.data_dir, "sdg"),
        **given.limits.changed(),  # not the defaults: an older volume stays finished
        **({} if given.review == "off" else {"review": given.review}),
    }
    template = chat_template_choice(given.data_dir)
    if template.name != "tokenizer":
        inputs["chat_template"] = [template.name, template.sha256]
    record = finished_result(given.data_dir, "data_processing", inputs, given.force)
    if record is None:
        result = process_samples(given)
        write_marker(given.data_dir, "data_processing", inputs, ["processed"], result, started)
    else:
        result = from_record(Processed, record)
    names = ("samples", "tokens", "longest_sample_tokens", "dropped_samples", "held_out_questions")
    counts = {"knowledge": result.knowledge, "skills": result.skills}
    return {
        f"{kind}_{name}": value
        for kind, counted in counts.items()
        for name, value in zip(names, vars(counted).values(), strict=True)
    } | {f"dropped_{reason}": number for reason, number in result.dropped.items()}


def process_samples(given: Processing) -> Processed:
    """Make processed/ of the knowledge and the skills file; it appears when it is whole."""
    data = Path(given.data_dir)
    sdg = result_of(given.data_dir, "sdg", Generated) or Generated()
    names = {"knowledge": sdg.knowledge_file, "skills": sdg.skills_file}
    files = {kind: data / (name or "/dev/null") for kind, name in names.items()}
    evaluation = Overlap(given.limits.overlap_words)
    tasks_dir = sdg.mmlu_tasks_dir and str(data / sdg.mmlu_tasks_dir)
    asked = {entry: [*task_questions(entry, given.data_dir)] for entry in given.eval_tasks}  # a wrong one ends it now
    notes = []
    if given.limits.overlap_words:
        notes = add_evaluation_questions(evaluation, tasks_dir, given.mmlu_tasks, asked)
    taxonomy = data / "taxonomy"
    checks = Checks(given.limits, seed_texts(taxonomy, taxonomy_leaves(taxonomy)), evaluation)
    checks.look_at(taxonomy, files)
    seeds = data / (sdg.held_out_seeds_file or "/dev/null")
    decisions, wait = reviewed(located_samples(taxonomy, files), checks, given)
    edit = decisions.apply(checks)
    held_out = hold_out(find_questions(taxonomy, files, checks.usable, edit), seeds, checks, given)
    notes += [decisions.said] if decisions.said else []

    target, part = data / "processed", data / "processed.part"
    shutil.rmtree(part, ignore_errors=True)
    table = Table()
    leaves = write_training_rows(located_samples(taxonomy, files, edit), part, checks, held_out, table)
    counted: dict[str, DataCounts] = {}
    for kind in files:
        folder, rows = part / kind, part / f"{kind}.jsonl"
        folder.mkdir()
        counts = tokenize_rows(rows, folder, given.data_dir, given.max_len)
        lost = len(leaves[kind]) - counts.rows
        missing = left_out_rows(rows, folder, given.data_dir) if lost else []
        if len(missing) != lost:  # they are not told apart: no leaf may fail for rows that are there
            notes.append(f"{kind}: {lost} rows can't be trained on, of unknown leaves")
            missing = []
        for row in missing:
            table.move(leaves[kind][row], "length")
        aside = sum(question.kind == kind for question in held_out.values())
        counted[kind] = replace(counts, dropped=table.rows[kind] - counts.rows, held_out=aside)
        rows.unlink()
        print(f"{kind}: {counted[kind]}", flush=True)
    write_lines(part / "held_out.jsonl", map(vars, held_out.values()))
    facts = table.facts(notes, given.limits)
    write_json(part / CHECKED, facts)
    print("\n".join(log_lines(facts)), flush=True)
    if not any(counts.rows for counts in counted.values()):
        raise failure("there is nothing to train on", "sdg made no sample", "look at its log")
    require_enough(facts, given.limits.max_dropped, f"{part / CHECKED}")
    if wait:  # only now: nobody is to review what can't be trained on
        raise wait()
    shutil.rmtree(target, ignore_errors=True)
    part.replace(target)
    return Processed(**counted, dropped=table.dropped())


def reviewed(
    samples: Iterable[tuple[str, Sample]], checks: Checks, given: Processing
) -> tuple[Decisions, Callable[[], SystemExit] | None]:
    """What a reviewer decided, if that is asked for; and while it is not there, what makes the error to end with.

    Raises:
        SystemExit: the decisions can't be used.
    """
    if given.review == "off":
        return Decisions(), None
    listed = samples_to_review(given.run_id, samples, checks)
    imported = result_of(given.data_dir, "data_import", Imported) or Imported()
    place = place_of(given.data_dir, given.run_id, given.store_secret_dir, imported.archive, given.ca_file)
    where, text = place.decisions()
    if not text:
        return Decisions(), partial(place.wait, listed)
    try:
        return read_decisions(text, listed, where), None
    except ValueError as error:
        raise place.wait(listed, f"{where}: {error}") from None


def hold_out(generated: Mapping[str, HeldOut], seeds: Path, checks: Checks, given: Processing) -> dict[str, HeldOut]:
    """The questions that are held out, by their key: those of seed examples, and part of the generated ones."""
    lines = (from_record(HeldOut, line) for line in read_lines(seeds))
    asked = {question_key(question.question): question for question in lines}
    questions = {**generated, **asked}
    others = {key: question for key, question in generated.items() if key not in asked}
    chosen = choose_held_out(others, given.held_out_fraction, given.seed, checks.crowded(questions))
    checks.hold_out(asked | chosen, questions)
    return asked | chosen


def write_training_rows(
    samples: Iterable[tuple[str, Sample]], part: Path, checks: Checks, held_out: Collection[str], table: Table
) -> dict[str, list[str]]:
    """Write the rows that are trained on, <kind>.jsonl: none that is dropped or whose question is held out.

    Args:
        samples: as located_samples gives them.
        held_out: keys of questions.
        table: counts them all.

    Returns:
        the leaf of each row that was written, by kind.
    """
    leaves: dict[str, list[str]] = {"knowledge": [], "skills": []}
    part.mkdir()
    with contextlib.ExitStack() as stack:
        files = {kind: stack.enter_context((part / f"{kind}.jsonl").open("w")) for kind in leaves}
        for kind, sample in samples:
            outcome = Dropped(HELD_OUT) if sample.key in held_out else checks.verdict(kind, sample)
            table.count(kind, sample, outcome or Dropped(KEPT))
            if not outcome:
                leaves[kind].append(sample.leaf)
                files[kind].write(json.dumps({"messages": sample.messages, "unmask": sample.unmask}) + "\n")
    return leaves

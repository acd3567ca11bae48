"""Stage 6: generated samples become token ids, after some questions have been set aside."""

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from utils.messages import failure
from utils.stages.chat_template.files import chat_template_choice
from utils.stages.data_processing.held_out import choose_held_out, find_questions, write_training_rows
from utils.stages.data_processing.tokenizing import tokenize_rows
from utils.stages.disk import tells_full_disk
from utils.stages.json_lines import write_lines
from utils.stages.marker import finished_result, from_record, result_of, upstream_hash, write_marker
from utils.stages.results import DataCounts, Generated, Processed


@dataclass(frozen=True)
class Processing:
    """What the stage is given: the parameters of the component `data_processing`."""

    data_dir: str
    held_out_fraction: float
    max_seq_len: int
    max_batch_len: int
    seed: int
    force: bool

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
    return {
        f"{kind}_{name}": value
        for kind, counts in vars(result).items()
        for name, value in zip(names, vars(counts).values(), strict=True)
    }


def process_samples(given: Processing) -> Processed:
    """Make processed/ of the knowledge and the skills file; it appears when it is whole."""
    data = Path(given.data_dir)
    sdg = result_of(given.data_dir, "sdg", Generated) or Generated()
    names = {"knowledge": sdg.knowledge_file, "skills": sdg.skills_file}
    files = {kind: data / (name or "/dev/null") for kind, name in names.items()}
    held_out = choose_held_out(find_questions(data / "taxonomy", files), given.held_out_fraction, given.seed)
    target, part = data / "processed", data / "processed.part"
    shutil.rmtree(part, ignore_errors=True)
    counted: dict[str, DataCounts] = {}
    for kind, file in files.items():
        folder, rows = part / kind, part / "rows.jsonl"
        folder.mkdir(parents=True)
        broken = write_training_rows(file, rows, held_out)
        counts = tokenize_rows(rows, folder, given.data_dir, given.max_len)
        aside = sum(question.kind == kind for question in held_out.values())
        counted[kind] = counts = replace(counts, dropped=counts.dropped + broken, held_out=aside)
        rows.unlink()
        print(f"{kind}: {counts}", flush=True)
    write_lines(part / "held_out.jsonl", map(vars, held_out.values()))
    if not any(counts.rows for counts in counted.values()):
        raise failure("there is nothing to train on", "sdg made no sample", "look at its log")
    shutil.rmtree(target, ignore_errors=True)
    part.replace(target)
    return Processed(**counted)

"""Stage 3: synthetic data from the taxonomy with the teacher.

Everything is made in `sdg.part`, which becomes `sdg` when it is whole; a `sdg.part` of other settings is thrown away.
Every leaf of the taxonomy goes through instructlab-sdg on its own, so that a run resumes at a leaf. The note in the
folder says when all is made and moves along with it: a process that ends without a marker loses nothing.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from utils.messages import failure
from utils.stages.authorities import ca_bundle
from utils.stages.credentials import ModelServer, model_server
from utils.stages.data_processing.tokenizing import try_tokenizing, without_deepspeed
from utils.stages.disk import tells_full_disk
from utils.stages.evaluation.harness import require_tasks
from utils.stages.json_lines import count_lines, read_lines, write_lines
from utils.stages.leaves import leaf_names, taxonomy_leaves
from utils.stages.marker import (
    finished_result,
    from_record,
    inputs_hash,
    read_json,
    result_of,
    upstream_hash,
    write_json,
    write_marker,
)
from utils.stages.results import Generated, Imported
from utils.stages.sdg.asking import ask_for_all
from utils.stages.sdg.blocks import PARALLEL, ask_in_formats
from utils.stages.sdg.environment import sdg_environment
from utils.stages.sdg.files import LEAVES, imported_samples, run_files
from utils.stages.sdg.formats import PIPELINES, Formats, cards_of
from utils.stages.sdg.held_out_seeds import FILE, held_out_seeds
from utils.stages.sdg.mixing import mix_samples, system_prompt, try_mixing
from utils.stages.sdg.samples import (
    SdgRun,
    drop_outdated,
    generated,
    kinds_of_fixed_number,
    pipelines_by_kind,
    question_files,
)
from utils.stages.sdg.teacher import Teacher

NOTE = "run.json"
"""In the folder of a run that has no marker yet: the hash of its inputs, and the date in its files' names. When all is
made, also `result`, and `decided`, the hash of the marker's inputs."""


@dataclass(frozen=True)
class Generation:
    """What the stage is given: the parameters of the component `sdg`."""

    data_dir: str
    teacher_secret_dir: str
    ca_file: str
    sdg_pipeline: str
    teacher_family: str
    scale_factor: int
    sample_size: float
    batch_size: int
    num_workers: int
    system_prompt: str
    samples_per_skill: int
    force: bool
    held_out_seeds: int = 0


@tells_full_disk
def generate(given: Generation) -> dict[str, float]:
    """Generate samples and questions, unless that is done or they were imported; returns the stage's metrics."""
    started = time.time()
    imported = result_of(given.data_dir, "data_import", Imported) or Imported()
    inputs: dict[str, object] = {"upstream": upstream_hash(given.data_dir, "data_import")}
    server = None
    if not imported.data_generated_elsewhere:
        server = model_server(given.teacher_secret_dir, "teacher")
        inputs |= {
            "sdg_pipeline": given.sdg_pipeline,
            "pipeline_hash": pipeline_hash(given.sdg_pipeline),
            "scale_factor": given.scale_factor,
            "sample_size": given.sample_size,
            "teacher": server.model_name,
            **({} if given.teacher_family == "auto" else {"teacher_family": given.teacher_family}),
            **({"held_out_seeds": given.held_out_seeds} if given.held_out_seeds else {}),
        }
    # What only changes how samples are mixed leaves an unfinished run's samples as they are.
    mixing = {"system_prompt": given.system_prompt, "samples_per_skill": given.samples_per_skill} if server else {}
    decided = inputs | {name: value for name, value in mixing.items() if value}
    record = finished_result(given.data_dir, "sdg", decided, given.force)
    sdg = Path(given.data_dir, "sdg")
    if record is None:
        if server:
            hashed = inputs_hash(decided)
            record = whole_run(sdg, hashed) or ask_teacher(given, server, inputs, hashed)
        else:
            record = asdict(imported_samples(given.data_dir))
            if given.held_out_seeds:
                print("no effect of sdg_held_out_seeds: nothing is generated", flush=True)
        outputs = [value for value in record.values() if str(value).startswith("sdg/")]
        write_marker(given.data_dir, "sdg", decided, outputs, record, started)
    (sdg / NOTE).unlink(missing_ok=True)
    result = from_record(Generated, record)
    return {
        "generated_samples": result.samples,
        "generated_mmlu_questions": result.mmlu_questions,
        "generated_tokens": result.tokens,
    }


def pipeline_hash(pipeline: str) -> str:
    """A hash of the YAML files in a pipeline folder, "" for a pipeline by name.

    Raises:
        SystemExit: it is neither a known name nor a folder that holds a pipeline.
    """
    if pipeline in ("simple", "full", "llama"):
        return ""
    folder = Path(pipeline)
    missing = [name for name in PIPELINES if not folder.is_absolute() or not (folder / name).is_file()]
    if missing:
        raise failure(
            f"sdg_pipeline is {pipeline!r}",
            f"missing: {', '.join(missing)}",
            "use simple, full, llama, or the absolute path of a folder with these",
        )
    return inputs_hash({path.name: path.read_text() for path in folder.glob("[!.]*.yaml")})


def whole_run(sdg: Path, decided: str) -> dict[str, Any]:
    """The result of a run that made everything, and comes to its place `sdg`; {} when there is none.

    Args:
        decided: hash of the marker's inputs.
    """
    part = sdg.with_name("sdg.part")
    if read_json(part / NOTE).get("decided") == decided:
        shutil.rmtree(sdg, ignore_errors=True)
        part.replace(sdg)
    note = read_json(sdg / NOTE)
    if note.get("decided") != decided:
        return {}
    for scratch in ("checkpoints", "preprocessed"):
        shutil.rmtree(sdg / scratch, ignore_errors=True)
    result: dict[str, Any] = note["result"]
    return result


def ask_teacher(given: Generation, server: ModelServer, inputs: Mapping[str, object], decided: str) -> dict[str, Any]:
    """Check what the library needs, then have it ask the teacher; see `whole_run`."""
    data = Path(given.data_dir)
    with tempfile.TemporaryDirectory() as scratch:
        sdg_environment(Path(scratch), given.sample_size, ca_bundle(given.ca_file))
        without_deepspeed()
        try_tokenizing(given.data_dir)
        require_tasks(given.data_dir)
        leaves = taxonomy_leaves(data / "taxonomy")
        teacher = Teacher(server, data / "model", most=given.num_workers * min(given.batch_size, PARALLEL))
        run = SdgRun(
            data,
            *working_folder(data, inputs),
            teacher,
            given.sdg_pipeline,
            given.scale_factor,
            given.batch_size,
            given.num_workers,
            given.system_prompt,
            given.samples_per_skill,
            given.held_out_seeds,
        )
        try_mixing(run)
        drop_outdated(run, leaves, settings_hash(inputs))
        formats = choose_formats(teacher, given.teacher_family, given.sdg_pipeline)
        result = asdict(replace(generate_samples(run, leaves), teacher_formats=formats))
        note = {"inputs": inputs_hash(inputs), "suffix": run.suffix, "decided": decided, "result": result}
        os.sync()  # all that was made is on the disk before the note says so
        write_json(run.part / NOTE, note)
    return whole_run(data / "sdg", decided)


def choose_formats(teacher: Teacher, family: str, sdg_pipeline: str) -> list[str]:
    """Have the library ask each model in its format, and try those that only the SDG pipeline names.

    Args:
        family: sdg_teacher_family.

    Returns:
        a line per model and format, with the reason.
    """
    listing = None
    if family == "auto":
        with teacher.errors("its list of models"):
            listing = teacher.models()
    formats = Formats(family, teacher.server.model_name, cards_of(listing))
    requests = formats.requests(sdg_pipeline)
    lines = [f"{model} is asked in format {name}: {why}" for (model, name), why in requests.items()]
    print("\n".join(lines), flush=True)
    teacher.ask_each(requests)
    ask_in_formats(teacher.client, formats)
    return lines


def settings_hash(inputs: Mapping[str, object]) -> str:
    """A hash of what decides the samples of a leaf, apart from the leaf: the inputs without the import."""
    return inputs_hash({name: value for name, value in inputs.items() if name != "upstream"})


def working_folder(data: Path, inputs: Mapping[str, object]) -> tuple[Path, str]:
    """The folder a run works in, `sdg.part`, and the date in its files' names.

    It is kept while the settings are the same. After another import, the seed records are made again;
    `drop_outdated` compares them.
    """
    part, hashed = data / "sdg.part", inputs_hash(inputs)
    before, leaves = read_json(part / NOTE), read_json(part / LEAVES)
    if before.get("inputs") == hashed:
        print("resuming", flush=True)
        return part, before["suffix"]
    if leaves.get("settings") == settings_hash(inputs):
        print("resuming; changed leaves are generated again", flush=True)
        suffix = leaves["suffix"]
        shutil.rmtree(part / "preprocessed", ignore_errors=True)
    else:
        suffix = time.strftime("%Y-%m-%dT%H_%M_%S", time.gmtime())
        shutil.rmtree(part, ignore_errors=True)
        (part / "generated").mkdir(parents=True)
    write_json(part / NOTE, {"inputs": hashed, "suffix": suffix})
    return part, suffix


def generate_samples(run: SdgRun, leaves: list[str]) -> Generated:
    """Generate samples and multiple-choice questions for every leaf, and mix the training files.

    Args:
        leaves: those of the taxonomy, sorted.
    """
    names, pipelines = leaf_names(leaves), pipelines_by_kind(run)
    if fixed := kinds_of_fixed_number(pipelines):
        print(f"no effect of sdg_scale_factor on {', '.join(fixed)}: no block has `n: scaled`", flush=True)
    ask_for_all(run, names, pipelines)
    samples = {leaf: count_lines(generated(run, leaf)) for leaf in leaves}
    if not any(samples.values()):
        raise failure(
            f"the teacher {run.teacher.server.model_name} gave no valid sample",
            f"the SDG pipeline finds none{run.teacher.answers}",
            "use a stronger teacher, or an sdg_pipeline made for it (examples/sdg-pipeline)",
        )
    counted = mix_samples(run, {names[leaf]: read_lines(generated(run, leaf)) for leaf in leaves})
    samples = {leaf: counted[names[leaf]] for leaf in leaves}
    if run.held_out_seeds:
        prompt = run.system_prompt or system_prompt(run.data / "model")
        questions = held_out_seeds(run.data / "taxonomy", leaves, run.held_out_seeds, prompt)
        write_lines(run.part / FILE, map(vars, questions))
    return replace(
        run_files(run.part, run.suffix),
        held_out_seeds_file=f"sdg/{FILE}" if run.held_out_seeds else "",
        samples=sum(samples.values()),
        samples_by_leaf=samples,
        mmlu_questions=sum(count_lines(question_files(run, name)[0]) for name in names.values()),
        tokens=run.teacher.tokens,
    )

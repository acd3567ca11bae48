"""Synthetic data: every leaf of the taxonomy goes through instructlab-sdg on its own, so that a run resumes at a leaf.

Inside a leaf the library keeps checkpoints of its own. Everything is made in `sdg.part`, which becomes `sdg` when it is
whole; a `sdg.part` of other inputs is thrown away.
"""

import functools
import glob
import importlib
import json
import os
import re
import shutil
import sys
import time
from typing import Any

from utils.messages import failure, progress
from utils.stages.credentials import ModelServer
from utils.stages.marker import inputs_hash
from utils.stages.sdg.teacher import teacher_errors


def generate_samples(
    data_dir: str,
    leaves: list,
    client: Any,
    server: ModelServer,
    seen: dict,
    inputs: dict,
    batch_size: int,
    num_workers: int,
) -> dict:
    """Generate samples and multiple-choice questions for every leaf, and mix the training files.

    Args:
        leaves: paths of qna.yaml files, checked.
        client: an openai.OpenAI for the teacher.
        server: the teacher.
        seen: what the teacher answered, from teacher_client.
        inputs: of the stage's marker: sdg_pipeline, scale_factor and the rest.

    Returns:
        the stage's result.
    """
    part, suffix = sdg_part(data_dir, inputs)
    total = len(leaves) + sum("/knowledge/" in leaf for leaf in leaves)
    samples, questions, done = {}, 0, 0
    for qna in leaves:
        leaf = os.path.relpath(os.path.dirname(qna), os.path.join(data_dir, "taxonomy"))
        name = leaf.replace("/", "_")
        seeds = seed_records(data_dir, qna, os.path.join(part, "preprocessed", name))
        options = {"num_instructions_to_generate": inputs["scale_factor"], "batch_size": batch_size}
        options |= {"client": client, "model_id": server.model_name, "model_family": ""}
        with teacher_errors(server, seen, leaf):
            samples[leaf] = leaf_samples(part, name, seeds, inputs["sdg_pipeline"], options, num_workers)
            done += 1
            progress(done, total, f"leaves ({samples[leaf]} samples for {leaf})")
            if leaf.startswith("knowledge/"):
                count = leaf_questions(part, name, seeds, suffix, inputs["sdg_pipeline"], options, num_workers)
                questions += count
                done += 1
                progress(done, total, f"leaves ({count} multiple-choice questions for {leaf})")
    require_samples(samples, server, seen)
    mix_samples(part, suffix, inputs["sdg_pipeline"], system_prompt(os.path.join(data_dir, "model")))
    put_in_place(part, os.path.join(data_dir, "sdg"))
    files = run_files(data_dir, suffix)
    return {
        "generated": True,
        "reason": "",
        **files,
        "samples": sum(samples.values()),
        "samples_by_leaf": samples,
        "mmlu_questions": questions,
        "tokens": seen["tokens"],
    }


def require_samples(samples: dict, server: ModelServer, seen: dict) -> None:
    """End the stage when no leaf has a sample (leaf to number of samples); tell of those that have none."""
    if not any(samples.values()):
        raise failure(
            f"the teacher {server.model_name} gave no valid sample for any of {len(samples)} leaves",
            "its answers have not the form the SDG pipeline looks for; the last ones:\n" + "\n".join(seen["answers"]),
            "use a stronger teacher, or a pipeline made for it (sdg_pipeline; examples/sdg-pipeline for tiny ones)",
        )
    if empty := [leaf for leaf, count in samples.items() if not count]:
        print(f"warning: no valid sample for {', '.join(empty)}", flush=True)


def put_in_place(part: str, target: str) -> None:
    """Rename the finished folder, without what only an interrupted stage would need."""
    for scratch in ("checkpoints", "generated.new", "preprocessed", "run.json"):
        path = os.path.join(part, scratch)
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.exists(path):
            os.remove(path)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(part, target)


def pipeline_hash(pipeline: str) -> str:
    """A hash of the YAML files in a pipeline folder, "" for a pipeline by name.

    Raises:
        SystemExit: it is neither a known name nor a folder that holds a pipeline.
    """
    if not os.path.isabs(pipeline):
        if pipeline in ("simple", "full", "llama"):
            return ""
        missing = ["simple, full, llama or an absolute path"]
    else:
        kinds = ("knowledge", "freeform_skills", "grounded_skills")
        missing = [f"{kind}.yaml" for kind in kinds if not os.path.isfile(os.path.join(pipeline, f"{kind}.yaml"))]
    if missing:
        raise failure(
            f"sdg_pipeline {pipeline!r} can't be used",
            "missing: " + ", ".join(missing),
            "give simple, full, or a folder that this stage's image or volume holds",
        )
    content = {}
    for path in glob.glob(os.path.join(glob.escape(pipeline), "*.yaml")):
        with open(path) as file:
            content[os.path.basename(path)] = file.read()
    return inputs_hash(content)


def sdg_part(data_dir: str, inputs: dict) -> Any:
    """The folder a run works in, `sdg.part`, and the date in its files' names; kept while the inputs are the same."""
    part = os.path.join(data_dir, "sdg.part")
    note = os.path.join(part, "run.json")
    run = {"inputs": inputs_hash(inputs), "suffix": time.strftime("%Y-%m-%dT%H_%M_%S", time.gmtime())}
    if os.path.exists(note):
        with open(note) as file:
            before = json.load(file)
        if before["inputs"] == run["inputs"]:
            print("going on with the samples generated before", flush=True)
            return part, before["suffix"]
    shutil.rmtree(part, ignore_errors=True)
    os.makedirs(os.path.join(part, "generated"))
    with open(note, "w") as file:
        json.dump(run, file)
    return part, run["suffix"]


def seed_records(data_dir: str, qna: str, folder: str) -> str:
    """The leaf's seed examples, for knowledge joined with the chunks of its documents, as a JSON-lines file in folder.

    Raises:
        SystemExit: its documents can't be had.
    """
    from instructlab.schema.taxonomy import TaxonomyReadingException
    from instructlab.sdg.generate_data import preprocess_taxonomy

    if not os.path.isdir(folder):
        temporary = folder + ".new"
        shutil.rmtree(temporary, ignore_errors=True)
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        try:
            preprocess_taxonomy(qna, temporary, teacher_model_path=os.path.join(data_dir, "model"))
        except (TaxonomyReadingException, SystemExit) as error:
            raise failure(
                f"the documents of {qna} can't be read",
                f"{error} {error.__cause__ or ''}".strip(),
                "check repo, commit and patterns under document: a git repository this machine can clone, a commit in "
                "it, and patterns that match Markdown or PDF files",
            ) from error
        finally:
            sys.stdout.flush()
        shutil.rmtree(os.path.join(temporary, "documents"), ignore_errors=True)
        os.replace(temporary, folder)
    return glob.glob(os.path.join(glob.escape(folder), "*.jsonl"))[0]


def leaf_samples(part: str, name: str, seeds: str, pipeline: str, options: dict, num_workers: int) -> int:
    """Generate the leaf's samples into `generated/<name>.jsonl`, unless they are there; returns their number."""
    from instructlab.sdg.pipeline import PipelineContext

    generate_data: Any = importlib.import_module("instructlab.sdg.generate_data")  # a function has its name, too
    # Rows are mapped in this process: a worker forked beside threads (they ask the teacher) may wait for ever.
    generate_data.PipelineContext = functools.partial(PipelineContext, dataset_num_procs=None)
    output = os.path.join(part, "generated", name + ".jsonl")
    if not os.path.exists(output):
        temporary = os.path.join(part, "generated.new")
        generate_data.generate_taxonomy(
            input_dir=os.path.dirname(seeds),
            output_dir=temporary,
            pipeline=pipeline,
            num_cpus=num_workers,
            checkpoint_dir=os.path.join(part, "checkpoints"),
            console_output=False,
            **options,
        )
        made = os.path.join(temporary, os.path.basename(seeds))
        if not os.path.exists(made):
            return 0
        os.replace(made, output)
    return count_lines(output)


def leaf_questions(
    part: str, name: str, seeds: str, suffix: str, pipeline: str, options: dict, num_workers: int
) -> int:
    """Generate the leaf's multiple-choice questions and their task file, unless they are there; returns their number.

    A pipeline folder with a mmlu_bench.yaml gives the questions' form, else the library does.
    """
    from datasets import Dataset
    from instructlab.sdg.eval_data import generate_eval_task_data, mmlubench_pipe_init
    from instructlab.sdg.pipeline import Pipeline, PipelineContext

    folder = os.path.join(part, f"node_datasets_{suffix}")
    task, data = (os.path.join(folder, file) for file in (f"{name}_task.yaml", f"mmlubench_{name}.jsonl"))
    if not os.path.exists(task):
        os.makedirs(folder, exist_ok=True)
        context = PipelineContext(batch_num_workers=num_workers, dataset_num_procs=None, **options)
        own = os.path.join(pipeline, "mmlu_bench.yaml")
        pipe = Pipeline.from_file(context, own) if os.path.exists(own) else mmlubench_pipe_init(context)
        with open(seeds) as file:
            records = Dataset.from_list([json.loads(line) for line in file])
        generate_eval_task_data(pipe, name, records, part, suffix)
        correct_questions(data)
    if not count_lines(data):
        os.remove(data)
        os.remove(task)
        print(f"warning: no valid multiple-choice question for {name}", flush=True)
        return 0
    return count_lines(data)


def correct_questions(data: str) -> None:
    """Leave out questions whose options repeat, spread the right answers over the letters, and number them 0 to 3.

    Teachers favour a letter and so do models: each question's options are turned one place further than those before.
    The library (0.8.3) numbers the letters that occur: with no answer B in the file, C becomes 1, and the evaluation
    takes B for right.
    """
    with open(data) as file:
        rows = [json.loads(line) for line in file if line.strip()]
    rows = [row for row in rows if len({choice.strip().lower() for choice in row["choices"]}) == len(row["choices"])]
    with open(data, "w") as file:
        for number, row in enumerate(rows):
            choices, answer = row["choices"], "ABCD".index(row["mmlubench_answer"].strip()[0])
            turn = number % len(choices)
            turned = {"choices": choices[-turn:] + choices[:-turn], "answer": (answer + turn) % len(choices)}
            file.write(json.dumps({**row, **turned}) + "\n")


def mix_samples(part: str, suffix: str, pipeline: str, prompt: str) -> None:
    """Turn generated samples into recipes and the two training files; a kind without samples gets no file."""
    from instructlab.sdg.generate_data import mix_datasets, postprocess_taxonomy

    postprocess_taxonomy(
        os.path.join(part, "generated"),
        part,
        suffix,
        pipeline=pipeline,
        num_procs=None,
        system_prompt=prompt,
        use_legacy_pretraining_format=False,
    )
    for kind in ("knowledge", "skills"):
        recipe, mixed = (os.path.join(part, f"{kind}_{file}_{suffix}") for file in ("recipe", "train_msgs"))
        mix_datasets(recipe + ".yaml", mixed + ".jsonl", num_proc=None, system_prompt=prompt)


def system_prompt(model_dir: str) -> str:
    """The system message of every training sample: Granite's own for a Granite model, else a neutral one."""
    with open(os.path.join(model_dir, "config.json")) as file:
        kind = json.load(file).get("model_type", "")
    if kind.startswith("granite"):
        from instructlab.sdg.generate_data import _SYS_PROMPT

        return _SYS_PROMPT
    return "You are a helpful assistant."


def run_files(data_dir: str, suffix: str) -> dict:
    """The files of one SDG run in sdg/, relative to data_dir, "" for one that is not there or empty.

    The task files name their data by an absolute path, which is corrected to where the data are now.
    """
    import yaml

    def existing(*names: str) -> str:
        paths = [os.path.join("sdg", name) for name in names]
        return next((p for p in paths if count_lines(os.path.join(data_dir, p))), "")

    tasks = os.path.join("sdg", f"node_datasets_{suffix}")
    task_files = glob.glob(os.path.join(glob.escape(os.path.join(data_dir, tasks)), "*_task.yaml"))
    for path in task_files:
        with open(path) as file:
            task = yaml.safe_load(file)
        files = task["dataset_kwargs"]["data_files"]
        files["test"] = os.path.join(os.path.abspath(os.path.dirname(path)), os.path.basename(files["test"]))
        with open(path, "w") as file:
            yaml.safe_dump(task, file)
    return {
        "knowledge_file": existing(f"knowledge_train_msgs_{suffix}.jsonl", f"knowledge_train_{suffix}.jsonl"),
        "skills_file": existing(f"skills_train_msgs_{suffix}.jsonl", f"skills_train_{suffix}.jsonl"),
        "mmlu_tasks_dir": tasks if task_files else "",
    }


def imported_samples(data_dir: str) -> dict:
    """The stage's result when the archive brought data: the files of one run, the newest where there are several."""
    folder = os.path.join(data_dir, "sdg")
    names = [os.path.basename(path) for path in glob.glob(os.path.join(glob.escape(folder), "*_train_*.jsonl"))]
    found = [re.fullmatch(r"(?:knowledge|skills)_train_(?:msgs_)?(.+)\.jsonl", name) for name in names]
    runs = sorted({match[1] for match in found if match})
    files = run_files(data_dir, runs[-1]) if runs else {}
    if not (files.get("knowledge_file") or files.get("skills_file")):
        raise failure(
            "the data that came with the archive has no sample",
            f"knowledge_train_*.jsonl and skills_train_*.jsonl are empty or missing in {folder}",
            "generate the data again, or pack the archive without data/ to have them generated here",
        )
    if runs[:-1]:
        print(f"the archive holds data of {len(runs)} SDG runs; used: {runs[-1]}, left: {', '.join(runs[:-1])}")
    leaves = {}
    node_datasets = os.path.join(folder, f"node_datasets_{runs[-1]}")
    for path in glob.glob(os.path.join(glob.escape(node_datasets), "*.jsonl")):
        name = os.path.basename(path).removesuffix(".jsonl")
        if not name.startswith("mmlubench_") and not name.endswith("_p10"):
            leaves[name.removesuffix("_p07")] = count_lines(path)
    questions = glob.glob(os.path.join(glob.escape(node_datasets), "mmlubench_*.jsonl"))
    return {
        "generated": False,
        "reason": "the archive brought generated data",
        **files,
        "samples": sum(count_lines(os.path.join(data_dir, files[k])) for k in ("knowledge_file", "skills_file")),
        "samples_by_leaf": leaves,
        "mmlu_questions": sum(count_lines(path) for path in questions),
        "tokens": 0,
    }


def count_lines(path: str) -> int:
    """Number of non-empty lines of a file; 0 if it is not a file."""
    if not os.path.isfile(path):
        return 0
    with open(path) as file:
        return sum(1 for line in file if line.strip())

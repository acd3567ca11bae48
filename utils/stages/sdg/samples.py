"""What instructlab-sdg makes of a leaf: seed records, samples, multiple-choice questions; and of all, training files.

Inside a leaf the library keeps checkpoints of its own.
"""

import functools
import importlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.messages import failure
from utils.stages.json_lines import count_lines, read_lines, write_lines
from utils.stages.sdg.teacher import Teacher


@dataclass(frozen=True)
class SdgRun:
    """How one run generates, and where.

    Attributes:
        data: the volume, with taxonomy/ and model/.
        part: the folder that it works in.
        suffix: the date in its files' names.
        teacher: who is asked.
        pipeline: simple, full, llama, or a folder of YAML files.
        scale_factor: samples for each seed example.
        batch_size: seed examples in one request.
        num_workers: requests in parallel.
    """

    data: Path
    part: Path
    suffix: str
    teacher: Teacher
    pipeline: str
    scale_factor: int
    batch_size: int
    num_workers: int

    def asking(self) -> dict[str, Any]:
        """What samples and questions take alike: arguments of the library's PipelineContext."""
        return {
            "client": self.teacher.client,
            "model_id": self.teacher.server.model_name,
            "model_family": "",
            "num_instructions_to_generate": self.scale_factor,
            "batch_size": self.batch_size,
        }


def file_name(leaf: str) -> str:
    """As the library names what belongs to a leaf: knowledge_a_b for knowledge/a/b."""
    return leaf.replace("/", "_")


def seed_records(run: SdgRun, leaf: str) -> Path:
    """A leaf's seed examples, for knowledge joined with the chunks of its documents, as a JSON-lines file.

    Raises:
        SystemExit: its documents can't be had.
    """
    from instructlab.schema.taxonomy import TaxonomyReadingException
    from instructlab.sdg.generate_data import preprocess_taxonomy

    folder = run.part / "preprocessed" / file_name(leaf)
    if not folder.is_dir():
        qna, temporary = run.data / "taxonomy" / leaf / "qna.yaml", run.part / "preprocessed.new"
        shutil.rmtree(temporary, ignore_errors=True)
        folder.parent.mkdir(exist_ok=True)
        try:
            preprocess_taxonomy(str(qna), str(temporary), teacher_model_path=f"{run.data}/model")
        except (TaxonomyReadingException, SystemExit) as error:
            raise failure(
                f"the documents of {leaf} can't be read",
                f"{error} {error.__cause__ or ''}",
                "correct repo, commit and patterns (Markdown or PDF) of its document; can git clone repo here?",
            ) from error
        shutil.rmtree(temporary / "documents", ignore_errors=True)
        temporary.replace(folder)
    return next(folder.glob("*.jsonl"))


def leaf_samples(run: SdgRun, leaf: str) -> int:
    """Generate a leaf's samples into `generated/<name>.jsonl`, unless they are there; returns their number."""
    from instructlab.sdg.pipeline import PipelineContext

    generate_data: Any = importlib.import_module("instructlab.sdg.generate_data")  # a function has its name, too
    # Rows are mapped in this process: a worker forked beside threads (they ask the teacher) may wait for ever.
    generate_data.PipelineContext = functools.partial(PipelineContext, dataset_num_procs=None)
    seeds, output = seed_records(run, leaf), run.part / "generated" / f"{file_name(leaf)}.jsonl"
    if not output.exists():
        temporary = run.part / "generated.new"
        generate_data.generate_taxonomy(
            input_dir=str(seeds.parent),
            output_dir=str(temporary),
            pipeline=run.pipeline,
            num_cpus=run.num_workers,
            checkpoint_dir=str(run.part / "checkpoints"),
            console_output=False,
            **run.asking(),
        )
        made = temporary / seeds.name
        if made.exists():
            made.replace(output)
    return count_lines(output)


def leaf_questions(run: SdgRun, leaf: str) -> int:
    """Generate a leaf's multiple-choice questions and their task file, unless they are there; returns their number.

    A pipeline folder with a mmlu_bench.yaml gives the questions' form, else the library does.
    """
    from datasets import Dataset
    from instructlab.sdg.eval_data import generate_eval_task_data, mmlubench_pipe_init
    from instructlab.sdg.pipeline import Pipeline, PipelineContext

    name, folder = file_name(leaf), run.part / f"node_datasets_{run.suffix}"
    task, data = folder / f"{name}_task.yaml", folder / f"mmlubench_{name}.jsonl"
    if not task.exists():
        folder.mkdir(exist_ok=True)
        context = PipelineContext(batch_num_workers=run.num_workers, dataset_num_procs=None, **run.asking())
        own = Path(run.pipeline, "mmlu_bench.yaml")
        pipe = Pipeline.from_file(context, str(own)) if own.exists() else mmlubench_pipe_init(context)
        generate_eval_task_data(
            pipe, name, Dataset.from_list([*read_lines(seed_records(run, leaf))]), str(run.part), run.suffix
        )
        correct_questions(data)
    count = count_lines(data)
    if not count:
        data.unlink()
        task.unlink()
    return count


def correct_questions(data: Path) -> None:
    """Leave out questions whose options repeat, spread the right answers over the letters, and number them 0 to 3.

    Teachers favour a letter and so do models: each question's options are turned one place further than those before.
    The library (0.8.3) numbers the letters that occur: with no answer B in the file, C becomes 1, and the evaluation
    takes B for right.
    """
    rows: list[dict[str, Any]] = []
    for row in read_lines(data):
        choices, turn = row["choices"], len(rows) % len(row["choices"])
        if len({choice.strip().lower() for choice in choices}) == len(choices):
            answer = "ABCD".index(row["mmlubench_answer"].strip()[0]) + turn
            rows.append(row | {"choices": choices[-turn:] + choices[:-turn], "answer": answer % len(choices)})
    write_lines(data, rows)


def mix_samples(run: SdgRun) -> None:
    """Turn generated samples into recipes and the two training files; a kind without samples gets no file."""
    from instructlab.sdg.generate_data import mix_datasets, postprocess_taxonomy

    prompt, part = system_prompt(run.data / "model"), str(run.part)
    postprocess_taxonomy(
        f"{part}/generated",
        part,
        run.suffix,
        pipeline=run.pipeline,
        num_procs=None,
        system_prompt=prompt,
        use_legacy_pretraining_format=False,
    )
    for kind in ("knowledge", "skills"):
        recipe, mixed = (f"{part}/{kind}_{file}_{run.suffix}" for file in ("recipe", "train_msgs"))
        mix_datasets(recipe + ".yaml", mixed + ".jsonl", num_proc=None, system_prompt=prompt)


def system_prompt(model: Path) -> str:
    """The system message of every training sample: Granite's own for a Granite model, else a neutral one."""
    if json.loads((model / "config.json").read_text()).get("model_type", "").startswith("granite"):
        from instructlab.sdg.generate_data import _SYS_PROMPT

        return str(_SYS_PROMPT)
    return "You are a helpful assistant."

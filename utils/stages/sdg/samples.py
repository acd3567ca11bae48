"""What instructlab-sdg makes of a leaf: seed records, samples, multiple-choice questions."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from utils.messages import failure, progress
from utils.stages.data_import.documents import require_taxonomy
from utils.stages.data_import.git import seconds_until_back
from utils.stages.json_lines import count_lines, read_lines, write_lines
from utils.stages.leaves import leaf_id, leaf_names
from utils.stages.marker import inputs_hash, read_json, write_json
from utils.stages.patience import OUTAGE
from utils.stages.sdg.batches import Job, Row
from utils.stages.sdg.files import LEAVES
from utils.stages.sdg.held_out_seeds import without_kept_out
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
        batch_size: seed examples in one batch.
        num_workers: batches in parallel, of one leaf or several.
        system_prompt: of the training samples, "" for that of the model.
        samples_per_skill: training samples of each skill leaf, 0 for all.
        held_out_seeds: seed examples of each leaf that the teacher does not see.
    """

    data: Path
    part: Path
    suffix: str
    teacher: Teacher
    pipeline: str
    scale_factor: int
    batch_size: int
    num_workers: int
    system_prompt: str
    samples_per_skill: int
    held_out_seeds: int = 0

    def context(self) -> Any:
        """The library's PipelineContext, of samples and questions alike."""
        from instructlab.sdg.pipeline import PipelineContext

        return PipelineContext(
            client=self.teacher.client,
            model_id=self.teacher.server.model_name,
            model_family="",
            num_instructions_to_generate=self.scale_factor,
            batch_size=self.batch_size,
            # Rows are mapped in this process: a worker forked beside threads (they ask the teacher) may wait for ever.
            dataset_num_procs=None,
        )

    def job(
        self, leaf: str, what: str, ask: Callable[[list[Row]], Iterable[Row]], finish: Callable[[list[Row]], None]
    ) -> Job:
        """What the teacher is to do with a leaf's seed records; its errors name the leaf."""

        def asked(rows: list[Row]) -> list[Row]:
            with self.teacher.errors(leaf):
                return [*ask(rows)]

        kept = self.part / "checkpoints" / f"{leaf_id(leaf)}-{what}"
        return Job(kept, lambda: seed_records(self, leaf), asked, finish)


def seed_records(run: SdgRun, leaf: str) -> list[Row]:
    """A leaf's seed examples, for knowledge joined with the chunks of its documents.

    The library sees the leaf at another place, where its path is short: it makes names of files of that.

    Raises:
        SystemExit: its documents can't be had, or the library can't read them.
    """
    import yaml

    seeds = run.part / "preprocessed" / f"{leaf_id(leaf)}.jsonl"
    if not seeds.exists():
        temporary = run.part / "preprocessed.new"
        shutil.rmtree(temporary, ignore_errors=True)
        qna = temporary / leaf.partition("/")[0] / leaf_id(leaf) / "qna.yaml"
        qna.parent.mkdir(parents=True)
        shutil.copyfile(run.data / "taxonomy" / leaf / "qna.yaml", qna)
        rows, examples = [*read_lines(preprocessed(run, leaf, qna))], yaml.safe_load(qna.read_text())["seed_examples"]
        if not leaf.startswith("knowledge/"):
            # The library forgets the contexts of a skill whose first seed example has none.
            for row, example in zip(rows, examples, strict=True):
                if example.get("context"):
                    row["seed_context"] = example["context"]
        # It splits its files also at U+2028 and the like: here they are escaped.
        write_lines(temporary / "seeds", without_kept_out(rows, examples, run.held_out_seeds))
        seeds.parent.mkdir(exist_ok=True)
        (temporary / "seeds").replace(seeds)
        shutil.rmtree(temporary)
    return [*read_lines(seeds)]


def preprocessed(run: SdgRun, leaf: str, qna: Path) -> Path:
    """What the library makes of a leaf's qna.yaml and of its documents, which it clones into the same folder."""
    from instructlab.sdg.generate_data import preprocess_taxonomy

    try:
        (made,) = OUTAGE.outlast(
            lambda: preprocess_taxonomy(str(qna), str(qna.parents[2]), teacher_model_path=f"{run.data}/model"),
            lambda error: seconds_until_back(error) if type(error).__name__ == "GitCommandError" else None,
            f"the documents of {leaf}",
        )
    except (Exception, SystemExit) as error:  # of this library, of docling, and of those that read a PDF
        raise failure(
            f"the documents of {leaf} can't be read",
            f"{type(error).__name__}: {error} {error.__cause__ or ''}",
            "correct repo, commit and patterns of its document; a PDF needs docling's models in the image",
        ) from error
    return Path(made)


def drop_outdated(run: SdgRun, leaves: list[str], settings: str) -> None:
    """Make every leaf's seed records, and remove what was generated from records that differ now.

    This comes before the first request to the teacher: documents that can't be had cost nothing. After another import,
    the samples of leaves whose seed examples and documents are the same stay.

    Args:
        settings: hash of what decides the samples of a leaf, apart from the leaf.
    """
    seen = [leaf for leaf in leaves if (run.part / "preprocessed" / f"{leaf_id(leaf)}.jsonl").exists()]
    if seen != leaves or not leaves:
        require_taxonomy(run.data / "taxonomy", run.part, "", seen)
    seeds: dict[str, list[str]] = {}
    for leaf, name in leaf_names(leaves).items():
        seeds[leaf] = [name, inputs_hash({"rows": seed_records(run, leaf)})]
        progress(len(seeds), len(leaves), "leaves with their documents read")
    path, nodes = run.part / LEAVES, run.part / f"node_datasets_{run.suffix}"
    before = read_json(path) or {"seeds": seeds}  # of an earlier version
    for leaf, (name, digest) in before["seeds"].items():
        now = seeds.get(leaf, ["", ""])
        if digest != now[1]:
            generated(run, leaf).unlink(missing_ok=True)
        if [name, digest] != now:
            for file in ("mmlubench_{}.jsonl", "{}_task.yaml", "{}.jsonl", "{}_p07.jsonl", "{}_p10.jsonl"):
                (nodes / file.format(name)).unlink(missing_ok=True)
    write_json(path, {"settings": settings, "suffix": run.suffix, "seeds": seeds})


def samples_job(run: SdgRun, leaf: str, pipelines: Mapping[str, Any]) -> Job:
    """Generate a leaf's samples into `generated/<id>.jsonl`."""
    from datasets import Dataset

    def ask(rows: list[Row]) -> Iterator[Row]:
        for kind in sorted({row["leaf_node_type"] for row in rows}):
            yield from pipelines[kind].generate(Dataset.from_list([r for r in rows if r["leaf_node_type"] == kind]))

    def finish(rows: list[Row]) -> None:
        output = generated(run, leaf)
        write_lines(output.with_suffix(".part"), [row for row in rows if makes_a_sample(row)])
        output.with_suffix(".part").replace(output)

    return run.job(leaf, "samples", ask, finish)


def pipelines_by_kind(run: SdgRun) -> dict[str, Any]:
    """The library's pipelines by the kind of seed records."""
    from instructlab.sdg.generate_data import _sdg_init

    found = _sdg_init(run.context(), run.pipeline)
    return dict(zip(("knowledge", "freeform_skill", "grounded_skill"), found, strict=True))


def kinds_of_fixed_number(pipelines: Mapping[str, Any]) -> list[str]:
    """The kinds of seed records for which the SDG pipeline itself says how many samples are generated."""
    return [kind for kind, pipe in pipelines.items() if "'n': 'scaled'" not in str(pipe.chained_blocks)]


def generated(run: SdgRun, leaf: str) -> Path:
    """The file of a leaf's samples, as the SDG pipeline gives them."""
    return run.part / "generated" / f"{leaf_id(leaf)}.jsonl"


def makes_a_sample(row: Row) -> bool:
    """Whether the library can make a sample of a row, and keeps it to the end.

    Of others it makes empty turns, which 0.8.3 drops when all is mixed and 0.8.2 does not, or it raises an error.
    """
    from instructlab.sdg.datamixing import _get_question_hack, _get_response_hack
    from instructlab.sdg.utils import GenerateException

    try:
        question, answer = _get_question_hack(row), _get_response_hack(row)
    except GenerateException:
        return False
    other = row.get("document") if row.get("leaf_node_type") == "knowledge" else question
    return question is not None and all((text or "").strip() for text in (other, answer))


def question_pipeline(run: SdgRun) -> Any:
    """What makes multiple-choice questions: a folder's mmlu_bench.yaml, or the library's."""
    from instructlab.sdg.eval_data import mmlubench_pipe_init
    from instructlab.sdg.pipeline import Pipeline

    own, context = Path(run.pipeline, "mmlu_bench.yaml"), run.context()
    return Pipeline.from_file(context, str(own)) if own.exists() else mmlubench_pipe_init(context)


def question_files(run: SdgRun, name: str) -> tuple[Path, Path]:
    """The files of a leaf's questions, the task comes last.

    Args:
        name: of the task.
    """
    folder = run.part / f"node_datasets_{run.suffix}"
    return folder / f"mmlubench_{name}.jsonl", folder / f"{name}_task.yaml"


def questions_job(run: SdgRun, leaf: str, name: str, pipeline: Any) -> Job:
    """Generate a leaf's multiple-choice questions and their task file; of no valid question, there are none.

    Args:
        name: of the task.
    """
    from datasets import Dataset
    from instructlab.sdg.eval_data import generate_eval_task_data

    def finish(rows: list[Row]) -> None:
        data, task = question_files(run, name)
        new = run.part / "questions.new" / data.parent.name
        new.mkdir(parents=True, exist_ok=True)
        data.parent.mkdir(exist_ok=True)
        asked = SimpleNamespace(generate=Dataset.from_list)  # what the library takes for a pipeline
        generate_eval_task_data(asked, name, rows, str(new.parent), run.suffix)
        correct_questions(new / data.name)
        if count_lines(new / data.name):
            for path in (data, task):
                (new / path.name).replace(path)
        shutil.rmtree(new.parent)

    return run.job(leaf, "questions", lambda rows: pipeline.generate(Dataset.from_list(rows)), finish)


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

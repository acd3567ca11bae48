"""The taxonomy's own questions to candidate and base: MT-Bench-branch (judged) and MMLU-branch (multiple choice)."""

import functools
import glob
import os
import shutil
from typing import Any

from utils.messages import failure
from utils.stages.evaluation.judging import (
    check_judge,
    judge_answers,
    kept,
    overlapped,
    progress_counter,
    write_answers,
)
from utils.stages.evaluation.scores import mean_by, score_summary, skipped


def mt_bench_branch(taxonomy_dir: str, models: dict, work_dir: str, bench: dict, max_questions: int) -> dict:
    """MT-Bench-branch of both models on the seed questions of the taxonomy's skills.

    Args:
        models: folder of each model: {"base": …, "candidate": …}.
        work_dir: keeps what is finished for a restart.
        max_questions: spread over the leaves; 0 = all.
    """
    tree = os.path.join(work_dir, "questions")
    questions = branch_questions(taxonomy_dir, tree, max_questions)
    if not questions:
        return skipped("the taxonomy has no skill leaf, and MT-Bench-branch asks the questions of skills alone")
    from instructlab.eval.mt_bench import MTBenchBranchEvaluator

    check_judge(bench["judge"], bench["ca"])
    os.environ.pop("INSTRUCTLAB_EVAL_FIRST_N_QUESTIONS", None)
    bench = {**bench, "count": progress_counter(4 * questions, "taxonomy answers and judgments")}

    def evaluator(name: str) -> Any:
        # No branch: the questions lie in a plain tree, not in a git repository.
        judge = bench["judge"].model_name
        return MTBenchBranchEvaluator(name, judge, tree, None, os.path.join(work_dir, name), bench["merge"])

    def judge(name: str) -> dict:
        path = os.path.join(work_dir, name, "score.json")
        score = kept(path, lambda: judge_answers(evaluator(name), bench), lambda s: s["overall_score"] is not None)
        if score["overall_score"] is None:
            raise failure(
                f"the judge rated none of the {name} model's answers to the taxonomy's questions",
                f"it answered, for example: {score['unrated']!r}",
                "use a judge that writes [[rating]] or constrain it by eval_judge_options; the answers are kept",
            )
        return score

    names = ["base", "candidate"]
    answer = "mt_bench_branch"
    base, new = overlapped(names, lambda n: write_answers(evaluator(n), answer, questions, bench, models[n]), judge)
    by_leaf = [mean_by(s["qa_scores"], "qna_file", "score") for s in (new, base)]
    return {
        "judge_model": bench["judge"].model_name,
        "max_score": "10.0",
        "questions": questions,
        "overall_score": new["overall_score"],
        "base_overall_score": base["overall_score"],
        "error_rate": max(new["error_rate"], base["error_rate"]),
        "summary": score_summary("qna", by_leaf[0], by_leaf[1]),
    }


def branch_questions(taxonomy_dir: str, target: str, max_questions: int) -> int:
    """Copy the skills' qna.yaml into target, with max_questions seed examples over all leaves; their number.

    Each question once: instructlab-eval tells questions apart by their text. It leaves out knowledge, docs and
    scripts, and so does this. The taxonomy may be a git checkout or a plain tree.
    """
    import yaml

    shutil.rmtree(target, ignore_errors=True)
    leaves: dict = {}
    seen = set()
    for path in sorted(glob.glob(os.path.join(taxonomy_dir, "*", "**", "qna.yaml"), recursive=True)):
        name = os.path.relpath(path, taxonomy_dir)
        if name.split(os.sep)[0] in ("knowledge", "docs", "scripts"):
            continue
        with open(path, encoding="utf-8") as file:
            examples = (yaml.safe_load(file) or {}).get("seed_examples") or []
        leaves[name] = []
        for example in examples:
            if example.get("question") and example.get("answer") and example["question"] not in seen:
                seen.add(example["question"])
                leaves[name].append(example)
    total = min(max_questions or len(seen), len(seen))
    # The first question of each leaf, then the second of each, …
    turns = sorted((i, name) for name, examples in leaves.items() for i in range(len(examples)))[:total]
    for name, examples in leaves.items():
        chosen = [examples[i] for i, leaf in turns if leaf == name]
        if chosen:
            path = os.path.join(target, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                yaml.safe_dump({"seed_examples": chosen}, file, allow_unicode=True)
    return total


def mmlu(models: dict, work_dir: str, tasks: list, tasks_dir: str, few_shots: int, batch_size: str) -> dict:
    """Accuracy of both models on multiple-choice tasks.

    Args:
        models: folder of each model: {"base": …, "candidate": …}.
        tasks: names or a tag of lm-evaluation-harness tasks.
        tasks_dir: folder of task files whose data paths are absolute; "" for the harness's own tasks.
        few_shots: examples before each question.
        batch_size: `auto` or a positive integer.
    """
    import instructlab.eval.mmlu as library
    import torch
    from lm_eval.tasks import TaskManager

    # Without it the index of the harness's own 10000 tasks is built for each model, and none of them is asked for.
    library.TaskManager = functools.partial(TaskManager, include_defaults=not tasks_dir)
    cuda = torch.cuda.is_available()
    # Finding the largest batch takes minutes on a CPU and gains nothing there.
    batch = int(batch_size) if batch_size.isdecimal() else "auto" if cuda else 4

    def score(model_dir: str) -> dict:
        evaluator = library.MMLUBranchEvaluator(
            model_dir,
            tasks_dir or None,
            tasks,
            model_dtype="bfloat16" if cuda else "float32",
            few_shots=few_shots,
            batch_size=batch,
            device="cuda" if cuda else "cpu",
        )
        try:
            overall, by_task = evaluator.run()
        except (OSError, KeyError) as error:
            raise failure(
                f"the multiple-choice tasks {', '.join(tasks)} can't be run",
                f"{type(error).__name__}: {error}",
                "check the task names in mmlu_tasks, and that the hub with their data can be reached from the pod",
            ) from error
        return {"score": overall, "tasks": {name: entry["score"] for name, entry in by_task.items()}}

    new, base = (
        kept(os.path.join(work_dir, name, f"{tasks[0]}.json"), lambda path=models[name]: score(path))
        for name in ("candidate", "base")
    )
    return {
        "max_score": "1.0",
        "model_score": new["score"],
        "base_model_score": base["score"],
        "summary": score_summary("task", new["tasks"], base["tasks"]),
    }


def mmlu_branch(tasks_dir: str, models: dict, work_dir: str, few_shots: int, batch_size: str) -> dict:
    """MMLU-branch: `mmlu` on the multiple-choice questions that SDG made of the knowledge leaves.

    Args:
        tasks_dir: SDG's node_datasets folder, "" when there is none.
    """
    copied = os.path.join(work_dir, "tasks")
    questions = task_copies(tasks_dir, copied, few_shots) if tasks_dir else 0
    if not questions:
        return skipped("there are no multiple-choice questions: SDG makes them of knowledge leaves")
    return {"questions": questions, **mmlu(models, work_dir, ["ilab_branch"], copied, few_shots, batch_size)}


def task_copies(tasks_dir: str, target: str, few_shots: int) -> int:
    """Copy task files and their data to where they are read, under the tag `ilab_branch`; the number of questions.

    A task file holds its data's path as it was when SDG wrote it; the copy's is absolute and right here. A task
    without questions is left out; one with too few to give examples is asked without.
    """
    import yaml

    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target)
    questions = 0
    for path in sorted(glob.glob(os.path.join(tasks_dir, "*_task.yaml"))):
        with open(path) as file:
            task = yaml.safe_load(file)
        data_name = os.path.basename(task["dataset_kwargs"]["data_files"]["test"])
        with open(os.path.join(tasks_dir, data_name), encoding="utf-8") as file:
            rows = [line for line in file if line.strip()]
        if not rows:
            continue
        questions += len(rows)
        data_path = os.path.abspath(os.path.join(target, data_name))
        with open(data_path, "w", encoding="utf-8") as file:
            file.writelines(rows)
        task = {**task, "tag": "ilab_branch", "dataset_kwargs": {"data_files": {"test": data_path}}}
        if len(rows) <= few_shots:
            task["num_fewshot"] = 0
        with open(os.path.join(target, os.path.basename(path)), "w") as file:
            yaml.safe_dump(task, file)
    return questions

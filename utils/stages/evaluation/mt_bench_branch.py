"""MT-Bench-branch: the taxonomy's own questions to candidate and base, rated by the judge."""

import collections
import glob
import os
import shutil
import statistics
from typing import Any

from utils.messages import failure
from utils.stages.evaluation.judging import Bench, rated_models
from utils.stages.evaluation.scores import BranchScores, Pair, Rated, Skipped, score_summary


def mt_bench_branch(bench: Bench, pair: Pair) -> BranchScores | Skipped:
    """MT-Bench-branch of both models on the seed questions of the taxonomy's skills.

    Raises:
        SystemExit: the judge can't be reached, or rated none of a model's answers.
    """
    tree = os.path.join(pair.work_dir, "questions")
    questions = branch_questions(os.path.join(bench.given.data_dir, "taxonomy"), tree, bench.given.max_questions)
    if not questions:
        return Skipped("the taxonomy has no skill leaf, and MT-Bench-branch asks the questions of skills alone")
    from instructlab.eval.mt_bench import MTBenchBranchEvaluator

    os.environ.pop("INSTRUCTLAB_EVAL_FIRST_N_QUESTIONS", None)

    def evaluator(name: str) -> Any:
        # No branch: the questions lie in a plain tree, not in a git repository.
        folder, merge = os.path.join(pair.work_dir, name), bench.given.merge_system_user_message
        return MTBenchBranchEvaluator(name, bench.judge.model_name, tree, None, folder, merge)

    models = {"base": pair.base, "candidate": pair.candidate}
    base, new = rated_models(bench, models, evaluator, questions, 1, 1.0)
    for rated in (base, new):
        if rated.overall_score is None:
            raise failure(
                f"the judge rated none of the {rated.model} model's answers to the taxonomy's questions",
                f"it answered, for example: {rated.unrated!r}",
                "use a judge that writes [[rating]] or constrain it by eval_judge_options; the answers are kept",
            )
    return BranchScores(
        bench.judge.model_name,
        questions,
        new.overall_score,
        base.overall_score,
        max(new.error_rate, base.error_rate),
        score_summary("qna", leaf_scores(new), leaf_scores(base)),
    )


def leaf_scores(rated: Rated) -> dict[str, float]:
    """The mean rating of each taxonomy leaf."""
    leaves: dict[str, list[float]] = collections.defaultdict(list)
    for answer in rated.qa_scores:
        leaves[answer["qna_file"]].append(answer["score"])
    return {leaf: statistics.fmean(scores) for leaf, scores in leaves.items()}


def branch_questions(taxonomy_dir: str, target: str, max_questions: int) -> int:
    """Copy the skills' qna.yaml into target, with max_questions seed examples over all leaves; their number.

    Each question once: instructlab-eval tells questions apart by their text. It leaves out knowledge, docs and
    scripts, and so does this. The taxonomy may be a git checkout or a plain tree.

    Args:
        max_questions: 0 = all.
    """
    import yaml

    shutil.rmtree(target, ignore_errors=True)
    leaves: dict[str, list[dict[str, Any]]] = {}
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

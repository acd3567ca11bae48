"""MT-Bench-branch: the taxonomy's own questions to candidate and base, rated by the judge."""

import collections
import glob
import statistics
from pathlib import Path
from typing import Any

from utils.stages.evaluation.judging import Bench, Examinee, no_rating, rated_models
from utils.stages.evaluation.likelihood import sample_indices
from utils.stages.evaluation.scores import BranchScores, Pair, Rated, Skipped, score_summary


def mt_bench_branch(bench: Bench, pair: Pair) -> BranchScores | Skipped:
    """MT-Bench-branch of both models on the seed questions of the taxonomy's skills.

    Raises:
        SystemExit: the judge can't be reached, or rated none of a model's answers.
    """
    tree = f"{pair.work_dir}/questions"
    questions = branch_questions(f"{bench.given.data_dir}/taxonomy", tree, bench.given.max_questions)
    if not questions:
        return Skipped("no skill leaf")
    from instructlab.eval.mt_bench import MTBenchBranchEvaluator

    # No branch: the questions lie in a plain tree, not in a git repository.
    judge, merge = bench.judge.model_name, bench.given.merge_system_user_message
    models = [
        Examinee(name, folder, MTBenchBranchEvaluator(name, judge, tree, None, f"{pair.work_dir}/{name}", merge))
        for name, folder in pair.models
    ]
    new, base = rated_models(bench, models, questions, 1, 1.0)
    for rated in (new, base):
        if rated.overall_score is None:
            raise no_rating(f"the judge rated no answer of {rated.model}", rated)
    return BranchScores(
        judge,
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

    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for leaf in sorted(glob.glob("*/**/qna.yaml", root_dir=taxonomy_dir, recursive=True)):
        if leaf.split("/")[0] in ("knowledge", "docs", "scripts"):
            continue
        qna = yaml.safe_load(Path(taxonomy_dir, leaf).read_text("utf-8")) or {}
        for example in qna.get("seed_examples") or []:
            if example.get("question") and example.get("answer"):
                found.setdefault(example["question"], (leaf, example))
    chosen = collections.defaultdict(list)
    asked = list(found.values())
    for i in sample_indices([leaf for leaf, _ in asked], max_questions or len(asked)):
        leaf, example = asked[i]
        chosen[leaf].append(example)
    for leaf, examples in chosen.items():
        path = Path(target, leaf)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({"seed_examples": examples}, allow_unicode=True), "utf-8")
    return sum(map(len, chosen.values()))

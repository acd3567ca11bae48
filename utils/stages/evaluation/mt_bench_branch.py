"""MT-Bench-branch: the taxonomy's own questions to candidate and base, rated by the judge."""

import collections
import glob
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from utils.stages.data_processing.held_out import short_hash
from utils.stages.evaluation.judging import Bench, Benchmark, Examinee, no_rating, plain_name, rated_models
from utils.stages.evaluation.likelihood import sample_indices
from utils.stages.evaluation.scores import BranchScores, Pair, Skipped, score_summary
from utils.stages.evaluation.statistics import Answered


def mt_bench_branch(bench: Bench, pair: Pair) -> BranchScores | Skipped:
    """MT-Bench-branch of both models on the seed questions of the taxonomy's skills, at temperature 0.

    Both models are compared on the questions whose answers were rated for both. They are not compared when one of them
    has more than the accepted share of answers without a rating.

    Raises:
        SystemExit: the judge can't be reached, or rated no answer of either model.
    """
    tree, judge = f"{pair.work_dir}/questions", plain_name(bench.judge)
    questions = branch_questions(f"{bench.given.data_dir}/taxonomy", tree, bench.given.max_questions)
    if not questions:
        return Skipped("no skill leaf")
    from instructlab.eval.mt_bench_branch_generator import generate

    models = [Examinee(name, folder, f"{pair.work_dir}/{name}") for name, folder in pair.models]
    for model in models:
        generate(judge, None, tree, model.work_dir)  # no branch: the questions are a plain tree, not a git repository
    both = rated_models(bench, models, Benchmark("mt_bench_branch", questions, 1, {"temperature": 0.0}))
    worse = max(both, key=lambda rated: rated.error_rate)
    if all(rated.overall_score is None for rated in both):
        raise no_rating(f"the judge rated no answer of {worse.model}", worse)
    new, base = (rated.by_question() for rated in both)
    common = new.keys() & base.keys()
    if not (worse.trusted(bench.given.max_error_rate) and common):
        cause = f"no rating in {worse.error_rate:.0%} of the judgments of {worse.model}: {worse.unrated}"
        return Skipped(cause, questions=questions, error_rate=worse.error_rate)
    asked = sorted(common)
    return BranchScores(
        bench.judge.model_name,
        len(asked),
        statistics.fmean(new[i]["score"] for i in asked),
        statistics.fmean(base[i]["score"] for i in asked),
        worse.error_rate,
        score_summary("qna", *(leaf_scores(answers[i] for i in asked) for answers in (new, base))),
        answers=[
            Answered(short_hash(str(new[i]["question"])), new[i]["qna_file"], base[i]["score"], new[i]["score"])
            for i in asked
        ],
        qa_scores=[new[i] for i in asked],
        base_qa_scores=[base[i] for i in asked],
    )


def leaf_scores(answers: Iterable[dict[str, Any]]) -> dict[str, float]:
    """The mean rating of each taxonomy leaf, of entries of `qa_scores`."""
    leaves: dict[str, list[float]] = collections.defaultdict(list)
    for answer in answers:
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

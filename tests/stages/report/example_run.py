"""A run's volume with realistic numbers, for tests and for looking at the report: `python example_run.py FOLDER`."""

import json
import math
import random
import sys
from dataclasses import asdict
from pathlib import Path

from utils.stages.evaluation.audit import kinship
from utils.stages.evaluation.verdict import verdict_on

KNOWLEDGE = [
    "knowledge/astronomy/lumera/orbit",
    "knowledge/astronomy/lumera/climate",
    "knowledge/history/lumera/charter",
]
SKILLS = [
    "compositional_skills/writing/freeform/harbour_notice",
    "compositional_skills/writing/freeform/tide_riddle",
    "compositional_skills/grounded/extraction/ship_manifest",
]
CANDIDATE = "phase_2/hf_format/samples_12150"
PACKAGES = {
    "instructlab-sdg": "0.8.3",
    "instructlab-training": "0.10.3",
    "instructlab-eval": "0.5.1",
    "torch": "2.6.0",
    "transformers": "4.51.3",
    "kfp": "2.17.0",
}


def full_run(root: Path) -> Path:
    """A run in which everything happened: both phases, all scores, published. Returns root."""
    write_scores(root)
    write_import_and_data(root)
    write_training(root)
    marker(root, "mt_bench", 9050, {"candidate": CANDIDATE}, {"max_workers": "auto", "max_error_rate": 0.25})
    marker(root, "final_eval", 4210, {"likelihood": 0.412}, {"few_shots": 5, "batch_size": "auto", "mmlu_tasks": []})
    write_publish(root, passed=True)
    return root


def held_back_run(root: Path) -> Path:
    """The same run with a gate that it does not pass, and a candidate that lost in one comparison."""
    full_run(root)
    write_publish(root, passed=False)
    branch = json.loads((root / "scores/mt_bench_branch.json").read_text())
    worse = [{**row, "candidate": row["base"] - 0.2 - 0.1 * (i % 4)} for i, row in enumerate(branch["answers"])]
    lost = {"overall_score": 6.48, "base_overall_score": 6.83, "answers": worse}
    write(root, "scores/mt_bench_branch.json", branch | lost)
    write_verdict(root)
    return root


def sparse_run(root: Path) -> Path:
    """Only knowledge, no judge scores, nothing published yet: the likelihood is the only measure."""
    write_scores(root)
    for name in ("mt_bench", "mt_bench_branch", "mmlu_branch"):
        (root / f"scores/{name}.json").unlink()
    write(
        root, "scores/mmlu_branch.json", {"skipped": True, "reason": "the taxonomy gave no multiple-choice questions"}
    )
    write_import_and_data(root)
    processed = json.loads((root / "done/data_processing.json").read_text())["result"]
    empty = dict.fromkeys(processed["skills"], 0)
    marker(root, "data_processing", 41.2, {**processed, "skills": empty}, {"held_out_fraction": 0.05})
    write_training(root)
    skipped = {"phase": 2, "skipped": True, "reason": "the taxonomy has no skills", "checkpoint": "", "loss": []}
    marker(root, "train_phase_2", 0.2, skipped, {"phase": 2})
    return root


def marker(root: Path, stage: str, seconds: float, result: dict, inputs: dict) -> None:
    order = [
        "data_import",
        "sdg",
        "data_processing",
        "train_phase_1",
        "train_phase_2",
        "mt_bench",
        "final_eval",
        "publish",
    ]
    at = order.index(stage)
    content = {
        "stage": stage,
        "inputs": {**inputs, "upstream": f"{at:016x}"},
        "inputs_hash": f"{0x9C4F12AB77E0 * (at + 3):016x}"[:16],
        "outputs": {stage: 1 << 20},
        "versions": PACKAGES if stage not in ("data_import", "publish") else {"kfp": "2.17.0"},
        "finished": f"2025-06-{12 + at // 4:02}T{(5 + 2 * at) % 24:02}:{7 * at % 60:02}:31Z",
        "seconds": seconds,
        "result": result,
    }
    write(root, f"done/{stage}.json", content)


def write(root: Path, name: str, content: dict) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_import_and_data(root: Path) -> None:
    template = {"name": "ibm_legacy_tmpl", "sha256": "", "example": ""}
    why = "the base model's tokenizer has none, and it is a model of type llama with 32000 tokens"
    imported = {
        "chat_template": {**template, "why": why},
        "archive": "s3://ilab-runs/archives/lumera.tar.gz",
        "sha256": "5f1c9b0d7a4e6b3f2c8d1e0a9b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c",
        "size": 14_982_331_904,
        "taxonomy_commit": "8d1f3a7c2be94f0d6a5c1b7e9f20438acd51be77",
        "model_source": "archive",
        "data_generated_elsewhere": False,
    }
    marker(
        root,
        "data_import",
        372.4,
        imported,
        {"archive": {"size": 14_982_331_904}, "base_model": "", "taxonomy": ["", "", 0, ""]},
    )
    counts = dict(zip(KNOWLEDGE + SKILLS, (1480, 1122, 954, 310, 288, 402), strict=True))
    generated = {
        "generated": True,
        "reason": "",
        "knowledge_file": "sdg/knowledge_train_msgs_2025-06-12.jsonl",
        "skills_file": "sdg/skills_train_msgs_2025-06-12.jsonl",
        "samples": sum(counts.values()),
        "samples_by_leaf": counts,
        "mmlu_questions": 186,
        "tokens": 3_912_044,
        "teacher_formats": ["mixtral is asked in format mixtral: its name is mixtral"],
    }
    marker(root, "sdg", 18_204, generated, {"sdg_pipeline": "agentic", "scale_factor": 30, "sample_size": 1.0})
    knowledge = {"rows": 3378, "tokens": 2_204_518, "longest": 3811, "dropped": 4, "held_out": 178}
    skills = {"rows": 12_150, "tokens": 5_630_921, "longest": 4088, "dropped": 61, "held_out": 50}
    inputs = {"held_out_fraction": 0.05, "max_seq_len": 4096, "max_batch_len": 5000, "seed": 42}
    marker(root, "data_processing", 41.2, {"knowledge": knowledge, "skills": skills}, inputs)
    rows = [
        {"leaf": leaf, "kept": count - 9, "held_out": 4, "dropped": {"near_duplicate": 3, "refusal": 2}}
        for leaf, count in counts.items()
    ]
    reasons = {"refusal": "the answer refuses to answer", "near_duplicate": "another sample is nearly the same"}
    compared = ["Samples were compared with 160 questions of MT-Bench"]
    write(root, "processed/checks.json", {"leaves": rows, "reasons": reasons, "compared": compared, "examples": []})


def write_training(root: Path) -> None:
    noise = random.Random(7)
    for phase, steps, start, end, seconds in ((1, 189, 2.31, 0.62, 9120), (2, 470, 1.48, 0.71, 27_940)):
        curve = [end + (start - end) * math.exp(-4.5 * s / steps) + noise.gauss(0, 0.05) for s in range(steps)]
        result = {
            "phase": phase,
            "skipped": False,
            "reason": "",
            "checkpoint": f"phase_{phase}/hf_format/samples_12150",
            "launcher": "pytorchjob",
            "device": "cuda",
            "steps": steps,
            "samples": steps * 128,
            "tokens": steps * 81_920,
            "tokens_per_second": round(steps * 81_920 / seconds, 1),
            "loss": [[s + 1, round(loss, 4)] for s, loss in enumerate(curve)],
            "estimated_gpu_hours": 24.75 * phase,
        }
        inputs = {"phase": phase, "num_epochs": 7, "effective_batch_size": 128, "learning_rate": 2e-05, "seed": 42,
                  "launcher": "pytorchjob", "node_selectors": {}, "tolerations": []}  # fmt: skip
        marker(root, f"train_phase_{phase}", seconds, result, inputs)


def pairs(leaf: str, questions: int, base: float, candidate: float, spread: float, tokens: int = 1) -> list[dict]:
    """What each question of a leaf scored, around the leaf's means."""
    noise = random.Random(leaf)
    return [
        {"question": f"{leaf}{i}", "leaf": leaf, "base": tokens * base, "weight": tokens, "document": f"{i % 7}",
         "candidate": tokens * (candidate + noise.gauss(0, spread))}
        for i in range(questions)
    ]  # fmt: skip


def chosen(leaf: str, questions: int, base: float, candidate: float) -> list[dict]:
    """The same of multiple-choice questions: 1 for right."""
    rows = [row | {"base": i < questions * base} for i, row in enumerate(pairs(leaf, questions, 0, 0, 0))]
    return [row | {"candidate": i >= questions * (1 - candidate)} for i, row in enumerate(rows)]


def write_verdict(root: Path) -> None:
    scores = {path.stem: json.loads(path.read_text()) for path in (root / "scores").glob("*.json")}
    write(root, "scores/verdict.json", asdict(verdict_on(scores)))


def write_scores(root: Path) -> None:
    checkpoints = [
        {
            "model": f"phase_2/hf_format/samples_{samples}",
            "overall_score": score,
            "turn_scores": [round(score + 0.31, 4), round(score - 0.31, 4)] if score else [],
            "qa_scores": [],
            "error_rate": rate,
        }
        for samples, score, rate in (
            (2430, 6.11, 0.0125),
            (4860, 6.48, 0.0),
            (7290, 6.72, 0.0063),
            (9720, None, 0.41),
            (12150, 6.94, 0.0),
        )
    ]
    bench = {"candidate": CANDIDATE, "judge_model": "prometheus-8x7b-v2-0", "max_error_rate": 0.25, "questions": 80,
             "reason": "best score of those with an error rate of at most 0.25", "corrected_score": 6.81,
             "audit": {"twice": 40, "changed": 5, "by": 0.2, "turns": 0.84, "uninformative": "",
                       "kinship": kinship("prometheus-8x7b-v2-0", "mixtral")},
             "checkpoints": checkpoints}  # fmt: skip
    write(root, "scores/mt_bench.json", bench)
    qnas = [f"{leaf}/qna.yaml" for leaf in SKILLS]
    entries: list[dict] = [{"qna": q, "base_score": b, "new_score": n, "delta": n - b}
               for q, b, n in zip(qnas, (5.2, 6.4, 7.1), (7.6, 6.2, 7.1), strict=True)]  # fmt: skip
    branch = {"model": CANDIDATE, "base_model": "model", "judge_model": "prometheus-8x7b-v2-0", "max_score": "10.0",
              "overall_score": 6.97, "base_overall_score": 6.23, "error_rate": 0.0208, "questions": 15,
              "answers": sum((pairs(e["qna"], 5, e["base_score"], e["new_score"], 1.5) for e in entries), []),
              "summary": {"improvements": entries[:1], "regressions": entries[1:2], "no_changes": entries[2:],
                          "new": []}}  # fmt: skip
    write(root, "scores/mt_bench_branch.json", branch)
    tasks: list[dict] = [{"task": f"mmlu_pr_{leaf.rsplit('/', 1)[-1]}", "base_score": b, "new_score": n, "delta": n - b}
             for leaf, b, n in zip(KNOWLEDGE, (0.38, 0.41, 0.29), (0.71, 0.66, 0.62), strict=True)]  # fmt: skip
    answers = sum((chosen(t["task"], 62, t["base_score"], t["new_score"]) for t in tasks), [])
    mmlu = {"max_score": "1.0", "model": CANDIDATE, "model_score": 0.663, "base_model": "model",
            "base_model_score": 0.36, "questions": 186, "right": sum(row["candidate"] for row in answers),
            "base_right": sum(row["base"] for row in answers), "answers": answers,
            "summary": {"improvements": tasks, "regressions": [], "no_changes": [],
                                                  "new": []}}  # fmt: skip
    write(root, "scores/mmlu_branch.json", mmlu)
    write_likelihood(root)


def write_publish(root: Path, passed: bool) -> None:
    words = {"likelihood": "better", "mmlu_branch": "better"}
    checks = [
        {"name": "min_mt_bench", "limit": 6.0 if passed else 7.5, "value": 6.94, "passed": passed},
        {"name": "max_error_rate", "limit": 0.25, "value": 0.0208, "passed": True},
        {"name": "require_improvement", "limit": False, "value": words, "passed": True},
    ]
    result = {
        "published": passed,
        "key": "2025-06-13_09-49-31.lumera.tar" if passed else "",
        "sha256": "c07a4e1d9b3f5a2876e4d1c0b9a8f7e6d5c4b3a29180f7e6d5c4b3a291807f6e" if passed else "",
        "size": 14_771_003_392 if passed else 0,
        "gate": {"passed": passed, "checks": checks},
    }
    inputs = {"name": "", "gate": [6.0, 0.25, False, 0.95, {}]}
    write_verdict(root)
    marker(root, "publish", 241.7, result, inputs)


def write_likelihood(root: Path) -> None:
    values = zip(KNOWLEDGE + SKILLS, (68, 61, 49, 14, 16, 20), (1.12, 1.31, 1.24, 1.66, 1.93, 0.88),
                 (2.41, 2.37, 2.66, 2.02, 2.21, 0.97), strict=True)  # fmt: skip
    by_leaf: list[dict] = [
        {"leaf": leaf, "questions": n, "nll": nll, "base_nll": base} for leaf, n, nll, base in values
    ]
    leaves = (pairs(e["leaf"], e["questions"], e["base_nll"], e["nll"], 0.4, 81) for e in by_leaf)
    samples = [
        {
            "question": "How long does Lumera take to circle its star, and why does the calendar ignore it?",
            "leaf": KNOWLEDGE[0],
            "reference": "Lumera circles its star in 211 days. The harbour calendar follows the double tide of its two "
            "moons instead, because ships can only leave at the highest tide.",
            "answer": "Lumera takes 211 days to circle its star. The harbour calendar counts double tides, since ships "
            "leave only when both moons pull together.",
            "base_answer": "Lumera is a fictional planet, so there is no known orbital period. Calendars mostly follow "
            "the year of a planet; a harbour may keep its own calendar for commercial reasons.",
            "nll": 0.93,
            "base_nll": 2.58,
        },
        {
            "question": "Write the notice for a harbour closed by fog until the second bell.",
            "leaf": SKILLS[0],
            "reference": "NOTICE TO ALL MASTERS\n\nThe harbour is closed by fog.\nNo vessel leaves before the second "
            "bell.\n\nThe Harbour Council",
            "answer": "NOTICE TO ALL MASTERS\n\nFog lies on the harbour. It is closed.\nNo vessel leaves before the "
            "second bell has rung.\n\nThe Harbour Council",
            "base_answer": "Dear Sir or Madam,\n\nWe regret to inform you that the harbour will be temporarily closed "
            "due to unforeseen weather circumstances. We apologise for any inconvenience this may cause.\n\nBest "
            "regards,\n[Your name]",
            "nll": 1.41,
            "base_nll": 2.12,
        },
        {
            "question": "Which cargo must stay below deck?\n\n12 crates tide glass\n3 barrels lamp oil\n"
            "40 bales dry moss",
            "leaf": SKILLS[2],
            "reference": "The 3 barrels of lamp oil.",
            "answer": "The 3 barrels of lamp oil must stay below deck.",
            "base_answer": "12 crates of tide glass, 3 barrels of lamp oil and 40 bales of dry moss.",
            "nll": 0.61,
            "base_nll": 0.77,
        },
    ]
    score = {"model": CANDIDATE, "base_model": "model", "questions": 228, "tokens": 18_411, "nll": 1.304,
             "base_nll": 2.297, "by_leaf": by_leaf, "samples": samples, "answers": sum(leaves, [])}  # fmt: skip
    write(root, "scores/likelihood.json", score)


if __name__ == "__main__":
    from utils.stages.report.facts import report_facts
    from utils.stages.report.page import render

    note = "Example numbers, made up to show the page. No model was trained."
    for build in (full_run, held_back_run, sparse_run):
        folder = build(Path(sys.argv[1]) / build.__name__)
        page = render(report_facts(str(folder), "ilab-pipeline-20250612-050731-x4k2", [note]))
        (folder / "report.html").write_text(page)
        print(folder / "report.html", len(page), "characters")

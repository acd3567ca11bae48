"""The card of a published model: README.md beside its weights, as the Hugging Face hub reads it.

The metadata at its top are those of https://huggingface.co/docs/hub/model-cards; the scores are its model-index
(huggingface_hub, repocard_data.py: `eval_results_to_model_index`). A run that is repeated writes the same card.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.stages.provenance import model_commit, stage_records
from utils.stages.report.facts import Measure, comparisons
from utils.stages.report.text import number, plain

CARD = "README.md"
"""Its name beside the weights."""
SCORES = ("Measure", "Base", "Candidate", "Verdict", "Questions", "What is measured")
REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
"""Name of a model in a hub."""
METRICS = {
    "likelihood": ("text-generation", "held-out", "Held-out samples of the taxonomy", "negative_log_likelihood"),
    "mmlu_branch": ("multiple-choice", "mmlu-branch", "Multiple-choice questions of the taxonomy", "accuracy"),
    "mmlu": ("multiple-choice", "cais/mmlu", "MMLU", "accuracy"),
    "mt_bench_branch": ("text-generation", "mt-bench-branch", "Questions of the taxonomy", "judge_rating"),
    "mt_bench": ("text-generation", "mt-bench", "MT-Bench", "judge_rating"),
}
"""Measure to task, type and name of the data set, and type of the metric; others are tasks of `eval_tasks`."""


def model_card(data_dir: str, run_id: str) -> str:
    """The card of a run's candidate, from its scores and markers."""
    files = sorted(Path(data_dir, "scores").glob("*.json"))
    # As in the report: NaN does not count as a score.
    scores = {file.stem: json.loads(file.read_text(), parse_constant=lambda _: None) for file in files}
    records = stage_records(data_dir)
    leaves = records.get("sdg", {}).get("result", {}).get("samples_by_leaf", {})
    judged = scores.pop("verdict", {}).get("measures", {})
    measured = [one for one in comparisons(scores, judged, leaves) if one.candidate is not None]
    base = base_facts(Path(data_dir, "model"), records.get("data_import", {}).get("result", {}).get("model_source", ""))
    judge = scores.get("mt_bench", {}).get("judge_model", "")
    return front_matter(run_id, base, measured) + body(run_id, base, measured, records, judge)


def base_facts(model: Path, source: str) -> dict[str, str]:
    """What a base model says of itself: its name in a hub, its commit there, its license; "" where it does not."""
    facts = {}
    for name in ("config.json", CARD):
        file = model / name
        facts[name] = file.read_text(errors="replace")[: 1 << 20] if file.is_file() and not file.is_symlink() else ""
    cached = re.search(r"/models--([^/]+?)--([^/]+)/snapshots/", source)
    named = re.search(r'"_name_or_path": *"([^"\\]*)"', facts["config.json"])
    names = ["/".join(cached.groups())] if cached else [named[1]] if named else []
    top = facts[CARD].partition("\n---")[0] if facts[CARD].startswith("---\n") else ""
    license_found = re.search(r"(?m)^license: *['\"]?([a-z0-9][a-z0-9.-]*)['\"]? *$", top)
    return {
        "name": next((name for name in names if REPOSITORY.fullmatch(name)), ""),
        "commit": model_commit(model, source),
        "license": license_found[1] if license_found and license_found[1] != "other" else "",
    }


def front_matter(name: str, base: Mapping[str, str], measured: Sequence[Measure]) -> str:
    """The metadata, as YAML between two lines of dashes."""
    import yaml

    results = []
    for measure in measured:
        other = ("text-generation", measure.name, measure.name, measure.what.partition(",")[0])
        task, kind, title, metric = METRICS.get(measure.key, other)
        scored = {"type": metric, "name": measure.name, "value": round(measure.candidate or 0.0, 6)}
        results.append({"task": {"type": task}, "dataset": {"type": kind, "name": title}, "metrics": [scored]})
    known = {"license": base["license"], "base_model": base["name"]}
    facts: dict[str, Any] = {
        **{key: value for key, value in known.items() if value},
        **({"base_model_relation": "finetune"} if base["name"] else {}),
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["instructlab", "ilab-pipeline"],
        **({"model-index": [{"name": " ".join(name.split()), "results": results}]} if results else {}),
    }
    return f"---\n{yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=1000)}---\n\n"


def body(
    run_id: str,
    base: Mapping[str, str],
    measured: Sequence[Measure],
    records: Mapping[str, Mapping[str, Any]],
    judge: str,
) -> str:
    """The text for people, in Markdown.

    Args:
        records: of `stage_records`.
        judge: its model's name; "" if none was asked.
    """
    result = {stage: record.get("result") or {} for stage, record in records.items()}
    inputs = {stage: record.get("inputs") or {} for stage, record in records.items()}
    imported = result.get("data_import", {})
    source, template = imported.get("model_source"), imported.get("chat_template", {})
    made = {
        "Base model": base["name"] or ("of the imported archive" if source == "archive" else source),
        "Commit of the base model": base["commit"],
        "Taxonomy": (inputs.get("data_import", {}).get("taxonomy") or [""])[0] or "of the imported archive",
        "Commit of the taxonomy": imported.get("taxonomy_commit"),
        "Teacher": inputs.get("sdg", {}).get("teacher"),
        "Judge": judge,
        "Chat template": template.get("name") and f"{template['name']}, saved with the tokenizer",
        **{f"Training data, {kind}": f"{number(counts.get('rows'))} samples, {number(counts.get('tokens'))} tokens"
           for kind, counts in result.get("data_processing", {}).items() if counts.get("rows")},
        **{f"Training, phase {phase}": plain({name: value for name, value in inputs[f"train_phase_{phase}"].items()
           if name in ("num_epochs", "effective_batch_size", "learning_rate", "seed", "algorithm")})
           for phase in (1, 2) if result.get(f"train_phase_{phase}", {}).get("steps")},
    }  # fmt: skip
    leaves = result.get("sdg", {}).get("samples_by_leaf", {})
    scored = [
        (
            *(one.name, number(one.base, one.digits), number(one.candidate, one.digits)),
            *(one.verdict.get("said", ""), number(one.questions), one.what),
        )
        for one in measured
    ]
    parts = [
        f"# {cell(run_id)}\n\nA language model that was trained with InstructLab: its teacher wrote samples from a "
        "taxonomy, and it learned them. The run's report says how it compares with its base model.",
        "## What it was made of\n\n" + table(("", ""), [(name, value) for name, value in made.items() if value]),
        "## Scores\n\n" + table(SCORES, scored),
        "## What it was taught\n\n" + table(("Taxonomy leaf", "Samples"), [(k, number(v)) for k, v in leaves.items()]),
        "## Use\n\n```\nvllm serve ./model --served-model-name MODEL\n```\n\nIt loads with transformers, too.",
        "## Origin\n\n`provenance.json` in the archive names the data, code, images, versions and parameters of the "
        "run, with their hashes. `ilab-pipeline verify ARCHIVE` compares every file with it.",
    ]
    return "\n\n".join(part for part in parts if not part.endswith("\n\n")) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown; "" without rows."""
    lines = [head, ["---"] * len(head), *([cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else ""


def cell(value: Any) -> str:
    """Foreign text as text, in one line: no markup, no link and no cell of its own."""
    return re.sub(r"([\\`*_\[\]<>|#!&~$])", r"\\\1", " ".join(plain(value).split()))

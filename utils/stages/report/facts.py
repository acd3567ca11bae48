"""What the volume knows about a run, and what that says about the candidate: plain data, no page yet."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from utils.stages.code import code_digest
from utils.stages.leaves import leaf_names
from utils.stages.marker import as_it_ran, read_json
from utils.stages.report.text import listed


def report_facts(data_dir: str, run_id: str, notes: Sequence[str]) -> dict[str, Any]:
    """Everything the report shows: report.json holds this, and the page is drawn from it.

    Returns:
        run_id, notes, comparisons (Measure), headline and fate (see verdict), versions, code, and by name:
        checks (what became of the samples of each leaf, see utils/stages/data_processing/table.py),
        done (markers of the finished stages, in the order they finished, see `as_it_ran`), and scores as they lie on
        the volume.
    """
    found: dict[str, dict[str, Any]] = {}
    for folder in ("done", "scores"):
        files = sorted(Path(data_dir, folder).glob("*.json"))
        # What JSON cannot hold (NaN) is None from here on.
        found[folder] = {f.stem: json.loads(f.read_text(), parse_constant=lambda _: None) for f in files}
    markers = {stage: as_it_ran(marker) for stage, marker in found["done"].items()}
    done = dict(sorted(markers.items(), key=lambda marker: marker[1]["finished"]))
    compared = comparisons(found["scores"], done.get("sdg", {}).get("result", {}).get("samples_by_leaf", {}))
    headline, fate = verdict(compared, done.get("publish", {}).get("result", {}))
    return {
        "run_id": run_id,
        "notes": notes,
        "headline": headline,
        "fate": fate,
        "comparisons": list(map(asdict, compared)),
        "versions": versions_of(done),
        "code": code_digest(),
        "checks": read_json(Path(data_dir, "processed/checks.json")),
        "done": done,
        "scores": found["scores"],
    }


@dataclass(frozen=True)
class Measure:
    """Candidate against base by one measure. MT-Bench has no base: it chooses the candidate.

    Attributes:
        what: a line that says what is measured.
        digits: decimal places to show.
        change: None when base or candidate is missing.
        better: None when nothing changed or was compared.
        reason: why there is no score, or "".
        rows: (leaf, base, candidate) by taxonomy leaf.
    """

    key: str
    name: str
    what: str
    digits: int
    base: float | None
    candidate: float | None
    change: float | None
    better: bool | None
    reason: str
    questions: int | None
    error_rate: float | None
    rows: list[tuple[str, float | None, float | None]]


MEASURES = (
    ("Likelihood", "nll", 3, "negative log-likelihood per token, lower is better"),
    ("MMLU-branch", "model_score", 3, "accuracy on the taxonomy's multiple-choice questions"),
    ("MMLU", "model_score", 3, "accuracy on multiple-choice questions"),
    ("MT-Bench-branch", "overall_score", 2, "judge's grade on the taxonomy's questions, 1 to 10"),
    ("MT-Bench", "overall_score", 2, "judge's grade, 1 to 10; chose the candidate"),
)
"""(name, the candidate's entry in the score file, digits, what is measured), the one that needs no judge first."""


def comparisons(scores: Mapping[str, Any], leaves: Iterable[str] = ()) -> list[Measure]:
    """Candidate against base by each measure.

    Args:
        scores: the score files by name.
        leaves: paths of the taxonomy's leaves.
    """
    bench = scores.get("mt_bench", {})
    chosen = [c for c in bench.get("checkpoints", []) if c["model"] == bench["candidate"]]
    scores = {**scores, "mt_bench": {**bench, **(chosen[0] if chosen else {})}}
    found = []
    for name, field, digits, what in MEASURES:
        key = name.lower().replace("-", "_")
        score = scores.get(key, {})
        candidate, base = score.get(field), score.get(f"base_{field}")
        change = None if None in (candidate, base) else candidate - base
        better = (change < 0) == (field == "nll") if change else None
        reason = score.get("reason", "not run") if candidate is None else ""
        counts = score.get("questions"), score.get("error_rate")
        rows = leaf_rows(score, leaves)
        found.append(Measure(key, name, what, digits, base, candidate, change, better, reason, *counts, rows))
    return found


def leaf_rows(score: Mapping[str, Any], leaves: Iterable[str]) -> list[tuple[str, float | None, float | None]]:
    """(leaf, base, candidate) of a score file: from its `by_leaf`, or its `summary` of branch scores.

    MMLU-branch names a task after its leaf (`leaf_names`): leaves, the paths of the taxonomy, give it back.
    """
    leaf_of = {name: leaf for leaf, name in leaf_names(leaves).items()}
    rows = [(entry["leaf"], entry["base_nll"], entry["nll"]) for entry in score.get("by_leaf", [])]
    for entries in score.get("summary", {}).values():
        for entry in entries:
            name = entry.get("qna") or entry.get("task")
            rows.append((leaf_of.get(name, name), entry.get("base_score"), entry.get("new_score")))
    return rows


def verdict(compared: Iterable[Measure], publish: Mapping[str, Any]) -> tuple[str, str]:
    """The run's outcome in two clauses: whether the candidate beat the base and by what; and where it went.

    Args:
        publish: result of the publish stage, {} when it has not run.
    """
    known = [measure for measure in compared if measure.change is not None]
    won, lost, same = (listed([one.name for one in known if one.better is better]) for better in (True, False, None))
    headline = f"beats the base model on {won}" if won else "does not beat the base model"
    headline += f"; it loses on {lost}" if lost else ""
    headline += f"; {same} did not change" if same else ""
    headline = f"The candidate {headline if known else 'was not compared with the base model'}"
    if not publish:
        return headline, "Nothing was published: the publish stage has not run"
    if publish["published"]:
        return headline, f"It passed the gate and was published as {publish['key']}"
    failed = [check["name"] for check in publish["gate"]["checks"] if not check["passed"]]
    return headline, f"The gate rejected it ({listed(failed)}): nothing was published"


def versions_of(done: Mapping[str, Any]) -> dict[str, list[str]]:
    """The versions of each package; several where stages ran in different images."""
    found: dict[str, list[str]] = {}
    for marker in done.values():
        for name, version in marker["versions"].items():
            if version not in found.setdefault(name, []):
                found[name].append(version)
    return dict(sorted(found.items()))

"""What the volume knows about a run, and what that says about the candidate: plain data, no page yet."""

import json
from pathlib import Path
from typing import Iterable

from utils.stages.report.text import listed


def report_facts(data_dir: str, run_id: str, notes: list) -> dict:
    """Everything the report shows: report.json holds this, and the page is drawn from it.

    Returns:
        run_id, notes, comparisons (see there), headline and fate (see verdict), versions, and as they lie on the
        volume, by name: done (markers of the finished stages, in the order they finished) and scores.
    """
    found: dict = {}
    for folder in ("done", "scores"):
        files = sorted(Path(data_dir, folder).glob("*.json"))
        # What JSON cannot hold (NaN) is None from here on.
        found[folder] = {f.stem: json.loads(f.read_text(), parse_constant=lambda _: None) for f in files}
    done = dict(sorted(found["done"].items(), key=lambda marker: marker[1]["finished"]))
    compared = comparisons(found["scores"], done.get("sdg", {}).get("result", {}).get("samples_by_leaf", {}))
    headline, fate = verdict(compared, done.get("publish", {}).get("result", {}))
    return {
        "run_id": run_id,
        "notes": notes,
        "headline": headline,
        "fate": fate,
        "comparisons": compared,
        "versions": versions_of(done),
        "done": done,
        "scores": found["scores"],
    }


def comparisons(scores: dict, leaves: Iterable = ()) -> list:
    """Candidate against base by each measure, the one that needs no judge first.

    Each: key, name, what (a line that says what is measured), digits (to show), base, candidate, change (None when one
    is missing), better (None when nothing changed or was compared), reason (why there is no score, or ""), questions,
    error_rate, and rows, (leaf, base, candidate) by taxonomy leaf. MT-Bench has no base: it chooses the candidate.
    """
    bench = scores.get("mt_bench", {})
    chosen = [c for c in bench.get("checkpoints", []) if c["model"] == bench["candidate"]]
    scores = {**scores, "mt_bench": {**bench, **(chosen[0] if chosen else {})}}
    measures = (
        ("Likelihood", "nll", 3, "negative log-likelihood per answer token, lower is better"),
        ("MMLU-branch", "model_score", 3, "accuracy on the taxonomy's multiple-choice questions"),
        ("MMLU", "model_score", 3, "accuracy on general multiple-choice questions"),
        ("MT-Bench-branch", "overall_score", 2, "judge's grade on the taxonomy's questions, 1 to 10"),
        ("MT-Bench", "overall_score", 2, "judge's grade on general questions, 1 to 10; chose the candidate"),
    )
    found = []
    for name, field, digits, what in measures:
        key = name.lower().replace("-", "_")
        score = scores.get(key, {})
        candidate, base = score.get(field), score.get(f"base_{field}")
        change = candidate - base if candidate is not None and base is not None else None
        found.append(
            {
                "key": key,
                "name": name,
                "what": what,
                "digits": digits,
                "base": base,
                "candidate": candidate,
                "change": change,
                "better": (change < 0) == (field == "nll") if change else None,
                "reason": score.get("reason", "not run") if candidate is None else "",
                "questions": score.get("questions"),
                "error_rate": score.get("error_rate"),
                "rows": leaf_rows(score, leaves),
            }
        )
    return found


def leaf_rows(score: dict, leaves: Iterable) -> list:
    """(leaf, base, candidate) of a score file: from its `by_leaf`, or its `summary` of branch scores.

    MMLU-branch names a task after its leaf, with `_` for `/`: leaves, the paths of the taxonomy, give it back.
    """
    leaf_of = {leaf.replace("/", "_"): leaf for leaf in leaves}
    rows = [(entry["leaf"], entry["base_nll"], entry["nll"]) for entry in score.get("by_leaf", [])]
    for entries in score.get("summary", {}).values():
        for entry in entries:
            name = entry.get("qna") or entry.get("task")
            rows.append((leaf_of.get(name, name), entry.get("base_score"), entry.get("new_score")))
    return rows


def verdict(compared: list, publish: dict) -> tuple:
    """The run's outcome in two clauses: whether the candidate beat the base and by what; and where it went.

    Args:
        publish: result of the publish stage, {} when it has not run.
    """
    names: dict = {True: [], False: [], None: []}
    for measure in compared:
        if measure["change"] is not None:
            names[measure["better"]].append(measure["name"])
    won, lost, same = (listed(found) for found in names.values())
    if not any(names.values()):
        headline = "The candidate was not compared with the base model"
    elif won:
        headline = f"The candidate beats the base model on {won}"
    else:
        headline = "The candidate does not beat the base model"
    headline += f"; it loses on {lost}" if lost else ""
    headline += f"; {same} did not change" if same else ""
    if not publish:
        return headline, "Nothing was published: the publish stage has not run"
    if publish["published"]:
        return headline, f"It passed the gate and was published as {publish['key']}"
    failed = [check["name"] for check in publish["gate"]["checks"] if not check["passed"]]
    return headline, f"The gate held it back ({listed(failed)}): nothing was published"


def versions_of(done: dict) -> dict:
    """The versions of each package; several where stages ran in different images."""
    found: dict = {}
    for marker in done.values():
        for name, version in marker["versions"].items():
            if version not in found.setdefault(name, []):
                found[name].append(version)
    return dict(sorted(found.items()))

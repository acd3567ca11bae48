"""What the volume knows about a run, and what that says about the candidate: plain data, no page yet."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from utils.stages.code import code_digest
from utils.stages.evaluation.eval_names import PREFIX
from utils.stages.evaluation.statistics import BETTER, SAME, WORSE
from utils.stages.evaluation.verdict import verdict_on
from utils.stages.leaves import leaf_names
from utils.stages.marker import as_it_ran, read_json
from utils.stages.report.deploy import deployment, dtype_of
from utils.stages.report.made import estimated_gpu_hours, gpu_hours, made_with
from utils.stages.report.text import listed
from utils.stages.run_parameters import noted_parameters


def report_facts(data_dir: str, run_id: str, notes: Sequence[str]) -> dict[str, Any]:
    """Everything the report shows: report.json holds this, and the page is drawn from it.

    Returns:
        run_id, notes, confidence, comparisons (Measure), headline and fate (see outcome), versions, code, images,
        made_with, gpu_hours, estimated_gpu_hours and deploy (see utils.stages.report.made and .deploy), and by name:
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
    scores, published = found["scores"], done.get("publish", {}).get("result", {})
    judged = scores.pop("verdict", {})
    if not (published and judged):  # nobody has judged these scores yet
        judged = asdict(verdict_on(scores))
    leaves = done.get("sdg", {}).get("result", {}).get("samples_by_leaf", {})
    compared = comparisons(scores, judged["measures"], leaves)
    headline, fate = outcome(compared, published)
    return {
        "run_id": run_id,
        "notes": notes,
        "headline": headline,
        "fate": fate,
        "confidence": judged["confidence"],
        "comparisons": list(map(asdict, compared)),
        "versions": versions_of(done),
        "code": code_digest(),
        "images": published.get("images", {}),
        "made_with": made_with(done, found["scores"]),
        "gpu_hours": gpu_hours(done),
        "estimated_gpu_hours": estimated_gpu_hours(done),
        "deploy": deployment(
            run_id,
            done.get("publish", {}),
            published.get("images", {}),
            noted_parameters(data_dir).get("eval_gpu_identifier", "nvidia.com/gpu"),
            dtype_of(Path(data_dir, scores.get("mt_bench", {}).get("candidate", ""))),
        ),
        "checks": read_json(Path(data_dir, "processed/checks.json")),
        "done": done,
        "scores": scores,
    }


@dataclass(frozen=True)
class Measure:
    """Candidate against base by one measure. MT-Bench has no base: it chooses the candidate.

    Attributes:
        what: a line that says what is measured.
        digits: decimal places to show.
        change: None when base or candidate is missing.
        better: None when the two can't be told apart, or were not compared.
        reason: why there is no score, or "".
        right: number of right answers of base and candidate, [] where answers are not right or wrong.
        rows: (leaf, base, candidate) by taxonomy leaf.
        verdict: what was said of the change (utils.stages.evaluation.statistics.Difference), {} if nothing.
        leaves: the same by taxonomy leaf, with `leaf`; the clearest first.
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
    right: list[int]
    rows: list[tuple[str, float | None, float | None]]
    verdict: dict[str, Any]
    leaves: list[dict[str, Any]] = field(default_factory=list)


MEASURES = (
    ("Likelihood", "nll", 3, "negative log-likelihood per token, lower is better"),
    ("MMLU-branch", "model_score", 3, "accuracy on the taxonomy's multiple-choice questions"),
    ("MMLU", "model_score", 3, "accuracy on multiple-choice questions"),
    ("MT-Bench-branch", "overall_score", 2, "judge's rating, 1 to 10; questions of the taxonomy"),
    ("MT-Bench", "overall_score", 2, "judge's rating, 1 to 10; chose the candidate"),
)
"""(name, the candidate's entry in the score file, digits, what is measured), the one that needs no judge first."""


NO_WORD = "no verdict"
UNTOLD = f"{NO_WORD}: the metric has no score of single questions"


def measures_of(scores: Mapping[str, Any]) -> list[tuple[str, str, str, int, str]]:
    """Key, and the same, of all measures: after ours the tasks of `eval_tasks`."""
    found = [(name.lower().replace("-", "_"), name, entry, digits, what) for name, entry, digits, what in MEASURES]
    for key in sorted(key for key in scores if key.startswith(PREFIX)):
        what = f"{scores[key]['metric']}, a task of the lm-evaluation-harness"
        what += ", lower is better" if scores[key]["lower_is_better"] else ""
        found.append((key, key.removeprefix(PREFIX), "model_score", 3, what))
    return found


def comparisons(scores: Mapping[str, Any], judged: Mapping[str, Any], leaves: Iterable[str] = ()) -> list[Measure]:
    """Candidate against base by each measure.

    Args:
        scores: the score files by name.
        judged: `measures` of the verdict.
        leaves: paths of the taxonomy's leaves.
    """
    leaf_of = {name: leaf for leaf, name in leaf_names(leaves).items()}
    bench = scores.get("mt_bench", {})
    chosen = [c for c in bench.get("checkpoints", []) if c["model"] == bench["candidate"]]
    scores = {**scores, "mt_bench": {**bench, **(chosen[0] if chosen else {})}}
    if unknown := bench.get("audit", {}).get("uninformative"):
        scores["mt_bench"] |= {"overall_score": None, "reason": unknown}
    found = []
    for key, name, entry, digits, what in measures_of(scores):
        score = scores.get(key, {})
        candidate, base = score.get(entry), score.get(f"base_{entry}")
        change = None if None in (candidate, base) else candidate - base
        told = dict(judged.get(key) or ({"word": NO_WORD, "said": UNTOLD} if key.startswith(PREFIX) else {}))
        by_leaf = sorted(told.pop("leaves", {}).items(), key=lambda named: named[1]["p"])
        better = {BETTER: True, WORSE: False}.get(told.get("word", ""))
        unscored = score.get("reason") or told.get("said") or ("no score" if score else "not run")
        reason = unscored if candidate is None else ""
        counts = score.get("questions"), score.get("error_rate")
        right = [score[n] for n in ("base_right", "right") if n in score]
        rows = leaf_rows(score, leaf_of)
        measured = Measure(key, name, what, digits, base, candidate, change, better, reason, *counts, right, rows, told)
        found.append(replace(measured, leaves=[{**one, "leaf": leaf_of.get(leaf, leaf)} for leaf, one in by_leaf]))
    return found


def leaf_rows(score: Mapping[str, Any], leaf_of: Mapping[str, str]) -> list[tuple[str, float | None, float | None]]:
    """(leaf, base, candidate) of a score file: from its `by_leaf`, or its `summary` of branch scores.

    Args:
        leaf_of: the leaf's path by its name, after which MMLU-branch names a task.
    """
    rows = [(entry["leaf"], entry["base_nll"], entry["nll"]) for entry in score.get("by_leaf", [])]
    for entries in score.get("summary", {}).values():
        for entry in entries:
            name = entry.get("qna") or entry.get("task")
            rows.append((leaf_of.get(name, name), entry.get("base_score"), entry.get("new_score")))
    return rows


def outcome(compared: Iterable[Measure], publish: Mapping[str, Any]) -> tuple[str, str]:
    """The run's outcome in two clauses: what the candidate is compared with the base, by measure; and where it went.

    Args:
        publish: result of the publish stage, {} when it has not run.
    """
    known = [measure for measure in compared if measure.change is not None]
    words = {True: (BETTER, "than"), False: (WORSE, "than"), None: (SAME, "from")}
    said: list[str] = []
    for better, (word, than) in words.items():
        # Of the tasks of `eval_tasks`, which may be many, those that are better or worse.
        of = [one for one in known if one.better is better and (word != SAME or not one.key.startswith(PREFIX))]
        if names := listed([one.name for one in of]):
            said.append(f"{word} on {names}" if said else f"is {word} {than} the base model on {names}")
    headline = f"The candidate {'; '.join(said) or 'was not compared with the base model'}"
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

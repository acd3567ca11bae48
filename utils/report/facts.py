"""What the volume knows about a run, and what that says about the candidate: plain data, no page yet."""

from typing import Any


def report_facts(data_dir: str, run_id: str, notes: list) -> dict:
    """Everything the report shows: report.json holds this, and the page is drawn from it.

    Returns:
        run_id, notes, comparisons (see there), headline and fate (see verdict), and as they lie on the volume, by
        name: done (markers of the finished stages, in the order they finished) and scores.
    """
    import glob
    import json
    import os

    facts: dict = {"run_id": run_id, "notes": notes, "done": {}, "scores": {}}
    for folder in ("done", "scores"):
        for path in sorted(glob.glob(f"{data_dir}/{folder}/*.json")):
            with open(path) as file:
                facts[folder][os.path.basename(path)[:-5]] = json.load(file, parse_constant=lambda _: None)
    facts["done"] = dict(sorted(facts["done"].items(), key=lambda marker: marker[1]["finished"]))
    facts["comparisons"] = comparisons(facts["scores"])
    facts["headline"], facts["fate"] = verdict(facts["comparisons"], facts["done"].get("publish", {}).get("result"))
    return facts


def comparisons(scores: dict) -> list:
    """Candidate against base by each measure, the one that needs no judge first.

    Each: key, name, what (a line that says what is measured), base, candidate, change (None when one is missing),
    better (None when nothing changed or was compared), digits, reason (why there is no score, or ""), questions,
    error_rate, and rows, (leaf, base, candidate) by taxonomy leaf. MT-Bench has no base: it only picks the candidate.
    """
    bench = scores.get("mt_bench", {})
    chosen = [c for c in bench.get("checkpoints", []) if c["model"] == bench["candidate"]]
    scores = scores | {"mt_bench": bench | (chosen or [{}])[0]}
    grade = "overall_score", 2, "judge's grade of answers to"
    share = "model_score", 3, "share right of"
    found = []
    for name, field, digits, what, of_what in (
        ("Likelihood", "nll", 3, "negative log-likelihood per answer token,", "lower is better"),
        ("MMLU-branch", *share, "the taxonomy's multiple-choice questions"),
        ("MMLU", *share, "general multiple-choice questions"),
        ("MT-Bench-branch", *grade, "the taxonomy's questions, 1 to 10"),
        ("MT-Bench", *grade, "general questions, 1 to 10"),
    ):
        key = name.lower().replace("-", "_")
        score = scores.get(key, {})
        both = base, candidate = score.get(f"base_{field}"), score.get(field)
        change = None if None in both else candidate - base
        entries = [e for kind in score.get("summary", {}).values() for e in kind]
        rows = [(e.get("qna") or e.get("task"), e.get("base_score"), e.get("new_score")) for e in entries]
        rows += [(e["leaf"], e["base_nll"], e["nll"]) for e in score.get("by_leaf", [])]
        measure: dict = {"key": key, "name": name, "what": f"{what} {of_what}", "digits": digits, "rows": rows}
        measure |= {"base": base, "candidate": candidate, "change": change}
        measure["better"] = (change < 0) == (field == "nll") if change else None
        measure["reason"] = score.get("reason", "not run") if candidate is None else ""
        found.append(measure)
    return found


def verdict(compared: list, publish: Any) -> tuple:
    """The run's outcome in two clauses: whether the candidate beat the base and by what; and where it went.

    Args:
        publish: result of the publish stage, None when it has not run.
    """

    def names(better: Any) -> str:
        found = [c["name"] for c in compared if c["change"] is not None and c["better"] is better]
        return " and ".join([", ".join(found[:-1]), *found[-1:]]).removeprefix(" and ")

    won, lost, same = names(True), names(False), names(None)
    headline = "The candidate was not compared with the base model"
    if won or lost or same:
        headline = (
            f"The candidate beats the base model on {won}" if won else "The candidate does not beat the base model"
        )
    headline += f"; it loses on {lost}" if lost else ""
    headline += f"; {same} stayed the same" if same else ""
    if not publish:
        return headline, "Nothing was published: the publish stage has not run"
    if publish["published"]:
        return headline, f"The gate let it pass; archive {publish['key']}"
    failed = ", ".join(c["name"] for c in publish["gate"]["checks"] if not c["passed"])
    return headline, f"The gate held it back ({failed}), nothing was published"

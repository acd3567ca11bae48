"""What the volume knows about a run, and what that says about the candidate: plain data, no page yet."""


def report_facts(data_dir: str, run_id: str, notes: list) -> dict:
    """Everything the report shows: report.json holds this, and the page is drawn from it.

    Returns:
        run_id, notes, comparisons (see there), headline and fate (see verdict), and as they lie on the volume, by
        name: done (markers of the finished stages, in the order they finished) and scores.
    """
    import json
    from pathlib import Path

    facts: dict = {"run_id": run_id, "notes": notes, "done": {}, "scores": {}}
    for folder in ("done", "scores"):
        for path in sorted(Path(data_dir, folder).glob("*.json")):
            facts[folder][path.stem] = json.loads(path.read_text(), parse_constant=lambda _: None)
    facts["done"] = dict(sorted(facts["done"].items(), key=lambda marker: marker[1]["finished"]))
    facts["comparisons"] = comparisons(facts["scores"])
    facts["headline"], facts["fate"] = verdict(facts["comparisons"], facts["done"].get("publish", {}).get("result", {}))
    return facts


def comparisons(scores: dict) -> list:
    """Candidate against base by each measure, the one that needs no judge first.

    Each: key, name, what (a line that says what is measured), base, candidate, change (None when one is missing),
    better (None when nothing changed or was compared), digits, reason (why there is no score, or ""), and
    rows, (leaf, base, candidate) by taxonomy leaf. MT-Bench has no base: it only picks the candidate.
    """
    bench = scores.get("mt_bench", {})
    chosen = [c for c in bench.get("checkpoints", []) if c["model"] == bench["candidate"]]
    scores = scores | {"mt_bench": bench | (chosen or [{}])[0]}
    found = []
    for name, field, digits, what in (
        ("Likelihood", "nll", 3, "negative log-likelihood per answer token, lower is better"),
        ("MMLU-branch", "model_score", 3, "accuracy on the taxonomy's multiple-choice questions"),
        ("MMLU", "model_score", 3, "accuracy on general multiple-choice questions"),
        ("MT-Bench-branch", "overall_score", 2, "judge's grade on the taxonomy's questions, 1 to 10"),
        ("MT-Bench", "overall_score", 2, "judge's grade on general questions, 1 to 10; chose the candidate"),
    ):
        key = name.lower().replace("-", "_")
        score = scores.get(key, {})
        both = base, candidate = score.get(f"base_{field}"), score.get(field)
        change = None if None in both else candidate - base
        rows = [(e["leaf"], e["base_nll"], e["nll"]) for e in score.get("by_leaf", [])]
        for entries in score.get("summary", {}).values():
            rows += [(e.get("qna") or e.get("task"), e.get("base_score"), e.get("new_score")) for e in entries]
        measure = dict(key=key, name=name, what=what, digits=digits, rows=rows)
        measure |= dict(base=base, candidate=candidate, change=change)
        measure["better"] = (change < 0) == (field == "nll") if change else None
        measure["reason"] = score.get("reason", "not run") if candidate is None else ""
        found.append(measure)
    return found


def verdict(compared: list, publish: dict) -> tuple:
    """The run's outcome in two clauses: whether the candidate beat the base and by what; and where it went.

    Args:
        publish: result of the publish stage, {} when it has not run.
    """
    names: dict = {True: [], False: [], None: []}
    for measure in compared:
        if measure["change"] is not None:
            names[measure["better"]].append(measure["name"])
    won, lost, same = (", ".join(found) for found in names.values())
    headline = f"The candidate beats the base model on {won}" if won else "The candidate does not beat the base model"
    headline += f"; it loses on {lost}" if lost else ""
    headline += f"; unchanged: {same}" if same else ""
    if not won + lost + same:
        headline = "The candidate was not compared with the base model"
    if publish.get("published"):
        return headline, f"The gate let it pass; archive {publish['key']}"
    failed = [c["name"] for c in publish.get("gate", {}).get("checks", []) if not c["passed"]]
    return headline, f"The gate held it back: {', '.join(failed)}" if failed else "The publish stage has not run"

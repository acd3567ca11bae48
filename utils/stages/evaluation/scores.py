"""Two models' scores side by side, question by question or task by task."""


def score_summary(key: str, scores: dict, base_scores: dict) -> dict:
    """improvements, regressions, no_changes and new (no score of the base), each a list of entries by name.

    Args:
        key: what an entry names: `qna` or `task`.
        scores: the candidate's score by name; base_scores: the base model's.
    """
    summary: dict = {"improvements": [], "regressions": [], "no_changes": [], "new": []}
    for name, score in sorted(scores.items()):
        entry = {key: name, "base_score": base_scores.get(name), "new_score": score, "delta": None}
        if name not in base_scores:
            summary["new"].append(entry)
            continue
        entry["delta"] = round(score - base_scores[name], 6)
        kind = "no_changes" if not entry["delta"] else "improvements" if entry["delta"] > 0 else "regressions"
        summary[kind].append(entry)
    return summary


def mean_by(rows: list, key: str, value: str) -> dict:
    """The mean of rows' value for each distinct key."""
    groups: dict = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row[value])
    return {name: sum(values) / len(values) for name, values in groups.items()}


def skipped(reason: str) -> dict:
    """The score file of an evaluation that the taxonomy gives nothing for."""
    print(f"skipped: {reason}", flush=True)
    return {"skipped": True, "reason": reason}

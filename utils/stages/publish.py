"""What is published and whether: the gate over the scores, the archive's name and its content."""

from utils.messages import failure


def read_scores(data_dir: str) -> dict:
    """The score files of the evaluation by name: mt_bench, mt_bench_branch, mmlu_branch, likelihood.

    Raises:
        SystemExit: files are missing, or no candidate was chosen.
    """
    import json
    import os

    scores, missing = {}, []
    for name in ("mt_bench", "mt_bench_branch", "mmlu_branch", "likelihood"):
        path = os.path.join(data_dir, "scores", f"{name}.json")
        if os.path.isfile(path):
            with open(path) as file:
                scores[name] = json.load(file)
        else:
            missing.append(f"scores/{name}.json")
    candidate = scores.get("mt_bench", {}).get("candidate", "")
    if missing or not candidate or not os.path.isdir(os.path.join(data_dir, candidate)):
        raise failure(
            "there is nothing to publish",
            f"missing: {', '.join(missing) or 'the candidate ' + candidate}",
            "look at the evaluation's log; run the evaluation again",
        )
    return scores


def gate_checks(scores: dict, min_mt_bench: float, max_error_rate: float, require_improvement: bool) -> list:
    """The checks between a candidate and its publication, each {"name", "limit", "value", "passed"}.

    A limit of 0 for the score, of 1 for the error rate, and no required improvement let everything pass. Improvement
    means: at least one comparison of candidate and base was made, at least one shows the candidate better, none worse.
    Its value holds what the candidate gained in each comparison; more is better there, in likelihood too.

    Args:
        scores: of `read_scores`.
        min_mt_bench: lowest MT-Bench score of the candidate, 0 to 10; a candidate without a score fails any above 0.
        max_error_rate: highest share of the candidate's answers that the judge did not rate, 0 to 1.
    """
    bench = scores["mt_bench"]
    scored: dict = next((c for c in bench["checkpoints"] if c["model"] == bench["candidate"]), {})
    score, errors = scored.get("overall_score"), scored.get("error_rate")
    pairs = {
        "mmlu_branch": ("base_model_score", "model_score"),
        "mt_bench_branch": ("base_overall_score", "overall_score"),
        "likelihood": ("nll", "base_nll"),
    }
    gains = {}
    for name, (low, high) in pairs.items():
        values = (scores[name].get(low), scores[name].get(high))
        if not scores[name].get("skipped") and None not in values:
            gains[name] = round(values[1] - values[0], 6)
    better = any(gain > 0 for gain in gains.values()) and all(gain >= 0 for gain in gains.values())
    return [
        {
            "name": "min_mt_bench",
            "limit": min_mt_bench,
            "value": score,
            "passed": min_mt_bench <= 0 or (score is not None and score >= min_mt_bench),
        },
        {
            "name": "max_error_rate",
            "limit": max_error_rate,
            "value": errors,
            "passed": max_error_rate >= 1 or (errors is not None and errors <= max_error_rate),
        },
        {
            "name": "require_improvement",
            "limit": require_improvement,
            "value": gains,
            "passed": better or not require_improvement,
        },
    ]


def archive_key(name: str, data_key: str, now: float) -> str:
    """The key of a published archive: the UTC time before the last part of the name, `a/2025-01-31_12-00-00.b.tar.gz`.

    Args:
        name: key to build on; "" for data_key, the imported archive's.
        now: seconds since the epoch.
    """
    import time

    folder, slash, last = (name or data_key).rpartition("/")
    return f"{folder}{slash}{time.strftime('%Y-%m-%d_%H-%M-%S', time.gmtime(now))}.{last or 'model.tar.gz'}"


def provenance(data_dir: str, run_id: str, candidate: str, gate: list) -> str:
    """JSON of where a candidate comes from: of every stage its inputs, their hash, versions, times and results."""
    import json
    import os
    import time

    stages = {}
    done = os.path.join(data_dir, "done")
    for file_name in sorted(os.listdir(done)) if os.path.isdir(done) else []:
        if file_name.endswith(".json"):
            with open(os.path.join(done, file_name)) as file:
                marker = json.load(file)
            stages[marker.pop("stage")] = marker
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return json.dumps(
        {"run_id": run_id, "published": made, "candidate": candidate, "gate": gate, "stages": stages}, indent=1
    )

"""What is published and whether: the gate over the scores, the archive's name and its content."""

import json
import os
import signal
import sys
import time
from dataclasses import dataclass

from utils.messages import failure
from utils.stages.archive import tree_size, write_tar
from utils.stages.authorities import ca_bundle
from utils.stages.credentials import object_store_settings
from utils.stages.marker import finished_result, read_marker, write_marker
from utils.stages.object_store import s3_client, upload_stream


def read_scores(data_dir: str) -> dict:
    """The score files of the evaluation by name: mt_bench, mt_bench_branch, mmlu_branch, likelihood.

    Raises:
        SystemExit: files are missing, or no candidate was chosen.
    """
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
    folder, slash, last = (name or data_key).rpartition("/")
    return f"{folder}{slash}{time.strftime('%Y-%m-%d_%H-%M-%S', time.gmtime(now))}.{last or 'model.tar.gz'}"


def provenance(data_dir: str, run_id: str, candidate: str, gate: list) -> str:
    """JSON of where a candidate comes from: of every stage its inputs, their hash, versions, times and results."""
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


@dataclass(frozen=True)
class Publication:
    """What the stage is given: the parameters of the component `publish`."""

    data_dir: str
    run_id: str
    object_store_secret_dir: str
    ca_file: str
    name: str
    min_mt_bench: float
    max_error_rate: float
    require_improvement: bool
    force: bool


def publish_candidate(given: Publication) -> tuple[str, dict[str, float]]:
    """Publish the candidate if the gate lets it pass, unless that is done.

    Returns:
        the archive's key, "" when the gate held the candidate back; and the stage's metrics.
    """
    started, measured = time.time(), dict[str, float]()
    settings = object_store_settings(given.object_store_secret_dir)
    inputs = {
        "upstream": read_marker(given.data_dir, "final_eval").get("inputs_hash", ""),
        "store": [settings["endpoint"], settings["bucket"], given.name or settings["data_key"]],
        "gate": [given.min_mt_bench, given.max_error_rate, given.require_improvement],
    }
    result = finished_result(given.data_dir, "publish", inputs, given.force)
    if result is None:
        scores = read_scores(given.data_dir)
        checks = gate_checks(scores, given.min_mt_bench, given.max_error_rate, given.require_improvement)
        for check in checks:
            verdict = "passed" if check["passed"] else "NOT PASSED"
            print(f"gate {check['name']}: {check['value']}, limit {check['limit']}: {verdict}", flush=True)
        passed = all(check["passed"] for check in checks)
        result = {"published": passed, "key": "", "sha256": "", "size": 0, "gate": {"passed": passed, "checks": checks}}
        if passed:
            candidate = scores["mt_bench"]["candidate"]
            folders = [
                (os.path.join(given.data_dir, candidate), "model"),
                (os.path.join(given.data_dir, "scores"), "scores"),
            ]
            files = {"provenance.json": provenance(given.data_dir, given.run_id, candidate, checks)}
            key = archive_key(given.name, settings["data_key"], started)
            client = s3_client(settings, ca_bundle(given.ca_file))
            # Kubernetes and the local runner stop a task by SIGTERM: as an exception it lets the upload be aborted.
            before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
            try:
                result |= upload_stream(
                    settings, client, key, tree_size(folders), lambda sink: write_tar(sink, folders, files, key)
                )
            finally:
                signal.signal(signal.SIGTERM, before)
            print(f"published s3://{settings['bucket']}/{key}", flush=True)
        else:
            print("nothing is published; the candidate stays on the run's volume", flush=True)
        write_marker(given.data_dir, "publish", inputs, [], result, started)
    measured["published"] = float(result["published"])
    measured["published_archive_bytes"] = result["size"]
    return result["key"], measured

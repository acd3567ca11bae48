"""What is published and whether: the gate over the scores, the archive's name and its content."""

import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from utils.messages import failure
from utils.stages.archive import write_tar
from utils.stages.authorities import ca_bundle
from utils.stages.data_import.git import in_pod
from utils.stages.disk import tells_full_disk
from utils.stages.evaluation.eval_names import PREFIX
from utils.stages.evaluation.statistics import BETTER, WORSE
from utils.stages.evaluation.verdict import CONFIDENCE, Verdict, verdict_on
from utils.stages.folders import PROVENANCE, own_path, write_result
from utils.stages.marker import (
    finished_result,
    from_record,
    inputs_hash,
    result_of,
    size_of,
    upstream_hash,
    write_json,
    write_marker,
)
from utils.stages.model_card import CARD, model_card
from utils.stages.object_store.client import ObjectStore, store_of_secret
from utils.stages.object_store.upload import Upload, stored, take_up, upload_stream
from utils.stages.provenance import provenance
from utils.stages.results import Published, Trained
from utils.stages.train.mirror import forget

COMPARISONS = ("mt_bench_branch", "mmlu_branch", "likelihood")
"""The comparisons that each run makes or skips with a reason."""


def read_scores(data_dir: str) -> dict[str, Any]:
    """The score files of the evaluation by name: mt_bench, mt_bench_branch, mmlu_branch, likelihood; if asked for,
    mmlu and eval_….

    Raises:
        SystemExit: files are missing, or no candidate was chosen.
    """
    files = {name: Path(data_dir, "scores", f"{name}.json") for name in ("mt_bench", *COMPARISONS)}
    missing = [f"scores/{file.name}" for file in files.values() if not file.is_file()]
    files["mmlu"] = Path(data_dir, "scores", "mmlu.json")
    files |= {file.stem: file for file in sorted(Path(data_dir, "scores").glob(f"{PREFIX}*.json"))}
    scores = {name: json.loads(file.read_text()) for name, file in files.items() if file.is_file()}
    candidate = scores.get("mt_bench", {}).get("candidate")
    if not candidate or not Path(data_dir, candidate).is_dir():
        missing.append(f"the candidate {candidate}")
    if missing:
        raise failure("there is nothing to publish", f"missing: {', '.join(missing)}", "run the evaluation again")
    return scores


@dataclass(frozen=True)
class GateCheck:
    """One condition between a candidate and its publication.

    Attributes:
        name: the parameter that sets it, without `gate_`.
        value: what the candidate has: a number, None where it was not measured; for require_improvement the word of
            each comparison by name; for max_regression the largest loss that its interval leaves possible.
    """

    name: str
    limit: float | bool | dict[str, float]
    value: float | None | dict[str, Any]
    passed: bool


@dataclass(frozen=True)
class Gate:
    """What lets a candidate pass: the parameters `gate_…`.

    Attributes:
        min_mt_bench: lowest MT-Bench score, 0 to 10; a candidate without a score fails any above 0.
        max_error_rate: highest share of the candidate's answers that the judge did not rate, 0 to 1.
        require_improvement: at least one comparison says better, none says worse; those of `eval_tasks` do not count.
        confidence: of these words and of the intervals, 0.5 to 0.999.
        max_regression: by measure, the largest loss, in its own unit, that its interval may leave possible. A measure
            without an interval fails: what is not known may be a loss.
    """

    min_mt_bench: float = 0.0
    max_error_rate: float = 1.0
    require_improvement: bool = False
    confidence: float = CONFIDENCE
    max_regression: dict[str, float] = field(default_factory=dict)


def gate_checks(scores: Mapping[str, Any], verdict: Verdict, gate: Gate) -> list[GateCheck]:
    """The gate's conditions for a candidate; the defaults let everything pass.

    Args:
        scores: of `read_scores`. Of MT-Bench, the score that is corrected for the choice by it counts, if there is one;
            none where the ratings say nothing.
    """
    bench = scores["mt_bench"]
    scored: Mapping[str, Any] = next((c for c in bench["checkpoints"] if c["model"] == bench["candidate"]), {})
    score, errors = scored.get("overall_score"), scored.get("error_rate")
    score = None if bench.get("audit", {}).get("uninformative") else bench.get("corrected_score") or score
    # The tasks of `eval_tasks` do not say whether it has learned the taxonomy: max_regression is for them.
    words = {name: found.word for name, found in verdict.measures.items() if not name.startswith(PREFIX)}
    improved = BETTER in words.values() and WORSE not in words.values()
    losses = {name: verdict.loss(name) for name in gate.max_regression}
    kept = all(loss is not None and loss <= gate.max_regression[name] for name, loss in losses.items())
    enough = gate.min_mt_bench <= 0 or (score is not None and score >= gate.min_mt_bench)
    rated = gate.max_error_rate >= 1 or (errors is not None and errors <= gate.max_error_rate)
    return [
        GateCheck("min_mt_bench", gate.min_mt_bench, score, enough),
        GateCheck("max_error_rate", gate.max_error_rate, errors, rated),
        GateCheck("require_improvement", gate.require_improvement, words, improved or not gate.require_improvement),
        GateCheck("max_regression", gate.max_regression, losses, kept),
    ]


def archive_key(name: str, data_key: str, now: float) -> str:
    """The key of a published archive: the UTC time before the last part of the name, `a/2025-01-31_12-00-00.b.tar.gz`.

    Args:
        name: key to build on; "" for data_key, the imported archive's.
        now: seconds since the epoch.
    """
    folder, slash, last = (name or data_key).rpartition("/")
    return f"{folder}{slash}{time.strftime('%Y-%m-%d_%H-%M-%S', time.gmtime(now))}.{last or 'model.tar.gz'}"


@dataclass(frozen=True)
class Publication:
    """What the stage is given: the parameters of the component `publish`."""

    data_dir: str
    run_id: str
    store_secret_dir: str
    data_key: str
    ca_file: str
    name: str
    min_mt_bench: float
    max_error_rate: float
    require_improvement: bool
    confidence: float
    max_regression: dict[str, float]
    images: dict[str, str]
    force: bool

    @property
    def gate(self) -> Gate:
        """Its part of the parameters."""
        return Gate(**{name: vars(self)[name] for name in Gate.__dataclass_fields__})


@tells_full_disk
def publish_candidate(given: Publication) -> tuple[str, dict[str, float]]:
    """Publish the candidate if the gate lets it pass, unless that is done.

    Returns:
        the archive's key, or the folder's path, "" if the gate rejected the candidate; and the stage's metrics.
    """
    started = time.time()
    store = None
    if not own_path(given.name):
        store = store_of_secret(given.store_secret_dir, ca_bundle(given.ca_file), data_key=given.data_key)
    inputs = {
        "upstream": upstream_hash(given.data_dir, "final_eval"),
        "store": [store.endpoint, store.bucket, given.name or store.data_key] if store else [given.name],
        "gate": [*astuple(given.gate)],
    }
    found = finished_result(given.data_dir, "publish", inputs, given.force)
    result = from_record(Published, found) if found else None
    if result is None:
        scores = read_scores(given.data_dir)
        verdict = verdict_on(scores, given.gate.confidence)
        write_json(Path(given.data_dir, "scores", "verdict.json"), asdict(verdict))  # it is published too
        for name, compared in verdict.measures.items():
            print(f"{name}: {compared.said}", flush=True)
        checks = gate_checks(scores, verdict, given.gate)
        for check in (check for check in checks if check.limit != {}):
            outcome = "passed" if check.passed else "NOT PASSED"
            print(f"gate {check.name}: {check.value}, limit {check.limit}: {outcome}", flush=True)
        passed = all(check.passed for check in checks)
        sent, note = Upload("", "", 0), Path(given.data_dir, "done", f"publish.{inputs_hash(inputs)}.upload")
        if passed:
            sent = upload_candidate(given, store, scores["mt_bench"]["candidate"], checks, note)
        else:
            print("nothing is published; the candidate stays on the run's volume", flush=True)
        gate = {"passed": passed, "checks": list(map(asdict, checks))}
        result = Published(passed, gate, sent.key, sent.sha256, sent.size, given.images if in_pod() else {})
        write_marker(given.data_dir, "publish", inputs, [], result, started)
        note.unlink(missing_ok=True)
        if store and passed:
            forget_training(given.data_dir, store)
    return result.key, {"published": float(result.published), "published_archive_bytes": result.size}


def forget_training(data_dir: str, store: ObjectStore) -> None:
    """Delete what training has copied to the store: the published model makes it needless."""
    for phase in (1, 2):
        trained = result_of(data_dir, f"train_phase_{phase}", Trained)
        if trained and trained.mirror:
            try:
                forget(store, trained.mirror)
            except SystemExit as error:
                print(f"s3://{store.bucket}/{trained.mirror} can't be deleted: {error}", flush=True)


def upload_candidate(
    given: Publication, store: ObjectStore | None, candidate: str, checks: Sequence[GateCheck], note: Path
) -> Upload:
    """Pack candidate with its card, scores and provenance, and upload the archive, unless a killed process has done so.

    Args:
        store: None to put them into a folder of this machine instead, as they are.
        candidate: its folder below the volume's root.
        note: names the upload while it is under way; the same for the same inputs.
    """
    folders = {f"{given.data_dir}/{candidate}": "model", f"{given.data_dir}/scores": "scores"}
    card = {f"model/{CARD}": model_card(given.data_dir, given.run_id)}
    origin = provenance(given.data_dir, given.run_id, candidate, list(map(asdict, checks)), given.images)
    if not store:
        target = Path(own_path(given.name))
        size = write_result(target, given.run_id, folders, card, origin)
        print(f"published {target}", flush=True)
        return Upload(str(target), "", size)
    found = {old: take_up(store, old) for old in {note, *note.parent.glob("publish.*.upload")}}
    total, sent = sum(map(size_of, folders)), found[note]
    # Kubernetes and the local runner stop a task by SIGTERM: as an exception it lets the upload be aborted.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        second = 0
        while not sent:
            key = archive_key(given.name, store.data_key, time.time() + second)  # another run's may have this name
            pack = partial(write_tar, folders=folders, name=key, texts=card, last=(PROVENANCE, origin))
            try:
                sent = None if stored(store, key) else upload_stream(store, key, total, pack, note=note)
            except SystemExit as error:
                if "PreconditionFailed" not in str(error):
                    raise
            second += 1
    finally:
        signal.signal(signal.SIGTERM, before)
    print(f"published s3://{store.bucket}/{sent.key}", flush=True)
    return sent

"""What a run has to show at its end: scores, report, archive. The same words and fields wherever it ran."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from utils.cli.board import Board
from utils.ir.model import Artifact, Outputs, RunResult, TaskState
from utils.runners.output import findings_of, log_end
from utils.runners.run_folder import RunFolder

# Names of our pipeline's report and publication tasks, and the endings of the report's metrics.
_REPORT, _PUBLISH = "report", "publish"
_SIDES = ("base", "candidate", "change", "low", "high", "verdict", "needed")
_WORDS = {1: "better", -1: "worse", 0: "not distinguishable"}
_PAGE = ".report.html"


def scores(tasks: Mapping[str, Outputs]) -> dict[str, dict[str, float]]:
    """Scores by measure, from the report's metrics: base model, candidate, the change, its interval and its verdict."""
    found: dict[str, dict[str, float]] = {}
    for artifact in _metrics(_task(tasks, _REPORT)):
        for name, value in artifact.metadata.items():
            measure, _, side = name.rpartition("_")
            if side in _SIDES:
                found.setdefault(measure, {})[side] = value
    return found


def published(tasks: Mapping[str, Outputs]) -> dict[str, str]:
    """Where archive and report are in the object store, or the result's folder; "" for what was not published."""
    page = str(_task(tasks, _REPORT).parameters.get("Output", ""))
    key = str(_task(tasks, _PUBLISH).parameters.get("Output", ""))
    return {"archive": page.removesuffix(_PAGE) if key and page.endswith(key + _PAGE) else key, "report": page}


def collect_report(folder: RunFolder) -> Path | None:
    """Copy the report of a run on this machine to report.html and report.json in its folder.

    Returns:
        the page's path; None if the run wrote no report.
    """
    artifacts = _task(folder.history().finished, _REPORT).artifacts
    if not ("page" in artifacts and "data" in artifacts):
        return None
    page, data = folder.path / "report.html", folder.path / "report.json"
    for target, name in ((page, "page"), (data, "data")):
        shutil.copyfile(artifacts[name][0].uri.removeprefix("file://"), target)
    return page


def summary(
    folder: RunFolder, result: RunResult, board: Board, code: int, tasks: Mapping[str, Outputs]
) -> dict[str, Any]:
    """The end of a run as JSON for `--output json`, to which a place adds where the run is.

    Args:
        folder: the run's folder on this machine, with the logs.
        code: the command's exit code.
        tasks: outputs of the finished tasks.
    """
    return {
        "run_id": folder.run_id,
        "state": result.state.value,
        "exit_code": code,
        "error": result.error,
        "failed": dict(_failures(folder, board)),
        "outputs": dict(result.outputs.parameters),
        "scores": scores(tasks),
        **published(tasks),
        "folder": str(folder.path),
    }


def _failures(folder: RunFolder, board: Board) -> Iterator[tuple[str, dict[str, str]]]:
    """Name of each failed task, and what there is to read about it: the message, findings, the log's path."""
    for row in board.snapshot():
        if row.state is TaskState.FAILED:
            log = folder.log(row.id)
            findings = findings_of(log_end(log)) if log.exists() else ""
            yield row.label, {"text": row.message, "findings": findings, "source": str(log) if log.exists() else ""}


def result_lines(tasks: Mapping[str, Outputs]) -> Iterator[str]:
    """The lines that a person reads: one per score, then where archive and report are."""
    for measure, values in scores(tasks).items():
        yield f"{measure}: {_change(values)}"
    for what, where in published(tasks).items():
        if where:
            yield f"{'result' if what == 'archive' and where.startswith('/') else what}: {where}"


def _change(values: Mapping[str, float]) -> str:
    """`base 2.23, candidate 1.456 (-0.774, -1.1 to -0.45: better)`; MT-Bench scores only the candidate."""
    sides = ", ".join(f"{side} {values[side]:.4g}" for side in ("base", "candidate") if side in values)
    if "change" not in values:
        return sides
    interval = f", {values['low']:+.4g} to {values['high']:+.4g}" if "low" in values and "high" in values else ""
    word = f": {_WORDS.get(int(values['verdict']), '')}" if "verdict" in values else ""
    number = "about" if interval else "at least"  # as the report's verdict
    needed = f", {number} {values['needed']:,.0f} questions needed" if "needed" in values else ""
    return f"{sides} ({values['change']:+.4g}{interval}{word}{needed})"


def _task(tasks: Mapping[str, Outputs], name: str) -> Outputs:
    return next((outputs for task_id, outputs in tasks.items() if task_id.split("/")[-1] == name), Outputs())


def _metrics(outputs: Outputs) -> list[Artifact]:
    return [one for many in outputs.artifacts.values() for one in many if one.type == "system.Metrics"]

"""What checks report: each gives findings, none stops the others."""

import re
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from utils.messages import FINDINGS_HEADER, failure

WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """What a check has found.

    Attributes:
        remedy: what to do about it.
        level: error (the run would fail or be worthless), or warning.
        check: name of the check.
    """

    problem: str
    remedy: str
    level: str = "error"
    check: str = ""


Checks = Mapping[str, Callable[[], Sequence[Finding] | None]]
"""Name of a check to a function that returns findings (None for none), or raises `failure(…)` for one."""


def run_checks(checks: Checks) -> list[Finding]:
    """Findings of all checks, which run side by side."""

    def run(name: str) -> list[Finding]:
        try:
            found = checks[name]() or []
        except SystemExit as error:
            *problem, remedy = re.split("\n  (?:cause|next): ", str(error).removeprefix("error: "))
            found = [Finding(": ".join(problem), remedy)]
        except Exception as error:  # noqa: BLE001 - whatever it is, the other checks' findings must be shown
            traceback.print_exc()
            found = [Finding(f"the check itself failed ({type(error).__name__}: {error})", remedy_of_exception(error))]
        return [replace(finding, check=name) for finding in found]

    with ThreadPoolExecutor(len(checks)) as pool:
        return [found for findings in pool.map(run, checks) for found in findings]


def remedy_of_exception(error: Exception) -> str:
    """What to do about an exception that no check foresaw."""
    if isinstance(error, ImportError):
        return f"use an image that has the Python package {error.name}"
    if isinstance(error, OSError) and error.filename:
        return f"look at {error.filename}: it must be readable for the pod's user"
    return "look at the traceback in the task's log; if the value that it names is right, report it as a fault"


def findings_table(names: Iterable[str], findings: Sequence[Finding]) -> str:
    """Markdown table of all checks: what each found with its remedy, or that it passed."""
    rows = [FINDINGS_HEADER, "|---|---|---|---|"]
    for name in names:
        for one in [one for one in findings if one.check == name] or [Finding("", "", "passed")]:
            cells = [" ".join(text.replace("|", "\\|").split()) for text in (one.problem, one.remedy)]
            rows.append(f"| {name} | {one.level} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def outcome_of_checks(findings: Sequence[Finding]) -> SystemExit | None:
    """The failure to raise when a finding is an error, else None.

    It repeats the errors in short: a log's end, and the 2048 bytes of a container's message, are all that some people
    see. The table before it has them in full.
    """
    errors = [finding for finding in findings if finding.level != WARNING]
    if not errors:
        return None
    lines = [f"\n    - {one.check}: {_cut(one.problem, 240)}\n      {_cut(one.remedy, 160)}" for one in errors]
    return failure(
        f"{len(errors)} prerequisite{'s are' if len(errors) > 1 else ' is'} not met",
        _cut(", ".join(dict.fromkeys(one.check for one in errors)), 120) + "".join(lines)[:1500],
        "correct them and start again; the run's volume is still empty (the table above has every finding in full)",
    )


def _cut(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[:most] + "…"

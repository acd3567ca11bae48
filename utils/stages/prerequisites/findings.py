"""What checks report: each gives findings, none stops the others."""

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
            what, _, rest = str(error).removeprefix("error: ").partition("\n  cause: ")
            cause, _, remedy = rest.partition("\n  next: ")
            found = [Finding(f"{what}: {cause}", remedy)]
        except Exception as error:  # noqa: BLE001 - whatever it is, the other checks' findings must be shown
            traceback.print_exc()
            problem = f"the check itself broke off ({type(error).__name__}: {error})"
            found = [Finding(problem, remedy_of_exception(error))]
        return [replace(finding, check=name) for finding in found]

    with ThreadPoolExecutor(len(checks)) as pool:
        return [found for findings in pool.map(run, checks) for found in findings]


def remedy_of_exception(error: Exception) -> str:
    """What to do about an exception that no check foresaw."""
    if isinstance(error, ImportError):
        return f"run prerequisites in an image that has the Python package {error.name}"
    if isinstance(error, OSError) and error.filename:
        return f"look at {error.filename}: it must be readable for the pod's user"
    return "the task's log has the traceback; if the value that it names is right, report it as a fault of the pipeline"


def findings_table(names: Iterable[str], findings: Sequence[Finding]) -> str:
    """Markdown table of all checks: what each found with its remedy, or that it passed."""

    def cell(text: str) -> str:
        return " ".join(text.replace("|", "\\|").split())

    rows = [FINDINGS_HEADER, "|---|---|---|---|"]
    for name in names:
        own = [one for one in findings if one.check == name] or [Finding("", "", "passed")]
        rows += [f"| {name} | {one.level} | {cell(one.problem)} | {cell(one.remedy)} |" for one in own]
    return "\n".join(rows) + "\n"


def outcome_of_checks(findings: Sequence[Finding]) -> SystemExit | None:
    """The failure to raise when a finding is an error, else None.

    It repeats the errors in short: a log's end, and the 2048 bytes of a container's message, are all that some people
    see. The table before it has them in full.
    """

    def cut(text: str, most: int) -> str:
        text = " ".join(text.split())
        return text if len(text) <= most else text[: most - 1] + "…"

    errors = [finding for finding in findings if finding.level != WARNING]
    if not errors:
        return None
    lines = [f"{one.check}: {cut(one.problem, 240)}\n      {cut(one.remedy, 160)}" for one in errors]
    shown = [line for i, line in enumerate(lines) if sum(map(len, lines[: i + 1])) <= 1500] or lines[:1]
    more = [f"and {len(lines) - len(shown)} more"] if len(shown) < len(lines) else []
    return failure(
        f"{len(errors)} prerequisite{'s are' if len(errors) > 1 else ' is'} not met",
        "\n    - ".join([cut(", ".join(dict.fromkeys(one.check for one in errors)), 120), *shown, *more]),
        "correct them and start again; nothing has been changed yet (the table above has every finding in full)",
    )

"""Findings of the linter: one line for users, one record for scripts."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    ERROR = "error"
    """The backend rejects the pipeline or drops a part of it, or the run fails there."""
    WARNING = "warning"
    """It runs, but not as written in the file, or not the same each time."""


@dataclass(frozen=True)
class Finding:
    """One place of a compiled pipeline that a backend does not accept as written.

    `where` is the path in the file (`platform: …` in its second document); `backends` names the backends concerned.
    """

    severity: Severity
    where: str
    what: str
    remedy: str
    backends: tuple[str, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """The finding as JSON for `--output json`."""
        return {**asdict(self), "severity": self.severity.value, "backends": list(self.backends)}


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Merge the same finding of several backends; errors first, then in the original order."""
    found: dict[Finding, list[str]] = {}
    for finding in findings:
        found.setdefault(replace(finding, backends=()), []).extend(finding.backends)
    all_of_them = [replace(finding, backends=tuple(names)) for finding, names in found.items()]
    return sorted(all_of_them, key=lambda finding: finding.severity != Severity.ERROR)

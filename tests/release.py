"""Whether this commit can be released: `make release-check`. It publishes nothing.

Prints a line per check, and under each that fails what to do. Ends with 1 when one fails.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ilab_pipeline import __version__
from utils.files import COMPILED, ROOT

COMMAND = (sys.executable, "-m", "ilab_pipeline")


@dataclass(frozen=True)
class Check:
    """One condition of a release.

    Attributes:
        holds: what holds when it passes.
        missing: finds what is missing; "" when it passes.
        remedy: what helps otherwise.
    """

    holds: str
    missing: Callable[[], str]
    remedy: str


def checks() -> list[Check]:
    """Every condition of a release, the quick ones first."""
    return [
        Check("the working tree is clean", lambda: output("git", "status", "--porcelain"), "commit or remove them"),
        Check(
            f"version {__version__} is new",
            lambda: output("git", "tag", "--list", f"v{__version__}"),
            "raise __version__ in ilab_pipeline/__init__.py",
        ),
        Check(
            f"CHANGELOG.md describes {__version__}",
            lambda: missing_in_changelog((ROOT / "CHANGELOG.md").read_text(), __version__),
            f"move what it lists as unreleased below ## [{__version__}] - YYYY-MM-DD",
        ),
        Check("pipeline.yaml is up to date", stale_pipeline, "make compile"),
        Check("docs/ is up to date", lambda: failure(*COMMAND, "docs", "--check"), "make docs"),
        Check("every supported backend runs pipeline.yaml", lambda: failure(*COMMAND, "lint"), "make lint"),
        Check(
            "the wheel builds and works",
            lambda: failure(sys.executable, "-m", "pytest", "-q", "tests/test_wheel.py"),
            "pytest tests/test_wheel.py",
        ),
    ]


def missing_in_changelog(text: str, version: str) -> str:
    """What CHANGELOG.md lacks for a release of `version`: a section with a date and at least one entry."""
    section = re.search(
        rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n(?P<body>.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL
    )
    if not section:
        return f"it has no section for {version} with a date"
    return "" if re.search(r"^- ", section["body"], re.MULTILINE) else f"its section for {version} is empty"


def stale_pipeline() -> str:
    """What differs between pipeline.yaml and what pipeline.py compiles to."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder, "pipeline.yaml")
        if failed := failure(*COMMAND, "compile", "--output", str(fresh)):
            return failed
        return "" if fresh.read_bytes() == COMPILED.read_bytes() else "pipeline.py compiles to something else"


def output(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def failure(*command: str) -> str:
    """The last lines of a command that fails; "" when it succeeds."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode == 0:
        return ""
    return "\n".join(done.stdout.strip().splitlines()[-10:]) or f"exit code {done.returncode}"


def report(all_checks: Sequence[Check]) -> int:
    """Print how each check ends; the number of those that fail."""
    failed = 0
    for check in all_checks:
        missing = check.missing()
        print(f"{'missing' if missing else 'ok':8}{check.holds}", flush=True)
        if missing:
            failed += 1
            print(*(f"          {line}" for line in missing.splitlines()), f"          next: {check.remedy}", sep="\n")
    return failed


if __name__ == "__main__":
    sys.exit(1 if report(checks()) else 0)

"""Systematic kinds of unclear English stay out of code, messages, docs and manifests."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

KINDS = {
    r"\bair-?gapped\b": "clusters are disconnected",
    r"\b(?<!there )(?<!There )(is|are) no (?!(longer|more|less|such)\b)[a-z]\w*": "is not a (valid) ...",
    r"\b(goes|gone|going|went) on\b": "resumes, continues",
    r"\bgo on\b": "resume, continue",
    r"\bany more\b": "no longer",
    r"\bthere already\b": "already exists",
    r"\b(sees?|see to it)\b to\b": "make sure, check",
    r"\bmend(s|ed|ing)?\b": "correct",
    r"\bstands? in (for|where)\b": "replaces, is used instead",
    r"\b(tells?) (which|what|how|why|whether)\b": "says, shows, lists",
    r"\b(samples|bytes|GPUs|tokens|nats|completions|GiB|processes|questions) an? \w+\b": "per",
    r"\b[Aa] (Job|process|file|line|row|key|folder|run) a [a-z]+\b": "one ... per ...",
    r"\bheld? (it|the candidate) back\b": "rejects",
}
"""Regular expression to what is written instead."""


@pytest.mark.parametrize(("kind", "instead"), KINDS.items())
def test_no_file_has_this_kind_of_sentence(kind: str, instead: str) -> None:
    found = []
    for path in tracked("*.py", "*.md", "manifests/*", "examples/params/*", "Makefile"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if match := re.search(kind, line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match[0]!r}; write: {instead}")
    assert found == []


def tracked(*patterns: str) -> list[Path]:
    """Files in the repository, without this one."""
    done = subprocess.run(["git", "ls-files", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.splitlines() if (ROOT / name) != Path(__file__)]

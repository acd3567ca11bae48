"""The conditions of a release, and the hooks that run before a commit."""

import re

import pytest
import yaml

from tests.release import Check, missing_in_changelog, report
from utils.files import ROOT


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("## [1.2.0] - 2026-01-02\n\n### Added\n\n- A thing.\n", ""),
        ("## [Unreleased]\n\n## [1.2.0] - 2026-01-02\n- A thing.\n\n## [1.1.0] - 2025-01-01\n", ""),
        ("## [1.2.0]\n\n- A thing.\n", "it has no section for 1.2.0 with a date"),
        ("## [Unreleased]\n\n- A thing.\n", "it has no section for 1.2.0 with a date"),
        ("## [1.2.0] - 2026-01-02\n\n## [1.1.0] - 2025-01-01\n- A thing.\n", "its section for 1.2.0 is empty"),
        ("## [1x2.0] - 2026-01-02\n- A thing.\n", "it has no section for 1.2.0 with a date"),
    ],
)
def test_changelog_needs_a_dated_section_with_entries(text: str, missing: str) -> None:
    assert missing_in_changelog(text, "1.2.0") == missing


def test_every_failed_check_is_printed_with_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    failed = report([Check("it is so", lambda: "", "nothing"), Check("it is fresh", lambda: "a\nb", "make it")])
    assert failed == 1
    assert capsys.readouterr().out == (
        "ok      it is so\nmissing it is fresh\n          a\n          b\n          next: make it\n"
    )


def test_hooks_before_a_commit_run_what_make_lint_runs() -> None:
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    commands = [line.strip().replace("$(VENV)", ".venv") for line in recipe[1].splitlines()]
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    assert [hook["entry"] for hook in repository["hooks"]] == commands
    assert not any(hook["pass_filenames"] for hook in repository["hooks"])


def test_every_path_in_contributing_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = {*re.findall(r"`([\w.-]+/[\w./-]*|\w+\.(?:py|md))`", text), *re.findall(r"\]\(([^)#:]+)", text)}
    assert {"utils/files.py", "tests/stages/", "CHANGELOG.md"} <= named
    paths = {name for name in named if "NAME" not in name and not name.startswith("http")}
    assert [name for name in sorted(paths) if not (ROOT / name).exists()] == []

"""The example runs, built once: they are only read."""

from pathlib import Path
from typing import Any

import pytest

from tests.stages.report.example_run import full_run, held_back_run, sparse_run
from utils.stages.report.facts import report_facts
from utils.stages.report.page import render


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    builders = {"full": full_run, "held back": held_back_run, "sparse": sparse_run, "empty": lambda folder: folder}
    return {name: build(tmp_path_factory.mktemp(name.replace(" ", "-"))) for name, build in builders.items()}


@pytest.fixture(scope="session")
def facts(runs: dict[str, Path]) -> dict[str, dict[str, Any]]:
    return {name: report_facts(str(folder), "run-x4k2", ["A small judge."]) for name, folder in runs.items()}


@pytest.fixture(scope="session")
def pages(facts: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: render(found) for name, found in facts.items()}

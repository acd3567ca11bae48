"""The estimated size of a finished run's Argo Workflow, and its limits."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from kfp import compiler, dsl

from utils.cli.lint import lint
from utils.lint import Severity, examine, lint_text
from utils.lint.size import MAX_BYTES, MAX_TEMPLATE_BYTES, REST_BYTES, RETRY_TEMPLATES, WARN_BYTES


@dsl.component(base_image="registry.example/stage@sha256:" + "0" * 64, install_kfp_package=False)
def work(text: str) -> str:
    return text


@dsl.pipeline(name="inner")
def inner() -> None:
    work(text="x").set_caching_options(False)


@dsl.pipeline(name="outer")
def outer() -> None:
    first = work(text="x").set_caching_options(False)
    inner().set_caching_options(False)
    work(text=first.output).set_caching_options(False)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Both documents of the outer pipeline."""
    return documents_of(outer, tmp_path_factory.mktemp("lint"))


def documents_of(pipeline: Any, folder: Path) -> list[Any]:
    compiler.Compiler().compile(pipeline, str(folder / "p.yaml"))
    return list(yaml.load_all((folder / "p.yaml").read_text(), yaml.CSafeLoader))


def padded(documents: list[Any], characters: str) -> str:
    """The file with a longer command in the component that three tasks run."""
    changed = copy.deepcopy(documents)
    for executor in changed[0]["deploymentSpec"]["executors"].values():
        executor["container"]["command"].append(characters)
    return yaml.safe_dump_all(changed)


def test_estimate_adds_up_every_tasks_container(compiled: list[Any]) -> None:
    before = examine(yaml.safe_dump_all(compiled)).workflow
    assert before is not None
    assert before.total == before.spec + round(4.7 * before.tasks) + before.definitions + REST_BYTES
    assert sum(before.runs.values()) == 3
    for characters, each in (("a" * 1000, 1), ("<>&<" * 250, 6), ("é" * 1000, 2), ('"' * 1000, 2)):
        after = examine(padded(compiled, characters)).workflow
        assert after is not None
        # A comma and two quotation marks come with it, in the container of each component.
        assert after.tasks - before.tasks == 3 * (1000 * each + 3)
        assert after.spec - before.spec == len(before.containers) * (1000 * each + 3)


def test_task_with_retries_is_in_one_node_more(tmp_path: Path) -> None:
    @dsl.pipeline(name="tried")
    def tried() -> None:
        work(text="x").set_caching_options(False).set_retry(2)
        work(text="x").set_caching_options(False)

    estimate = examine(yaml.safe_dump_all(documents_of(tried, tmp_path))).workflow
    assert estimate is not None
    assert estimate.retries == estimate.containers["comp-work"] + RETRY_TEMPLATES
    assert (
        estimate.total
        == estimate.spec + round(4.7 * estimate.tasks) + estimate.retries + estimate.definitions + REST_BYTES
    )
    assert estimate.as_record()["retries"] == estimate.retries and "for retries" in str(estimate)


def test_static_loop_counts_once_per_item(tmp_path: Path) -> None:
    @dsl.pipeline(name="loop")
    def loop() -> None:
        with dsl.ParallelFor(["a", "b", "c", "d"]) as item:
            work(text=item).set_caching_options(False)

    estimate = examine(yaml.safe_dump_all(documents_of(loop, tmp_path))).workflow
    assert estimate is not None
    assert estimate.runs == {"comp-work": 4}


def size_findings(text: str) -> list[tuple[str, Severity]]:
    return [(f.where, f.severity) for f in lint_text(text) if "Argo Workflow" in f.what or "Argo template" in f.what]


def test_workflow_near_the_limit_warns_and_above_it_is_an_error(compiled: list[Any]) -> None:
    """Trap 48: above 1 MiB the server stops to report the states of tasks."""
    small = examine(yaml.safe_dump_all(compiled)).workflow
    assert small is not None
    growth = len(small.containers) + 4.7 * 3
    for limit, below, above in (
        (WARN_BYTES, [], [("the file", Severity.WARNING)]),
        (MAX_BYTES, [("the file", Severity.WARNING)], [("the file", Severity.ERROR)]),
    ):
        exact = int((limit - small.total) / growth)
        assert size_findings(padded(compiled, "a" * (exact - 100))) == below
        assert size_findings(padded(compiled, "a" * (exact + 100))) == above


def test_container_too_large_for_its_pods_template_is_an_error(tmp_path: Path) -> None:
    """Found in the source of Argo: the template holds the container twice, and is a variable of the pod's processes."""

    @dsl.pipeline(name="one")
    def one() -> None:
        work(text="x").set_caching_options(False)

    documents = documents_of(one, tmp_path)
    error = [("components.comp-work", Severity.ERROR)]
    assert size_findings(padded(documents, "a" * (MAX_TEMPLATE_BYTES // 2 - 3000))) == []
    assert size_findings(padded(documents, "a" * (MAX_TEMPLATE_BYTES // 2 - 1000))) == error
    assert size_findings(padded(documents, "<" * (MAX_TEMPLATE_BYTES // 12 - 100))) == error


def test_parts_that_cannot_be_followed_are_reported_and_the_rest_is_checked(compiled: list[Any]) -> None:
    documents = copy.deepcopy(compiled)
    documents[0]["surprise"] = 1
    documents[0]["root"]["dag"]["tasks"]["work"]["dependentTasks"] = ["nobody"]
    report = examine(yaml.safe_dump_all(documents))
    assert {f.where: f.severity for f in report.findings} == {"surprise": "error", "the file": "warning"}
    assert report.workflow is None


def test_the_command_prints_the_estimate_and_its_parts(compiled: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump_all(compiled))
    shown = CliRunner().invoke(lint, [str(file)])
    assert shown.exit_code == 0
    assert "Argo Workflow of a finished run: about 79 " in shown.output
    assert "containers of 3 tasks + 5 definitions + 62 rest, of 1049" in shown.output
    told = json.loads(CliRunner().invoke(lint, [str(file), "--output", "json"]).output)["workflow"]
    assert (
        told["bytes"]
        == told["spec"] + round(4.7 * told["containers_of_all_tasks"]) + told["definitions"] + told["rest"]
    )
    assert sum(one["bytes"] * one["tasks"] for one in told["components"].values()) == told["containers_of_all_tasks"]

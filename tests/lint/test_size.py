"""The estimated size of a finished run's Argo Workflow, and its limits."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from kfp import compiler, dsl

from utils.cli.lint import lint
from utils.lint import Severity, examine, lint_text
from utils.lint.size import MAX_BYTES, MAX_TEMPLATE_BYTES, METADATA, NODE, RETRY_TEMPLATES, WARN_BYTES, Estimate


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


def estimate(text: str) -> Estimate:
    found = examine(text).workflow
    assert found
    return found


def test_a_command_is_in_the_spec_and_in_four_places_of_each_tasks_nodes(compiled: list[Any]) -> None:
    before = estimate(yaml.safe_dump_all(compiled))
    assert before.total == before.spec + before.dags + sum(before.tasks.values()) + METADATA
    # Bytes of each in a string of JSON; a comma and two quotation marks, which are two bytes each, come with it.
    for characters, each in (("a" * 1000, 1), ("<>&<" * 250, 6), ("é" * 1000, 2), ('"' * 1000, 4)):
        after = estimate(padded(compiled, characters))
        assert after.spec - before.spec == len(before.tasks) * (1000 * each + 5)
        assert sum(after.tasks.values()) - sum(before.tasks.values()) == 3 * 4 * (1000 * each + 5)
        assert after.dags == before.dags


def test_code_in_the_lifecycle_is_once_in_the_nodes_of_a_task(compiled: list[Any]) -> None:
    changed = copy.deepcopy(compiled)
    before = estimate(yaml.safe_dump_all(changed))
    for executor in changed[0]["deploymentSpec"]["executors"].values():
        executor["container"]["lifecycle"] = {"preCacheCheck": {"args": ["a" * 10_000]}}
    after = estimate(yaml.safe_dump_all(changed))
    added = len('"lifecycle":{"preCacheCheck":{"args":[""]}},') + 8 + 10_000  # quotation marks are two bytes each
    assert after.spec - before.spec == len(before.tasks) * added
    assert sum(after.tasks.values()) - sum(before.tasks.values()) == 3 * added


def test_task_with_retries_has_one_node_more(tmp_path: Path) -> None:
    @dsl.pipeline(name="tried")
    def tried() -> None:
        work(text="x").set_caching_options(False).set_retry(2)

    @dsl.pipeline(name="once")
    def once() -> None:
        work(text="x").set_caching_options(False)

    with_retries, without = (estimate(yaml.safe_dump_all(documents_of(one, tmp_path))) for one in (tried, once))
    more = with_retries.tasks["comp-work"] - without.tasks["comp-work"]
    assert more > len(str(documents_of(once, tmp_path)[0]["deploymentSpec"])) + NODE
    assert with_retries.spec - without.spec > RETRY_TEMPLATES


def test_static_loop_counts_once_per_item(tmp_path: Path) -> None:
    @dsl.pipeline(name="loop")
    def loop(items: list) -> None:
        with dsl.ParallelFor(items) as item:
            work(text=item).set_caching_options(False)

    documents = documents_of(loop, tmp_path)
    unknown = estimate(yaml.safe_dump_all(documents)).tasks["comp-work"]
    (group,) = [one for one in documents[0]["root"]["dag"]["tasks"].values() if "parameterIterator" in one]
    iterator = group["parameterIterator"]
    iterator["items"] = {"raw": json.dumps(["a", "b", "c", "d"])}
    assert estimate(yaml.safe_dump_all(documents)).tasks["comp-work"] == 4 * unknown


def size_findings(text: str) -> list[tuple[str, Severity]]:
    return [(f.where, f.severity) for f in lint_text(text) if "Argo Workflow" in f.what or "Argo template" in f.what]


def test_workflow_near_the_limit_warns_and_above_it_is_an_error(compiled: list[Any]) -> None:
    """Trap 48: above 1 MiB the server stops to report the states of tasks."""
    small = estimate(yaml.safe_dump_all(compiled)).total
    growth = len(compiled[0]["deploymentSpec"]["executors"]) + 4 * 3
    for limit, below, above in (
        (WARN_BYTES, [], [("the file", Severity.WARNING)]),
        (MAX_BYTES, [("the file", Severity.WARNING)], [("the file", Severity.ERROR)]),
    ):
        exact = int((limit - small) / growth)
        for length, expected in ((exact - 100, below), (exact + 100, above)):
            found = size_findings(padded(compiled, "a" * length))
            assert [one for one in found if one[0] == "the file"] == expected


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
    assert re.search(r"Argo Workflow of a finished run: about \d\d kB = \d+ spec \+ \d nodes of DAGs", shown.output)
    told = json.loads(CliRunner().invoke(lint, [str(file), "--output", "json"]).output)["workflow"]
    assert told["bytes"] == told["spec"] + told["dags"] + sum(told["tasks"].values()) + told["metadata"]

"""`--image NAME=REF`: other images in a compiled pipeline."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from utils import images
from utils.cli.main import main
from utils.errors import UsageError
from utils.files import ROOT
from utils.image_choice import IMAGES, replaced, with_images
from utils.ir.load import parse

OURS = (ROOT / "pipeline.yaml").read_text()
DIGEST = "@sha256:" + 64 * "a"
MINE = "registry.example:5000/team/ilab" + DIGEST
OTHER = "quay.io/team/light:1.2" + DIGEST
FOREIGN = """
components: {comp-a: {executorLabel: exec-a}}
deploymentSpec:
  executors:
    exec-a:
      container: {image: "python:3.11", command: [echo, "python:3.11 is an image – grüß dich"]}
pipelineInfo: {name: foreign}
root: {dag: {tasks: {a: {componentRef: {name: comp-a}, taskInfo: {name: a}}}}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
"""


def executor_images(text: str) -> set[str]:
    return {one.container.image for one in parse(text).components.values() if one.container}


def training_image(text: str) -> Any:
    """The image that the launcher uses in training pods, unless a run gives another."""
    spec = next(yaml.load_all(text, yaml.CSafeLoader))
    dags = [spec["root"], *spec["components"].values()]
    tasks = [task for dag in dags for task in dag.get("dag", {}).get("tasks", {}).values()]
    inputs = [task.get("inputs", {}).get("parameters", {}) for task in tasks]
    names = [one["image"]["componentInputParameter"] for one in inputs if "image" in one]
    assert len(names) == 2, "both phases"
    passed = {one[name]["componentInputParameter"] for name in names for one in inputs if name in one}
    assert passed == {"train_image"}
    return {spec["root"]["inputDefinitions"]["parameters"]["train_image"]["defaultValue"]}


def never(line: str) -> None:
    raise AssertionError(line)


def test_all_sets_one_image_everywhere_including_training_pods() -> None:
    text = replaced(OURS, [f"all={MINE}"], never)
    assert executor_images(text) == training_image(text) == {MINE}
    assert not any(image in text for image in IMAGES.values())


@pytest.mark.parametrize("order", [1, -1])
def test_named_image_wins_over_all(order: int) -> None:
    text = replaced(OURS, [f"all={MINE}", f"NOTEBOOK={OTHER}"][::order], never)
    assert executor_images(text) == {MINE, OTHER}
    assert training_image(text) == {MINE}


def images_by_task(text: str) -> dict[str, str]:
    parts = parse(text).components.values()
    return {one.executor.removeprefix("exec-"): one.container.image for one in parts if one.container}


@pytest.mark.parametrize("order", [1, -1])
def test_a_task_gets_an_image_of_its_own(order: int) -> None:
    """Evaluation in another image than SDG; the training pods have a parameter of their own."""
    text = replaced(OURS, [f"mt-bench={OTHER}", f"final-eval={OTHER}", f"instructlab={MINE}"][::order], never)
    found = images_by_task(text)
    assert {found[name] for name in ("mt-bench", "final-eval")} == {OTHER}
    assert {found[name] for name in ("sdg", "data-processing")} == {MINE}
    assert found["publish"] == images.NOTEBOOK
    assert training_image(text) == {MINE}
    only = images_by_task(replaced(OURS, [f"train-skills={OTHER}"], never))
    assert only == {**images_by_task(OURS), "train-skills": OTHER}


def test_tasks_that_share_one_text_by_an_anchor_are_not_changed_one_by_one() -> None:
    part = "    exec-{}:\n      container: {{image: {}, command: [echo]}}\n"
    shared = FOREIGN.replace(FOREIGN[FOREIGN.index("    exec-a:") : FOREIGN.index("pipelineInfo")], "")
    shared = shared.replace("  executors:\n", "  executors:\n" + part.format("a", "&x img:1") + part.format("b", "*x"))
    with pytest.raises(UsageError):
        replaced(shared, [f"b={MINE}"], never)
    assert replaced(shared, [f"img:1={MINE}"], never).count(MINE) == 1


def test_nothing_but_the_images_changes() -> None:
    text = replaced(OURS, [f"instructlab={MINE}"], never)
    assert text.replace(MINE, images.INSTRUCTLAB) == OURS
    assert with_images(parse(OURS), [], never).text == OURS
    assert replaced(replaced(OURS, [f"notebook={images.INSTRUCTLAB}"], never), ["all=a/b" + DIGEST], never).count("a/b")


def test_replacement_image_is_not_replaced_again() -> None:
    text = replaced(OURS, [f"notebook={images.INSTRUCTLAB}", f"instructlab={images.NOTEBOOK}"], never)
    assert executor_images(text) == {images.INSTRUCTLAB, images.NOTEBOOK}
    assert training_image(text) == {images.NOTEBOOK}


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("runtime=a/b", "it names instructlab, notebook of utils/images.py"),
        ("serving=a/b", "manifests/ names the others"),
        ("notebook", "no NAME=REF"),
        ("notebook=", "'' is not an image reference"),
        ("notebook=Quay.io/A", "is not an image reference"),
        ("notebook=a/b@sha256:123", "is not an image reference"),
        ("notebook=a b", "is not an image reference"),
        ("notebook=a/b: c", "is not an image reference"),
        ("notebook=docker://a/b", "is not an image reference"),
        ("python:3.11=a/b", "the pipeline does not name such an image"),
    ],
)
def test_wrong_names_and_references_are_usage_errors(pair: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        replaced(OURS, [pair], never)
    assert message in error.value.render()


@pytest.mark.parametrize("reference", ["a/b", "localhost:5000/a_b/c--d:v1.0", "image", "12"])
def test_an_image_without_a_digest_is_warned_about(reference: str) -> None:
    lines: list[str] = []
    text = replaced(OURS, [f"all={reference}"], lines.append)
    assert executor_images(text) == {reference}
    assert len(lines) == 1 and f"{reference} is not named by digest" in lines[0]


def test_images_of_other_pipelines_are_named_as_written_there() -> None:
    text = replaced(FOREIGN, [f"python:3.11={MINE}"], never)
    assert executor_images(text) == {MINE}
    assert "python:3.11 is an image – grüß dich" in text
    with pytest.raises(UsageError) as error:
        replaced(FOREIGN, [f"all={MINE}"], never)
    assert "it names none of utils/images.py" in error.value.render()


@pytest.mark.parametrize("written", ["&a quay.io/x/y:1", '&a "quay.io/x/y:1"', "'quay.io/x/y:1'", '"quay.io\\/x/y:1"'])
def test_every_text_style_keeps_its_anchor(written: str) -> None:
    rest = "\nb: *a" if "&a" in written else ""
    text = replaced(f"ü: 'é'\na: {written}{rest}\n", ["quay.io/x/y:1=12"], lambda _: None)
    assert set(yaml.safe_load(text).values()) == {"é", "12"}


def test_compile_writes_the_images_and_warns(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    done = CliRunner().invoke(main, ["compile", "-o", str(file), "--image", "all=a/b:1"])
    assert done.exit_code == 0, done.output
    assert executor_images(file.read_text()) == {"a/b:1"}
    assert "not named by digest" in done.stderr
    done = CliRunner().invoke(main, ["compile", "-o", str(file), "--image", "nothing=a/b:1"])
    assert done.exit_code == 2
    assert "use instructlab, notebook, all" in done.stderr


def test_a_dry_run_shows_the_images(tmp_path: Path) -> None:
    words = ["run", "--on", "kubernetes", "--dry-run", "--run-id", "r1", "--namespace", "lab", "--home", str(tmp_path)]
    done = CliRunner().invoke(main, words, env={"ILAB_IMAGE": f"all={MINE} notebook={OTHER}"})
    assert done.exit_code == 0, done.output
    jobs = [one for one in yaml.safe_load_all(done.stdout) if one["kind"] == "Job"]
    found = {json.dumps(job["spec"]["template"]["spec"]["containers"][0]) for job in jobs}
    assert {json.loads(one)["image"] for one in found} == {MINE, OTHER}
    assert images.INSTRUCTLAB not in done.stdout, "nor in what the launcher is told"

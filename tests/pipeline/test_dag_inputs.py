"""Inputs of a DAG within the pipeline have short names, and each task gets the same values as before."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler, dsl, kubernetes

from components.dag_inputs import complete_dag_inputs, shorten_dag_inputs


@dsl.component(base_image="registry.example/stage@sha256:" + "0" * 64, install_kfp_package=False)
def work(text: str, other: str) -> str:
    return text + other


@dsl.pipeline(name="inner")
def inner(inner_text: str) -> None:
    work(text=inner_text, other=f"{inner_text} and more")


@dsl.pipeline(name="outer")
def outer(first_text: str = "a", secret: str = "s") -> None:
    with dsl.ExitHandler(work(text=first_text, other="end")):
        task = work(text=first_text, other="x")
        kubernetes.use_secret_as_volume(task, secret_name=secret, mount_path="/s")
        inner(inner_text=task.output)
        with dsl.If(first_text == "a"):
            work(text=first_text, other=task.output)


@pytest.fixture
def documents(tmp_path: Path) -> list[dict[str, Any]]:
    compiler.Compiler().compile(outer, str(tmp_path / "p.yaml"))
    return list(yaml.safe_load_all((tmp_path / "p.yaml").read_text()))


def sources(spec: dict[str, Any], dag: dict[str, Any], given: dict[str, Any], path: str) -> dict[str, Any]:
    """Where each input of each task comes from in the end: a parameter of the pipeline, a constant, or another task."""
    found: dict[str, Any] = {}
    for name, task in dag["tasks"].items():
        component = spec["components"][task["componentRef"]["name"]]
        inputs = {}
        for key, one in task.get("inputs", {}).get("parameters", {}).items():
            parameter = one.get("componentInputParameter")
            inputs[key] = given[parameter] if parameter else yaml.safe_dump({path: one})
        if "dag" in component:
            assert inputs.keys() == component["inputDefinitions"]["parameters"].keys()
            found |= sources(spec, component["dag"], inputs, f"{path}/{name}")
        else:
            found[f"{path}/{name}"] = inputs
    return found


def test_tasks_get_the_same_values(documents: list[dict[str, Any]]) -> None:
    spec, platform = documents
    parameters = {name: name for name in spec["root"]["inputDefinitions"]["parameters"]}
    before = sources(spec, spec["root"]["dag"], parameters, "")
    kinds = [
        one["parameterType"]
        for one in spec["components"]["comp-exit-handler-1"]["inputDefinitions"]["parameters"].values()
    ]
    shorten_dag_inputs(spec, platform)
    assert sources(spec, spec["root"]["dag"], parameters, "") == before
    names = spec["components"]["comp-exit-handler-1"]["inputDefinitions"]["parameters"]
    assert [len(name) for name in names] == [2] * len(kinds)
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    (mounted,) = [one["secretAsVolume"][0] for one in executors.values() if "secretAsVolume" in one]
    around = spec["root"]["dag"]["tasks"]["exit-handler-1"]["inputs"]["parameters"]
    assert around[mounted["secretNameParameter"]["componentInputParameter"]]["componentInputParameter"] == "secret"


def test_dags_whose_inputs_are_named_elsewhere_keep_the_names(documents: list[dict[str, Any]]) -> None:
    """A condition is a text that names inputs of its task."""
    spec, platform = documents
    shorten_dag_inputs(spec, platform)
    dags = [component["dag"] for component in spec["components"].values() if "dag" in component]
    (task,) = [task for dag in dags for task in dag["tasks"].values() if task.get("triggerPolicy", {}).get("condition")]
    condition = task["triggerPolicy"]["condition"]
    assert any(f"inputs.parameter_values['{name}']" in condition for name in task["inputs"]["parameters"]), condition


def test_values_that_only_the_gpus_of_a_task_need_reach_the_dag_around(tmp_path: Path) -> None:
    """KFP 2.17 gives the task an input of that name, and the DAG around none."""

    @dsl.pipeline(name="gpus")
    def gpus(kind: str = "nvidia.com/gpu", number: str = "1") -> None:
        with dsl.ExitHandler(work(text="a", other="end")):
            work(text="a", other="x").set_accelerator_type(kind).set_accelerator_limit(number)

    compiler.Compiler().compile(gpus, str(tmp_path / "p.yaml"))
    spec = yaml.safe_load((tmp_path / "p.yaml").read_text().replace("pipelinechannel--", ""))
    complete_dag_inputs(spec)
    parameters = {name: name for name in spec["root"]["inputDefinitions"]["parameters"]}
    found = sources(spec, spec["root"]["dag"], parameters, "")["/exit-handler-1/work-2"]
    assert (found["kind"], found["number"]) == ("kind", "number")

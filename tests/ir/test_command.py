"""The command of a task, its ExecutorInput, and its outputs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Optional

import pytest
from kfp import dsl

from tests.ir.memory_runner import IDS, compiled
from utils.errors import TaskFailed
from utils.ir.command import executor_input, resolve_command
from utils.ir.model import Artifact, Task

TASK = Task(
    id="loop/0/train",
    name="train",
    component="comp-train",
    image="image",
    command=("run", "{{$}}"),
    args=(),
    inputs={"n": 3, "f": 1e-05, "text": 'quotes " and {{$}} in it', "flag": True, "list": [1, {"a": "b"}]},
    artifacts={"data": [Artifact("data", "system.Dataset", "s3://bucket/data", {"rows": 7})]},
    output_parameters={"score": "NUMBER_DOUBLE", "note": "STRING", "count": "NUMBER_INTEGER", "rows": "LIST"},
    output_artifacts={"model": "system.Model"},
)


def command(*template: object, task: Task = TASK) -> list[str]:
    task = replace(task, command=template)
    return resolve_command(task, executor_input(task, "/root/of/task"), IDS)


def test_executor_input_is_what_kfp_reads() -> None:
    assert executor_input(TASK, "/r") == {
        "inputs": {
            "parameterValues": dict(TASK.inputs),
            "artifacts": {
                "data": {
                    "artifacts": [
                        {
                            "name": "data",
                            "type": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"},
                            "uri": "s3://bucket/data",
                            "metadata": {"rows": 7},
                        }
                    ]
                }
            },
        },
        "outputs": {
            "parameters": {name: {"outputFile": f"/r/{name}"} for name in ("score", "note", "count", "rows")},
            "artifacts": {
                "model": {
                    "artifacts": [
                        {
                            "name": "model",
                            "type": {"schemaTitle": "system.Model", "schemaVersion": "0.0.1"},
                            "uri": "/r/model",
                            "metadata": {},
                        }
                    ]
                }
            },
            "outputFile": "/r/executor_output.json",
        },
    }


def test_rewritten_inputs_replace_the_tasks_own() -> None:
    assert executor_input(TASK, "/r", {"n": 4})["inputs"]["parameterValues"] == {"n": 4}


def test_the_message_is_valid_json_with_integers_as_integers() -> None:
    message = json.loads(command("run", "{{$}}")[1])
    assert message["inputs"]["parameterValues"]["n"] == 3
    assert isinstance(message["inputs"]["parameterValues"]["n"], int)


def test_placeholders_inside_values_are_not_expanded() -> None:
    assert command("{{$.inputs.parameters['text']}}") == ['quotes " and {{$}} in it']
    assert json.loads(command("{{$}}")[0])["inputs"]["parameterValues"]["text"] == 'quotes " and {{$}} in it'


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("--n={{$.inputs.parameters['n']}}", "--n=3"),
        ("{{$.inputs.parameters['f']}}", "0.00001"),
        ("{{$.inputs.parameters['flag']}}", "true"),
        ("{{$.inputs.parameters['list']}}", '[1, {"a": "b"}]'),
        ("{{$.inputs.artifacts['data'].uri}}", "s3://bucket/data"),
        ("{{$.inputs.artifacts['data'].path}}", "/s3/bucket/data"),
        ("{{$.inputs.artifacts['data'].metadata['rows']}}", "7"),
        ("{{$.inputs.artifacts['data'].metadata}}", '{"rows": 7}'),
        ("{{$.inputs.artifacts['data'].name}}", "data"),
        ("{{$.outputs.artifacts['model'].path}}/weights", "/root/of/task/model/weights"),
        ("{{$.outputs.artifacts['model'].uri}}", "/root/of/task/model"),
        ("{{$.outputs.parameters['score'].output_file}}", "/root/of/task/score"),
        ("{{$.outputs.output_file}}", "/root/of/task/executor_output.json"),
        ("id-{{$.pipeline_job_uuid}}", "id-my-run-id"),
        ("{{$.pipeline_task_name}} of {{$.pipeline_job_name}}", "train of my-run"),
        ("plain $HOME {{x}}", "plain $HOME {{x}}"),
        ('{"Concat": ["a-", "{{$.inputs.parameters[\'n\']}}", {"Concat": ["-b"]}]}', "a-3-b"),
    ],
)
def test_placeholders_in_a_command(template: str, result: str) -> None:
    assert command(template) == [result]


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ('{"IfPresent": {"InputName": "n", "Then": ["--n", "{{$.inputs.parameters[\'n\']}}"]}}', ["--n", "3"]),
        ('{"IfPresent": {"InputName": "gone", "Then": ["--n"]}}', []),
        ('{"IfPresent": {"InputName": "gone", "Then": ["--n"], "Else": "none"}}', ["none"]),
        ('{"IfPresent": {"InputName": "data", "Then": {"Concat": ["a", "b"]}}}', ["ab"]),
    ],
)
def test_if_present_placeholders_resolve(template: str, result: list[str]) -> None:
    assert command(template) == result


@pytest.mark.parametrize(
    "template", ["{{$.inputs.artifacts['gone'].uri}}", "{{$.outputs.parameters['gone'].output_file}}", "{{$.what}}"]
)
def test_placeholder_without_a_value_fails_the_task(template: str) -> None:
    with pytest.raises(TaskFailed, match="placeholder"):
        command(template)


def test_paths_given_as_parameters_resolve() -> None:
    task = replace(TASK, inputs={"where": "{{$.outputs.output_file}}", "all": "{{$}}"})
    values = executor_input(task, "/r")["inputs"]["parameterValues"]
    assert values["where"] == "/r/executor_output.json"
    assert json.loads(values["all"])["outputs"]["outputFile"] == "/r/executor_output.json"


def test_command_of_a_container_component(tmp_path: Path) -> None:
    """Placeholders of a container component as the compiler writes them (a runner with images runs these)."""

    @dsl.container_component
    def copy(
        source: dsl.Input[dsl.Dataset],
        target: dsl.Output[dsl.Dataset],
        name: str,
        size: dsl.OutputPath(int),  # type: ignore[valid-type]  # the form that kfp reads
        mode: Optional[str] = None,  # noqa: UP045 - the one form that kfp reads
    ) -> dsl.ContainerSpec:
        return dsl.ContainerSpec(
            image="cp:1",
            command=["cp", source.path, target.path],
            args=[
                dsl.ConcatPlaceholder(["--name=", name]),
                dsl.IfPresentPlaceholder("mode", then=["--mode", mode], else_=["--no-mode"]),
                size,
            ],
        )

    @dsl.pipeline
    def one() -> None:
        taken = dsl.importer(artifact_uri="gs://a/b", artifact_class=dsl.Dataset)
        copy(source=taken.output, name="n")

    container = compiled(one, tmp_path).components["comp-copy"].container
    assert container
    task = replace(
        TASK,
        command=container.command,
        args=container.args,
        inputs={"name": "n"},
        artifacts={"source": [Artifact("source", "system.Dataset", "gs://a/b")]},
        output_artifacts={"target": "system.Dataset"},
        output_parameters={"size": "NUMBER_INTEGER"},
    )
    assert resolve_command(task, executor_input(task, "/r"), IDS) == [
        "cp", "/gcs/a/b", "/r/target", "--name=n", "--no-mode", "/r/size",
    ]  # fmt: skip

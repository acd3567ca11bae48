"""Files that can't be read, and pipelines that can't be run here: refused by name before anything starts."""

import subprocess
import sys
from pathlib import Path
from typing import List  # noqa: UP035 - kfp reads typing's

import pytest
import yaml
from kfp import dsl, kubernetes

from tests.ir import parts
from tests.ir.memory_runner import MemoryRunner, compiled, component, text_of, walk
from tests.ir.semantics.compose import chain, defaults
from tests.ir.semantics.loops import loop_constants
from utils.errors import PipelineError, UsageError
from utils.ir.check import check, findings, refuse
from utils.ir.load import load, parse


def test_reading_imports_no_kfp_and_no_runner() -> None:
    code = (
        "import sys, utils.ir.load, utils.ir.walk, utils.ir.command\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('kfp', 'google', 'components')"
        " or name.startswith('utils.runners')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_interface_of_a_pipeline_is_read(tmp_path: Path) -> None:
    pipeline = compiled(defaults, tmp_path)
    assert pipeline.name == "defaults"
    assert pipeline.sdk_version.startswith("kfp-2.")
    assert {name: (one.type, one.default) for name, one in pipeline.parameters.items()} == {
        "text": ("STRING", "x"),
        "count": ("NUMBER_INTEGER", 2),
        "ratio": ("NUMBER_DOUBLE", 1.0),
        "flags": ("STRUCT", {"n": 1}),
        "names": ("LIST", [1, 2]),
    }
    assert pipeline.parameters["count"].description == "How many."
    assert pipeline.parameters["text"].description == ""
    assert isinstance(pipeline.parameters["count"].default, int)
    assert isinstance(pipeline.parameters["ratio"].default, float)


def test_file_in_the_form_of_the_api_is_read(tmp_path: Path) -> None:
    text = text_of(chain, tmp_path)
    indented = "\n".join(f"  {line}" for line in text.splitlines() if not line.startswith("#"))
    for key in ("pipelineSpec", "pipeline_spec"):
        assert parse(f"{key}:\n{indented}").name == "chain"


def test_using_an_output_is_a_dependency_even_where_the_file_names_none(tmp_path: Path) -> None:
    text = text_of(chain, tmp_path).replace("        dependentTasks:\n        - say\n", "")
    assert "dependentTasks" not in text
    assert walk(parse(text), tmp_path, {"text": "t"}).inputs("say-2") == {"text": "t"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not valid YAML"),
        ("", "is not a compiled KFP v2 pipeline"),
        ("- 1", "is not a compiled KFP v2 pipeline"),
        ("apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nspec: {}", "is not a compiled KFP v2 pipeline"),
        ("pipelineInfo: {name: x}\nroot: {dag: {tasks: {a: {}}}}", "not as the KFP compiler writes it"),
        (
            "pipelineInfo: {name: x}\nroot: {dag: {tasks: {a: {componentRef: {name: c}, dependentTasks: [b]}}}}",
            "in root a task needs b, which isn't there",
        ),
        (
            "pipelineInfo: {name: x}\nroot: {dag: {tasks: {a: {componentRef: {name: c}, dependentTasks: [b]}, "
            "b: {componentRef: {name: c}, dependentTasks: [a]}}}}",
            "tasks wait for each other: ",
        ),
        (
            "pipelineInfo: {name: x}\nroot: {dag: {tasks: {a: {componentRef: {name: c}, inputs: {parameters: "
            "{p: {componentInputParameter: q, parameterExpressionSelector: 'size(x)'}}}}}}}",
            "unknown selector 'size\\(x\\)'",
        ),
    ],
)
def test_file_that_is_not_a_pipeline_is_an_error(text: str, message: str) -> None:
    with pytest.raises(PipelineError, match=message) as caught:
        parse(text, "the file")
    assert caught.value.exit_code == 2
    assert caught.value.remedy


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="can't read the pipeline .*gone.yaml"):
        load(tmp_path / "gone.yaml")


@dsl.container_component
def in_an_image() -> dsl.ContainerSpec:
    return dsl.ContainerSpec(image="alpine", command=["true"])


@dsl.component(base_image="python:3.11", target_image="registry/built:1")
def containerized() -> None:
    pass


@component
def wants_config(config: dsl.TaskConfig = None) -> None:
    pass


@dsl.pipeline
def inner_with_image() -> None:
    in_an_image()


@dsl.pipeline(pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi")))
def cannot_run() -> None:
    in_an_image()
    containerized()
    inner_with_image()
    wants_config()
    parts.say(text=f"{dsl.WORKSPACE_PATH_PLACEHOLDER}/x")
    parts.say(text="fine")
    kubernetes.CreatePVC(access_modes=["ReadWriteMany"], size="1Gi")


def test_all_unsupported_features_are_named_at_once(tmp_path: Path) -> None:
    pipeline = compiled(cannot_run, tmp_path)
    found = findings(pipeline, containers=False)
    assert [line.partition(",")[0].partition(" (")[0] for line in found] == [
        "pipeline: it requires a workspace volume",
        "task containerized: a containerized Python component",
        "task in-an-image: a container component",
        "task inner-with-image/in-an-image: a container component",
        "task say: its input text refers to the workspace volume",
        "task wants-config: its input config is a TaskConfig",
    ]


def test_container_components_run_with_a_container_engine(tmp_path: Path) -> None:
    assert [line.split(":")[0] for line in findings(compiled(cannot_run, tmp_path), containers=True)] == [
        "pipeline",
        "task say",
        "task wants-config",
    ]


def test_nothing_starts_when_a_feature_is_unsupported(tmp_path: Path) -> None:
    runner = MemoryRunner(tmp_path / "run")
    with pytest.raises(PipelineError) as caught:
        walk(cannot_run, tmp_path, runner=runner)
    assert runner.tasks == [] and runner.claims == []
    message = caught.value.render()
    assert "the pipeline cannot-run holds 6 things that can't be run here" in message
    assert "task in-an-image: a container component, whose code is in the image alpine" in message
    assert "next: " in message


@pytest.mark.parametrize(("found", "said"), [(["a"], "holds one thing that"), (["a", "b"], "holds 2 things that")])
def test_number_of_unsupported_features_is_told(tmp_path: Path, found: list[str], said: str) -> None:
    with pytest.raises(PipelineError, match=said):
        refuse(compiled(chain, tmp_path), found)


BROKEN = """
pipelineInfo: {name: broken}
deploymentSpec:
  executors:
    exec-custom: {customJob: {customJob: {}}}
    exec-set: {container: {image: i, command: [sh, -ec, "--component_module_path kfp.dsl.executor_main"]}}
components:
  comp-custom: {executorLabel: exec-custom}
  comp-lost: {executorLabel: exec-lost}
  comp-set: {executorLabel: exec-set}
root:
  inputDefinitions:
    artifacts: {data: {artifactType: {schemaTitle: system.Dataset}}}
  dag:
    tasks:
      custom: {componentRef: {name: comp-custom}}
      lost: {componentRef: {name: comp-lost}}
      gone: {componentRef: {name: comp-gone}}
      asks: {componentRef: {name: comp-set}, triggerPolicy: {condition: "size('a') > 1"}}
---
platforms:
  other: {}
  kubernetes:
    pipelineConfig: {workspace: {size: 1Gi}}
    deploymentSpec:
      executors:
        exec-set:
          newThing: [1]
          secretAsVolume: [{secretNameParameter: {what: 1}, mountPath: /s}]
"""


def test_unknown_parts_of_a_file_are_refused_by_name() -> None:
    assert findings(parse(BROKEN), containers=True) == [
        "pipeline: it requires a workspace volume (PipelineConfig.workspace)",
        "pipeline: it has settings for another platform than Kubernetes: other",
        "pipeline: its input data is an artifact, which can't be given as an argument",
        "task custom: an executor of the kind customJob",
        "task lost: no executor 'exec-lost'",
        "task gone: no component 'comp-gone'",
        "task asks: unknown name size at \"('a') > 1\" in the condition size('a') > 1",
        "task asks: the Kubernetes setting newThing, which is unknown",
        "task asks: a Kubernetes setting with an input of unknown kind: what",
    ]


def test_valid_pipeline_passes(tmp_path: Path) -> None:
    check(compiled(loop_constants, tmp_path), containers=False)


def test_literal_parameters_accept_only_their_values(tmp_path: Path) -> None:
    """The field is in the specification; the SDK will write it for typing.Literal."""
    text = text_of(chain, tmp_path).replace(
        "      text:\n        parameterType: STRING\n",
        "      text:\n        parameterType: STRING\n        literals: [a, b]\n",
    )
    assert "literals" in text
    assert walk(parse(text), tmp_path, {"text": "b"}).inputs("say") == {"text": "b"}
    with pytest.raises(UsageError, match="text: expected one of a, b, got 'c'"):
        walk(parse(text), tmp_path, {"text": "c"})


def test_generic_list_types_are_understood(tmp_path: Path) -> None:
    @component
    def total(values: List[int]) -> int:  # noqa: UP006
        return sum(values)

    @dsl.pipeline
    def sums(values: List[int] = [1, 2]) -> None:  # noqa: UP006, B006
        total(values=values)

    assert walk(sums, tmp_path).outputs["total"].parameters == {"Output": 3}


@pytest.mark.parametrize(
    ("part", "value"),
    [
        (("components", "comp-one", "dag"), {"tasks": {"t": {"componentRef": {"name": "comp-one"}}}}),
        (("root", "dag", "tasks", "one", "retryPolicy"), {"maxRetryCount": float("inf")}),
        (("root", "dag", "tasks", "one", "parameterIterator"), {"itemInput": "i", "items": {"raw": "[" * 9999}}),
        (("root", "dag", "tasks", "one"), []),
    ],
)
def test_file_of_another_shape_is_refused(part: tuple[str, ...], value: object) -> None:
    spec: dict = {
        "pipelineInfo": {"name": "p"},
        "root": {"dag": {"tasks": {"one": {"componentRef": {"name": "comp-one"}}}}},
        "components": {"comp-one": {}},
    }
    place = spec
    for key in part[:-1]:
        place = place[key]
    place[part[-1]] = value
    with pytest.raises(PipelineError, match="not as the KFP compiler writes it") as caught:
        parse(yaml.safe_dump(spec))
    assert caught.value.cause and caught.value.remedy


@pytest.mark.parametrize("setting", [{"secretAsVolume": [{"secretNameParameter": 1}]}, {"pvcMount": [{"xJson": "a"}]}])
def test_kubernetes_setting_of_another_shape_is_refused_before_anything_starts(setting: dict) -> None:
    executors = {"exec-one": {"container": {"image": "i", "command": ["sh"]}}}
    spec = {
        "pipelineInfo": {"name": "p"},
        "root": {"dag": {"tasks": {"one": {"componentRef": {"name": "comp-one"}}}}},
        "components": {"comp-one": {"executorLabel": "exec-one"}},
        "deploymentSpec": {"executors": executors},
    }
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-one": setting}}}}}
    with pytest.raises(PipelineError, match="task one: "):
        check(parse(yaml.safe_dump_all([spec, platform])), containers=True)

"""The linter parses with the real protos of every supported backend, and finds what only backends reject."""

import copy
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from kfp import compiler, dsl, kubernetes

from utils.cli.lint import lint
from utils.errors import PipelineError
from utils.lint import BACKENDS, Severity, lint_text

ALL = tuple(backend.name for backend in BACKENDS)
UPSTREAM, V3_5, V3_4, V3_0, OLDEST = ALL
V3 = (V3_5, V3_4, V3_0)
IMAGE = "registry.example/stage@sha256:" + "0" * 64


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def work(text: str, number: int = 1) -> str:
    return text * number


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def clean(run: str) -> None:
    print(run)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def see(run: str, status: dsl.PipelineTaskFinalStatus) -> None:
    print(run, status)


@dsl.pipeline(name="sample")
def sample(secret: str = "s", gpu: str = "nvidia.com/gpu", tolerations: list = [], nodes: dict = {}) -> None:  # noqa: B006
    exit_task = clean(run=dsl.PIPELINE_JOB_ID_PLACEHOLDER).set_caching_options(False)
    with dsl.ExitHandler(exit_task):
        first = work(text=gpu).set_caching_options(False)
        task = work(text=dsl.PIPELINE_JOB_ID_PLACEHOLDER).after(first).set_caching_options(False)
        kubernetes.mount_pvc(task, pvc_name=first.output, mount_path="/data")
        kubernetes.use_secret_as_volume(task, secret_name=secret, mount_path="/mnt/s", optional=True)
        kubernetes.use_config_map_as_volume(task, config_map_name="c", mount_path="/mnt/c")
        kubernetes.use_secret_as_env(task, secret_name=secret, secret_key_to_env={"a": "A"})
        kubernetes.add_toleration_json(task, tolerations)
        kubernetes.add_node_selector_json(task, nodes)
        task.set_accelerator_type(gpu).set_accelerator_limit(1)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Both documents of the sample pipeline."""
    file = tmp_path_factory.mktemp("lint") / "sample.yaml"
    compiler.Compiler().compile(sample, str(file))
    return list(yaml.load_all(file.read_text(), yaml.CSafeLoader))


def tasks(documents: list[Any]) -> dict[str, Any]:
    return documents[0]["components"]["comp-exit-handler-1"]["dag"]["tasks"]


def config(documents: list[Any]) -> dict[str, Any]:
    return documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-work-2"]


def default(documents: list[Any], name: str, value: Any) -> None:
    documents[0]["root"]["inputDefinitions"]["parameters"][name]["defaultValue"] = value


def container(documents: list[Any]) -> dict[str, Any]:
    return documents[0]["deploymentSpec"]["executors"]["exec-work-2"]["container"]


def sub_dag_inputs(documents: list[Any]) -> dict[str, Any]:
    return documents[0]["components"]["comp-exit-handler-1"]["inputDefinitions"]["parameters"]


def test_pipeline_that_all_backends_support_has_no_finding(compiled: list[Any]) -> None:
    assert lint_text(yaml.safe_dump_all(compiled)) == []


Change = Callable[[list[Any]], Any]
CASES: dict[str, tuple[Change, Severity, str, str, tuple[str, ...]]] = {
    # What the parsers of some or all backends refuse, drop or ignore.
    "unknown field": (lambda d: d[0].update(surprise=1), Severity.ERROR, "surprise", "unknown field", ALL),
    "unknown field deep inside": (
        lambda d: tasks(d)["work-2"].update(surprise={}),
        Severity.ERROR,
        "components.comp-exit-handler-1.dag.tasks.work-2.surprise",
        "rejects the pipeline",
        ALL,
    ),
    "unknown field of an executor": (
        lambda d: container(d).update(privileged=True),
        Severity.ERROR,
        "deploymentSpec.executors.exec-work-2.container.privileged",
        "rejects the pipeline",
        ALL,
    ),
    "unknown enum value": (
        lambda d: sub_dag_inputs(d)["pipelinechannel--gpu"].update(parameterType="TEXT"),
        Severity.ERROR,
        "components.comp-exit-handler-1.inputDefinitions.parameters.pipelinechannel--gpu.parameterType",
        "not a value of the type",
        ALL,
    ),
    "wrong type": (
        lambda d: tasks(d)["work-2"].update(dependentTasks="work"),
        Severity.ERROR,
        "components.comp-exit-handler-1.dag.tasks.work-2.dependentTasks",
        "not a value of the type",
        ALL,
    ),
    "a mapping where a list belongs": (
        lambda d: container(d).update(env={"name": "A", "value": "b"}),
        Severity.ERROR,
        "deploymentSpec.executors.exec-work-2.container.env",
        "expected a list, got dict",
        ALL,
    ),
    "two of which one is allowed": (
        lambda d: tasks(d)["work-2"]["inputs"]["parameters"]["text"].update(componentInputParameter="x"),
        Severity.ERROR,
        "components.comp-exit-handler-1.dag.tasks.work-2.inputs.parameters.text.runtimeValue",
        "excludes componentInputParameter",
        ALL,
    ),
    "literals": (
        lambda d: d[0]["root"]["inputDefinitions"]["parameters"]["gpu"].update(literals=["a"]),
        Severity.ERROR,
        "root.inputDefinitions.parameters.gpu.literals",
        "unknown field",
        (V3_0, OLDEST),
    ),
    "TaskConfig": (
        lambda d: d[0]["components"]["comp-work"].update(taskConfigPassthroughs=[{"field": "RESOURCES"}]),
        Severity.ERROR,
        "components.comp-work.taskConfigPassthroughs",
        "unknown field",
        (OLDEST,),
    ),
    "workspace": (
        lambda d: d[1]["platforms"]["kubernetes"].update(pipelineConfig={"workspace": {"size": "1Gi"}}),
        Severity.ERROR,
        "platform: platforms.kubernetes.pipelineConfig.workspace",
        "silently drops the whole platform document",
        (OLDEST,),
    ),
    "unknown field of the platform": (
        lambda d: d[1]["platforms"]["kubernetes"].update(surprise=1),
        Severity.ERROR,
        "platform: platforms.kubernetes.surprise",
        "silently drops the whole platform document",
        ALL,
    ),
    "optional Secret as environment": (
        lambda d: config(d)["secretAsEnv"][0].update(optional=True),
        Severity.WARNING,
        "platform: platforms.kubernetes.deploymentSpec.executors.exec-work-2.secretAsEnv[0].optional",
        "silently ignored",
        (OLDEST,),
    ),
    "sub path of a claim": (
        lambda d: config(d)["pvcMount"][0].update(subPath="a"),
        Severity.WARNING,
        "platform: platforms.kubernetes.deploymentSpec.executors.exec-work-2.pvcMount[0].subPath",
        "silently ignored",
        (V3_0, OLDEST),
    ),
    "wrong type in the platform": (
        lambda d: config(d)["pvcMount"][0].update(mountPath=[1]),
        Severity.ERROR,
        "platform: platforms.kubernetes.deploymentSpec.executors.exec-work-2.pvcMount[0].mountPath",
        "driver fails",
        ALL,
    ),
    # What the parsers take, and one server or dashboard does not do.
    "display name": (
        lambda d: tasks(d)["work-2"]["taskInfo"].update(name="train the model"),
        Severity.WARNING,
        "components.comp-exit-handler-1.dag.tasks.work-2.taskInfo.name",
        "'train the model' differs from the task's key 'work-2'",
        V3,
    ),
    "shared memory": (
        lambda d: config(d).update(enabledSharedMemory={"volumeName": "shm", "size": "1Gi"}),
        Severity.WARNING,
        "platform: platforms.kubernetes.deploymentSpec.executors.exec-work-2.enabledSharedMemory",
        "accepts it but ignores it",
        ALL,
    ),
    "node affinity": (
        lambda d: config(d).update(nodeAffinity=[{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]),
        Severity.WARNING,
        "platform: platforms.kubernetes.deploymentSpec.executors.exec-work-2.nodeAffinity",
        "accepts it but ignores it",
        (OLDEST,),
    ),
    # What a server insists on.
    "empty name": (
        lambda d: d[0]["pipelineInfo"].update(name=""),
        Severity.ERROR,
        "pipelineInfo.name",
        "no name: the server rejects",
        (),
    ),
    "null for a name": (
        lambda d: d[0]["pipelineInfo"].update(name=None),
        Severity.ERROR,
        "pipelineInfo.name",
        "no name: the server rejects",
        (),
    ),
    "name of capitals": (
        lambda d: d[0]["pipelineInfo"].update(name="ILAB"),
        Severity.ERROR,
        "pipelineInfo.name",
        "no lowercase letter",
        (),
    ),
    "other version of the IR": (
        lambda d: d[0].update(schemaVersion="2.0.0"),
        Severity.ERROR,
        "schemaVersion",
        "accepts only 2.1.0",
        (),
    ),
    # What every parser takes.
    "placeholder of the run inside text": (
        lambda d: tasks(d)["work"]["inputs"]["parameters"]["text"].update(
            {"runtimeValue": {"constant": "run-{{$.pipeline_job_uuid}}"}, "componentInputParameter": None}
        ),
        Severity.ERROR,
        "components.comp-exit-handler-1.dag.tasks.work.inputs.parameters.text.runtimeValue.constant",
        "inside a longer constant",
        (),
    ),
    "parameter without default": (
        lambda d: d[0]["root"]["inputDefinitions"]["parameters"]["secret"].pop("defaultValue"),
        Severity.WARNING,
        "root.inputDefinitions.parameters.secret",
        "no default, or None",
        (),
    ),
    "image by tag": (
        lambda d: container(d).update(image="registry.example/stage:latest"),
        Severity.WARNING,
        "deploymentSpec.executors.exec-work-2.container.image",
        "not pinned by digest",
        (),
    ),
    "caching": (
        lambda d: tasks(d)["work"].update(cachingOptions={"enableCache": True}),
        Severity.WARNING,
        "components.comp-exit-handler-1.dag.tasks.work.cachingOptions",
        "caching is on",
        (),
    ),
    "claim without storage class": (
        lambda d: container(d).update(image="argostub/createpvc"),
        Severity.WARNING,
        "components.comp-exit-handler-1.dag.tasks.work-2.inputs.parameters.storage_class_name",
        "uses the class `standard`",
        (),
    ),
    "input that the DAG around does not have": (
        lambda d: sub_dag_inputs(d).pop("pipelinechannel--gpu"),
        Severity.ERROR,
        "components.comp-exit-handler-1.dag.tasks.work.inputs.parameters.text",
        "which is not an input of the DAG around it",
        (),
    ),
    "resource of an input that the task does not have": (
        lambda d: container(d)["resources"]["accelerator"].update(
            resourceType="{{$.inputs.parameters['pipelinechannel--other']}}"
        ),
        Severity.ERROR,
        "components.comp-exit-handler-1.dag.tasks.work-2: resources.accelerator.resourceType",
        "the task has no input pipelinechannel--other",
        (),
    ),
    "too many executors": (
        lambda d: d[0]["deploymentSpec"]["executors"].update({f"exec-{n}": {} for n in range(12)}),
        Severity.WARNING,
        "deploymentSpec.executors",
        "15 executors",
        (),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_fault_is_named_with_the_backends_it_concerns(compiled: list[Any], case: str) -> None:
    change, severity, where, what, backends = CASES[case]
    documents = copy.deepcopy(compiled)
    change(documents)
    findings = [f for f in lint_text(yaml.safe_dump_all(documents)) if f.where == where]
    assert len(findings) == 1, findings
    assert findings[0].severity == severity
    assert what in findings[0].what
    assert findings[0].backends == backends


def test_every_refused_field_is_named_not_only_the_first(compiled: list[Any]) -> None:
    documents = copy.deepcopy(compiled)
    documents[0].update(one=1)
    tasks(documents)["work"].update(two=2)
    documents[1].update(three=3)
    assert [f.where for f in lint_text(yaml.safe_dump_all(documents))] == [
        "components.comp-exit-handler-1.dag.tasks.work.two",
        "one",
        "platform: three",
    ]


def test_parameters_of_accelerators_reach_a_nested_dag_only_beside_another_use(tmp_path: Path) -> None:
    """The SDK forgets to hand such a parameter down; the linter catches what it compiles."""

    @dsl.pipeline(name="forgotten")
    def forgotten(gpu: str = "nvidia.com/gpu") -> None:
        exit_task = clean(run=dsl.PIPELINE_JOB_ID_PLACEHOLDER).set_caching_options(False)
        with dsl.ExitHandler(exit_task):
            work(text="a").set_caching_options(False).set_accelerator_type(gpu).set_accelerator_limit(1)

    compiler.Compiler().compile(forgotten, str(tmp_path / "f.yaml"))
    (finding,) = lint_text((tmp_path / "f.yaml").read_text())
    assert "takes pipelinechannel--gpu, which is not an input of the DAG around it" in finding.what


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d[0].update(components=[]),
        lambda d: d[0].update(root=1),
        lambda d: d[0].update(deploymentSpec="x"),
        lambda d: d[0].update(pipelineInfo=[]),
        lambda d: tasks(d)["work"].update(inputs=[1]),
        lambda d: tasks(d).update(work=None),
        lambda d: tasks(d)["work"].update(taskInfo="x"),
        lambda d: d[1].update(platforms=1),
        lambda d: config(d).update(podMetadata=[1]),
        lambda d: config(d).update(secretAsVolume={"a": 1}),
        lambda d: d[1]["platforms"]["kubernetes"]["deploymentSpec"].update(executors=[1]),
    ],
)
def test_parts_of_the_wrong_type_are_findings_not_tracebacks(compiled: list[Any], change: Change) -> None:
    documents = copy.deepcopy(compiled)
    change(documents)
    assert Severity.ERROR in {finding.severity for finding in lint_text(yaml.safe_dump_all(documents))}


@pytest.mark.parametrize("text", ["", "a: 1", "- a", "a: [", "root: {}\npipelineInfo: {}\n---\nother: 1\n"])
def test_file_that_is_not_a_pipeline_is_refused(text: str) -> None:
    with pytest.raises(PipelineError):
        lint_text(text)


def test_the_command_prints_findings_and_ends_with_1(compiled: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump_all(compiled))
    clean_run = CliRunner().invoke(lint, [str(file)])
    assert clean_run.exit_code == 0
    assert "OpenShift AI 2.25 (KFP 2.5.0)" in clean_run.output
    documents = copy.deepcopy(compiled)
    config(documents)["pvcMount"][0].update(subPath="a")
    file.write_text(yaml.safe_dump_all(documents))
    found = CliRunner().invoke(lint, [str(file)])
    assert found.exit_code == 1
    assert "subPath [OpenShift AI 3.0 to 3.3, OpenShift AI 2.25]" in found.output
    told = json.loads(CliRunner().invoke(lint, [str(file), "--output", "json"]).output)
    assert [(r["severity"], r["backends"]) for r in told["findings"]] == [("warning", [V3_0, OLDEST])]


def test_the_command_reads_archives_and_the_apis_json(compiled: list[Any], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("pipeline.yaml", yaml.safe_dump_all(compiled))
    version = {"pipeline_spec": {"pipeline_spec": compiled[0], "platform_spec": compiled[1]}}
    (tmp_path / "pipeline_version.json").write_text(json.dumps(version))
    for name in ("p.zip", "pipeline_version.json"):
        result = CliRunner().invoke(lint, [str(tmp_path / name)])
        assert result.exit_code == 0, result.output
        assert "understood by" in result.output

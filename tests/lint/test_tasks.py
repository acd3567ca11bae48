"""Rules about tasks with the default parameters: volume names, final status."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler, dsl, kubernetes

from utils.lint import BACKENDS, Severity, lint_text
from utils.names import API_LABEL

IMAGE = "registry.example/stage@sha256:" + "0" * 64
IN_PLATFORM = "platform: platforms.kubernetes.deploymentSpec.executors."
OLDEST = BACKENDS[-1].name


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def work(text: str) -> str:
    return text


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def see(status: dsl.PipelineTaskFinalStatus) -> None:
    print(status)


@dsl.pipeline(name="inner")
def inner(secret: str, config_map: str = "inner-default") -> None:
    task = work(text="x").set_caching_options(False)
    kubernetes.use_secret_as_volume(task, secret_name=secret, mount_path="/mnt/s", optional=True)
    kubernetes.use_config_map_as_volume(task, config_map_name=config_map, mount_path="/mnt/c", optional=True)


@dsl.pipeline(name="outer")
def outer(secret: str = "secret", config_map: str = "config-map", claim: str = "claim") -> None:
    first = work(text="made-by-a-task").set_caching_options(False)
    inner(secret=secret, config_map=config_map).set_caching_options(False)
    second = work(text="x").set_caching_options(False)
    kubernetes.mount_pvc(second, pvc_name=claim, mount_path="/a")
    kubernetes.mount_pvc(second, pvc_name=first.output, mount_path="/b")
    kubernetes.use_secret_as_volume(second, secret_name="constant", mount_path="/mnt/s")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Both documents of the outer pipeline."""
    return documents_of(outer, tmp_path_factory.mktemp("lint"))


def documents_of(pipeline: Any, folder: Path) -> list[Any]:
    compiler.Compiler().compile(pipeline, str(folder / "p.yaml"))
    return list(yaml.load_all((folder / "p.yaml").read_text(), yaml.CSafeLoader))


def with_default(documents: list[Any], **defaults: str) -> str:
    changed = copy.deepcopy(documents)
    for name, value in defaults.items():
        changed[0]["root"]["inputDefinitions"]["parameters"][name]["defaultValue"] = value
    return yaml.safe_dump_all(changed)


def test_valid_volume_names_are_not_findings(compiled: list[Any]) -> None:
    assert lint_text(with_default(compiled, secret="a", config_map="0-" + "a" * 61)) == []


@pytest.mark.parametrize("name", ["kube-root-ca.crt", "a" * 64, "", "Upper", "under_score", "-a", "a-", "a\n"])
@pytest.mark.parametrize("parameter", ["secret", "config_map", "claim"])
def test_object_whose_name_is_not_a_valid_volume_name_is_an_error(
    compiled: list[Any], parameter: str, name: str
) -> None:
    """Trap 46: KFP names the pod's volume after it. The default goes down to a nested DAG."""
    (finding,) = lint_text(with_default(compiled, **{parameter: name}))
    assert finding.severity == Severity.ERROR
    assert finding.where.startswith(IN_PLATFORM)
    kind = {"secret": "Secret", "config_map": "ConfigMap", "claim": "claim"}[parameter]
    assert f"the {kind} {name or 'with an empty name'}, from {parameter}, makes an invalid pod" in finding.what
    assert "DNS label (a to z, 0 to 9, -, at most 63 characters, no dots)" in finding.what
    assert f"as the default of {parameter}" in finding.remedy


@pytest.mark.parametrize(
    ("defaults", "what"),
    [
        ({"secret": "s3-scratch"}, "the Secret s3-scratch has the name of a volume that every pod has"),
        ({"secret": "same", "config_map": "same"}, "the ConfigMap same has the name of a Secret of the same task"),
        ({"claim": "constant"}, "the Secret constant has the name of a claim of the same task"),
    ],
)
def test_two_volumes_of_one_name_are_an_error(compiled: list[Any], defaults: dict[str, str], what: str) -> None:
    (finding,) = lint_text(with_default(compiled, **defaults))
    assert finding.severity == Severity.ERROR
    assert what in finding.what


def test_constant_with_a_dot_is_an_error(compiled: list[Any]) -> None:
    documents = copy.deepcopy(compiled)
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    (name,) = [key for key, one in executors.items() if "pvcMount" in one]
    (mount,) = executors[name]["secretAsVolume"]
    mount["secretName"] = "a.b"
    mount["secretNameParameter"] = {"runtimeValue": {"constant": "a.b"}}
    (finding,) = lint_text(yaml.safe_dump_all(documents))
    assert finding.where == f"{IN_PLATFORM}{name}.secretAsVolume[0]"
    assert "the Secret a.b makes an invalid pod" in finding.what


def test_one_name_in_many_tasks_is_one_finding(tmp_path: Path) -> None:
    @dsl.pipeline(name="many")
    def many(secret: str = "a.b") -> None:
        for _ in range(3):
            task = work(text="x").set_caching_options(False)
            kubernetes.use_secret_as_volume(task, secret_name=secret, mount_path="/mnt/s")

    (finding,) = lint_text(yaml.safe_dump_all(documents_of(many, tmp_path)))
    assert "(and in 2 other places)" in finding.what


def test_final_status_is_an_error_where_the_compiler_does_not_know_it(tmp_path: Path) -> None:
    """Trap 47. KFP 2.5.0: "task final status not supported yet"."""

    @dsl.pipeline(name="watched")
    def watched() -> None:
        with dsl.ExitHandler(see().set_caching_options(False)):
            work(text="x").set_caching_options(False)

    (finding,) = lint_text(yaml.safe_dump_all(documents_of(watched, tmp_path)))
    assert finding.severity == Severity.ERROR
    assert finding.where == "root.dag.tasks.see.inputs.parameters.status"
    assert finding.backends == (OLDEST,)


def test_labels_of_one_task_are_a_finding_where_all_tasks_share_a_template(tmp_path: Path) -> None:
    """KFP 2.5.0: the first task's labels are on all pods."""

    @dsl.pipeline(name="labelled")
    def labelled() -> None:
        kubernetes.add_pod_label(work(text="a").set_caching_options(False), "queue", "q")
        work(text="b").set_caching_options(False)

    documents = documents_of(labelled, tmp_path)
    (finding,) = lint_text(yaml.safe_dump_all(documents))
    assert finding.backends == (OLDEST,)
    assert finding.where == f"{IN_PLATFORM}exec-work.podMetadata"
    tasks = documents[0]["root"]["dag"]["tasks"]
    tasks["work"]["retryPolicy"] = {"maxRetryCount": 1}
    assert lint_text(yaml.safe_dump_all(documents)) == []
    del tasks["work"]["retryPolicy"]
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    executors["exec-work-2"] = executors["exec-work"]
    assert lint_text(yaml.safe_dump_all(documents)) == []
    del executors["exec-work-2"]
    executors["exec-work"] = {"podMetadata": {"labels": {API_LABEL: "true"}}}
    assert lint_text(yaml.safe_dump_all(documents)) == []

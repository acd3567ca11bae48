"""The compiled pipeline avoids what earlier systems got wrong."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from kfp import dsl

from components.compile import compile_pipeline, component_text
from tests.docs.guides import commands
from utils.cli.compile import carried_part, executor_source, names_of, our_pipeline
from utils.cli.compile import compile as compile_command
from utils.durations import parse_duration
from utils.errors import UsageError
from utils.images import NOTEBOOK
from utils.ir.code import carried_code
from utils.lint import lint_text, scalars
from utils.names import API_LABEL, CODE
from utils.packing import tree_digest, unpacked
from utils.stages.prerequisites.parameters import OBJECTS, check_object_names
from utils.stages.train.late import RETRIES
from utils.stages.writable import HOME, HOME_FOLDERS


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("ours") / "pipeline.yaml"
    compile_pipeline(our_pipeline(), file)
    return file


@pytest.fixture(scope="module")
def spec(package: Path) -> dict[str, Any]:
    return next(yaml.load_all(package.read_text(), yaml.CSafeLoader))


def tasks(spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every task that runs an executor."""
    for component in (spec["root"], *spec["components"].values()):
        for name, task in component.get("dag", {}).get("tasks", {}).items():
            if "executorLabel" in spec["components"][task["componentRef"]["name"]]:
                yield name, task


def test_every_supported_backend_understands_our_pipeline(package: Path) -> None:
    assert lint_text(package.read_text()) == []


def test_only_tasks_that_use_the_kubernetes_api_are_marked_for_it(package: Path) -> None:
    """Trap 28: no other task's pod needs the service account's token."""
    _, platform = yaml.load_all(package.read_text(), yaml.CSafeLoader)
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    labels = {name.removeprefix("exec-"): e.get("podMetadata", {}).get("labels") for name, e in executors.items()}
    marked = {name for name, found in labels.items() if found == {API_LABEL: "true"}}
    assert marked == {"prerequisites", "create-volume", "clean-up", "train-knowledge", "train-skills", "report"}
    assert {name for name, found in labels.items() if found} == marked


def test_report_comes_after_all_others_and_clean_up_takes_no_final_status(spec: dict[str, Any]) -> None:
    """Trap 47: clean up learns from report's note on the volume claim that the run finished, on every server."""
    (dag,) = [c["dag"]["tasks"] for c in spec["components"].values() if "report" in c.get("dag", {}).get("tasks", {})]
    before: set[str] = set()
    queue = ["report"]
    while queue:
        found = set(dag[queue.pop()].get("dependentTasks", [])) - before
        before |= found
        queue += found
    assert before == set(dag) - {"report"}
    assert "taskFinalStatus" not in str(spec)
    assert "TASK_FINAL_STATUS" not in str(spec)


def test_every_task_has_a_deadline(package: Path, spec: dict[str, Any]) -> None:
    """Trap 5. Those of training are above its own timeouts, whatever these are."""
    platform = list(yaml.load_all(package.read_text(), yaml.CSafeLoader))[1]["platforms"]["kubernetes"]
    executors = platform["deploymentSpec"]["executors"]
    hours = {
        label.removeprefix("exec-"): int(executors.get(label, {}).get("activeDeadlineSeconds", 0)) / 3600
        for label in spec["deploymentSpec"]["executors"]
    }
    assert [name for name, most in hours.items() if not 1 <= most <= 100 * 24] == []
    defaults = {name: p.get("defaultValue") for name, p in spec["root"]["inputDefinitions"]["parameters"].items()}
    own = sum(parse_duration(defaults[name]) for name in ("train_pending_timeout", "train_timeout"))
    assert hours["train-knowledge"] * 3600 > 2 * own


def test_long_tasks_are_tried_again_and_keep_their_deadline(package: Path, spec: dict[str, Any]) -> None:
    """Argo starts no attempt later than maxDuration after the first one, and ends pods of later attempts then, too."""
    executors = list(yaml.load_all(package.read_text(), yaml.CSafeLoader))[1]["platforms"]["kubernetes"]
    most = {name: one["activeDeadlineSeconds"] for name, one in executors["deploymentSpec"]["executors"].items()}
    tasks = {key: task for dag in dags_of(spec) for key, task in dag["tasks"].items() if "retryPolicy" in task}
    assert sorted(tasks) == ["final-eval", "mt-bench", "sdg", "train-knowledge", "train-skills"]
    for name, task in tasks.items():
        policy = task["retryPolicy"]
        attempts = policy["maxRetryCount"] + 1
        assert attempts == RETRIES + 1 == 3 and policy["backoffDuration"] == "60s"
        assert float(policy["backoffFactor"]).is_integer()  # Argo knows whole factors alone
        assert parse_duration(policy["backoffMaxDuration"]) >= attempts * int(most[f"exec-{name}"])


def dags_of(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield spec["root"]["dag"]
    yield from (component["dag"] for component in spec["components"].values() if "dag" in component)


def test_prerequisites_name_each_secret_as_it_is_mounted(package: Path) -> None:
    spec, platform = yaml.load_all(package.read_text(), yaml.CSafeLoader)
    inputs = dict(tasks(spec))["prerequisites"]["inputs"]["parameters"]
    executor = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-prerequisites"]
    mounted = {m["mountPath"]: m["secretNameParameter"] for m in executor["secretAsVolume"]}
    (config_map,) = executor["configMapAsVolume"]
    mounted[config_map["mountPath"]] = config_map["configMapNameParameter"]
    folders = [inputs[f"{role}_secret_dir"] for role in ("store", "teacher", "judge", "taxonomy")]
    paths = [folder["runtimeValue"]["constant"] for folder in folders]
    paths.append(inputs["ca_file"]["runtimeValue"]["constant"].partition("/{{")[0])
    around = spec["root"]["dag"]["tasks"]["exit-handler-1"]["inputs"]["parameters"]
    named = [around[mounted[path]["componentInputParameter"]]["componentInputParameter"] for path in paths]
    assert named == OBJECTS


def test_every_object_that_a_task_mounts_has_a_parameter_whose_name_is_checked(package: Path) -> None:
    """Trap 46: Kubeflow Pipelines names the pod's volume after the object, so a dot in its name stopped every run."""
    spec, platform = yaml.load_all(package.read_text(), yaml.CSafeLoader)
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    mounts = [m for e in executors for m in e.get("secretAsVolume", []) + e.get("configMapAsVolume", [])]
    given = spec["root"]["dag"]["tasks"]["exit-handler-1"]["inputs"]["parameters"]
    inner = [(m.get("secretNameParameter") or m["configMapNameParameter"])["componentInputParameter"] for m in mounts]
    assert {given[name]["componentInputParameter"] for name in inner} == {*OBJECTS}
    assert all(m["optional"] for m in mounts), "one that is missing is a finding, and no pod that hangs"
    defaults = {name: p.get("defaultValue") for name, p in spec["root"]["inputDefinitions"]["parameters"].items()}
    assert check_object_names(defaults, on_kfp=True) == []


def test_the_code_of_the_stages_travels_once(spec: dict[str, Any]) -> None:
    """Trap 48. Each container has a part where a Workflow's nodes have it once; later tasks import from the volume."""
    executors = spec["deploymentSpec"]["executors"]
    containers = {label.removeprefix("exec-"): executor["container"] for label, executor in executors.items()}
    parts = [container["lifecycle"]["preCacheCheck"]["args"] for container in containers.values()]
    assert len({index for index, _ in parts}) == len(parts) >= 12
    assert max(len(text) for _, text in parts) < 20_000
    digest = tree_digest(unpacked("".join(carried_code(executors).values())))
    assert all(digest in container["command"][-1] for container in containers.values())
    reading = {name for name, one in containers.items() if {"name": CODE, "value": "Workflow"} in one["env"]}
    assert reading == {"create-volume", "prerequisites", "clean-up"}
    for name, container in containers.items():
        rest = {key: value for key, value in container.items() if key != "lifecycle"}
        assert len(json.dumps(rest)) < (5000 if name in reading else 2600), name


def test_file_compiled_for_a_queue_differs_only_by_labels_and_their_parameter(package: Path, tmp_path: Path) -> None:
    (command,) = commands("openshift.md", "test_file_compiled_for_a_queue_differs_only_by_labels_and_their_parameter")
    words = command.replace("pipeline-NAME.yaml", str(tmp_path / "queued.yaml")).replace("NAME", "gpus").split()
    assert words[:2] == ["ilab-pipeline", "compile"]
    done = CliRunner().invoke(compile_command, words[2:])
    assert done.exit_code == 0, done.output
    text, plain = (tmp_path / "queued.yaml").read_text(), package.read_text()
    changed = [line.strip() for line in text.splitlines() if line not in plain.splitlines()]
    assert len(changed) == 4
    assert all("gpus" in line for line in changed)
    assert sum("kueue.x-k8s.io/queue-name: gpus" in line for line in changed) == 2
    assert "kueue" not in plain, "an empty label is none"
    wrong = CliRunner().invoke(compile_command, ["--queue", "a.b", "-o", str(tmp_path / "no.yaml")])
    assert isinstance(wrong.exception, UsageError) and "--queue is 'a.b'" in wrong.exception.what


def test_texts_that_servers_would_read_as_numbers_are_quoted(tmp_path: Path) -> None:
    @dsl.component(base_image="python@sha256:" + "0" * 64, install_kfp_package=False)
    def work(text: str) -> None:
        pass

    @dsl.pipeline(name="texts")
    def texts(version: str = "008") -> None:
        for text in ("1e5", ".5e3", "-0o7", version):
            work(text=text)

    file = tmp_path / "texts.yaml"
    compile_pipeline(texts, file)
    assert list(scalars.check(file.read_text())) == []
    assert "'008'" in file.read_text() and "'1e5'" in file.read_text()


def test_no_task_is_cached(spec: dict[str, Any]) -> None:
    """Trap 41: a cached step hands over a volume that is deleted."""
    found = dict(tasks(spec))
    assert len(found) >= 12
    assert [name for name, task in found.items() if task["cachingOptions"].get("enableCache")] == []


def test_every_image_is_named_by_digest(spec: dict[str, Any]) -> None:
    """Trap 43."""
    images = {executor["container"]["image"] for executor in spec["deploymentSpec"]["executors"].values()}
    assert images
    assert [image for image in images if not re.fullmatch(r"[^@\s]+@sha256:[0-9a-f]{64}", image)] == []


def test_nothing_is_installed_when_a_task_runs(package: Path, spec: dict[str, Any]) -> None:
    """Trap 13."""
    texts = [executor_source(package, name) for name in names_of(package)]
    texts += [str(executor["container"]["command"]) for executor in spec["deploymentSpec"]["executors"].values()]
    assert len(texts) >= 2 * 11
    assert [
        word for word in ("pip install", 'pip", "install', "dnf ", "apt-get") for text in texts if word in text
    ] == []


def test_parameters_reach_the_code_only_as_json(spec: dict[str, Any]) -> None:
    """Trap 17: no value is pasted into a command line or into source."""
    for executor in spec["deploymentSpec"]["executors"].values():
        container = executor["container"]
        assert "{{" not in str(container["command"])
        assert [word for word in container["args"] if "{{" in word] == ["{{$}}"]


def test_every_parameter_has_a_default_that_is_not_null_and_a_description(spec: dict[str, Any]) -> None:
    """Trap 44: "duplicate run" in the dashboard loses the others."""
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert [name for name, p in parameters.items() if p.get("defaultValue") is None] == []
    assert [name for name, p in parameters.items() if not p.get("description")] == []


def test_every_part_of_the_file_can_be_printed(package: Path) -> None:
    source = executor_source(package, "prerequisites")
    assert source.startswith("from kfp import dsl\ndef prerequisites(") and "check_run(Prerequisites(" in source
    assert "metrics: dsl.Output[dsl.Metrics]" in executor_source(package, "publish"), "KFP reads these types"
    assert "def gate_checks(" in str(carried_part(package, "utils/stages/publish.py"))
    compile(source, "prerequisites", "exec")
    with pytest.raises(UsageError, match="no part 'nothing'"):
        carried_part(package, "nothing")


def test_a_bundle_is_a_tar_that_anyone_can_list(package: Path) -> None:
    bundle = CliRunner().invoke(compile_command, ["-o", str(package), "--source", "code"]).stdout_bytes
    listed = subprocess.run(["tar", "tj"], input=bundle, capture_output=True, check=True).stdout.decode().splitlines()
    assert {"utils/__init__.py", "utils/messages.py", "utils/stages/prerequisites/stage.py"} <= set(listed)


def test_packed_code_contains_nothing_that_a_server_would_expand(spec: dict[str, Any]) -> None:
    """KFP and Argo replace {{...}}, Kubernetes $(...), in a container's environment too.

    Go's JSON encoder writes <, > and & as six characters each.
    """
    containers = [executor["container"] for executor in spec["deploymentSpec"]["executors"].values()]
    values = [variable["value"] for container in containers for variable in container["env"]]
    values += carried_code(spec["deploymentSpec"]["executors"]).values()
    assert len(values) > len(containers)
    assert [value for value in values if set("{$<>&") & set(value)] == []


def test_file_is_readable_by_people(package: Path) -> None:
    """No YAML anchors, sources as text."""
    text = package.read_text()
    assert not re.search(r"[:-] [&*]\w", text)
    assert re.search(r"\n +sys\.path\.insert\(0, str\(code\)\)\n", text)


def test_every_task_has_a_home_and_caches_that_any_user_can_write(spec: dict[str, Any]) -> None:
    """Trap 50: in the image, the home is not writable for the user that OpenShift gives a pod."""
    for label, executor in spec["deploymentSpec"]["executors"].items():
        found = {variable["name"]: variable["value"] for variable in executor["container"]["env"]}
        wanted = HOME if executor["container"]["image"] == NOTEBOOK else HOME_FOLDERS
        assert {name: found.get(name) for name in wanted} == wanted, label
        assert all(found[name].startswith("/tmp") for name in wanted if name != "USER")


def test_task_keys_are_the_names_that_people_see(spec: dict[str, Any]) -> None:
    """Trap 52: the 3.x dashboard finds a task's logs and artifacts only where its display name equals its key."""
    shown = {
        key: task["taskInfo"]["name"]
        for component in (spec["root"], *spec["components"].values())
        for key, task in component.get("dag", {}).get("tasks", {}).items()
    }
    assert {"train-knowledge", "train-skills", "clean-up"} <= shown.keys()
    assert {key: name for key, name in shown.items() if key != name} == {}


FUNCTION = '''
def example(first: str, second: int, third: list, fourth: str, fifth: bool, sixth: str, *, seventh: str = "7"):
    """A docstring."""
    before = "a local of its own"
    kept = dict(a=sixth)
    return tuple_of(first, second, third, fourth, fifth), tuple_of(second, first, third, fourth, fifth), before, kept
'''


def test_a_call_that_hands_parameters_on_in_order_is_shortened_and_means_the_same() -> None:
    """Each task's function stands in a run's Workflow five or six times."""
    text = component_text({"command": ["sh", "-ec", "", FUNCTION], "args": ["example"]})
    assert "tuple_of(*[*locals().values()][:5]), tuple_of(second, first, third, fourth, fifth)" in text
    assert "docstring" not in text
    found: dict[str, Any] = {"tuple_of": lambda *values: values}
    plain = dict(found)
    exec(text, found)
    exec(FUNCTION, plain)
    given = ("1", 2, [3], "4", True, "6")
    assert found["example"](*given) == plain["example"](*given)


GIVEN = """
def example(one, two):
    given = {one: two}
    return sorted(given)
"""


def test_a_value_that_is_used_once_stands_where_it_is_used() -> None:
    text = component_text({"command": ["sh", "-ec", "", GIVEN], "args": ["example"]})
    assert text.splitlines()[-1] == " return sorted({one: two})"
    again = GIVEN.replace("sorted(given)", "sorted(given), given")
    assert "given = " in component_text({"command": ["sh", "-ec", "", again], "args": ["example"]})


LOGGING = """
def example(one, two, metrics):
    for metric, value in measured(one, two).items():
        metrics.log_metric(metric, value)
    for metric, value in measured(two, one).items():
        metrics.log_metric(metric + "_again", value)
"""


def test_logged_metrics_are_shortened_and_mean_the_same() -> None:
    text = component_text({"command": ["sh", "-ec", "", LOGGING], "args": ["example"]})
    assert "metrics.metadata.update(measured(one, two))" in text and text.count("log_metric") == 1
    logged = []
    for source in (LOGGING, text):
        functions: dict[str, Any] = {"measured": lambda one, two: {one: 1.0, two: 2.0}}
        exec(source, functions)
        functions["example"]("a", "b", metrics := dsl.Metrics())
        logged.append(metrics.metadata)
    assert logged == [{"a": 1.0, "b": 2.0, "b_again": 1.0, "a_again": 2.0}] * 2

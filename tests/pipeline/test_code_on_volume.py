"""The first tasks read the stages' code from their run's Workflow; later tasks import it from the volume."""

import ast
import dataclasses
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.compile import compile_pipeline
from tests.fakes.json_server import JsonHandler
from tests.fakes.tls import make_certificate, serve_tls
from utils.cli.compile import our_pipeline
from utils.files import ROOT
from utils.ir.load import load
from utils.ir.model import Container, Pipeline
from utils.packing import stage_files

LOADED = "import utils.messages, sys; print(utils.messages.__file__)"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    file = tmp_path_factory.mktemp("ours") / "pipeline.yaml"
    compile_pipeline(our_pipeline(), file)
    return load(file)


class Volume:
    """A run's volume, and the tasks' functions up to where they call their stage."""

    def __init__(self, folder: Path, pipeline: Pipeline) -> None:
        self.folder = folder
        self.pipeline = pipeline

    def container(self, task: str) -> Container:
        found = self.pipeline.components[f"comp-{task}"].container
        assert found
        return found

    def run(
        self, task: str, ask: str = "1", first: str = "", variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a task's function until all is imported and the code lies on the volume; then `ask`.

        Args:
            first: Python that runs before it.
            variables: the environment; as a runner without Workflows gives it if left out.
        """
        container = self.container(task)
        (function,) = [one for one in ast.parse(container.command[-1]).body if isinstance(one, ast.FunctionDef)]
        end = max(n for n, one in enumerate(function.body) if isinstance(one, ast.ImportFrom)) + 1
        puts = [n for n, one in enumerate(function.body) if ast.unparse(one).startswith("put_on_volume(")]
        lines = [first, f"data_dir = {str(self.folder)!r}"]
        lines += map(ast.unparse, function.body[: max([end, *puts]) + bool(puts)])
        command = [sys.executable, "-B", "-c", "\n".join([*lines, ask])]
        # Outside of the checkout: whatever is imported came with the task or from the volume.
        return subprocess.run(
            command, env=variables or container.env, cwd=self.folder.parent, capture_output=True, text=True
        )

    def fill(self) -> None:
        """Run the task that brings the code."""
        done = self.run("prerequisites")
        assert done.returncode == 0, done.stderr

    @property
    def code(self) -> Path:
        """What later tasks import."""
        (found,) = self.folder.glob("code/*")  # nothing unfinished stays
        return found


@pytest.fixture
def volume(tmp_path: Path, pipeline: Pipeline) -> Volume:
    (tmp_path / "volume").mkdir()
    return Volume(tmp_path / "volume", pipeline)


ON_VOLUME = [
    "data-import",
    "sdg",
    "data-processing",
    "train-knowledge",
    "train-skills",
    "mt-bench",
    "final-eval",
    "publish",
    "report",
]


def test_prerequisites_unpack_the_code_and_later_tasks_import_it_from_the_volume(volume: Volume) -> None:
    volume.fill()
    for task in ON_VOLUME:
        done = volume.run(task, LOADED)
        assert done.stdout == f"{volume.code}/utils/messages.py\n", done.stderr
    assert not list(volume.code.rglob("__pycache__"))


def test_repeated_prerequisites_leave_intact_code_unchanged(volume: Volume) -> None:
    volume.fill()
    files = [path for path in volume.code.rglob("*") if path.is_file()]
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in files]
    volume.fill()
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in files] == before


def change(volume: Volume) -> None:
    with (volume.code / "utils/stages/marker.py").open("a") as file:
        file.write("\nprint('foreign')\n")


def add(volume: Volume) -> None:
    (volume.code / "utils/foreign.py").write_text("print('foreign')\n")


def remove(volume: Volume) -> None:
    (volume.code / "utils/messages.py").unlink()


def rename(volume: Volume) -> None:
    (volume.code / "utils/messages.py").rename(volume.code / "utils/messages_.py")


def join(volume: Volume) -> None:
    """The bytes of all files in a row stay the same, with the name of the second among them."""
    first, second = sorted(volume.code.rglob("*.py"))[1:3]
    first.write_bytes(first.read_bytes() + second.name.encode() + second.read_bytes())
    second.unlink()


def add_bytecode(volume: Volume) -> None:
    (volume.code / "utils/__pycache__").mkdir()
    (volume.code / "utils/__pycache__/messages.cpython-311.pyc").write_bytes(b"foreign")


@pytest.mark.parametrize("tamper", [change, add, remove, rename, join, add_bytecode])
def test_code_that_was_changed_is_not_imported_and_prerequisites_restore_it(volume: Volume, tamper: Any) -> None:
    volume.fill()
    tamper(volume)
    done = volume.run("sdg", "print('ran')")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {volume.code} is missing or changed\n  next: ")
    volume.fill()
    assert volume.run("sdg", "print('ran')").stdout == "ran\n"


def test_a_volume_without_code_says_what_to_run(volume: Volume) -> None:
    done = volume.run("sdg")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {volume.folder}/code/") and "is missing" in done.stderr
    assert "next: run prerequisites again" in done.stderr


@pytest.mark.parametrize("task", ["create-volume", "clean-up"])
def test_tasks_without_the_volume_find_the_code(volume: Volume, task: str) -> None:
    done = volume.run(task, LOADED)
    assert done.returncode == 0 and done.stdout.endswith("/utils/messages.py\n"), done.stderr
    assert list(volume.folder.iterdir()) == []


ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/"
TOKEN = "account-" + "token" * 3


class Cluster:
    """An API server with the Workflow of one run, and what Kubernetes and Argo give to a pod of it.

    A Workflow has each container as the value of an argument, as protojson writes it: with a space after commas, or
    without (argocompiler/argo.go, saveProtoToArguments). ARGO_NODE_ID is its name and a number (argo-workflows,
    workflow_types.go, NodeID).
    """

    def __init__(self, folder: Path, pipeline: Pipeline) -> None:
        self.failures: list[int] = []
        self.asked: list[str] = []
        spec = next(yaml.load_all(pipeline.text, yaml.CSafeLoader))
        values = [
            *spec["components"].values(),
            *(one["container"] for one in spec["deploymentSpec"]["executors"].values()),
        ]
        written = ((",", ":"), (", ", ": "))
        parameters = [
            {"name": f"argument-{number}", "value": json.dumps(value, separators=written[number % 2])}
            for number, value in enumerate(values)
        ]
        self.workflow: dict[str, Any] = {"spec": {"arguments": {"parameters": parameters[::-1]}}}
        self.folder = folder
        for name, text in (("token", TOKEN), ("namespace", "team")):
            (folder / name).write_text(text)

    def handler(self) -> type[JsonHandler]:
        cluster = self

        class Handler(JsonHandler):
            def do_GET(self) -> None:
                assert self.headers["Authorization"] == f"Bearer {TOKEN}"
                cluster.asked.append(self.path)
                status = cluster.failures.pop(0) if cluster.failures else 200
                self.reply(status, cluster.workflow if status == 200 else {"kind": "Status", "code": status})

        return Handler

    def run(self, volume: Volume, task: str) -> subprocess.CompletedProcess[str]:
        """As a pod: with a clock of its own, and the account's folder elsewhere."""
        certificate, chain = make_certificate(self.folder)
        certificate.rename(self.folder / "ca.crt")
        first = (
            "import pathlib, ssl, time\ntime.sleep = lambda seconds: print('waits', seconds)\n"
            f"moved = lambda path: str(path).replace({ACCOUNT!r}, {str(self.folder) + '/'!r})\n"
            "read, trust = pathlib.Path.read_text, ssl.create_default_context\n"
            "pathlib.Path.read_text = lambda path: read(pathlib.Path(moved(path)))\n"
            "ssl.create_default_context = lambda cafile: trust(cafile=moved(cafile))\n"
        )
        with serve_tls(self.handler(), chain) as url:
            host, port = url.removeprefix("https://").split(":")
            variables = {
                **{"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port, "ILAB_CODE": "Workflow"},
                **{"ARGO_NODE_ID": "ilab-pipeline-x7k2p-3141592653", "HTTPS_PROXY": "http://proxy.example:3128"},
            }
            return volume.run(task, LOADED, first, variables)


@pytest.fixture
def cluster(tmp_path: Path, pipeline: Pipeline) -> Cluster:
    (tmp_path / "account").mkdir()
    return Cluster(tmp_path / "account", pipeline)


@pytest.mark.parametrize("task", ["create-volume", "prerequisites", "clean-up"])
def test_on_kubeflow_pipelines_the_first_tasks_read_the_code_from_the_workflow(
    cluster: Cluster, volume: Volume, task: str
) -> None:
    done = cluster.run(volume, task)
    assert done.returncode == 0 and done.stdout.endswith("/utils/messages.py\n"), done.stderr
    assert cluster.asked == ["/apis/argoproj.io/v1alpha1/namespaces/team/workflows/ilab-pipeline-x7k2p"]


def test_an_api_server_that_is_away_is_asked_again_for_seven_minutes(cluster: Cluster, volume: Volume) -> None:
    cluster.failures = [503, 429, 500]
    done = cluster.run(volume, "create-volume")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:3] == ["waits 1", "waits 9", "waits 50"]
    cluster.failures = [503] * 6
    done = cluster.run(volume, "create-volume")
    assert done.returncode == 1 and "503 Service Unavailable\n" in done.stderr
    assert sum(int(line.split()[1]) for line in done.stdout.splitlines()) == 420


def test_an_account_that_may_not_read_workflows_is_told_at_once(cluster: Cluster, volume: Volume) -> None:
    cluster.failures = [403]
    done = cluster.run(volume, "create-volume")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "error: the code can't be read from the run's Workflow ilab-pipeline-x7k2p: 403 Forbidden",
        "  next: let the service account get workflows.argoproj.io here, then retry the run",
    ]
    assert TOKEN not in done.stderr


def test_definitions_travel_with_all_that_they_use() -> None:
    files = stage_files(["utils.stages.report.stage.make_report"])
    assert {"utils/__init__.py", "utils/stages/marker.py", "utils/stages/report/page.css"} <= files.keys()
    assert "utils/stages/sdg/stage.py" not in files
    files = stage_files(["utils.stages.train.stage.TrainingPhase"])
    assert b"class TrainingPhase" in files["utils/stages/train/training.py"]
    for wrong in ("utils.stages.nothing.run", "utils.stages.publish.nothing"):
        with pytest.raises(ValueError, match="nothing"):
            stage_files([wrong])


def test_lines_that_travel_are_those_of_the_source_without_comments() -> None:
    path = "utils/stages/marker.py"
    before = (ROOT / path).read_text().splitlines()
    after = stage_files(["utils.stages.marker.read_marker"])[path].decode().splitlines()
    assert '"""' not in "".join(after) and "#" not in "".join(after)
    for old, new in zip(before, after, strict=False):
        untyped = re.sub(r"^( *\w+): [^=]+ = ", r"\1 = ", old)
        assert new in (old, "", old.partition("  #")[0], untyped) or new.startswith("def ")
    compile("\n".join(after), path, "exec")


def test_functions_travel_without_the_types_of_their_arguments() -> None:
    text = stage_files(["utils.stages.train.stage.train_phase"])["utils/stages/train/stage.py"].decode()
    (function,) = [
        one for one in ast.parse(text).body if isinstance(one, ast.FunctionDef) and one.name == "train_phase"
    ]
    assert [argument.annotation for argument in function.args.args] == [None, None]
    assert (
        b"from collections.abc" not in stage_files(["utils.stages.report.text.listed"])["utils/stages/report/text.py"]
    )
    tree = ast.parse(text)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    imported = {one.asname or one.name for node in tree.body if isinstance(node, ast.ImportFrom) for one in node.names}
    assert imported and imported <= used, "what only types name is not imported"
    fields = stage_files(["utils.stages.train.training.TrainingPhase"])["utils/stages/train/training.py"]
    assert b"    data_dir: str" in fields


def test_a_traceback_names_files_and_lines_of_the_repository(volume: Volume) -> None:
    volume.fill()
    ask = "import traceback; from utils.stages.marker import read_marker\ntry: read_marker(1, 2)\n"
    done = volume.run("publish", ask + "except TypeError as error: print(traceback.extract_tb(error.__traceback__)[1])")
    source = (ROOT / "utils/stages/marker.py").read_text().splitlines()
    line = next(number for number, text in enumerate(source, 1) if "path = _path(data_dir" in text)
    assert f"{volume.code}/utils/stages/marker.py, line {line} in read_marker" in done.stdout, done.stderr


def test_components_hand_parameters_to_their_stage_in_the_order_of_its_fields() -> None:
    """They do so by position, for the size of the file: a name at another's place would be another value."""
    checked = 0
    for file in sorted((ROOT / "components").glob("*.py")):
        tree = ast.parse(file.read_text())
        imported = {
            alias.name: str(node.module)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
            name = ast.unparse(call.func)
            if name[0].isupper() and imported.get(name, "").startswith("utils.stages"):
                kind = getattr(importlib.import_module(imported[name]), name)
                fields = [field.name for field in dataclasses.fields(kind)]
                assert [ast.unparse(argument) for argument in call.args] == fields, file.name
                checked += 1
    assert checked >= 9

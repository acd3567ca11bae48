"""Each light task in the versions of its image, as KFP starts it, with a fake cluster and local servers."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.compile import compile_pipeline
from tests.archives import MODEL, TAXONOMY, targz, write_files
from tests.fakes.answers import Server
from tests.fakes.kubernetes_api import KubernetesApi
from tests.fakes.s3 import S3
from tests.images.environments import NAMES, environment
from tests.images.pods import ANY_UID, IDS, PodRunner
from tests.stages.report import example_run
from utils import images
from utils.cli.compile import our_pipeline
from utils.ir.load import load
from utils.ir.model import Pipeline, RunResult, TaskState
from utils.ir.walk import Walker

# One answer that is a completion and a chat completion.
ANSWER = {"choices": [{"text": " Blue", "message": {"content": "Blue"}, "finish_reason": "stop"}]}
SERVERS = {"teacher-secret": "teacher", "judge-secret": "judge"}


class Cluster(KubernetesApi):
    """A cluster whose claims are bound at once and whose training pods leave an epoch's checkpoint."""

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if method == "POST" and path.endswith("/pytorchjobs"):
            pod = body["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0]
            output = Path(next(a.partition("=")[2] for a in pod["command"] if a.startswith("--output_dir=")))
            checkpoint = output / "hf_format" / Path(example_run.CANDIDATE).name
            checkpoint.mkdir(parents=True)
            for name in ("config.json", "model.safetensors"):
                (checkpoint / name).write_bytes(MODEL[f"model/{name}"])
            step = {"samples_seen": 12150, "avg_loss": 1.5, "batch_size": 100, "overall_throughput": 10.0}
            (output / "training_params_and_metrics_global0.jsonl").write_text(json.dumps(step) + "\n")
        status, answer = super().answer(method, path, query, body)
        if path.rpartition("/namespaces/lab/")[2].startswith("persistentvolumeclaims") and status < 300:
            (answer if "metadata" in answer else {})["status"] = {"phase": "Bound"}
        return status, answer


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    file = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    compile_pipeline(our_pipeline(), file)
    return load(file)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    api = Cluster()
    api.job_states.append("Succeeded")
    yield api
    api.stop()


@pytest.fixture
def walk(pipeline: Pipeline, cluster: Cluster, tmp_path: Path) -> Callable[..., tuple[RunResult, PodRunner]]:
    """Walk our pipeline: the light tasks as pods, `heavy_tasks` in place of those of the other image."""
    folder = environment(images.NOTEBOOK)
    assert (folder / "ready").exists(), f"there is no {folder}: `make {NAMES[images.NOTEBOOK]}` makes it"
    cluster.write_kubeconfig(tmp_path / "kubeconfig")
    env = {"KUBECONFIG": str(tmp_path / "kubeconfig")}

    def run(secrets: dict[str, Path], may_fail: tuple[str, ...], **arguments: Any) -> tuple[RunResult, PodRunner]:
        runner = PodRunner(tmp_path / "pods", images.NOTEBOOK, secrets, env, heavy_tasks, may_fail)
        return Walker(pipeline, arguments, runner, IDS).run(), runner

    return run


@pytest.fixture
def secrets(s3_server: S3, serve: Callable[..., Server], tmp_path: Path) -> dict[str, Path]:
    """The Secrets of a store that has the archive, and of a teacher and a judge that answer."""
    key, url = f"{tmp_path.name}/in.tgz", serve((200, ANSWER)).url
    s3_server.client().put_object(Bucket=s3_server.bucket, Key=key, Body=targz({**MODEL, **TAXONOMY}))
    found = {"sdg-object-store-credentials": s3_server.secret(tmp_path / "store", data_key=key)}
    for name, role in SERVERS.items():
        values = {"endpoint": f"{url}/v1", "model_name": role, "api_token": "t-0"}
        found[name] = write_files(tmp_path / role, {k: value.encode() for k, value in values.items()})
    return found


def heavy_tasks(data: Path) -> None:
    """What data processing and the evaluations leave for the light tasks."""
    counts = {kind: {"rows": 100, "tokens": 5000, "longest": 60} for kind in ("knowledge", "skills")}
    example_run.marker(data, "data_processing", 1, counts, {})
    example_run.marker(data, "sdg", 1, {"generated": True, "samples_by_leaf": {}, "samples": 200, "tokens": 1}, {})
    example_run.marker(data, "mt_bench", 1, {"candidate": example_run.CANDIDATE}, {})
    example_run.marker(data, "final_eval", 1, {}, {})
    example_run.write_scores(data)
    for folder in ("done", "scores"):
        (data / folder).chmod(0o777)


def table_rows(log: str) -> dict[str, str]:
    """Check to result, from the table that prerequisites print."""
    cells = [line.split("|")[1:3] for line in log.splitlines() if line.startswith("| ")]
    return {check.strip(): result.strip() for check, result in cells}


def test_missing_secrets_are_findings_with_remedies(walk: Callable, cluster: Cluster) -> None:
    result, pods = walk({}, ())
    assert result.state is TaskState.FAILED
    log = pods.logs["prerequisites"]
    checks = table_rows(log)
    assert {name: checks[name] for name in ("object store", "judge")} == {"object store": "error", "judge": "error"}
    assert "judge-secret" in log and "Traceback" not in log.partition("| check |")[0]
    made = {one for one in cluster.requests if one.startswith("POST") and "selfsubject" not in one}
    assert made == {"POST persistentvolumeclaims"}, "nothing else is made"


def test_every_light_task_does_its_work_with_the_packages_of_its_image(
    walk: Callable, cluster: Cluster, s3_server: S3, secrets: dict[str, Path], tmp_path: Path
) -> None:
    """Traps 49 and 50: from the checks to the clean-up, under a UID without a name, in a home that is read-only."""
    # What else prerequisites look at in a cluster is not played here: their findings are not this test's matter.
    given = {"train_gpu_per_worker": 1, "k8s_keep_volume": "never", "k8s_storage_class_name": "nfs-csi"}
    result, pods = walk(secrets, ("prerequisites",), **given)
    assert result.state is TaskState.SUCCEEDED, result.error
    checks = table_rows(pods.logs["prerequisites"])
    passed = {"base model", "taxonomy", "object store", "teacher", "judge"}
    assert {name: checks[name] for name in passed} == dict.fromkeys(passed, "passed")
    assert "ModuleNotFoundError" not in pods.logs["prerequisites"]

    assert {"POST persistentvolumeclaims", "DELETE persistentvolumeclaims/ilab-run-1"} <= set(cluster.requests)
    assert cluster.requests.count("POST pytorchjobs") == 2
    for name in ("data_import", "train_phase_1", "train_phase_2", "publish"):
        assert (pods.data / "done" / f"{name}.json").exists(), name
    assert (pods.data / "model/model.safetensors").read_bytes() == MODEL["model/model.safetensors"]
    assert "<svg" in (pods.data / "report/report.html").read_text(), "matplotlib draws the charts"
    stored = s3_server.client().list_objects_v2(Bucket=s3_server.bucket, Prefix=f"{tmp_path.name}/")["Contents"]
    kinds = {"".join(Path(item["Key"]).suffixes[-2:]) for item in stored}
    assert {".report.html", ".report.json", ".tgz.sha256"} <= kinds, kinds


def test_tasks_run_as_a_user_without_name_or_writable_home(tmp_path: Path) -> None:
    """What the test above relies on."""
    pods = PodRunner(tmp_path / "pods", images.NOTEBOOK, {}, {}, heavy_tasks)
    if not pods.prefix:
        pytest.skip(pods.why_not)
    say = "import os, pwd; print(os.getuid(), os.access(os.environ['HOME'], os.W_OK)); pwd.getpwuid(os.getuid())"
    done = subprocess.run(
        [*pods.prefix, pods.python, "-c", say], env={"HOME": str(pods.home)}, cwd="/", capture_output=True, text=True
    )
    assert done.stdout.split() == [ANY_UID, "False"]
    assert "KeyError" in done.stderr

"""The whole chain from standalone.py in the workbench pod, through restarts of all that drives it."""

import hashlib
import json
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.cluster import WAITING, Cluster
from tests.cluster.openshift import ACCOUNT, openshift_objects, operator_role
from tests.cluster.processes import kill_processes
from tests.cluster.recorder import Recorder, recorded
from tests.cluster.runs import assert_nothing_left, names
from tests.cluster.scenario import (
    JUDGE,
    ROOT,
    SDG_PIPELINE_FOLDER,
    STORE,
    TEACHER,
    Surroundings,
    secret,
    settle,
    surroundings,
    workbench,
    write_overlay,
)
from tests.e2e.stages import STAGES
from utils.demo.run import base_model
from utils.names import API_LABEL, OBJECT_LABEL

pytestmark = pytest.mark.alone

PARAMETERS = {
    "train_launcher": "auto",
    "train_num_workers": 2,
    "train_gpu_per_worker": 0,
    "train_cpu_per_worker": "900m",
    "train_memory_per_worker": "5Gi",
    "train_pending_timeout": "5m",
    "k8s_keep_volume": "never",
    "eval_answer_options": {"max_tokens": 16},
    "final_eval_max_questions": 1,
}
# Of 135 million parameters in float32, packed; a model of a few layers would be far below.
MODEL_BYTES = 400_000_000
RUNS = f"{OBJECT_LABEL}=run"


@dataclass
class Chain:
    """The workbench pod and its run, as tests drive and see them."""

    cluster: Cluster
    namespace: str
    around: Surroundings
    pod: dict[str, Any]
    recorder: Recorder
    run_id: str = ""
    notes: dict[str, Any] | None = None

    def phase(self) -> str:
        return str(self.cluster.get("pod", "ilab-pod", "-n", self.namespace)["status"]["phase"])

    def log(self) -> str:
        return self.cluster.kubectl("logs", "ilab-pod", "-n", self.namespace)

    def record(self) -> dict[str, Any]:
        found = self.cluster.get("configmap", f"ilab-{self.run_id}", "-n", self.namespace)
        return {key: json.loads(value) for key, value in found["data"].items()}

    def task(self, name: str) -> dict[str, Any]:
        """What the run's object says of a task."""
        return next((one for key, one in self.record().items() if key.endswith(f".{name}.json")), {})

    def until(self, what: str, ready: Callable[[], Any], seconds: float = 600) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := ready()):
            assert self.phase() != "Failed", f"the workbench failed before {what}\n{self.log()[-6000:]}"
            assert time.monotonic() < deadline, f"no {what} in {seconds} s\n{self.log()[-6000:]}"
            time.sleep(0.5)
        return found

    def running_pods(self, part: str) -> list[str]:
        selected = ["--field-selector", "status.phase=Running"]
        pods = self.cluster.kubectl("get", "pods", "-n", self.namespace, *selected, "-o", "name").split()
        return [name for name in pods if part in name]

    def uids(self, kind: str, part: str) -> list[str]:
        items = self.cluster.get(kind, "-n", self.namespace)["items"]
        return [one["metadata"]["uid"] for one in items if part in one["metadata"]["name"]]

    def start(self) -> None:
        self.cluster.apply(self.pod)

    def delete_workbench(self) -> None:
        self.cluster.kubectl("delete", "pod", "ilab-pod", "-n", self.namespace, WAITING)

    def kill_workbench(self) -> None:
        """SIGKILL to the process of the container; the kubelet starts it again."""
        kill_processes("ilab-pod", b"/home/standalone.py\0run")


@pytest.fixture(scope="module")
def around(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    with surroundings(tmp_path_factory.mktemp("around"), base_model) as found:
        yield found


def prepared_pod(cluster: Cluster, namespace: str, folder: Path) -> dict[str, Any]:
    """Account, Role, script and parameters go into the namespace; returns the workbench pod of manifests/."""
    made = workbench(cluster, namespace)
    pod = made.pop("Pod")
    cluster.apply(*made.values())
    settle(cluster, namespace)
    # The tasks' pods run as on OpenShift AI: under the operator's Role and ours on top, nothing else.
    operator_role(cluster, namespace)
    cluster.apply(*(one for one in openshift_objects(cluster, namespace, folder) if one["kind"] != "Secret"))
    script = ROOT / "dist/standalone.py"
    cluster.kubectl("create", "configmap", "standalone-script", f"--from-file={script}", "-n", namespace)
    write_overlay(cluster, folder / "overlay.yaml")
    (folder / "cluster.yaml").write_text(yaml.safe_dump(PARAMETERS))
    files = [ROOT / "examples/params/demo.yaml", ROOT / "examples/params/demo-quick.yaml"]
    files += [folder / "cluster.yaml", folder / "overlay.yaml"]
    cluster.kubectl("create", "configmap", "settings", *(f"--from-file={file}" for file in files), "-n", namespace)
    container = pod["spec"]["containers"][0]
    container["args"] = [
        f"--namespace={namespace}",
        f"--sdg-object-store-secret={STORE}",
        f"--sdg-serving-model-secret={TEACHER}",
        f"--judge-serving-model-secret={JUDGE}",
        f"--storage-class={cluster.storage_class}",
        f"--service-account={ACCOUNT}",
        "--sdg-in-cluster",
        f"--sdg-pipeline={SDG_PIPELINE_FOLDER}",
        *(f"--params=/mnt/settings/{file.name}" for file in files[:3]),
        "--pod-overlay=/mnt/settings/overlay.yaml",
    ]
    container["volumeMounts"].append({"name": "settings", "mountPath": "/mnt/settings"})
    pod["spec"]["volumes"].append({"name": "settings", "configMap": {"name": "settings"}})
    pod["spec"]["terminationGracePeriodSeconds"] = 60
    return pod


@pytest.fixture(scope="module")
def chain(
    cluster: Cluster, namespace: str, around: Surroundings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Chain]:
    """A run to its end. Meanwhile the workbench pod is deleted and recreated, killed, and the API server restarted.

    A cluster that is not ours lets nobody kill or restart anything; there the pod is deleted alone.
    """
    folder = tmp_path_factory.mktemp("chain")
    pod = prepared_pod(cluster, namespace, folder)
    cluster.apply(*(secret(namespace, name, values) for name, values in around.secrets.items()))
    with recorded(cluster, namespace, folder / "seen") as recorder:
        it = Chain(cluster, namespace, around, pod, recorder, notes={})
        notes: dict[str, Any] = {}
        it.start()
        it.run_id = it.until("run", lambda: _run_id(it))

        it.until("data import", lambda: it.task("data-import").get("state") == "SUCCEEDED")
        notes["imported"] = it.task("data-import")
        it.until("synthetic data", lambda: it.running_pods("-sdg-"))
        it.delete_workbench()
        notes["jobs after the workbench was deleted"] = names(cluster, namespace, "jobs,trainjobs", "")
        it.start()

        it.until("training", lambda: it.running_pods("-node-0-0-") and it.running_pods("-node-0-1-"))
        if cluster.owned:
            notes["before the kill"] = it.uids("jobs", "-train-") + it.uids("trainjobs", "train-1")
            it.kill_workbench()
            it.until("restart", lambda: _restarts(it) > 0)
            it.until("attached", lambda: it.phase() == "Running")
            notes["after the kill"] = it.uids("jobs", "-train-") + it.uids("trainjobs", "train-1")

            it.until("MT-Bench", lambda: it.running_pods("-mt-bench-"))
            cluster.restart_apiserver()

        it.until("end", lambda: it.phase() == "Succeeded")
        it.notes = notes
    yield it


def _run_id(chain: Chain) -> str:
    found = chain.cluster.get("configmap", "-n", chain.namespace, "-l", RUNS)["items"]
    return str(found[0]["metadata"]["name"]).removeprefix("ilab-") if found else ""


def _restarts(chain: Chain) -> int:
    statuses = chain.cluster.get("pod", "ilab-pod", "-n", chain.namespace)["status"].get("containerStatuses", [])
    return sum(one["restartCount"] for one in statuses)


@dataclass(frozen=True)
class Left:
    """What the run has left in the bucket: the report's facts, its page, and the archive."""

    facts: dict[str, Any]
    page: Path
    archive: Path

    @property
    def published(self) -> dict[str, Any]:
        return dict(self.facts["done"]["publish"]["result"])


@pytest.fixture(scope="module")
def left(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Left:
    fetch, folder = chain.around.fetch, tmp_path_factory.mktemp("left")
    facts = dict(json.loads(fetch(".report.json", folder / "report.json").read_text()))
    archive = fetch(facts["done"]["publish"]["result"]["key"], folder / "archive.tar.gz")
    return Left(facts, fetch(".report.html", folder / "report.html"), archive)


def test_chain_succeeds_from_the_workbench_pod(chain: Chain) -> None:
    record = chain.record()
    assert record["run.json"]["state"] == "SUCCEEDED"
    states = {key: one["state"] for key, one in record.items() if key.startswith("task.")}
    assert set(states.values()) == {"SUCCEEDED"}, states


def test_report_has_the_same_structure_as_that_of_a_local_run(left: Left) -> None:
    assert sorted(left.facts["done"]) == sorted(STAGES)
    results = {stage: marker["result"] for stage, marker in left.facts["done"].items()}
    assert results["sdg"]["samples"] > 0
    assert results["train_phase_2"]["checkpoint"].startswith("phase_2/hf_format/samples_")
    named = {score["name"]: score for score in left.facts["comparisons"]}
    assert named["Likelihood"]["change"], "training has not changed the model"
    page = left.page.read_text()
    assert left.published["key"] in page
    assert "<svg" in page


def test_published_archive_has_the_same_structure_as_that_of_a_local_run(left: Left, chain: Chain) -> None:
    with left.archive.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == left.published["sha256"]
    with tarfile.open(left.archive) as tar:
        members = set(tar.getnames())
        provenance = tar.extractfile("provenance.json")
        assert provenance
        told = json.load(provenance)
        files = {member.name for member in tar.getmembers() if member.isfile()}
    assert told["run_id"] == chain.run_id and {*told["files"]} == files - {"provenance.json"}
    assert told["origin"]["code"] and told["origin"]["images"].keys() == {"instructlab", "notebook"}
    assert {"model/config.json", "model/tokenizer.json", "scores/mt_bench.json", "scores/likelihood.json"} <= members
    assert any(name.startswith("model/") and name.endswith(".safetensors") for name in members)


def test_demo_model_was_trained_in_two_pods(left: Left, chain: Chain) -> None:
    assert left.archive.stat().st_size > MODEL_BYTES
    for phase in (1, 2):
        result = left.facts["done"][f"train_phase_{phase}"]["result"]
        assert (result["launcher"], result["device"]) == ("trainjob", "cpu")
        for rank in range(2):
            states = chain.recorder.states("Pod", f"train-{phase}-{chain.run_id}-node-0-{rank}-")
            assert "Running" in {one["status"]["phase"] for one in states}


def test_deleting_the_workbench_deletes_its_jobs_and_finished_tasks_are_not_repeated(chain: Chain) -> None:
    assert chain.notes is not None
    assert chain.notes["jobs after the workbench was deleted"] == []
    assert chain.task("data-import") == chain.notes["imported"]


def test_restarted_workbench_reattaches_to_running_jobs(chain: Chain) -> None:
    assert chain.notes is not None
    if not chain.cluster.owned:
        pytest.skip("nothing is killed on a cluster that is not ours")
    assert chain.notes["before the kill"] == chain.notes["after the kill"]
    assert len({one["metadata"]["uid"] for one in chain.recorder.states("TrainJob", "train-1")}) == 1


def test_api_server_restart_does_not_repeat_tasks(chain: Chain) -> None:
    if not chain.cluster.owned:
        pytest.skip("nothing is restarted on a cluster that is not ours")
    jobs = {one["metadata"]["uid"] for one in chain.recorder.states("Job", "") if "-mt-bench-" in _name(one)}
    assert len(jobs) == 1


def test_only_the_record_of_the_run_is_left(chain: Chain) -> None:
    assert_nothing_left(chain.cluster, chain.namespace, chain.run_id)


def test_only_pods_that_use_the_api_have_a_token(chain: Chain) -> None:
    pods = [one for one in chain.recorder.states("Pod", "") if _name(one) != "ilab-pod"]
    asking = {_name(one) for one in pods if one["metadata"]["labels"].get(API_LABEL) == "true"}
    with_token = {_name(one) for one in pods for volume in one["spec"]["volumes"] if "projected" in volume}
    assert with_token == asking
    assert {one["spec"]["serviceAccountName"] for one in pods if _name(one) in asking} == {ACCOUNT}
    assert len(asking) < len({_name(one) for one in pods}) - len(asking)


def test_canary_secret_appears_nowhere(chain: Chain, left: Left) -> None:
    folder = chain.recorder.folder
    for file in (left.page, left.page.with_name("report.json"), *chain.around.logs):
        shutil.copyfile(file, folder / file.name)
    with tarfile.open(left.archive) as tar:
        for member in tar.getmembers():
            if member.isfile() and not member.name.endswith(".safetensors"):
                content = tar.extractfile(member)
                assert content
                (folder / f"archive-{member.name.replace('/', '-')}").write_bytes(content.read())
    assert len(list(folder.glob("*.log"))) > 12
    assert len(list(folder.glob("archive-*"))) > 6
    found = {where: chain.recorder.holding(value) for where, value in chain.around.canaries.items()}
    assert {where: files for where, files in found.items() if files} == {}


def _name(item: dict[str, Any]) -> str:
    return str(item["metadata"]["name"])

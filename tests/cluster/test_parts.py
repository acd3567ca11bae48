"""The subcommands of standalone.py one after the other on one volume, given from outside the cluster."""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.archives import DATA, write_files
from tests.cluster.cluster import Cluster
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
    two_layers,
    write_overlay,
)
from tests.e2e.stages import STAGES
from utils.demo.run import store_of
from utils.stages.archive import pack_archive
from utils.stages.object_store.upload import upload_file

RUN = "parts"
ACCOUNT = "parts"
WITH_DATA = "with-data.tar.gz"
TRAINING = [
    "--nproc-per-node=0", "--training-nodes=1", "--training-cpu=1500m", "--training-memory=2Gi", "--max-seq-len=1024",
    "--max-batch-len=1024", "--pending-timeout=5m",
    *(f"--training-{phase}-{what}" for phase in (1, 2)
      for what in ("epoch-num=1", "effective-batch-size=4", "learning-rate=0.01", "warmup-steps=0")),
]  # fmt: skip
# Pipeline parameters that no flag gives: the demo's, without those of training and of the volume, and these.
LEAST = {"eval_answer_options": {"max_tokens": 16}, "final_eval_max_questions": 1}
TEACHER_FLAGS = ["--sdg-in-cluster", f"--sdg-serving-model-secret={TEACHER}", f"--sdg-pipeline={SDG_PIPELINE_FOLDER}"]
STORE_FLAGS = [f"--sdg-object-store-secret={STORE}"]
DATA_FLAGS = [*STORE_FLAGS, f"--sdg-object-store-data-key={WITH_DATA}"]


@dataclass
class Parts:
    """One who has an account of the cluster, and what each command said, in order."""

    cluster: Cluster
    namespace: str
    around: Surroundings
    recorder: Recorder
    folder: Path
    said: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def judge(self) -> list[str]:
        """Flags of the judge; its key comes by the environment."""
        found = self.around.secrets[JUDGE]
        flags = {"endpoint": found["endpoint"], "name": found["model_name"]}
        return [f"--judge-serving-model-{name}={value}" for name, value in flags.items()]

    @property
    def volume(self) -> Path:
        return self.cluster.claim_directory(self.namespace, f"ilab-{RUN}")

    def run(self, *words: str) -> str:
        """Give a command, to its end; standard output."""
        where = [f"--namespace={self.namespace}", f"--kubeconfig={self.folder / 'kubeconfig'}", f"--run-id={RUN}"]
        where += [f"--service-account={ACCOUNT}", f"--storage-class={self.cluster.storage_class}", "--storage-size=2Gi"]
        where += [f"--pod-overlay={self.folder / 'overlay.yaml'}", f"--params={self.folder / 'parameters.yaml'}"]
        command = [sys.executable, "standalone.py", "run", *where, f"--home={self.folder / 'home'}", *TRAINING, *words]
        env = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
        env["JUDGE_SERVING_MODEL_API_KEY"] = self.around.secrets[JUDGE]["api_token"]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900)
        self.said.append(done.stdout + done.stderr)
        assert done.returncode == 0, f"{words}\n{self.said[-1][-6000:]}"
        secrets = names(self.cluster, self.namespace, "secrets", "")
        assert secrets == [f"secret/{STORE}", f"secret/{TEACHER}"], f"after {words}"
        return done.stdout

    def files(self) -> dict[str, int]:
        """Time of the last change of each file that stages have left on the volume, by path."""
        files = (one for one in self.volume.rglob("*") if one.is_file() and ".artifacts" not in one.parts)
        return {str(one.relative_to(self.volume)): one.stat().st_mtime_ns for one in files}


@pytest.fixture(scope="module")
def around(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    """Two archives: that of the Secret brings no data, `WITH_DATA` does."""
    if not cluster.owned:
        pytest.skip("pods of another cluster do not reach the servers of this machine")
    with surroundings(tmp_path_factory.mktemp("around"), two_layers) as found:
        data, archive = found.folder / "volume" / "sdg", found.folder / WITH_DATA
        recipes = {Path(name).name: content for name, content in DATA.items() if "recipe" in name}
        write_files(data, recipes)
        pack_archive(str(found.folder / "volume" / "model"), str(found.folder / "taxonomy"), str(data), str(archive))
        upload_file(store_of(found.store), archive, WITH_DATA)
        yield found


def make_account(parts: Parts) -> None:
    """An account with the rights that `show --rbac` prints for what is run here, and a kubeconfig for it."""
    asked = [f"--run-id={RUN}", *DATA_FLAGS, *parts.judge, *TEACHER_FLAGS]
    words = ["--rbac", "--image=i", "--script-configmap=c", f"--namespace={parts.namespace}"]
    words += [f"--service-account={ACCOUNT}", *(f"--args={word}" for word in asked)]
    done = subprocess.run([sys.executable, "standalone.py", "show", *words], cwd=ROOT, capture_output=True, check=True)
    parts.cluster.apply(*(one for one in yaml.safe_load_all(done.stdout) if one["kind"] != "Job"))
    token = parts.cluster.kubectl("create", "token", ACCOUNT, "-n", parts.namespace, "--duration=1h").strip()
    view = json.loads(parts.cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    view["users"][0]["user"] = {"token": token}
    kubeconfig = parts.folder / "kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(json.dumps(view))


def make_settings(parts: Parts) -> None:
    """The Secrets of object store and teacher, the overlay, and the file of parameters."""
    kept = {name: parts.around.secrets[name] for name in (STORE, TEACHER)}
    parts.cluster.apply(*(secret(parts.namespace, name, values) for name, values in kept.items()))
    settle(parts.cluster, parts.namespace)
    write_overlay(parts.cluster, parts.folder / "overlay.yaml")
    files = [ROOT / "examples/params" / name for name in ("demo.yaml", "demo-quick.yaml")]
    demo = {name: value for file in files for name, value in yaml.safe_load(file.read_text()).items()}
    ours = {name: value for name, value in demo.items() if not name.startswith(("train_", "k8s_"))} | LEAST
    (parts.folder / "parameters.yaml").write_text(yaml.safe_dump(ours))


@pytest.fixture(scope="module")
def parts(
    cluster: Cluster, namespace: str, around: Surroundings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Parts]:
    """Every part to its end. The archive brings data, which `sdg-data-fetch` takes and `sdg` finds there."""
    folder = tmp_path_factory.mktemp("parts")
    with recorded(cluster, namespace, folder / "seen") as recorder:
        it = Parts(cluster, namespace, around, recorder, folder)
        make_account(it)
        make_settings(it)

        it.run(*DATA_FLAGS, *it.judge, "sdg-data-fetch")
        before = it.files()
        it.run(*DATA_FLAGS, *it.judge, *TEACHER_FLAGS, "sdg")
        it.notes["changed by repetition"] = sorted(set(before.items()) ^ set(it.files().items()))
        it.run("train", "--training-phase=1")
        it.run("train", "--training-phase=2")
        it.run(*it.judge, "evaluation", "--eval-type=mt-bench")
        it.run(*it.judge, "evaluation", "--eval-type=final")
        out = it.run(*STORE_FLAGS, "--keep-volume=never", "--output=json", "upload-trained-model")
        it.notes["summary"] = json.loads(out)
    yield it


@pytest.fixture(scope="module")
def facts(parts: Parts) -> dict[str, Any]:
    """What the report shows."""
    return dict(json.loads(parts.around.fetch(".report.json", parts.folder / "report.json").read_text()))


def test_flag_overrides_the_archive_key_in_a_secret_of_the_run(parts: Parts, facts: dict[str, Any]) -> None:
    assert facts["done"]["data_import"]["result"]["archive"] == WITH_DATA
    assert facts["done"]["sdg"]["result"]["reason"] == "the archive brought generated data"
    assert f"ilab-{RUN}-object-store" in json.dumps(parts.recorder.states("Job", f"{RUN}-data-import"))


def test_part_with_nothing_to_do_changes_no_file(parts: Parts) -> None:
    assert parts.notes["changed by repetition"] == []


def test_phase_trains_in_one_pod_when_one_is_requested(parts: Parts, facts: dict[str, Any]) -> None:
    for phase in (1, 2):
        assert facts["done"][f"train_phase_{phase}"]["result"]["launcher"] == "trainjob"
        assert parts.recorder.states("Pod", f"train-{phase}-{RUN}-node-0-0-")
        assert not parts.recorder.states("Pod", f"train-{phase}-{RUN}-node-0-1-")


def test_archive_with_model_and_scores_is_in_the_bucket(parts: Parts, facts: dict[str, Any]) -> None:
    summary = parts.notes["summary"]
    assert summary["state"] == "SUCCEEDED"
    with tarfile.open(parts.around.fetch(Path(summary["archive"]).name, parts.folder / "archive.tar.gz")) as tar:
        members = set(tar.getnames())
    assert {"model/config.json", "model/tokenizer.json", "scores/mt_bench.json", "scores/likelihood.json"} <= members
    assert any(name.startswith("model/") and name.endswith(".safetensors") for name in members)
    assert sorted(facts["done"]) == sorted(STAGES)
    assert set(summary["scores"]["likelihood"]) >= {"base", "candidate", "change", "low", "high", "verdict"}


def test_only_the_record_is_left(parts: Parts) -> None:
    assert_nothing_left(parts.cluster, parts.namespace, RUN)


def test_no_credential_is_printed(parts: Parts) -> None:
    (parts.recorder.folder / "said").write_text("\n".join(parts.said))
    found = {where: parts.recorder.holding(value) for where, value in parts.around.canaries.items()}
    assert {where: files for where, files in found.items() if files} == {}

"""From a command line to the objects of a run, without a cluster."""

import base64
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from tests.standalone.conftest import Read
from tests.standalone.test_secrets import JUDGE, JUDGE_FLAGS, PEM, STORE, STORE_FLAGS, Namespace
from utils.errors import PrerequisiteError, UsageError
from utils.files import ROOT
from utils.names import QUEUE_LABEL, TASK_LABEL
from utils.standalone.commands import main
from utils.standalone.plan import make_plan, resolve

BY_SECRET = ["--judge-serving-model-secret", "judge", "--sdg-object-store-secret", "store"]
GUIDE = [
    *("run", "--namespace", "lab", *BY_SECRET, "--storage-class", "nfs-csi", "--nproc-per-node", "1", "--force-pull"),
    *("--sdg-in-cluster", "--sdg-pipeline", "/usr/share/instructlab/sdg/pipelines/agentic"),
    *("--sdg-sampling-size", "1.0", "--sdg-serving-model-secret", "teacher"),
]
CANARY = "canary-8f3a51"
TEACHER_FLAGS = [part.replace("judge-serving", "sdg-serving") for part in JUDGE_FLAGS]


def call(*args: str, **env: str) -> Result:
    return CliRunner().invoke(main, args, env={"KUBECONFIG": "/nonexistent", **env})


def dry_run(*args: str, **env: str) -> list[dict[str, Any]]:
    done = call(*args, "--dry-run", **env)
    assert done.exit_code == 0, done.output
    return list(yaml.safe_load_all(done.stdout))


def kinds(manifests: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [one for one in manifests if one["kind"] == kind]


def task(job: dict[str, Any]) -> str:
    """Name of the task that a Job is for."""
    return job["metadata"]["labels"][TASK_LABEL].rsplit(".", 1)[-1]


def volumes(job: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one for one in job["spec"]["template"]["spec"].get("volumes", [])}


def test_values_that_would_fail_the_run_after_hours_are_all_refused_by_their_flags() -> None:
    wrong = {
        "--training-memory": "250GB",
        "--training-cpu": "two",
        "--storage-size": "200GB",
        "--training-1-epoch-num": "0",
        "--training-2-effective-batch-size": "-1",
        "--training-1-learning-rate": "-0.1",
        "--training-2-warmup-steps": "-5",
        "--training-keep-checkpoints": "-1",
        "--training-timeout": "1.5h",
        "--max-batch-len": "10",
    }
    pairs = [word for pair in wrong.items() for word in pair]
    done = call("run", "--dry-run", *BY_SECRET, *pairs, "--param=sdg_num_workers=11")
    assert done.exit_code == 2
    told = [line.split()[0 if line.startswith("    ") else 1] for line in done.output.splitlines()[1:-1]]
    assert sorted(told) == sorted([*wrong, "sdg_num_workers"])
    assert "--max-batch-len is '10', expected at least --max-seq-len (4096 tokens)" in done.output


def test_only_tasks_that_ask_for_a_gpu_wait_in_the_queue() -> None:
    label = QUEUE_LABEL
    jobs = kinds(dry_run("run", *BY_SECRET, "--queue", "gpus"), "Job")
    pods = {task(job): job["spec"]["template"]["spec"]["containers"][0].get("resources", {}) for job in jobs}
    asking = {name for name, resources in pods.items() if "nvidia.com/gpu" in resources.get("limits", {})}
    assert {task(job) for job in jobs if job["metadata"]["labels"].get(label) == "gpus"} == asking
    assert len(asking) == 2
    assert label not in call("run", "--dry-run", *BY_SECRET).output


def test_the_guides_command_works_unchanged() -> None:
    manifests = dry_run(*GUIDE)
    assert [one["kind"] for one in manifests].count("Job") == 12
    assert len(kinds(manifests, "TrainJob")) == 2
    (claim,) = kinds(manifests, "PersistentVolumeClaim")
    assert claim["spec"]["storageClassName"] == "nfs-csi"
    assert claim["spec"]["resources"]["requests"]["storage"] == "200Gi"
    assert {one["metadata"]["namespace"] for one in manifests} == {"lab"}
    mounted = {v["secret"]["secretName"] for job in kinds(manifests, "Job") for v in volumes(job).values()
               if "secret" in v}  # fmt: skip
    assert mounted == {"judge", "store", "teacher", "taxonomy-repo-secret"}


def test_dry_run_contains_no_credential() -> None:
    """Trap 7: --dry-run printed API keys."""
    variables = {"SDG_OBJECT_STORE_SECRET_KEY": CANARY, "SDG_OBJECT_STORE_ACCESS_KEY": CANARY + "a"}
    store = ["--sdg-object-store-bucket", "b", "--sdg-object-store-data-key", "k"]
    keys = [CANARY if part == "hunter2" else part for part in [*JUDGE_FLAGS, *TEACHER_FLAGS]]
    done = call("run", "--sdg-in-cluster", *store, *keys, "--dry-run", **variables)
    assert done.exit_code == 0, done.output
    assert CANARY not in done.output and base64.b64encode(CANARY.encode()).decode()[:-4] not in done.output
    secrets = kinds(list(yaml.safe_load_all(done.stdout)), "Secret")
    assert [set(one["stringData"].values()) for one in secrets] == [{"***"}] * 3


def test_dry_run_needs_no_kubeconfig() -> None:
    """Trap 8. In a process of its own: nothing is left of a client that another test configured."""
    env = {**os.environ, "KUBECONFIG": "/nonexistent", "HOME": "/nonexistent"}
    command = [sys.executable, "standalone.py", *GUIDE, "--dry-run"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("---"), done.stderr


def test_credentials_by_flags_reach_every_task_that_reads_them() -> None:
    """Trap 1: they never reached the download job."""
    manifests = dry_run("run", "--run-id", "r1", *STORE_FLAGS, *JUDGE_FLAGS)
    made = {one["metadata"]["name"] for one in kinds(manifests, "Secret")}
    assert made == {"ilab-r1-object-store", "ilab-r1-judge"}
    (download,) = [job for job in kinds(manifests, "Job") if task(job) == "data-import"]
    assert "ilab-r1-object-store" in str(volumes(download))


def test_two_runs_share_no_name() -> None:
    """Trap 3: two users in a namespace collided."""
    flags = ["run", *STORE_FLAGS, *JUDGE_FLAGS]
    one, other = ({(m["kind"], m["metadata"]["name"]) for m in dry_run(*flags, "--run-id", n)} for n in ("a", "b"))
    assert not one & other


def test_all_missing_and_wrong_settings_are_reported_at_once() -> None:
    done = call("run", "--sdg-in-cluster", "--taxonomy-repo-pr", "main", "--judge-serving-model-name", "x")
    assert done.exit_code == 2
    for text in ("4 flags are missing or wrong", "object-store: ", "judge: ", "teacher: ", "--taxonomy-repo-pr 'main'"):
        assert text in done.output


@pytest.mark.parametrize(("command", "flag"), [("train", "--training-phase"), ("evaluation", "--eval-type")])
def test_a_subcommand_says_what_it_needs(command: str, flag: str) -> None:
    done = call("run", *BY_SECRET, command)
    assert done.exit_code == 2 and f"{command}: {flag}" in done.output


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--eval-type", "final"], "--eval-type requires the subcommand evaluation"),
        (["--training-phase", "1"], "--training-phase requires the subcommand train"),
        (["--eval-type", "final", "train", "--training-phase", "1"], "--eval-type requires the subcommand evaluation"),
    ],
)
def test_flag_that_would_do_nothing_is_refused(args: list[str], told: str) -> None:
    done = call("run", "--dry-run", *BY_SECRET, *args)
    assert done.exit_code == 2 and told in done.output
    assert call("run", "--dry-run", *BY_SECRET, ILAB_EVAL_TYPE="final", ILAB_TRAINING_PHASE="1").exit_code == 0


@pytest.mark.parametrize(
    "args",
    [
        ["run", "--namespace", "My_Project"],
        ["run", "--service-account", "My Account"],
        ["show", "--namespace", "My_Project", "--image", "i", "--script-configmap", "c", "--args", "x"],
        ["show", "--name", "Our.Job", "--image", "i", "--script-configmap", "c", "--args", "x"],
    ],
)
def test_name_that_no_object_can_have_is_refused(args: list[str]) -> None:
    done = call(*args)
    assert done.exit_code == 2 and "is not the name of a" in done.output
    assert call("run", "--dry-run", "--namespace", " ", *BY_SECRET).exit_code == 0


@pytest.mark.parametrize("place", ["group", "subcommand"])
def test_flags_may_precede_the_subcommand_and_its_own_may_follow_it(place: str) -> None:
    phase = ["--training-phase", "2"]
    args = ["run", *(phase if place == "group" else []), "train", *(phase if place == "subcommand" else [])]
    done = call(*args[:1], "--dry-run", *args[1:])
    assert done.exit_code == 0, done.output
    jobs = kinds(list(yaml.safe_load_all(done.stdout)), "Job")
    assert [task(job) for job in jobs] == ["create-volume", "train-skills", "clean-up"]


def test_parts_work_on_one_volume_and_keep_it() -> None:
    found = set()
    for args in (
        ["run", *BY_SECRET, "--dry-run", "sdg-data-fetch"],
        ["run", "--training-phase", "1", "--dry-run", "train"],
        ["run", "--judge-serving-model-secret", "judge", "--dry-run", "evaluation", "--eval-type", "final"],
        ["run", "--sdg-object-store-secret", "store", "--dry-run", "upload-trained-model"],
    ):
        done = call(*args)
        assert done.exit_code == 0, done.output
        manifests = list(yaml.safe_load_all(done.stdout))
        found |= {one["metadata"]["name"] for one in kinds(manifests, "PersistentVolumeClaim")}
        (record,) = [one for one in kinds(manifests, "ConfigMap")]
        assert '"k8s_keep_volume": "always"' in record["data"]["run.json"]
    assert found == {"ilab-standalone"}


def test_without_generation_no_teacher_is_required() -> None:
    manifests = dry_run("run", *BY_SECRET, "--sdg-serving-model-secret", "teacher")
    assert "'teacher'" not in str([volumes(job) for job in kinds(manifests, "Job")])


def test_a_pipeline_parameter_wins_over_a_flag(read: Read, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("train_num_epochs_phase_1: 2\nmt_bench_max_questions: 3\n")
    given = read(*BY_SECRET, "--training-1-epoch-num", "5", "-f", str(file), "-p", "k8s_ca_key=x")
    arguments = make_plan(given).arguments
    assert (arguments["train_num_epochs_phase_1"], arguments["mt_bench_max_questions"]) == (2, 3)
    assert arguments["k8s_ca_key"] == "x"


def test_secret_named_by_a_parameter_counts_as_its_flag(read: Read) -> None:
    plan = make_plan(read("-p", "eval_judge_secret=j", "-p", "sdg_object_store_secret=s"))
    assert (plan.arguments["eval_judge_secret"], plan.arguments["sdg_object_store_secret"]) == ("j", "s")


def test_an_unknown_parameter_is_refused(read: Read) -> None:
    with pytest.raises(UsageError, match="do"):
        make_plan(read(*BY_SECRET, "-p", "nonsense=1"))


def test_missing_objects_are_reported_at_once_before_anything_starts(read: Read) -> None:
    namespace = Namespace()
    namespace.secret("store", **{**STORE, "bucket": ""})
    with pytest.raises(PrerequisiteError) as caught:
        resolve(make_plan(read(*BY_SECRET, "--judge-serving-model-ca-cert", "ca")), namespace, "lab")
    assert caught.value.what == "3 things are missing or wrong in the namespace lab"
    assert caught.value.cause.splitlines() == [
        "object-store: the Secret store lacks bucket",
        "judge: there is no Secret judge",
        "judge: there is no ConfigMap ca with its certificate authority",
    ]


def test_authorities_of_both_models_reach_the_pods(read: Read) -> None:
    namespace = Namespace()
    namespace.secret("store", **STORE)
    namespace.secret("judge", **JUDGE, JUDGE_CA_CERT=PEM)
    plan = resolve(make_plan(read(*BY_SECRET, "--run-id", "r1")), namespace)
    assert plan.arguments["k8s_ca_configmap"] == "ilab-r1-ca"
    (made,) = plan.own_objects({"kind": "ConfigMap", "name": "ilab-r1", "uid": "u"})
    assert made["metadata"]["name"] == "ilab-r1-ca" and PEM in made["data"]["ca-bundle.crt"]


def test_restarted_pod_continues_the_same_run(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTNAME", "ilab-pod")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    first, again = (make_plan(read(*BY_SECRET)).run_id for _ in range(2))
    assert first == again and first.startswith("ilab-pod-")
    assert make_plan(read(*BY_SECRET, "--training-nodes", "4")).run_id != first


def test_another_image_reaches_every_pod_even_through_the_job_that_show_prints() -> None:
    mine, other = (f"registry.example/{name}@sha256:{64 * 'a'}" for name in ("ilab", "light"))
    chosen = ["--image", f"all={mine}", "--image", f"notebook={other}"]
    jobs = kinds(dry_run(*GUIDE, *chosen), "Job")
    containers = {task(job): job["spec"]["template"]["spec"]["containers"][0] for job in jobs}
    assert {one["image"] for one in containers.values()} == {mine, other}
    launchers = [str(one) for name, one in containers.items() if name.startswith("train")]
    assert launchers and all(mine in one for one in launchers), "what the training pods run"
    shown = call("show", "--image", other, "--script-configmap", "c", *(f"--args={word}" for word in chosen))
    (job,) = yaml.safe_load_all(shown.stdout)
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == chosen


def test_unknown_image_is_refused_before_anything_is_created() -> None:
    done = call(*GUIDE, "--image", "runtime=a/b", "--dry-run")
    assert done.exit_code == 2
    assert "use instructlab, notebook, all" in done.stderr

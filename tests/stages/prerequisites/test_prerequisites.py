"""The first stage against real servers on loopback: every finding at once, no secret in any of them."""

import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.config import kube_config

from components.prerequisites import prerequisites
from tests.fakes.answers import Server
from tests.fakes.kubernetes_api import KubernetesApi
from tests.fakes.s3 import S3
from tests.stages.prerequisites.servers import CHAT, RETRY_SECONDS, TEXT, TOKEN, secret
from utils.files import COMPILED
from utils.ir.load import load
from utils.names import OUTCOME_ANNOTATION, PARAMETERS
from utils.stages.prerequisites import checks
from utils.stages.prerequisites.findings import Finding, outcome_of_checks
from utils.stages.run_parameters import noted_parameters
from utils.stages.train.mirror import NOTE
from utils.stages.volume.claims import REVIEWED, UNFINISHED

GOOD: dict[str, Any] = {
    "sdg_object_store_secret": "our-store",
    "sdg_teacher_secret": "our-teacher",
    "eval_judge_secret": "our-judge",
    "sdg_repo_secret": "our-git",
    "k8s_ca_configmap": "our-ca",
    "sdg_base_model": "",
    "sdg_repo_url": "",
    "sdg_repo_branch": "",
    "sdg_repo_pr": 0,
    "sdg_repo_commit": "",
    "sdg_data_key": "",
    "output_data_key": "",
    "sdg_pipeline": "simple",
    "sdg_teacher_family": "auto",
    "sdg_max_batch_len": 5000,
    "sdg_held_out_fraction": 0.05,
    "sdg_checks": {},
    "sdg_review": "off",
    "train_launcher": "process",
    "train_num_workers": 2,
    "train_gpu_per_worker": 2,
    "train_gpu_identifier": "nvidia.com/gpu",
    "train_cpu_per_worker": "2",
    "train_memory_per_worker": "250Gi",
    "train_tolerations": [],
    "train_node_selectors": {},
    "train_num_epochs_phase_1": 7,
    "train_num_epochs_phase_2": 10,
    "train_effective_batch_size_phase_1": 128,
    "train_effective_batch_size_phase_2": 3840,
    "train_learning_rate_phase_1": 2e-5,
    "train_learning_rate_phase_2": 6e-6,
    "train_num_warmup_steps_phase_1": 1000,
    "train_num_warmup_steps_phase_2": 1000,
    "train_save_samples": 250000,
    "train_max_batch_len": 5000,
    "train_max_seq_len": 4096,
    "train_seed": 42,
    "train_keep_checkpoints": 0,
    "train_pending_timeout": "60m",
    "train_timeout": "168h",
    "train_grace_period": "300s",
    "mt_bench_max_workers": "auto",
    "mt_bench_max_questions": 0,
    "mt_bench_max_error_rate": 0.25,
    "mt_bench_audit": 40,
    "final_eval_max_workers": "8",
    "final_eval_few_shots": 5,
    "final_eval_batch_size": "auto",
    "final_eval_max_questions": 0,
    "mmlu_tasks": [],
    "eval_tasks": [],
    "gate_min_mt_bench": 0.0,
    "gate_max_error_rate": 1.0,
    "gate_confidence": 0.95,
    "gate_max_regression": {},
    "eval_engine": "vllm",
    "eval_gpu_identifier": "nvidia.com/gpu",
    "eval_gpus": "1",
    "eval_server_arguments": [],
    "k8s_storage_size": "100Gi",
    "k8s_keep_volume": "on_failure",
    "k8s_queue": "",
    "k8s_queue_timeout": "24h",
    "labelled_queue": "",
}

DEFAULTS = {name: one.default for name, one in load(COMPILED).parameters.items() if one.has_default}
"""Of the pipeline's parameters: a run has the value of each."""
INPUTS = inspect.signature(prerequisites.python_func).parameters
NO_KEYS = ("", "")


@pytest.fixture
def run_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Run the component as in a pod of a cluster; gives the table, or raises the stage's failure."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "cluster")
    api = KubernetesApi()
    api.write_kubeconfig(tmp_path / "kubeconfig")
    claim = api.add("persistentvolumeclaims", "ilab-r", metadata={"annotations": {}})
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))

    def run(**arguments: Any) -> str:
        folders = {
            f"{name.removeprefix('object_')}_secret_dir": str(tmp_path / name)
            for name in ("object_store", "teacher", "judge", "taxonomy")
        }
        findings = SimpleNamespace(path=str(tmp_path / "findings.md"))
        own = {"data_dir": str(tmp_path / "volume"), "run_id": "r"}
        rest = {
            **own,
            "ca_file": str(tmp_path / "ca" / "ca-bundle.crt"),
            "retry_seconds": RETRY_SECONDS,
            "findings": findings,
        }
        given = {**GOOD, **folders, **rest, **arguments}
        inputs = {name: value for name, value in given.items() if name in INPUTS}
        parameters = DEFAULTS | {name: value for name, value in given.items() if name in DEFAULTS}
        monkeypatch.setenv(PARAMETERS, json.dumps(parameters))
        try:
            prerequisites.python_func(**inputs)
        finally:
            table = (tmp_path / "findings.md").read_text()
        noted = REVIEWED if arguments.get("sdg_review") == "stop" else UNFINISHED
        assert claim["metadata"]["annotations"] == {OUTCOME_ANNOTATION: noted}, "the checks passed"
        return table

    yield run
    api.stop()


@pytest.mark.parametrize("review", ["off", "stop"])
def test_valid_setup_passes_and_leaves_nothing_in_the_store(
    run_stage: Callable[..., str], s3_server: S3, tmp_path: Path, serve: Callable[..., Server], review: str
) -> None:
    s3 = s3_server.client()
    s3.put_object(Bucket=s3_server.bucket, Key="checks/data.tar.gz", Body=b"archive")
    s3_server.secret(tmp_path / "object_store", data_key="checks/data.tar.gz")
    teacher, judge = serve(TEXT), serve(CHAT)
    secret(tmp_path / "teacher", endpoint=teacher.url, model="mixtral", api_key=TOKEN)
    secret(tmp_path / "judge", JUDGE_ENDPOINT=judge.url + "/v1/", JUDGE_NAME="prometheus", JUDGE_API_KEY=TOKEN)
    table = run_stage(sdg_review=review, eval_tasks=["arc_easy"])
    noted = {"eval_tasks": ["arc_easy"], "mmlu_tasks": [], "eval_gpu_identifier": "nvidia.com/gpu"}
    assert noted_parameters(str(tmp_path / "volume")) == noted
    checked = table.splitlines()[2:]
    assert len(checked) >= 9
    assert [row for row in checked if "| passed |" not in row] == []
    assert [r["path"] for r in teacher.requests if r["method"] == "POST"][0] == "/v1/completions"
    assert judge.requests[0]["path"] == "/v1/chat/completions"
    assert judge.requests[0]["headers"]["authorization"] == f"Bearer {TOKEN}"
    assert judge.requests[0]["body"]["model"] == "prometheus"
    left = s3.list_objects_v2(Bucket=s3_server.bucket, Prefix="checks/")["Contents"]
    assert [item["Key"] for item in left] == ["checks/data.tar.gz"]
    assert not s3.list_multipart_uploads(Bucket=s3_server.bucket, Prefix="checks/").get("Uploads")


@pytest.mark.parametrize("wanted", [True, False])
def test_training_finds_on_the_volume_whether_states_are_copied(
    run_stage: Callable[..., str], s3_server: S3, tmp_path: Path, serve: Callable[..., Server], wanted: bool
) -> None:
    s3_server.client().put_object(Bucket=s3_server.bucket, Key="checks/data.tar.gz", Body=b"archive")
    s3_server.secret(tmp_path / "object_store", data_key="checks/data.tar.gz")
    secret(tmp_path / "teacher", endpoint=serve(TEXT).url, model="mixtral", api_key=TOKEN)
    secret(tmp_path / "judge", JUDGE_ENDPOINT=serve(CHAT).url + "/v1/", JUDGE_NAME="prometheus", JUDGE_API_KEY=TOKEN)
    (tmp_path / "volume").mkdir()
    run_stage(train_mirror_states=wanted)
    assert Path(tmp_path, "volume", NOTE).exists() == wanted


def test_a_secret_that_lacks_keys_is_named(run_stage: Callable[..., str], tmp_path: Path) -> None:
    for folder in ("object_store", "judge", "taxonomy"):
        secret(tmp_path / folder, username="u")
    with pytest.raises(SystemExit) as caught:
        run_stage(sdg_repo_url="https://127.0.0.1:1/t")
    for part in (
        f"the Secret our-store mounted at {tmp_path}/object_store lacks: bucket or AWS_S3_BUCKET",
        f"the Secret our-judge mounted at {tmp_path}/judge lacks: endpoint or JUDGE_ENDPOINT; model_name",
        f"the Secret our-git mounted at {tmp_path}/taxonomy lacks: password",
    ):
        assert part in str(caught.value)


def test_all_findings_come_in_one_table_each_with_its_remedy(
    run_stage: Callable[..., str],
    s3_server: S3,
    tmp_path: Path,
    serve: Callable[..., Server],
    capsys: pytest.CaptureFixture[str],
) -> None:
    s3_server.secret(tmp_path / "object_store", data_key="absent.tar.gz")
    secret(tmp_path / "judge", endpoint=serve((401, f"bad token {TOKEN}")).url, model_name="m", api_token=TOKEN)
    with pytest.raises(SystemExit) as caught:
        run_stage(final_eval_few_shots=-1, sdg_repo_branch="main", sdg_base_model="oci://somewhere")
    message, table = str(caught.value), (tmp_path / "findings.md").read_text()
    assert "error: 5 prerequisites are not met" in message
    for part in (
        "final_eval_few_shots is '-1', expected 0 or more",
        "sdg_base_model is 'oci://somewhere'",
        "sdg_repo_branch is set, sdg_repo_url is not",
        "the bucket holds no object 'absent.tar.gz'",
        "judge 'm' at 127.0.0.1 gave no answer: the token is missing, wrong or expired (HTTP 401: bad token ***)",
    ):
        assert part in table
        assert part in message
    assert "| teacher | warning | no Secret of the teacher" in table
    assert all(
        line.count("|") == 5 and line.split("|")[4].strip() for line in table.splitlines() if "| error |" in line
    )
    printed = capsys.readouterr()
    assert table in printed.out
    for text in (message, table, printed.out, printed.err):
        assert TOKEN not in text
        assert s3_server.secret_key not in text


def test_store_that_refuses_uploads_is_found_before_training(tmp_path: Path, serve: Callable[..., Server]) -> None:
    refused = "<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>read only</Message></Error>"
    store = S3(serve((403, refused)).url, "reader", TOKEN, "ilab")
    with pytest.raises(
        SystemExit, match="AccessDenied\n  cause: this account may not create_multi(.|\n)*give it s3:PutObject"
    ):
        checks.check_object_store(str(store.secret(tmp_path / "s3")), "", "/models/base", False, NO_KEYS)


@pytest.mark.parametrize(
    ("archive", "base_model", "told"),
    [
        ("checks-2/data.tar.gz", "", ""),
        ("checks-2/empty.tar.gz", "", "the archive checks-2/empty.tar.gz is empty"),
        ("", "s3://ilab/checks-2/base/", ""),
        ("", "s3://ilab/checks-2/other/", "no base model at s3://ilab/checks-2/other/"),
    ],
)
def test_archive_and_base_model_are_looked_for_and_nothing_is_left_behind(
    s3_server: S3, tmp_path: Path, archive: str, base_model: str, told: str
) -> None:
    for name in ("data.tar.gz", "base/config.json", "empty.tar.gz"):
        body = b"" if "empty" in name else b"x"
        s3_server.client().put_object(Bucket="ilab", Key=f"checks-2/{name}", Body=body)
    folder = str(s3_server.secret(tmp_path / "s3", data_key=archive))
    keys = ["", "checks-2/results/data.tar.gz"]
    if told:
        with pytest.raises(SystemExit, match=told):
            checks.check_object_store(folder, "", base_model, bool(archive), keys)
    else:
        assert checks.check_object_store(folder, "", base_model, bool(archive), keys) == []
    assert "Uploads" not in s3_server.client().list_multipart_uploads(Bucket="ilab", Prefix="checks-2/")
    found = s3_server.client().list_objects_v2(Bucket="ilab", Prefix="checks-2/")
    assert found["KeyCount"] == 3


def test_a_wrong_secret_key_is_refused_and_not_shown(s3_server: S3, tmp_path: Path) -> None:
    folder = s3_server.secret(tmp_path / "s3", secret_key="wrong-" + TOKEN)
    with pytest.raises(SystemExit, match="the secret key is wrong") as caught:
        checks.check_object_store(str(folder), "", "s3://models/base", False, NO_KEYS)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"endpoint": None}, "lacks: endpoint"),
        ({"verify_tls": "maybe"}, "verify_tls is 'maybe'"),
        ({"bucket": ""}, "lacks: bucket"),
        ({"secret_key": ""}, "lacks: secret_key or AWS_SECRET_ACCESS_KEY"),
        ({"data_key": ""}, "lacks: data_key"),
        ({"endpoint": "ftp://x"}, "is not a URL"),
    ],
)
def test_secrets_of_the_object_store_are_checked_key_by_key(
    s3_server: S3, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    if changes.get("endpoint", "") is None:
        with pytest.raises(SystemExit, match="lacks: endpoint or JUDGE_ENDPOINT; model_name"):
            checks.check_model_server("judge", "chat/completions", str(tmp_path), "", RETRY_SECONDS)
        return
    folder = s3_server.secret(tmp_path / "s3", **changes)
    with pytest.raises(SystemExit, match=message):
        checks.check_object_store(str(folder), "", "", True, NO_KEYS)


def test_missing_data_key_hides_no_other_fault_of_the_store(s3_server: S3, tmp_path: Path) -> None:
    folder = s3_server.secret(tmp_path / "s3", data_key="", secret_key="wrong-" + TOKEN)
    with pytest.raises(SystemExit) as caught:
        checks.check_object_store(str(folder), "", "", True, NO_KEYS)
    assert "lacks: data_key" in str(caught.value) and "the secret key is wrong" in str(caught.value)
    folder = s3_server.secret(tmp_path / "other", data_key="absent.tar.gz")
    with pytest.raises(SystemExit) as caught:
        checks.check_object_store(str(folder), "", "s3://ilab/absent-model", True, NO_KEYS)
    assert "no object 'absent.tar.gz'" in str(caught.value)
    assert "no base model at s3://ilab/absent-model" in str(caught.value)


def test_secret_folder_with_only_kubernetes_links_counts_as_absent(tmp_path: Path) -> None:
    (tmp_path / "..2025_06_13").mkdir()
    (tmp_path / "..data").symlink_to("..2025_06_13")
    assert checks.check_teacher(str(tmp_path), "", RETRY_SECONDS, True)[0].level == "warning"


def test_a_certificate_file_that_cannot_be_used_is_one_finding_among_the_others(
    run_stage: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca" / "root.pem").write_text("nothing")
    with pytest.raises(
        SystemExit, match="the ConfigMap our-ca mounted at .* has no key ca-bundle.crt: it has root.pem"
    ):
        run_stage()
    with pytest.raises(SystemExit) as error:
        run_stage(ca_file=str(tmp_path / "ca" / "root.pem"), train_memory_per_worker="250")
    assert "root.pem is not a file of PEM certificates" in str(error.value)
    assert "did you mean 250Gi?" in str(error.value)


@pytest.mark.parametrize(("on_kfp", "told"), [(True, True), (False, False)])
def test_object_whose_name_kubeflow_pipelines_cannot_mount_is_a_finding_only_there(
    run_stage: Callable[..., str], monkeypatch: pytest.MonkeyPatch, on_kfp: bool, told: bool
) -> None:
    if on_kfp:
        monkeypatch.setenv("KFP_POD_NAME", "ilab-abc-system-container-impl-1")
    with pytest.raises(SystemExit) as error:
        run_stage(k8s_ca_configmap="kube-root-ca.crt")
    assert ("k8s_ca_configmap is 'kube-root-ca.crt'" in str(error.value)) is told


@pytest.mark.parametrize("count", [1, 3, 60])
def test_end_of_the_log_summarizes_the_findings(count: int) -> None:
    """Dashboards show a log's end, and a container's message has 2048 bytes."""
    findings = [Finding(f"problem {i} " + "x" * 900, "y" * 900, check=f"check {i}") for i in range(count)]
    message = str(outcome_of_checks(findings))
    assert len(message.encode()) < 2048
    assert f"    - check 0: {findings[0].problem[:240]}…\n      {'y' * 160}…" in message
    assert "- check 0: problem 0 " in message
    assert f"error: {count} prerequisite" in message and "the table above has every finding in full" in message
    assert outcome_of_checks([replace(findings[0], level="warning")]) is None


def test_short_findings_are_told_as_they_are() -> None:
    short = str(outcome_of_checks([Finding("no  room\nhere", "make some", check="disk")]))
    assert "    - disk: no room here\n      make some\n" in short

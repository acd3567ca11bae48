"""The training component from its parameters to its marker, with the pods played by a small API server."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.train import train
from tests.fakes.kubernetes_api import KubernetesApi
from tests.fakes.metrics import Metrics
from tests.stages.train.phase_folders import save_model, save_state
from utils.stages.train import stage
from utils.stages.train.folder import ends_whole
from utils.stages.train.hub import HUB
from utils.stages.train.late import RETRIES, TooLate
from utils.stages.train.trainer import TRAINER
from utils.stages.train.training import seconds_of

OPTIONS: dict[str, Any] = {
    "run_id": "run-1", "launcher": "pytorchjob", "image": "registry/image@sha256:0", "num_epochs": 2, "model": "",
    "effective_batch_size": 3840, "learning_rate": 2e-5, "num_warmup_steps": 1000, "save_samples": 250000,
    "max_batch_len": 5000, "max_seq_len": 4096, "seed": 42, "keep_checkpoints": 0, "cpu_offload": True,
    "num_workers": 2, "gpu_per_worker": 4, "gpu_identifier": "nvidia.com/gpu", "cpu_per_worker": "2",
    "memory_per_worker": "250Gi", "tolerations": [], "node_selectors": {},
    "queue": "", "queue_timeout": "24h", "volume_claim": "ilab-run-1",
    "pending_timeout": "60m", "timeout": "72h", "force": False, "progress": True, "grace_period": "300s",
    "flash_attention": True, "strategy": "phased",
    "checkpoint_dtype": "auto",
    "algorithm": "sft",
    "algorithm_options": {},
    "store_secret_dir": "",
}  # fmt: skip


def write_marker(data_dir: Path, stage: str, result: dict) -> None:
    (data_dir / "done").mkdir(exist_ok=True)
    (data_dir / "done" / f"{stage}.json").write_text(json.dumps({"inputs_hash": stage, "result": result}))


trained_on: dict[str, str] = {}
"""The text of data.jsonl that the pods of each phase found."""


@pytest.fixture
def api(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> KubernetesApi:
    """A cluster whose training pods leave what instructlab.training leaves: one checkpoint per epoch, and metrics."""
    answer = api.answer

    def train_at_once(method: str, path: str, query: dict, body: Any) -> tuple:
        if method == "POST" and path.endswith("pytorchjobs"):
            command = body["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0]["command"]
            output = Path(next(a.partition("=")[2] for a in command if a.startswith("--output_dir=")))
            lines = []
            for epoch in (1, 2):
                save_model(output / "hf_format" / f"samples_{100 * epoch}")
                step = {"samples_seen": 100 * epoch, "avg_loss": 3 - epoch, "batch_size": 100}
                lines.append(json.dumps({**step, "overall_throughput": 10.0}) + "\n")
            (output / "training_params_and_metrics_global0.jsonl").write_text("".join(lines))
            rows = next(Path(a.partition("=")[2]) for a in command if a.startswith("--data_path="))
            trained_on[output.name] = rows.read_text() if rows.exists() else ""
            (output / "versions.json").write_text('{"torch": "of the pods"}')  # trainer.py does that
        return answer(method, path, query, body)

    monkeypatch.setattr(api, "answer", train_at_once)
    api.job_states.append("Succeeded")
    return api


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., dict]:
    """Run a phase on a volume with the given numbers of rows; returns the marker's result."""
    data_dir = tmp_path / "data"
    save_model(data_dir / "model")

    def run_phase(phase: int, knowledge: int = 100, skills: int = 100, **changes: Any) -> dict:
        rows = {"knowledge": knowledge, "skills": skills}
        counts = {kind: {"rows": n, "tokens": 50 * n, "longest": 60} for kind, n in rows.items()}
        write_marker(data_dir, "data_processing", counts)
        manifest = SimpleNamespace(path=str(tmp_path / f"manifest_{phase}.json"))
        options = {**OPTIONS, "data_dir": str(data_dir), "phase": phase, **changes}
        train.python_func(manifest=manifest, metrics=Metrics(), **options)
        text = (data_dir / "done" / f"train_phase_{phase}.json").read_text()
        return dict(json.loads(text)["result"])

    return run_phase


def command(tmp_path: Path, phase: int) -> list[str]:
    manifest = json.loads((tmp_path / f"manifest_{phase}.json").read_text())
    assert manifest["kind"] == "PyTorchJob"
    return list(manifest["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]["command"])


def test_both_phases_in_pods(api: KubernetesApi, run: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    first = run(1)
    assert first == {
        "phase": 1, "launcher": "pytorchjob", "skipped": False, "reason": "", "device": "cuda",
        "checkpoints": ["phase_1/hf_format/samples_200"], "checkpoint": "phase_1/hf_format/samples_200",
        "steps": 2, "samples": 200, "tokens": 10000, "tokens_per_second": 500.0, "loss": [[1, 2.0], [2, 1.0]],
        "estimated_gpu_hours": 0.0,
        "mirror": "",
    }  # fmt: skip
    out = capsys.readouterr().out
    marker = json.loads((tmp_path / "data" / "done" / "train_phase_1.json").read_text())
    assert marker["versions"] == {"torch": "of the pods"}
    assert "1000 warm-up steps, 2 steps: the learning rate never reaches its peak" in out
    assert "progress: 2/2 steps" in out
    second = run(2)
    assert second["checkpoints"] == ["phase_2/hf_format/samples_100", "phase_2/hf_format/samples_200"]
    data = f"{tmp_path}/data"
    assert f"--model_name_or_path={data}/phase_1/hf_format/samples_200" in command(tmp_path, 2)
    assert f"--data_path={data}/processed/skills/data.jsonl" in command(tmp_path, 2)
    assert f"{data}/phase_2/trainer.py" in command(tmp_path, 2)
    for name in ("trainer.py", "packing.py", "progress_server.py"):
        assert Path(data, "phase_2", name).read_text() == Path(TRAINER).with_name(name).read_text()
    assert Path(data, "phase_2", "hub.py").read_text() == Path(HUB).read_text()
    assert "--effective_batch_size=100" in command(tmp_path, 2)  # no more than there are samples
    assert sorted(api.objects["pytorchjobs"]) == ["train-phase-1-run-1", "train-phase-2-run-1"]


def test_another_algorithm_is_another_training(
    api: KubernetesApi, run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its options are complete in the record that the training pods read; its time is not estimated."""
    monkeypatch.setattr(stage, "tell_estimate", lambda *_: 5.0)
    assert run(1)["estimated_gpu_hours"] == 5.0
    before = json.loads((tmp_path / "data/done/train_phase_1.json").read_text())["inputs_hash"]
    api.objects["pytorchjobs"].clear()
    assert run(1, algorithm="lora", algorithm_options={"r": 8.0}, force=True)["estimated_gpu_hours"] == 0.0
    record = json.loads((tmp_path / "data/phase_1/training.json").read_text())
    assert (record["algorithm"], record["algorithm_options"]) == ("lora", {"r": 8, "alpha": 32})
    marker = json.loads((tmp_path / "data/done/train_phase_1.json").read_text())
    assert marker["inputs_hash"] != before and marker["inputs"]["algorithm"] == ["lora", {"r": 8, "alpha": 32}]


def test_options_that_are_given_as_their_defaults_are_the_same_training(api: KubernetesApi, run: Callable) -> None:
    run(1, algorithm="osft")
    api.objects["pytorchjobs"].clear()
    run(1, algorithm="osft", algorithm_options={"unfreeze_rank_ratio": 0.25})
    assert not api.objects["pytorchjobs"]
    for other in ({"algorithm": "sft"}, {"algorithm": "osft", "algorithm_options": {"unfreeze_rank_ratio": 0.5}}):
        with pytest.raises(SystemExit, match="different now: algorithm"):
            run(1, **other)


def test_skills_only_taxonomy_trains_phase_2_from_the_base_model(
    api: KubernetesApi, run: Callable, tmp_path: Path
) -> None:  # trap 32
    first = run(1, knowledge=0)
    assert (first["skipped"], first["reason"]) == (True, "the taxonomy gave no knowledge samples")
    assert (first["checkpoint"], first["checkpoints"], first["loss"]) == ("", [], [])
    run(2, knowledge=0)
    assert f"--model_name_or_path={tmp_path}/data/model" in command(tmp_path, 2)


def test_knowledge_only_taxonomy_skips_phase_2(api: KubernetesApi, run: Callable) -> None:
    run(1, skills=0)
    assert run(2, skills=0)["skipped"]
    assert list(api.objects["pytorchjobs"]) == ["train-phase-1-run-1"]


@pytest.mark.parametrize(("knowledge", "skills"), [(60, 40), (100, 0), (0, 100)])
def test_stacked_trains_the_base_model_on_knowledge_and_skills_in_one_phase(
    api: KubernetesApi, run: Callable, tmp_path: Path, knowledge: int, skills: int
) -> None:
    data = tmp_path / "data"
    for kind, rows in (("knowledge", knowledge), ("skills", skills)):
        (data / "processed" / kind).mkdir(parents=True)
        if rows:
            (data / "processed" / kind / "data.jsonl").write_text(f'{{"of": "{kind}"}}\n' * rows)
    first = run(1, knowledge, skills, strategy="stacked")
    assert (first["skipped"], first["reason"]) == (True, stage.STACKED)
    second = run(2, knowledge, skills, strategy="stacked")
    assert (second["samples"], second["skipped"]) == (200, False)
    assert f"--model_name_or_path={data}/model" in command(tmp_path, 2)
    assert f"--data_path={data}/processed/stacked/data.jsonl" in command(tmp_path, 2)
    assert f"--effective_batch_size={knowledge + skills}" in command(tmp_path, 2)
    assert trained_on["phase_2"] == '{"of": "knowledge"}\n' * knowledge + '{"of": "skills"}\n' * skills
    assert list(api.objects["pytorchjobs"]) == ["train-phase-2-run-1"]
    with pytest.raises(SystemExit, match="different now: strategy"):
        run(2, knowledge, skills, strategy="phased")


def test_finished_phase_starts_no_job_and_changed_parameters_need_force(api: KubernetesApi, run: Callable) -> None:
    before = run(1)
    api.objects["pytorchjobs"].clear()
    assert run(1) == before
    assert not api.objects["pytorchjobs"]
    with pytest.raises(SystemExit, match="different now: learning_rate"):
        run(1, learning_rate=1e-4)
    run(1, learning_rate=1e-4, force=True)
    assert list(api.objects["pytorchjobs"]) == ["train-phase-1-run-1"]


def test_phase_2_waits_for_phase_1(api: KubernetesApi, run: Callable[..., Any]) -> None:
    with pytest.raises(SystemExit, match=r"phase 1 has not finished on this volume\n  next: run it first"):
        run(2)
    assert "pytorchjobs" not in api.objects


def test_phase_that_an_earlier_version_finished_stays_finished(
    api: KubernetesApi, run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """Hash and result as versions before this one wrote them: another hash would train a finished phase again."""
    result = {
        "phase": 1, "launcher": "pytorchjob", "skipped": False, "reason": "", "device": "cuda",
        "checkpoints": ["phase_1/hf_format/samples_200"], "checkpoint": "phase_1/hf_format/samples_200",
        "steps": 2, "samples": 200, "tokens": 10000, "tokens_per_second": 500.0, "loss": [[1, 2.0], [2, 1.0]],
        "estimated_gpu_hours": 0.0,
        "mirror": "",
    }  # fmt: skip
    write_marker(tmp_path / "data", "train_phase_1", result)
    marker = tmp_path / "data" / "done" / "train_phase_1.json"
    old = {**json.loads(marker.read_text()), "inputs_hash": "8f6a72de9661ba12", "inputs": {}, "finished": ""}
    marker.write_text(json.dumps(old))
    assert run(1) == result
    assert json.loads(marker.read_text()) == old
    assert "pytorchjobs" not in api.objects


def test_phase_starts_from_the_named_model(api: KubernetesApi, run: Callable, tmp_path: Path) -> None:  # trap 11
    for phase, folder in ((1, "mine"), (2, "other")):
        save_model(tmp_path / "data" / folder)
        run(phase, model=folder if phase == 1 else str(tmp_path / "data" / folder))
        assert f"--model_name_or_path={tmp_path}/data/{folder}" in command(tmp_path, phase)


def test_failed_phase_leaves_no_marker(api: KubernetesApi, run: Callable, tmp_path: Path) -> None:
    api.job_states[0] = "Failed"
    with pytest.raises(SystemExit, match="the PyTorchJob train-phase-1-run-1 failed"):
        run(1)
    assert not (tmp_path / "data" / "done" / "train_phase_1.json").exists()
    assert api.requests.count("POST pytorchjobs") == 2, "tried once more, and no more as no epoch was gained"
    assert api.objects["pytorchjobs"] == {}


def test_training_whose_pods_fail_is_retried_while_it_gains_epochs(
    api: KubernetesApi, run: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    answer, phase = api.answer, tmp_path / "data" / "phase_1"
    ends = iter([0, 1, None])  # the first try is killed in epoch 1, the second in epoch 2, the third ends well

    def killed(method: str, path: str, query: dict, body: Any) -> tuple:
        if method == "POST" and path.endswith("pytorchjobs"):
            left = sorted(str(p.relative_to(phase)) for p in phase.glob("*/*_*"))
            epoch = next(ends)
            if epoch is not None:
                assert left == ([] if epoch == 0 else ["full_state/epoch_0", "hf_format/samples_100"])
                save_model(phase / "hf_format" / f"samples_{100 * (epoch + 1)}")
                save_state(phase, epoch)
                (phase / "hf_format" / "samples_999").mkdir()  # torn
                api.job_states[0] = "Failed"
                return api_answer(method, path, query, body)
            shutil.rmtree(phase / "hf_format")
            api.job_states[0] = "Succeeded"
        return answer(method, path, query, body)

    api_answer = partial(KubernetesApi.answer, api)
    api.answer = killed  # type: ignore[method-assign]
    assert run(1)["steps"] == 2
    assert api.requests.count("POST pytorchjobs") == 3
    out = capsys.readouterr().out
    assert out.count("training is started again, from its last whole epoch") == 2
    assert "the PyTorchJob train-phase-1-run-1 failed" in out


def test_more_gpus_than_samples_get_a_batch_with_one_for_each(
    api: KubernetesApi, run: Callable, tmp_path: Path
) -> None:
    """Training before 0.12 divides the batch by the GPUs: `DataLoader(batch_size=0)`."""
    run(1, knowledge=5, num_workers=2, gpu_per_worker=4)
    assert "--effective_batch_size=8" in command(tmp_path, 1)


def test_max_batch_len_below_the_longest_sample_is_refused_with_the_value_to_set(
    api: KubernetesApi, run: Callable
) -> None:
    """A run that data processing made with larger limits is resumed with smaller ones. The samples have 60 tokens."""
    with pytest.raises(SystemExit, match=r"longest knowledge sample has 60 tokens(.|\n)*next: set .*60"):
        run(1, max_batch_len=59, max_seq_len=59)
    assert "pytorchjobs" not in api.objects
    run(1, max_batch_len=60, max_seq_len=60)


def test_checkpoint_that_this_node_sees_late_is_waited_for(
    api: KubernetesApi, run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An NFS client remembers for up to a minute that a file is missing, which another node has written since."""
    hidden, last = tmp_path / "late", tmp_path / "data/phase_1/hf_format/samples_200"
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            hidden.rename(last)

    def whole(output: str) -> bool:
        if not waited and not hidden.exists():
            last.rename(hidden)
        return ends_whole(output)

    monkeypatch.setattr(stage, "ends_whole", whole)
    monkeypatch.setattr(stage.time, "sleep", sleep)
    assert run(1)["checkpoint"] == "phase_1/hf_format/samples_200"
    assert len(waited) == 3


def test_durations() -> None:
    assert seconds_of("30m") == 1800
    with pytest.raises(SystemExit, match="'30 minutes' is not a valid duration"):
        seconds_of("30 minutes")


def test_training_that_took_too_long_is_not_repeated_by_itself(
    api: KubernetesApi, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong GPU name, a timeout of a week: each of KFP's attempts would take as long. Other failures are repeated."""
    begun: list[SystemExit] = []
    monkeypatch.setenv("KFP_POD_NAME", "ilab-1")

    def fails(*_: object) -> None:
        begun.append(error)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(stage, "run_training", fails)
        for error in (SystemExit("a pod failed"), TooLate("it did not start in 3600 s")):
            with pytest.raises(SystemExit, match=str(error)):
                run(1)
        for _ in range(RETRIES):
            with pytest.raises(SystemExit, match="not tried again by itself\n  cause: it did not start"):
                run(1)
    assert len(begun) == 2
    assert run(1)["checkpoint"] == "phase_1/hf_format/samples_200"


def test_failure_after_the_time_of_a_phase_counts_as_too_late(
    api: KubernetesApi, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.job_states[0] = "Failed"
    api.add(
        "pods",
        "p",
        metadata={"labels": {"training.kubeflow.org/job-name": "train-phase-1-run-1"}},
        status={"phase": "Failed"},
    )
    with pytest.raises(TooLate, match="PyTorchJob train-phase-1-run-1 failed"):
        run(1, timeout="0s", pending_timeout="0s", queue_timeout="0s")


@pytest.mark.parametrize("state", ["Running", "Succeeded"])
def test_job_that_outlived_its_launcher_is_reattached_and_its_folder_left_alone(
    api: KubernetesApi, run: Callable, tmp_path: Path, state: str
) -> None:  # traps 3, 25: a killed launcher's second try must not empty the folder that the pods write to
    phase = tmp_path / "data" / "phase_1"
    run(1)
    (job,) = api.objects["pytorchjobs"].values()
    (tmp_path / "data" / "done" / "train_phase_1.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in phase.rglob("*")}
    api.requests.clear()
    api.add("pods", "p", metadata={"labels": {"training.kubeflow.org/job-name": "train-phase-1-run-1"}}, status={})
    api.job_states[0] = state

    def ends(method: str, path: str, query: dict, body: Any) -> tuple:
        if api.requests.count("GET pytorchjobs/train-phase-1-run-1") > 2:
            api.job_states[0] = "Succeeded"
        return KubernetesApi.answer(api, method, path, query, body)

    api.answer = ends  # type: ignore[method-assign]
    assert run(1)["checkpoint"] == "phase_1/hf_format/samples_200"
    assert api.objects["pytorchjobs"]["train-phase-1-run-1"] is job
    assert {path: path.stat().st_mtime_ns for path in before if path.exists()} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"launcher": "job"}, "use auto, trainjob, pytorchjob or process"),
        ({"max_batch_len": 1000}, "train_max_batch_len is below train_max_seq_len"),
        ({"timeout": "3 days"}, "'3 days' is not a valid duration"),
    ],
)
def test_invalid_parameters_are_refused_before_a_job_is_created(
    api: KubernetesApi, run: Callable, changes: dict, message: str
) -> None:
    with pytest.raises(SystemExit, match=message):
        run(1, **changes)
    assert "pytorchjobs" not in api.objects

"""What rank 0 tells of a training, in the form that OpenShift AI's dashboard reads."""

import json
import urllib.request
from argparse import Namespace
from pathlib import Path

import pytest

from tests.stages.train.trainjobs import manifests, pod_template
from utils.stages.train.progress_server import progress_of, serve_progress
from utils.stages.train.trainer import PROGRESS_PORT

METRICS = "training_params_and_metrics_global0.jsonl"


@pytest.fixture
def given(tmp_path: Path) -> Namespace:
    (tmp_path / "data.jsonl").write_text("{}\n" * 20)
    return Namespace(num_epochs=2, effective_batch_size=5, output_dir=str(tmp_path), data_path=f"{tmp_path}/data.jsonl")


def write(given: Namespace, *entries: dict[str, float], end: str = "\n") -> None:
    lines = "\n".join(json.dumps(entry) for entry in ({"num_gpus": 1}, *entries))
    Path(given.output_dir, METRICS).write_text(lines + end)


def test_progress_before_the_first_step(given: Namespace) -> None:
    assert progress_of(given, 20) == (0, {
        "progressPercentage": 0, "currentStep": 0, "totalSteps": 8, "currentEpoch": 1, "totalEpochs": 2,
        "trainMetrics": {},
    })  # fmt: skip


@pytest.mark.parametrize("name", ["avg_loss", "total_loss"])
def test_last_whole_line_counts(given: Namespace, name: str) -> None:
    write(given, {"samples_seen": 5, name: 3.0}, {"samples_seen": 25, name: 2.0}, {"samples_seen": 30}, end='\n{"sam')
    assert progress_of(given, 20)[0] == 30
    write(given, {"samples_seen": 5, name: 3.0}, {"samples_seen": 25, name: 2.0})
    seen, told = progress_of(given, 20)
    assert (seen, told["progressPercentage"], told["currentStep"], told["currentEpoch"]) == (25, 62, 5, 2)
    assert told["trainMetrics"] == {"loss": 2.0}


def test_finished_training_is_at_its_last_epoch(given: Namespace) -> None:
    write(given, {"samples_seen": 40, "avg_loss": 1.0})
    told = progress_of(given, 20)[1]
    assert (told["progressPercentage"], told["currentStep"], told["currentEpoch"]) == (100, 8, 2)


def test_progress_is_served_with_the_time_that_is_left(given: Namespace) -> None:
    server = serve_progress(0, given)
    assert server
    try:
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        assert json.load(urllib.request.urlopen(url))["estimatedRemainingSeconds"] is None
        write(given, {"samples_seen": 10, "avg_loss": 1.0})
        told = json.load(urllib.request.urlopen(url))
        assert told["progressPercentage"] == 25 and told["estimatedRemainingSeconds"] >= 0
        assert serve_progress(server.server_port, given) is None, "a port in use ends no training"
    finally:
        server.shutdown()
        server.server_close()


def test_one_parameter_turns_it_off() -> None:
    key = "trainer.opendatahub.io/progression-tracking"
    for progress in (True, False):
        runtime, job = manifests(progress=progress)
        (container,) = pod_template(runtime)["spec"]["containers"]
        assert (job["metadata"].get("annotations", {}).get(key) == "true") == progress
        assert any(one["name"] == PROGRESS_PORT for one in container["env"]) == progress

"""Which launcher `train_launcher: auto` takes, and why."""

import pytest

from tests.fakes.kubernetes_api import KubernetesApi
from utils.names import CLAIMS_DIR
from utils.stages.train.choice import choose_launcher

EARLIER = "train-phase-1-r"


@pytest.mark.parametrize(
    ("kinds", "dialect", "refused", "launcher", "why"),
    [
        ([], "podSpecOverrides", "", "trainjob", "the cluster has TrainJobs (dialect 2.0)"),
        (["pytorchjobs"], "podTemplateOverrides", "", "trainjob", "the cluster has TrainJobs (dialect 2.1)"),
        (["pytorchjobs"], "runtimePatches", "", "trainjob", "the cluster has TrainJobs (dialect 2.2)"),
        (["pytorchjobs"], "somethingNew", "", "trainjob", "the cluster has TrainJobs (dialect unknown)"),
        (["pytorchjobs"], "", "", "pytorchjob", "the cluster has no TrainJobs"),
        ([], "", "", "pytorchjob", "the cluster has no TrainJobs"),
        (["pytorchjobs"], "runtimePatches", "create trainjobs", "pytorchjob", "may not create trainjobs"),
        (["pytorchjobs"], "runtimePatches", "delete trainingruntimes", "pytorchjob", "may not delete trainingruntimes"),
        # With PyTorchJobs gone, the missing right is what must be corrected.
        ([], "runtimePatches", "create trainjobs", "trainjob", "the cluster has TrainJobs (dialect 2.2)"),
    ],
)
def test_trainjobs_are_taken_where_served_and_allowed_else_pytorchjobs(
    api: KubernetesApi, kinds: list[str], dialect: str, refused: str, launcher: str, why: str
) -> None:
    api.kinds, api.dialect = kinds, dialect
    api.refused.add(refused)
    choice = choose_launcher("auto")
    assert choice.launcher == launcher
    assert why in choice.why


@pytest.mark.parametrize("asked", ["trainjob", "pytorchjob", "process"])
def test_named_launcher_asks_nothing(api: KubernetesApi, asked: str) -> None:
    assert choose_launcher(asked).launcher == asked
    assert api.requests == []


def test_auto_trains_in_this_process_on_one_machine(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CLAIMS_DIR, "/claims")
    assert choose_launcher("auto").launcher == "process"


def test_job_of_an_earlier_try_is_attached_to_whatever_is_served_now(api: KubernetesApi) -> None:
    """Two trainers must never write to one folder."""
    api.dialect = "runtimePatches"
    assert choose_launcher("auto", EARLIER).launcher == "trainjob"
    api.add("pytorchjobs", EARLIER)
    assert choose_launcher("auto", EARLIER).launcher == "pytorchjob"
    api.forbidden.add("pytorchjobs")
    assert choose_launcher("auto", EARLIER).launcher == "trainjob"


def test_unreachable_server_is_no_choice(api: KubernetesApi) -> None:
    api.faults.extend([500] * 10000)
    with pytest.raises(SystemExit, match="trainer.kubeflow.org/v1alpha1"):
        choose_launcher("auto")

"""A PyTorchJob that its launcher can't see for a while is neither failed nor deleted (trap 56)."""

from collections.abc import Callable
from functools import partial

import pytest

from tests.fakes.api_server import Time
from tests.fakes.kubernetes_api import KubernetesApi
from tests.stages.train.pytorchjobs import NAME, add_pod, drop, manifest, there
from utils.cluster.client import Client
from utils.cluster.kinds import PYTORCH_JOB
from utils.stages.train.job import SIGHT_SECONDS, Limits, job_is_there, launch_job

MINUTE = 60.0
HOUR = 60 * MINUTE
TROUBLE = [0, 401, 403, 404, 429, 500, 503]


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch, api: KubernetesApi) -> Time:
    """Moved only by waiting."""
    found = Time()
    monkeypatch.setattr("utils.cluster.client.Client", partial(Client, clock=found.clock, sleep=found.sleep))
    return found


@pytest.fixture
def trouble(api: KubernetesApi, time: Time) -> Callable[[int, float], None]:
    """From now on, requests for so many seconds meet this status (404: the kind is unknown; 0: no answer)."""

    def begin(status: int, seconds: float) -> None:
        until = time.now + seconds
        api.faults.extend([status] * 10000)

        def end() -> None:
            if time.now >= until:
                api.faults.clear()

        time.at_sleep = end

    return begin


def launch(tick: Callable[[], None], pending: int = 3600, timeout: int = 360000) -> SystemExit | None:
    return launch_job([manifest()], Limits(86400, pending, timeout), tick, poll=30.0)


def once(act: Callable[[], None]) -> Callable[[], None]:
    """What happens at the second look, when the job runs."""
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(1)
        if len(ticks) == 2:
            act()

    return tick


def deleted(api: KubernetesApi) -> bool:
    return any(request.startswith("DELETE") for request in api.requests)


@pytest.mark.parametrize("status", TROUBLE)
def test_job_out_of_sight_for_minutes_is_followed_to_its_end(
    api: KubernetesApi, time: Time, trouble: Callable, status: int
) -> None:
    add_pod(api, "master", "Running")
    api.job_states.extend(["Running", "Running", "Running", "Succeeded"])
    began, seconds = time.now, 40.0 if status == 404 else 25 * MINUTE
    assert launch(once(lambda: trouble(status, seconds))) is None
    assert time.now - began >= seconds
    assert not deleted(api)


@pytest.mark.parametrize("status", [status for status in TROUBLE if status != 404])
def test_job_that_stays_out_of_sight_is_left_alone(
    api: KubernetesApi, time: Time, trouble: Callable, status: int
) -> None:
    """A refusal is waited out for half an hour, an absent server as long as the job may run."""
    add_pod(api, "master", "Running")
    api.job_states.append("Running")
    began = time.now
    with pytest.raises(SystemExit, match=rf"can no longer be read \({status}\)(.|\n)*run again"):
        launch(once(lambda: trouble(status, 99 * HOUR)), pending=600, timeout=7200)
    expected = SIGHT_SECONDS if status in (401, 403) else 7800
    assert 1 <= (time.now - began) / expected <= 1.1
    assert 20 * MINUTE <= SIGHT_SECONDS <= HOUR
    api.faults.clear()
    assert NAME in api.objects["pytorchjobs"]
    assert not deleted(api)
    api.job_states.append("Succeeded")
    assert launch(lambda: None) is None  # the stage that is run again attaches to it


@pytest.mark.parametrize(("phase", "state"), [("pending", ""), ("running", "Running")])
def test_deadline_that_passes_out_of_sight_is_judged_by_what_is_seen_after_it(
    api: KubernetesApi, time: Time, trouble: Callable, phase: str, state: str
) -> None:
    add_pod(api, "master", "Running" if state else "Pending")
    api.job_states.extend([state, state, "Succeeded"])
    assert launch(once(lambda: trouble(500, 20 * MINUTE)), pending=600, timeout=600) is None
    drop(api)
    api.job_states.clear()
    api.job_states.append(state)
    with pytest.raises(SystemExit, match=r"did not (start|end) in 600 s"):
        launch(once(lambda: trouble(500, 20 * MINUTE)), pending=600, timeout=600)
    assert deleted(api)


def test_one_look_that_finds_no_job_is_not_believed(api: KubernetesApi, time: Time) -> None:
    add_pod(api, "master", "Running")
    api.job_states.extend(["Running", "Running", "Running", "Succeeded"])
    found = api.objects["pytorchjobs"] = {}
    kept: dict = {}

    def tick() -> None:
        if kept:
            found.update(kept)
            kept.clear()
        elif not hidden:
            hidden.append(1)
            kept.update(found)
            found.clear()

    hidden: list[int] = []
    assert launch(tick) is None
    assert hidden and not deleted(api)


def test_job_that_two_looks_do_not_find_was_deleted_by_someone(api: KubernetesApi, time: Time) -> None:
    add_pod(api, "master", "Running")
    api.job_states.append("Running")
    began = time.now
    with pytest.raises(SystemExit, match=r"can no longer be read \(404\)\n  cause: someone deleted it"):
        launch(once(lambda: drop(api)))
    assert time.now - began < 2 * MINUTE
    assert not deleted(api)


def test_crash_of_the_launcher_leaves_the_job(api: KubernetesApi, time: Time) -> None:
    def crash() -> None:
        raise OSError(28, "No space left on device")

    add_pod(api, "master", "Running")
    api.job_states.append("Running")
    with pytest.raises(OSError, match="No space"):
        launch(crash)
    assert NAME in api.objects["pytorchjobs"]


@pytest.mark.parametrize("status", TROUBLE)
def test_earlier_job_is_found_although_the_first_looks_fail(
    api: KubernetesApi, time: Time, trouble: Callable, status: int
) -> None:
    """What runs on must not be taken for gone: the phase's folder would be tidied up under it."""
    there(api, "Running")
    trouble(status, 40.0 if status == 404 else 4 * MINUTE)
    assert job_is_there(PYTORCH_JOB, NAME, 60, poll=30.0)


def test_phase_without_an_earlier_job_begins_after_a_second(api: KubernetesApi, time: Time) -> None:
    began = time.now
    assert not job_is_there(PYTORCH_JOB, NAME, 60)
    assert api.requests == [f"GET pytorchjobs/{NAME}"] * 2 + ["GET pods"] and time.now - began <= 2


def test_kind_that_stays_unknown_has_no_job(api: KubernetesApi, time: Time, trouble: Callable) -> None:
    trouble(404, HOUR)
    began = time.now
    assert not job_is_there(PYTORCH_JOB, NAME, 60, poll=30.0)
    assert time.now - began <= 2 * MINUTE

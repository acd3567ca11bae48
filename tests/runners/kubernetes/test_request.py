"""Ids of runs that were given none."""

import re

import pytest

from utils.runners.kubernetes.request import default_run_id

IN_A_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


@pytest.mark.parametrize(
    ("environment", "pattern"),
    [
        (IN_A_POD | {"HOSTNAME": "Runner-7x.lab.svc"}, r"runner-7x-[0-9a-f]{6}"),
        (IN_A_POD | {"HOSTNAME": "a" * 49 + "-bbb"}, "a" * 49 + "-[0-9a-f]{6}"),
        (IN_A_POD | {"HOSTNAME": ""}, r"small-\d{8}-\d{6}-[0-9a-f]{4}"),
        ({"HOSTNAME": "laptop"}, r"small-\d{8}-\d{6}-[0-9a-f]{4}"),
    ],
)
def test_id_is_the_pods_name_only_in_a_pod(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], pattern: str
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert re.fullmatch(pattern, default_run_id("ilab-small", {"n": 1}))


def test_pod_that_is_started_again_continues_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (IN_A_POD | {"HOSTNAME": "runner-7x"}).items():
        monkeypatch.setenv(name, value)
    assert default_run_id("ilab", {"n": 1, "m": 2}) == default_run_id("ilab", {"m": 2, "n": 1})
    assert default_run_id("ilab", {"n": 1}) != default_run_id("ilab", {"n": 2})

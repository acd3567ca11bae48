"""The hub of standard MMLU tasks: what is waited for.

The errors are those of huggingface_hub 0.31 and 1.33, datasets 3.6 and 5.2, which raise them from those of requests
and httpx.
"""

import sys
import types
from typing import Any

import httpx
import pytest
import requests

from tests.fakes.waiting import QUARTER, FakeTime
from utils.stages.evaluation.mmlu import HUB, HUB_CAUSES, fetch_tasks, hub_passes
from utils.stages.service_errors import explained


class HfHubHTTPError(OSError):
    def __init__(self, status: int, **headers: str) -> None:
        super().__init__(f"{status} for url")
        self.response = httpx.Response(status, headers={name.replace("_", "-"): text for name, text in headers.items()})


class LocalEntryNotFoundError(FileNotFoundError):
    response = None


class OfflineModeIsEnabled(ConnectionError):
    pass


class DatasetNotFoundError(FileNotFoundError):
    pass


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (HfHubHTTPError(503), 0),
        (HfHubHTTPError(429), 0),
        (HfHubHTTPError(500), 0),
        (httpx.ConnectError("Connection refused"), 0),
        (httpx.ReadTimeout("timed out"), 0),
        (requests.exceptions.ConnectionError("Name or service not known"), 0),
        (requests.exceptions.ChunkedEncodingError("cut"), 0),
        (raised(ConnectionError("Couldn't reach 'cais/mmlu' on the Hub"), httpx.ConnectError("refused")), 0),
        (raised(LocalEntryNotFoundError("no cache"), httpx.ConnectError("refused")), 0),
        (raised(DatasetNotFoundError("gone"), HfHubHTTPError(404)), None),
        (raised(DatasetNotFoundError("gated"), HfHubHTTPError(401)), None),
        (HfHubHTTPError(403), None),
        (raised(ConnectionError("Couldn't reach"), OfflineModeIsEnabled("offline")), None),
        (httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"), None),
        (requests.exceptions.MissingSchema("no scheme"), None),
        (httpx.UnsupportedProtocol("no scheme"), None),
        (KeyError("mmlu_anatom"), None),
    ],
)
def test_only_a_hub_that_is_away_is_waited_for(error: Exception, seconds: float | None) -> None:
    assert hub_passes(error) == seconds


def test_hub_that_is_away_for_a_quarter_of_an_hour_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, loaded = FakeTime(), []

    class TaskManager:
        def load_task_or_group(self, tasks: list[str]) -> dict[str, Any]:
            if clock.now < QUARTER:
                raise HfHubHTTPError(502)
            loaded.extend(tasks)
            return {}

    for name in ("lm_eval", "lm_eval.tasks"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys.modules["lm_eval.tasks"], "TaskManager", TaskManager, raising=False)
    fetch_tasks(("mmlu_anatomy",), clock.patience())
    assert loaded == ["mmlu_anatomy"] and QUARTER <= clock.now < QUARTER + 60


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (
            "ConnectionError: Couldn't reach 'allenai/ai2_arc' on the Hub (LocalEntryNotFoundError)",
            "there is no answer",
        ),
        ("DatasetNotFoundError: Dataset 'a/b' doesn't exist on the Hub or cannot be accessed", "no such data"),
        ("KeyError: 'mmlu_anatom'", "no such data"),
        ("ConnectionError: Couldn't reach 'a/b' on the Hub (OfflineModeIsEnabled)", "the hub is switched off here"),
    ],
)
def test_hub_without_an_answer_is_told_from_data_that_are_not_there(said: str, cause: str) -> None:
    assert explained(said, HUB, first=HUB_CAUSES)[0].startswith(cause)

"""Teacher and judge: what is waited for, what is not, and which token a request has."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.models import Models, completion
from tests.fakes.waiting import QUARTER, FakeTime
from utils.stages.credentials import ModelServer, model_server
from utils.stages.evaluation.client import JudgeClient, ModelClient
from utils.stages.model_client import PatientClient
from utils.stages.patience import ODD_TRIES

URL = "http://judge.example/v1"
BODY = {"model": "m", "messages": [{"role": "user", "content": "Rate it."}]}
GOOD = httpx.Response(200, json=completion("Rating: [[7]]"))
Answers = Callable[[httpx.Request], httpx.Response | Exception]


def client_of(
    answer: Answers,
    clock: FakeTime,
    kind: type[PatientClient] = PatientClient,
    server: ModelServer | None = None,
) -> PatientClient:
    """A client whose server is a function."""

    def send(request: httpx.Request) -> httpx.Response:
        found = answer(request)
        if isinstance(found, Exception):
            raise found
        return httpx.Response(found.status_code, headers=found.headers, content=found.content)

    server = server or ModelServer(URL, "m", "token")
    if issubclass(kind, ModelClient):
        client: PatientClient = kind(server, {}, patience=clock.patience())
    else:
        client = kind(server, clock.patience())
    client._transport = httpx.MockTransport(send)
    return client


OUTAGES: dict[str, Callable[[], httpx.Response | Exception]] = {
    "refused": lambda: httpx.ConnectError("[Errno 111] Connection refused"),
    "DNS": lambda: httpx.ConnectError("[Errno -3] Temporary failure in name resolution"),
    "reset": lambda: httpx.ReadError("[Errno 104] Connection reset by peer"),
    "cut": lambda: httpx.RemoteProtocolError("peer closed connection without sending complete message body"),
    "timeout": lambda: httpx.ReadTimeout("timed out"),
    **{str(status): lambda status=status: httpx.Response(status, text="away") for status in (429, 500, 502, 503, 504)},  # type: ignore[misc]
}


@pytest.mark.parametrize("kind", [PatientClient, JudgeClient])
@pytest.mark.parametrize("outage", OUTAGES)
def test_outage_of_a_quarter_of_an_hour_is_survived(outage: str, kind: type[PatientClient]) -> None:
    clock, asked = FakeTime(), []

    def answer(request: httpx.Request) -> httpx.Response | Exception:
        asked.append(request.content)
        return OUTAGES[outage]() if clock.now < QUARTER else GOOD

    response = client_of(answer, clock, kind).post(URL + "/chat/completions", json=BODY)
    assert "[[7]]" in response.text
    assert QUARTER <= clock.now < QUARTER + 60
    assert max(clock.pauses) == 60


@pytest.mark.parametrize("outage", OUTAGES)
def test_server_that_stays_away_fails_once_after_half_an_hour(outage: str) -> None:
    """The evaluation library asks 12 times by itself, which must not multiply the waiting."""
    clock = FakeTime()
    client = client_of(lambda _: OUTAGES[outage](), clock, JudgeClient)
    with pytest.raises(SystemExit, match="m at http://judge.example/v1 does not answer"):
        client.post(URL + "/chat/completions", json=BODY)
    assert 1700 < clock.now <= 1800


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 501])
def test_answer_that_stays_is_given_at_once(status: int) -> None:
    clock = FakeTime()
    client = client_of(lambda _: httpx.Response(status, text="no"), clock)
    assert client.post(URL + "/completions", json=BODY).status_code == status
    assert clock.now == 0


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"),
        httpx.UnsupportedProtocol("no"),
        httpx.LocalProtocolError("Illegal header value"),
    ],
)
def test_connection_that_can_never_be_made_is_told_at_once(error: httpx.TransportError) -> None:
    clock = FakeTime()
    with pytest.raises(type(error)):
        client_of(lambda _: error, clock).post(URL + "/completions", json=BODY)
    assert clock.now == 0


@pytest.mark.parametrize(("value", "seconds"), [("120", 120), ("0.5", 1), ("soon", 1), ("-5", 1)])
def test_server_asks_for_a_pause_and_gets_it(value: str, seconds: float) -> None:
    clock = FakeTime()
    answers = iter([httpx.Response(429, headers={"Retry-After": value}), GOOD])
    assert client_of(lambda _: next(answers), clock).post(URL + "/completions", json=BODY).is_success
    assert clock.now == seconds


def test_request_that_alone_fails_is_given_up_within_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    """A server may break on one text. That does not end MT-Bench, and is not waited for."""
    clock = FakeTime()

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(500, text="boom") if b"Rate it." in request.content else GOOD

    text = client_of(answer, clock, JudgeClient).post(URL + "/chat/completions", json=BODY).text
    assert "HTTP 500" in text or "boom" in text
    assert "[[" not in text
    assert clock.now < 60
    clock = FakeTime()
    assert client_of(answer, clock).post(URL + "/completions", json=BODY).status_code == 500
    assert clock.now < 60
    assert capsys.readouterr().out.count("HTTP 500: boom; trying again") == 3 * (ODD_TRIES - 1)


def test_failure_of_another_request_is_not_told_as_this_ones(capsys: pytest.CaptureFixture[str]) -> None:
    clock, nested = FakeTime(), [False]

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400, text="theirs") if b"theirs" in request.content else httpx.Response(503, text="mine")

    client = client_of(answer, clock, JudgeClient)

    def other_thread() -> float:
        """Whenever this request looks at the clock, another one has failed meanwhile."""
        if not nested[0]:
            nested[0] = True
            client.post(URL + "/chat/completions", json={"messages": [{"content": "theirs"}]})
            nested[0] = False
        return clock.now

    client.patience = replace(client.patience, clock=other_thread)
    with pytest.raises(SystemExit, match="HTTP 503: mine"):
        client.post(URL + "/chat/completions", json=BODY)
    said = capsys.readouterr().out
    assert "HTTP 503: mine; trying again" in said and "theirs; trying" not in said


def test_failure_that_passed_is_not_the_cause_of_a_missing_answer() -> None:
    answers = iter([httpx.Response(200, json=completion(None)), httpx.Response(503, text="away"), GOOD])
    client = client_of(lambda _: next(answers), FakeTime(), ModelClient)
    for _ in range(2):
        client.post(URL + "/chat/completions", json=BODY)
    assert client.last_error == "no text (stop)"


def test_list_of_models_that_alone_fails_is_done_without() -> None:
    clock = FakeTime()
    client = client_of(lambda r: httpx.Response(503 if r.method == "GET" else 200, json={}), clock)
    assert client.get(URL + "/models").status_code == 503
    assert clock.now < 60


def secret(folder: Path, token: str) -> ModelServer:
    folder.mkdir()
    for key, value in {"endpoint": URL, "model_name": "m", "api_token": token}.items():
        (folder / key).write_text(value + "\n")
    return model_server(str(folder), "judge")


def accepting(token: Callable[[], str]) -> Answers:
    return lambda request: GOOD if request.headers["authorization"] == f"Bearer {token()}" else httpx.Response(401)


def test_each_request_has_the_token_that_the_secret_has_then(tmp_path: Path) -> None:
    server, clock = secret(tmp_path / "s", "first"), FakeTime()
    client = client_of(accepting(lambda: (tmp_path / "s/api_token").read_text().strip()), clock, server=server)
    for token in ("first", "second"):
        (tmp_path / "s/api_token").write_text(token)
        assert client.post(URL + "/completions", json=BODY).is_success
    assert clock.now == 0
    assert server.masked("first, second") == "***, ***"


def test_token_that_is_renewed_while_a_request_is_under_way_is_read_again(tmp_path: Path) -> None:
    server, clock = secret(tmp_path / "s", "first"), FakeTime()

    def answer(request: httpx.Request) -> httpx.Response:
        (tmp_path / "s/api_token").write_text("second")
        return GOOD if request.headers["authorization"] == "Bearer second" else httpx.Response(401)

    assert client_of(answer, clock, JudgeClient, server).post(URL + "/chat/completions", json=BODY).is_success
    assert clock.now == 1


def test_token_that_was_good_is_refused_until_the_renewed_one_gets_to_the_pod(tmp_path: Path) -> None:
    """The kubelet takes about a minute to bring a changed Secret to the pods that mount it."""
    server, valid = secret(tmp_path / "s", "first"), ["first"]
    clock = FakeTime().at(90, lambda: (tmp_path / "s/api_token").write_text("second"))
    client = client_of(accepting(lambda: valid[0]), clock, JudgeClient, server)
    client.post(URL + "/chat/completions", json=BODY)
    valid[0] = "second"
    assert client.post(URL + "/chat/completions", json=BODY).is_success
    assert 90 <= clock.now < 150


def test_token_that_stays_refused_fails_in_minutes(tmp_path: Path) -> None:
    server, valid, clock = secret(tmp_path / "s", "first"), ["first"], FakeTime()
    client = client_of(accepting(lambda: valid[0]), clock, JudgeClient, server)
    client.post(URL + "/chat/completions", json=BODY)
    valid[0] = "second"
    with pytest.raises(SystemExit, match="HTTP 401"):
        client.post(URL + "/chat/completions", json=BODY)
    assert clock.now < 150


class Away:
    """A real server: it is down, and up again when it is late enough."""

    def __init__(self) -> None:
        first = Models(lambda _: "Rating: [[7]]")
        self.url, self.port = first.url + "/v1", first.http.server_port
        first.stop()
        self.server: Models | None = None

    def come_back(self) -> None:
        self.server = Models(lambda _: "Rating: [[7]]", port=self.port)


@pytest.fixture
def away() -> Iterator[Away]:
    place = Away()
    yield place
    if place.server:
        place.server.stop()


@pytest.mark.parametrize("kind", [PatientClient, JudgeClient])
def test_real_server_that_comes_back_answers(away: Away, kind: Any) -> None:
    clock = FakeTime().at(QUARTER, away.come_back)
    server = ModelServer(away.url, "m")
    settings: dict[str, Any] = {"added": {}} if kind is JudgeClient else {}
    with kind(server, patience=clock.patience(), **settings) as client:
        assert "[[7]]" in client.post(away.url + "/chat/completions", json=BODY).text
    assert QUARTER <= clock.now < QUARTER + 60

"""Requests at a time: a server that has too many gets fewer, and none is lost."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.fakes.waiting import FakeTime
from utils.stages.credentials import ModelServer
from utils.stages.in_flight import InFlight
from utils.stages.model_client import PatientClient
from utils.stages.patience import Patience

QUICK = Patience(20, first=0.001)


class Server:
    """A server that refuses more than `takes` requests at a time; the others take two milliseconds."""

    def __init__(self, takes: int) -> None:
        self.takes, self.now, self.highest, self.refused = takes, 0, 0, 0
        self.changed = threading.Condition()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self.changed:
            if self.now >= self.takes:
                self.refused += 1
                return httpx.Response(429, text="slow down")
            self.now += 1
            self.highest = max(self.highest, self.now)
            self.changed.wait(0.002)
            self.now -= 1
            return httpx.Response(200, text="ok")


def client_of(answer: Callable[[httpx.Request], httpx.Response], most: int, patience: Patience) -> PatientClient:
    client = PatientClient(ModelServer("http://teacher.example/v1", "m"), patience, most)
    client._transport = httpx.MockTransport(answer)
    return client


def ask(client: PatientClient) -> int:
    return client.post("http://teacher.example/v1/completions", json={}).status_code


def test_all_requests_are_answered_by_a_server_that_takes_few(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server(3)
    client = client_of(server, 40, QUICK)
    with ThreadPoolExecutor(40) as pool:
        answers = [*pool.map(lambda _: ask(client), range(300))]
    assert answers == [200] * 300
    # Without a limit, 40 threads are refused several times for each answer.
    assert server.refused < 300
    assert (client.requests.now, client.requests.answered) == (0, 300)
    assert "http://teacher.example/v1 has too many requests: at most " in capsys.readouterr().out


def test_no_more_than_the_highest_limit_are_sent() -> None:
    server = Server(100)
    client = client_of(server, 4, QUICK)
    with ThreadPoolExecutor(20) as pool:
        [*pool.map(lambda _: ask(client), range(100))]
    assert server.highest <= 4
    assert (client.requests.limit, client.requests.now) == (4, 0)


def test_more_connections_are_open_than_httpx_allows_by_default() -> None:
    """A hundred: with 10 batches of 32 chats, more are asked at a time."""
    together = threading.Barrier(120, timeout=20)

    def answer(request: httpx.Request) -> httpx.Response:
        together.wait()
        return httpx.Response(200)

    client = client_of(answer, 320, QUICK)
    with ThreadPoolExecutor(120) as pool:
        assert {*pool.map(lambda _: ask(client), range(120))} == {200}
    limits = PatientClient(ModelServer("http://x", "m"), QUICK)._transport._pool._max_connections  # type: ignore[attr-defined]
    assert limits > 320


def test_limit_is_halved_once_per_burst_and_rises_again() -> None:
    requests = InFlight("the teacher", 8)
    for others in (7, 6, 5):  # of one burst
        requests.now = others
        requests._learn(httpx.Response(429), 0)
    assert requests.limit == 4
    requests.now = 0
    for _ in range(40):
        requests.send(lambda: httpx.Response(200))
    assert requests.limit == 8


def test_requests_in_flight_are_told_over_time() -> None:
    """The mean since the last line: at the end of a leaf or a model hardly any is in flight."""
    clock = FakeTime()
    requests = InFlight("the teacher", 8, clock.patience())

    def answered_after(seconds: float) -> httpx.Response:
        clock.now += seconds
        return httpx.Response(200)

    requests.send(lambda: requests.send(lambda: answered_after(30)))
    clock.now += 30
    assert requests.over_time() == "1.0 requests in flight (at most 8), 120 answers/h"
    requests.send(lambda: answered_after(45))
    clock.now += 15
    assert requests.over_time() == "0.8 requests in flight (at most 8), 60 answers/h"
    requests.limit = 2.5
    clock.now += 10
    assert requests.over_time() == "0.0 requests in flight (at most 2), 0 answers/h"


def test_limit_never_falls_below_one() -> None:
    requests = InFlight("the teacher", 8)
    for _ in range(9):
        requests.send(lambda: httpx.Response(429))
    assert requests.limit == 1


def test_errors_do_not_raise_the_limit_and_give_the_place_back() -> None:
    requests = InFlight("the teacher", 8)
    requests.limit = 2.0

    def fail() -> httpx.Response:
        raise httpx.ConnectError("gone")

    for _ in range(5):
        requests.send(lambda: httpx.Response(500))
        with pytest.raises(httpx.ConnectError):
            requests.send(fail)
    assert (requests.limit, requests.now) == (2.0, 0)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_holds_every_request(status: int) -> None:
    clock = FakeTime()
    requests = InFlight("the teacher", 8, clock.patience())
    requests.send(lambda: httpx.Response(status, headers={"retry-after": "20"}))
    assert requests.limit < 8
    assert clock.now == 0  # the one that was refused waits elsewhere
    requests.send(lambda: httpx.Response(200))
    requests.send(lambda: httpx.Response(200))
    assert clock.pauses == [20]


def test_pause_of_hours_holds_no_other_request() -> None:
    clock = FakeTime()
    requests = InFlight("the teacher", 8, clock.patience())
    requests.send(lambda: httpx.Response(429, headers={"retry-after": "7200"}))
    requests.send(lambda: httpx.Response(200))
    assert clock.now == 0


def test_server_that_answers_others_is_not_away() -> None:
    """A request may be refused for longer than a server may be away, when others get its place each time."""
    clock = FakeTime()
    refusals = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal refusals
        refusals += 1
        client.requests.answered += 1  # another one
        return httpx.Response(429 if clock.now < 5000 else 200)

    client = client_of(answer, 8, clock.patience())
    assert ask(client) == 200
    assert 5000 <= clock.now < 5100


def test_server_that_refuses_everything_for_half_an_hour_is_away() -> None:
    clock = FakeTime()
    assert ask(client_of(lambda _: httpx.Response(429), 8, clock.patience())) == 429
    assert 1700 < clock.now <= 1800


def test_threads_that_answer_at_once_print_one_line_for_all() -> None:
    """Each would otherwise tell of the instant since the line of another, as so many answers an hour."""
    clock, barrier = FakeTime(), threading.Barrier(8, timeout=30)
    requests = InFlight("judge", 8, clock.patience())
    clock.now = 61

    def tell(_: int) -> str:
        barrier.wait()
        return requests.over_time(60)

    with ThreadPoolExecutor(8) as pool:
        lines = [line for line in pool.map(tell, range(8)) if line]
    assert len(lines) == 1

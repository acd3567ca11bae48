"""Prerequisites request an answer as long as those of the run: timeouts are found before data is generated."""

import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.answers import Answer, Server
from utils.stages.credentials import ModelServer
from utils.stages.prerequisites import model_servers
from utils.stages.prerequisites.findings import Finding
from utils.stages.prerequisites.model_servers import behind_proxy, check_model_server, long_answer

TOKEN = "canary-9d2c"
TEXT: Answer = (200, {"choices": [{"text": " five six", "finish_reason": "length"}]})
CHAT: Answer = (200, {"choices": [{"message": {"content": "one two"}, "finish_reason": "length"}]})


def asked(url: str, seconds: float = 5, path: str = "completions") -> list[Finding]:
    server = ModelServer(f"{url}/v1", "mixtral", TOKEN)
    return long_answer("teacher", server, path, "", seconds)


@pytest.mark.parametrize(
    ("path", "answer", "text"), [("completions", TEXT, "prompt"), ("chat/completions", CHAT, "messages")]
)
def test_requested_answer_is_as_long_as_those_of_the_run(
    serve: Callable[..., Server], path: str, answer: Answer, text: str
) -> None:
    """SDG's full pipeline and MT-Bench's judgements ask for up to 2048 tokens."""
    server = serve(answer)
    assert asked(server.url, path=path) == []
    (request,) = server.requests
    assert request["path"] == f"/v1/{path}"
    assert request["body"]["max_tokens"] == 2048
    assert text in request["body"]


@pytest.fixture
def closing() -> Iterator[str]:
    """The URL of a server that reads a request and closes the connection, as a router does at its limit."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_connection_that_is_closed_before_the_answer_is_an_error_that_names_the_annotation(closing: str) -> None:
    (finding,) = asked(closing)
    assert "answers short questions, but a long answer was cut off after 0 s (ConnectionError: " in finding.problem
    assert "haproxy.router.openshift.io/timeout: 600s" in finding.remedy
    assert "spec.predictor.timeout: 600" in finding.remedy
    assert finding.level == "error"


def test_gateway_timeout_is_the_same_error(serve: Callable[..., Server]) -> None:
    """OpenShift's router answers 504 when the server says nothing within the Route's time-out."""
    (finding,) = asked(serve((504, "<html>Gateway Time-out</html>")).url)
    assert re.search(r"cut off after \d+ s \(HTTP 504: ", finding.problem)
    assert finding.level == "error"


def test_a_server_that_refuses_so_many_tokens_is_a_warning(serve: Callable[..., Server]) -> None:
    (finding,) = asked(serve((400, f"maximum context length is 1024 {TOKEN}")).url)
    assert finding.level == "warning"
    assert "no answer of up to 2048 tokens: " in finding.problem
    assert "context length (HTTP 400: maximum context length is 1024 ***)" in finding.problem


def test_a_server_that_is_slow_is_a_warning(serve: Callable[..., Server]) -> None:
    (finding,) = asked(serve((0, TEXT[1])).url, seconds=0.2)
    assert finding.level == "warning"
    assert "no answer of up to 2048 tokens: the answer took too long (ReadTimeout: " in finding.problem


@pytest.mark.parametrize(
    ("endpoint", "answer"),
    [
        ("https://mixtral-ilab.apps.example.com/v1", True),
        ("https://mixtral-predictor.ilab.svc.cluster.local:8443/v1", True),
        ("http://127.0.0.1:8080/v1", False),
        ("http://localhost:8080/v1", False),
        ("http://10.130.2.7:8080/v1", False),
        ("http://[fd00::7]:8080/v1", False),
    ],
)
def test_server_addressed_directly_is_not_behind_a_route(endpoint: str, answer: bool) -> None:
    assert behind_proxy(endpoint) is answer


def test_the_long_question_comes_after_a_short_one_that_was_answered(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_servers, "behind_proxy", lambda endpoint: True)
    server = serve(TEXT, (504, "cut"))
    for key, value in {"endpoint": f"{server.url}/v1", "model_name": "mixtral", "api_token": TOKEN}.items():
        (tmp_path / key).write_text(value)
    (finding,) = check_model_server("teacher", "completions", str(tmp_path), "", 0.05)
    assert "cut off" in finding.problem
    assert [request["body"]["max_tokens"] for request in server.requests] == [16, 2048]

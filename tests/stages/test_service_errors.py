"""Every way in which a service does not answer has a cause and a remedy of its own, whatever library tells of it.

The servers are real ones on loopback. The bodies are those of vLLM, TGI, llama.cpp, SGLang and OpenShift's router.
"""

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.tls import make_certificate
from utils.stages.credentials import ModelServer, model_server
from utils.stages.data_import.git import run_git
from utils.stages.evaluation.client import ModelClient
from utils.stages.object_store.client import ObjectStore
from utils.stages.patience import ONCE
from utils.stages.prerequisites.model_servers import NoAnswer, ask_model
from utils.stages.service_errors import explained, model_service, told

Told = tuple[str, str]
Ask = Callable[[str, str], Told]


def by_requests(url: str, ca: str) -> Told:
    """As the prerequisites ask."""
    server = ModelServer(url + "/v1", "m", "canary", role="judge")
    with pytest.raises(NoAnswer) as failed:
        ask_model(server, "chat/completions", ca, "Hello", 1, 0.3)
    return server.explained(failed.value.told)


def by_httpx(url: str, ca: str) -> Told:
    """As evaluation asks."""
    with ModelClient(ModelServer(url + "/v1", "m", "canary", role="judge"), {}, ca=ca) as client:
        client.timeout = httpx.Timeout(0.3)
        with suppress(httpx.HTTPError, SystemExit):
            client.post(url + "/v1/chat/completions", json={"messages": []})
        return client.server.explained(client.last_error)


def lines_of(failed: SystemExit) -> Told:
    _, cause, remedy = str(failed).splitlines()
    return cause.removeprefix("  cause: "), remedy.removeprefix("  next: ")


def by_botocore(url: str, ca: str) -> Told:
    """As data import asks the object store."""
    store = ObjectStore("ilab", "key", "canary", endpoint=url, ca=ca, patience=ONCE)
    with pytest.raises(SystemExit) as failed:
        store.call("list_objects_v2")
    return lines_of(failed.value)


def by_git(url: str, ca: str) -> Told:
    """As data import fetches a taxonomy."""
    environment = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", **({"GIT_SSL_CAINFO": ca} if ca else {})}
    with pytest.raises(SystemExit) as failed:
        run_git(["ls-remote", "--", url + "/a.git"], environment, url + "/a.git")
    return lines_of(failed.value)


class Handler(BaseHTTPRequestHandler):
    """A server, or a proxy, that answers with `status`; 0: it says nothing, -1: it closes the connection."""

    status = 200
    body = b""

    def answer(self) -> None:
        if self.status == 0:
            threading.Event().wait(1)
        if self.status < 1:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(self.body)

    do_GET = do_POST = do_PUT = do_HEAD = do_CONNECT = answer

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def server(status: int = 200, chain: Path | None = None, body: bytes = b"") -> Iterator[str]:
    """A server on loopback; yields host and port."""
    handler = type("OneHandler", (Handler,), {"status": status, "body": body})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http.daemon_threads = True
    http.handle_error = lambda *_: None  # type: ignore[method-assign]
    if chain:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        http.socket = context.wrap_socket(http.socket, server_side=True)
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        http.server_close()


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        for spelled in (name, name.upper()):
            monkeypatch.delenv(spelled, raising=False)


EVERY = pytest.mark.parametrize("ask", [by_requests, by_httpx, by_botocore, by_git])


@EVERY
def test_certificate_of_an_unknown_authority(ask: Ask, tmp_path: Path) -> None:
    _, chain = make_certificate(tmp_path)
    with server(chain=chain) as place:
        cause, remedy = ask(f"https://{place}", "")
    assert "certificate is of an unknown authority" in cause and "k8s_ca_configmap" in remedy


@EVERY
def test_certificate_that_has_expired(ask: Ask, tmp_path: Path) -> None:
    ca, chain = make_certificate(tmp_path, days=-1)
    with server(chain=chain) as place:
        cause, remedy = ask(f"https://{place}", str(ca))
    if "CAfile" in cause:  # git with GnuTLS does not tell one from the other
        assert "of an unknown authority" in cause
    else:
        assert "certificate has expired" in cause and remedy.startswith("renew it")


@EVERY
def test_certificate_for_another_name(ask: Ask, tmp_path: Path) -> None:
    ca, chain = make_certificate(tmp_path, address="127.0.0.2")
    with server(chain=chain) as place:
        cause, remedy = ask(f"https://{place}", str(ca))
    assert "certificate is for another name" in cause and remedy.startswith("put a name of the certificate into")


@EVERY
def test_server_that_speaks_no_tls(ask: Ask) -> None:
    with server() as place:
        cause, remedy = ask(f"https://{place}", "")
    assert "speaks no TLS" in cause and "http://" in remedy


@EVERY
def test_name_that_nobody_knows(ask: Ask) -> None:
    cause, remedy = ask("http://judge.nowhere.invalid", "")
    assert cause.startswith("the name judge.nowhere.invalid is not known (") and remedy.startswith("correct ")


@EVERY
def test_port_where_nothing_listens(ask: Ask, closed_port: str) -> None:
    cause, remedy = ask(f"http://{closed_port}", "")
    assert cause.startswith("nothing listens there (") and remedy.startswith("start it, or correct ")


@pytest.mark.parametrize("ask", [by_requests, by_httpx])
def test_answer_that_takes_too_long(ask: Ask) -> None:
    with server(0) as place:
        cause, remedy = ask(f"http://{place}", "")
    assert "took too long" in cause and "look at its log" in remedy and "mt_bench_max_workers" in remedy


@EVERY
def test_connection_that_breaks_off(ask: Ask) -> None:
    with server(-1) as place:
        cause, remedy = ask(f"http://{place}", "")
    assert "connection broke off" in cause and "look at its log" in remedy


def test_address_that_swallows_connections() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(listener.getsockname())
        with pytest.raises(httpx.ConnectTimeout) as failed:
            httpx.get(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.2)
        for one in waiting:
            one.close()
    cause, remedy = explained(told(failed.value), model_service("http://127.0.0.1/v1", "judge"))
    assert "a firewall or NetworkPolicy" in cause and "endpoint in the judge's Secret" in remedy


@EVERY
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_that_is_away(ask: Ask, scheme: str, closed_port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", f"http://user:canary@{closed_port}")
    cause, remedy = ask(f"{scheme}://judge.example", "")
    assert cause.startswith(f"the proxy http://***@{closed_port} is away")
    assert remedy == f"correct {scheme.upper()}_PROXY, or put judge.example into NO_PROXY"
    assert "canary" not in cause


@EVERY
def test_proxy_that_wants_a_password(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(407) as place:
        monkeypatch.setenv("https_proxy", f"http://{place}")
        cause, remedy = ask("https://judge.example", "")
    assert cause.startswith(f"the proxy http://{place} wants a password")
    assert remedy == "put it into HTTPS_PROXY, or judge.example into NO_PROXY"


@EVERY
def test_proxy_that_does_not_let_through(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(503) as place:
        monkeypatch.setenv("https_proxy", f"http://{place}")
        cause, remedy = ask("https://judge.example", "")
    assert "does not reach judge.example" in cause and "NO_PROXY" in remedy


@pytest.mark.parametrize("ask", [by_requests, by_httpx])
def test_answer_through_a_proxy_names_the_proxy(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(502, body=b"<html>squid</html>") as place:
        monkeypatch.setenv("http_proxy", f"http://{place}")
        cause, _ = ask("http://judge.example", "")
    assert f"asked through the proxy http://{place}" in cause


def test_host_in_no_proxy_is_not_blamed_on_the_proxy(monkeypatch: pytest.MonkeyPatch, closed_port: str) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for ask in (by_requests, by_httpx):
        assert ask(f"http://{closed_port}", "")[0].startswith("nothing listens there")


LONG = "prompt and answer exceed its context length"
ANSWERS: list[tuple[int, str, str, str]] = [
    (
        400,
        "This model's maximum context length is 4096 tokens. However, you requested 6288 tokens.",
        LONG,
        "--max-model-",
    ),
    (
        400,
        "'max_tokens' is too large: 2048. This model's maximum context length is 1024 tokens",
        LONG,
        "--max-model-len",
    ),
    (400, "The decoder prompt (length 5000) is longer than the maximum model length of 4096.", LONG, "--max-model-len"),
    (
        400,
        "The engine prompt length 1000 exceeds the max_model_len 512. Please reduce prompt.",
        LONG,
        "--max-model-len",
    ),
    (400, '{"code":"context_length_exceeded"}', LONG, "--max-model-len"),
    (400, "the request exceeds the available context size, try increasing it", LONG, "--max-model-len"),
    (400, "The input (5000 tokens) is longer than the model's context length (4096 tokens).", LONG, "--max-model-len"),
    (
        422,
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000",
        LONG,
        "--max-model-",
    ),
    (400, "prompt is too long: 209000 tokens > 200000 maximum", LONG, "--max-model-len"),
    (400, "input length and `max_tokens` exceed context limit: 1 + 2 > 2", LONG, "--max-model-len"),
    (400, "n must be 1", "refuses the request", "eval_judge_options"),
    (
        400,
        "As of transformers v4.44, default chat template is no longer allowed",
        "no chat template",
        "--chat-template",
    ),
    (400, "Client sent an HTTP request to an HTTPS server.", "speaks TLS", "https://"),
    (401, "Unauthorized", "token is missing, wrong or expired", "renew api_token in the judge's Secret"),
    (403, "Forbidden", "lacks the right", "give it the right"),
    (404, "The model `prometheus` does not exist.", "no such model", "judge.example/v1/models lists them"),
    (404, 'model "x" not found, try pulling it first', "no such model", "model_name in the judge's Secret"),
    (404, '{"detail":"Not Found"}', "nothing at this path", "endpoint in the judge's Secret, which ends in /v1"),
    (404, "default backend - 404", "nothing at this path", "endpoint in the judge's Secret"),
    (405, "Method Not Allowed", "nothing at this path", "endpoint in the judge's Secret"),
    (307, "https://elsewhere.example", "web page or a login", "the URL of the API itself"),
    (200, "<html><title>Login</title></html>", "web page or a login", "the URL of the API itself"),
    (200, '{"choices": []}', "gives no text", "model_name in the judge's Secret"),
    (413, "<html>413 Request Entity Too Large</html>", LONG, "a lower max_tokens in eval_answer_options"),
    (429, "rate limited", "limit of requests", "lower mt_bench_max_workers"),
    (
        429,
        "You exceeded your current quota, please check your plan and billing details",
        "or its quota, is used up",
        "raise it",
    ),
    (504, "<html>504 Gateway Time-out</html>", "cut off a long answer", "haproxy.router.openshift.io/timeout"),
    (408, "", "cut off a long answer", "mt_bench_max_workers"),
    (503, "<h1>Application is not available</h1>", "not ready, or failed", "look at its log"),
    (503, "loading model", "not ready, or failed", "look at its log"),
    (500, "Internal Server Error", "not ready, or failed", "look at its log"),
]


@pytest.mark.parametrize(("status", "body", "cause", "remedy"), ANSWERS, ids=lambda value: str(value)[:40])
def test_each_answer_has_its_cause_and_remedy(status: int, body: str, cause: str, remedy: str) -> None:
    told = explained(f"HTTP {status}: {body}", model_service("https://judge.example/v1", "judge"))
    assert cause in told[0] and remedy in told[1]
    assert f"(HTTP {status}: {body}" in told[0]


@pytest.mark.parametrize("ask", [by_requests, by_httpx])
@pytest.mark.parametrize(
    "case", [row for row in ANSWERS if row[0] not in (200, 307, 401, 404)], ids=lambda row: row[1][:30]
)
def test_the_clients_tell_answers_apart(ask: Ask, case: tuple[int, str, str, str]) -> None:
    status, body, cause, remedy = case
    with server(status, body=body.encode()) as place:
        told = ask(f"http://{place}", "")
    assert cause in told[0] and remedy in told[1]


def test_a_parameter_is_changed_by_a_new_run_and_all_else_before_a_retry() -> None:
    """Trap: `resume` keeps the parameters, so it does not help where one is to be changed."""
    for role in ("teacher", "judge", ""):
        for status, body, *_ in ANSWERS:
            _, remedy = explained(f"HTTP {status}: {body}", model_service("http://h/v1", role))
            for part in remedy.split("; or "):
                if re.search(r"\b(sdg|eval|mt_bench|final_eval)_\w+", part):
                    assert "start a run with" in part and "retry or resume" not in part, remedy


@pytest.mark.parametrize("role", ["teacher", "judge"])
def test_remedies_name_the_secret_and_the_parameters_of_the_role(role: str) -> None:
    other = {"teacher": "judge", "judge": "teacher"}[role]
    for status, body, *_ in ANSWERS:
        remedy = explained(f"HTTP {status}: {body}", model_service("http://h/v1", role))[1]
        assert other not in remedy
    assert ("sdg_num_workers" in explained("HTTP 429: ", model_service("", role))[1]) == (role == "teacher")


@pytest.mark.parametrize("token", ["two\nlines", "Bearer abc", "“quoted”", "zero\u200bwidth", "tab\tbed"])
def test_token_that_no_header_takes_is_told_before_it_is_sent(tmp_path: Path, token: str) -> None:
    for key, value in {"endpoint": "http://h/v1", "model_name": "m", "api_token": token}.items():
        (tmp_path / key).write_text(value, "utf-8")
    with pytest.raises(SystemExit) as failed:
        model_server(str(tmp_path), "judge")
    assert "api_token" in str(failed.value) and token not in str(failed.value)


def test_a_header_that_httpx_refuses_is_a_matter_of_the_token() -> None:
    with pytest.raises(httpx.LocalProtocolError) as failed, server() as place:
        httpx.get(f"http://{place}", headers={"Authorization": "Bearer two\nlines"})
    cause, remedy = explained(told(failed.value), model_service("http://h/v1", "judge"))
    assert "no token has such characters" in cause and remedy.startswith("correct api_token in the judge's Secret")


@pytest.mark.parametrize(
    ("said", "means"), [("port 40739 after 0 ms", "is away"), ("tunnel failed, 407", "a password")]
)
def test_port_of_a_proxy_is_not_taken_for_a_status(said: str, means: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:40739")
    text = f"Failed to connect to 127.0.0.1 {said}"
    cause, _ = explained(text, model_service("https://judge.example/v1", "judge"))
    assert means in cause.partition("(")[0]

"""The proxy that the cluster tests put in front of an API server: it forwards requests and injects faults."""

import http.client
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.cluster.proxy import ApiProxy, Call, Fault, call_of

PODS = "/api/v1/namespaces/lab/pods"


class Server(BaseHTTPRequestHandler):
    """Says what it was asked; answers a watch with three events, slowly enough for nobody to wait."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        said = {"path": self.path, "token": self.headers["Authorization"]}
        said["body"] = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        answer = json.dumps(said).encode()
        if "watch=" in self.path:
            answer = b"".join(b'{"event": %d}\n' % n for n in range(3))
        self.send_response(201 if self.command == "POST" else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[ApiProxy]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        with ApiProxy(f"http://127.0.0.1:{server.server_port}").running() as running:
            yield running
        server.shutdown()


def ask(proxy: ApiProxy, method: str, path: str, body: str = "") -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    try:
        connection.request(method, path, body or None, {"Authorization": "Bearer t"})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "target", "call"),
    [
        ("GET", PODS, Call("list", "pods")),
        ("GET", f"{PODS}?watch=true", Call("watch", "pods")),
        ("GET", f"{PODS}/one", Call("get", "pods", "one")),
        ("GET", f"{PODS}/one/log?follow=true", Call("get", "pods/log", "one")),
        ("POST", "/apis/batch/v1/namespaces/lab/jobs", Call("create", "jobs")),
        ("PATCH", "/apis/batch/v1/namespaces/lab/jobs/one/status", Call("patch", "jobs/status", "one")),
        ("DELETE", "/apis/kubeflow.org/v1/namespaces/lab/pytorchjobs/one", Call("delete", "pytorchjobs", "one")),
        ("DELETE", "/apis/batch/v1/namespaces/lab/jobs", Call("deletecollection", "jobs")),
        ("GET", "/api/v1/namespaces/lab", Call("get", "namespaces", "lab")),
        ("GET", "/apis/storage.k8s.io/v1/storageclasses", Call("list", "storageclasses")),
    ],
)
def test_requests_are_seen_as_rbac_sees_them(method: str, target: str, call: Call) -> None:
    assert call_of(method, target) == call


def test_request_and_answer_pass_with_token_and_body(proxy: ApiProxy) -> None:
    status, _, answer = ask(proxy, "POST", PODS, "{}")
    assert (status, json.loads(answer)) == (201, {"path": PODS, "token": "Bearer t", "body": "{}"})
    assert proxy.calls == [Call("create", "pods")]


@pytest.mark.parametrize("code", [403, 410, 429, 500])
def test_request_is_refused_the_configured_number_of_times(proxy: ApiProxy, code: int) -> None:
    proxy.faults.append(Fault("list", "pods", code, retry_after=7, times=2))
    for _ in range(2):
        status, headers, answer = ask(proxy, "GET", PODS)
        assert (status, headers["Retry-After"], json.loads(answer)["code"]) == (code, "7", code)
    assert ask(proxy, "GET", PODS)[0] == 200
    assert proxy.faults[0].met == 2


def test_fault_leaves_other_requests_alone(proxy: ApiProxy) -> None:
    proxy.faults.append(Fault("list", "jobs", 500, times=None))
    assert ask(proxy, "GET", PODS)[0] == 200


def test_connection_is_reset(proxy: ApiProxy) -> None:
    proxy.faults.append(Fault())
    with pytest.raises(ConnectionResetError):
        ask(proxy, "GET", PODS)
    assert ask(proxy, "GET", PODS)[0] == 200


def test_watch_is_dropped_after_some_events(proxy: ApiProxy) -> None:
    proxy.faults.append(Fault("watch", lines=2))
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        ask(proxy, "GET", f"{PODS}?watch=1")
    assert len(ask(proxy, "GET", f"{PODS}?watch=1")[2].splitlines()) == 3


def test_watch_ends_with_gone(proxy: ApiProxy) -> None:
    proxy.faults.append(Fault("watch", lines=1, gone=True))
    first, last = ask(proxy, "GET", f"{PODS}?watch=1")[2].splitlines()
    assert json.loads(first) == {"event": 0}
    assert (json.loads(last)["type"], json.loads(last)["object"]["code"]) == ("ERROR", 410)


def test_unavailable_server_closes_connections(proxy: ApiProxy) -> None:
    proxy.server = "http://127.0.0.1:9"
    with pytest.raises(ConnectionResetError):
        ask(proxy, "GET", PODS)

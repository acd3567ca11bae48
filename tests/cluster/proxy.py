"""A reverse proxy before an API server, on loopback, that fails on demand as networks and API servers do.

Clients speak plain HTTP to it and send their token, which it hands on; the server is spoken to as its address says.
Requests that upgrade the connection (exec, attach, port-forward) are not passed on.
"""

import http.client
import json
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

REASONS = {403: "Forbidden", 410: "Expired", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
# Headers that belong to a connection, not to a message, and headers that are set again.
NOT_PASSED_ON = {"connection", "host", "keep-alive", "transfer-encoding", "content-length", "accept-encoding"}


@dataclass(frozen=True)
class Call:
    """A request as RBAC sees it; `resource` has its subresource: `pods/log`. Both empty outside of namespaces."""

    verb: str
    resource: str
    name: str = ""


@dataclass
class Fault:
    """What happens to requests of this verb and resource; an empty one means any.

    Attributes:
        status: the answer's status code, with the Status object that the API server would send. 0 resets the
            connection without an answer.
        lines: pass the request on, and end the answer after so many lines: a watch sends an event a line, a log a line
            a line. None: the request is not passed on.
        gone: after these lines, send the event ERROR with code 410 and end as the server would; else reset.
        retry_after: seconds in the answer's Retry-After.
        times: how many requests meet it; None for all.
        met: how many have.
    """

    verb: str = ""
    resource: str = ""
    status: int = 0
    lines: int | None = None
    gone: bool = False
    retry_after: int | None = None
    times: int | None = 1
    met: int = 0

    def meets(self, call: Call) -> bool:
        """Whether it happens to this request."""
        left = self.times is None or self.met < self.times
        return left and self.verb in ("", call.verb) and self.resource in ("", call.resource)


@dataclass
class ApiProxy:
    """The proxy and what it has seen. Faults may come and go at any time.

    Attributes:
        server: where it passes requests on to, `https://host:port` or `http://…`.
        ca: certificate authority of the server, a PEM file.
        faults: what shall fail; the first that meets a request happens to it.
        calls: every request so far.
    """

    server: str
    ca: Path | None = None
    faults: list[Fault] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    port: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def running(self) -> Iterator["ApiProxy"]:
        """Serve while the block runs."""
        with _Listener(("127.0.0.1", 0), self._handler()) as listener:
            self.port = listener.server_port
            threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            try:
                yield self
            finally:
                listener.shutdown()

    def write_kubeconfig(self, path: Path, token: str, namespace: str) -> Path:
        """A kubeconfig, readable only by its owner, whose server is this proxy."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [
                {"name": "proxy", "context": {"cluster": "proxy", "user": "user", "namespace": namespace}},
            ],
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))
        return path

    def take(self, call: Call) -> Fault | None:
        """Note a request; returns the fault that happens to it."""
        with self._lock:
            self.calls.append(call)
            for fault in self.faults:
                if fault.meets(call):
                    fault.met += 1
                    return fault
        return None

    def connect(self) -> http.client.HTTPConnection:
        """A connection to the server; no request waits forever, but a watch may be silent."""
        parts = urlsplit(self.server)
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.netloc)
        context = ssl.create_default_context(cafile=str(self.ca) if self.ca else None)
        return http.client.HTTPSConnection(parts.netloc, context=context)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        class Handler(_Handler):
            proxy = self

        return Handler


def call_of(method: str, target: str) -> Call:
    """The verb, resource and name of a request, by the paths of the Kubernetes API."""
    url = urlsplit(target)
    query = parse_qs(url.query)
    parts = url.path.strip("/").split("/")
    after = parts[2 if parts[0] == "api" else 3 :]
    if after[:1] == ["namespaces"] and len(after) > 2:
        after = after[2:]
    kind, name, sub = (*after, "", "", "")[:3]
    verb = VERBS.get(method, "")
    if method == "GET":
        watched = query.get("watch", ["0"])[0] in ("1", "true", "True")
        verb = "get" if name else "watch" if watched else "list"
    if method == "DELETE":
        verb = "delete" if name else "deletecollection"
    return Call(verb, f"{kind}/{sub}" if sub else kind, name)


def status_object(code: int, call: Call) -> bytes:
    """What an API server answers when it refuses: a Status, its message worded as the server words it."""
    message = {
        403: f'{call.resource} "{call.name}" is forbidden: User cannot {call.verb} resource "{call.resource}"',
        410: "too old resource version: 1 (2)",
        429: "the server has received too many requests and has asked us to try again later",
    }.get(code, "an error on the server has prevented the request from succeeding")
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code}
    return json.dumps({**status, "reason": REASONS.get(code, ""), "message": message}).encode()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that disconnects is not worth a message; anything else is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: ApiProxy

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = call_of(self.command, self.path)
        fault = self.proxy.take(call)
        if fault and fault.lines is None:
            self._refuse(fault, call)
            return
        # A client or a server that is gone: the other side sees a connection that ends.
        try:
            self._pass_on(call, body, fault)
        except (OSError, http.client.HTTPException):
            self._reset()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def _refuse(self, fault: Fault, call: Call) -> None:
        if not fault.status:
            self._reset()
            return
        answer = status_object(fault.status, call)
        self.send_response(fault.status)
        if fault.retry_after is not None:
            self.send_header("Retry-After", str(fault.retry_after))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _pass_on(self, call: Call, body: bytes, fault: Fault | None) -> None:
        connection = self.proxy.connect()
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in NOT_PASSED_ON}
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            streamed = call.verb == "watch" or call.resource == "pods/log"
            whole = b"" if streamed else answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in NOT_PASSED_ON:
                    self.send_header(name, value)
            if not streamed:
                self.send_header("Content-Length", str(len(whole)))
                self.end_headers()
                self.wfile.write(whole)
                return
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._stream(answer, call, fault)
        finally:
            connection.close()

    def _stream(self, answer: http.client.HTTPResponse, call: Call, fault: Fault | None) -> None:
        sent = 0
        while fault is None or fault.lines is None or sent < fault.lines:
            line = answer.readline()
            if not line:
                break
            self._chunk(line)
            sent += 1
        else:
            if not fault.gone:
                self._reset()
                return
            gone: dict[str, Any] = {"type": "ERROR", "object": json.loads(status_object(410, call))}
            self._chunk(json.dumps(gone).encode() + b"\n")
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _reset(self) -> None:
        """End the connection as a network that breaks does: by RST, not by FIN."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The socket is closed only when its file is.
        self.rfile.close()
        self.connection.close()

    def log_message(self, *_: Any) -> None:
        """Nothing: tests look at `calls`."""

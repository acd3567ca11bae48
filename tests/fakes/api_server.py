"""A small HTTP server that keeps objects as an API server does: versions, selectors, watches and logs; fails on demand.

It validates nothing and knows no rights; what the real one does is looked at by the cluster tests.
"""

import copy
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Object = dict[str, Any]


@dataclass
class Fault:
    """What the next request of this verb and resource gets instead of an answer ("" for any).

    status 0 drops the connection: before an answer, or after `lines` lines and a half of a stream; `clean` ends the
    stream there as if that were all; `silent` keeps the connection open without a word. `done` carries out the request
    all the same, so that only the answer is lost.
    """

    verb: str = ""
    resource: str = ""
    status: int = 0
    lines: int | None = None
    message: str = "a fault"
    headers: dict[str, str] = field(default_factory=dict)
    body: Object = field(default_factory=dict)
    done: bool = False
    clean: bool = False
    silent: bool = False


@dataclass
class Request:
    """What was asked: `verb` as in a Role, `resource` like `pods/log`."""

    verb: str
    resource: str
    name: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class ApiServer:
    """Objects by resource and name, in one namespace.

    Attributes:
        faults: taken in turn by the requests they fit.
        requests: all that was asked.
        logs: lines with their times by pod.
        kinds: resources that exist; others get 404.
        oldest: watches from an older version get 410.
    """

    kinds: tuple[str, ...] = ("pods", "jobs", "configmaps", "secrets", "events")

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Object]] = {kind: {} for kind in self.kinds}
        self.history: list[tuple[int, str, str, Object]] = []
        self.version = 10
        self.oldest = 0
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.logs: dict[str, list[str]] = {}
        self.page = 0
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def asked(self) -> list[str]:
        return [f"{request.verb} {request.resource}" for request in self.requests]

    def put(self, resource: str, name: str, **fields: Any) -> Object:
        """Make an object, or change what is given of it; watches see it."""
        before = self.objects[resource].get(name)
        metadata = {**(before or {}).get("metadata", {"uid": f"uid-{self.version}"}), **fields.pop("metadata", {})}
        self.version += 1
        metadata |= {"name": name, "resourceVersion": str(self.version)}
        found = {**(before or {}), **fields, "metadata": metadata}
        self.objects[resource][name] = found
        self._tell("MODIFIED" if before else "ADDED", resource, found)
        return found

    def remove(self, resource: str, name: str) -> None:
        found = self.objects[resource].pop(name)
        self.version += 1
        self._tell(
            "DELETED", resource, {**found, "metadata": {**found["metadata"], "resourceVersion": str(self.version)}}
        )

    def forget(self) -> None:
        """Compact the history: watches from here on get 410."""
        self.oldest = self.version + 1
        self.version += 1

    def _tell(self, change: str, resource: str, found: Object) -> None:
        self.history.append((self.version, change, resource, copy.deepcopy(found)))

    def fault_for(self, verb: str, resource: str) -> Fault | None:
        found = (f for f in self.faults if f.verb in ("", verb) and f.resource in ("", resource))
        fault = next(found, None)
        if fault:
            self.faults.remove(fault)
        return fault

    def answer(self, request: Request) -> tuple[int, Any]:
        """Status and body of everything but streams."""
        resource, name = request.resource.partition("/")[0], request.name
        if resource not in self.objects:
            return 404, {"kind": "Status", "message": "the server could not find the requested resource", "details": {}}
        stored = self.objects[resource]
        if request.verb == "list":
            return 200, self._list(resource, request.query)
        if request.verb == "create":
            name = request.body["metadata"]["name"]
            if name in stored:
                return 409, {"kind": "Status", "reason": "AlreadyExists", "message": f"{name} already exists"}
            return 201, self.put(resource, name, **copy.deepcopy(request.body))
        if name not in stored:
            return 404, {
                "kind": "Status",
                "reason": "NotFound",
                "message": f"{name} not found",
                "details": {"name": name},
            }
        if request.verb == "delete":
            self.remove(resource, name)
            return 200, {"kind": "Status", "status": "Success"}
        if request.verb == "patch":
            return 200, self.put(resource, name, **_merged(stored[name], request.body))
        return 200, stored[name]

    def _list(self, resource: str, query: dict[str, str]) -> Object:
        found = [o for o in self.objects[resource].values() if _selected(o, query)]
        start = int(query.get("continue", "0"))
        metadata: Object = {"resourceVersion": str(self.version)}
        if self.page and start + self.page < len(found):
            metadata["continue"] = str(start + self.page)
        return {"items": found[start : start + self.page] if self.page else found, "metadata": metadata}

    def watched(self, request: Request) -> Iterator[Object]:
        """The changes since the version asked for; then the watch ends."""
        since = int(request.query["resourceVersion"])
        if since < self.oldest:
            yield {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old resource version"}}
            return
        for version, change, resource, found in list(self.history):
            if version > since and resource == request.resource and _selected(found, request.query):
                yield {"type": change, "object": found}
        yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(self.version)}}}

    def log_lines(self, request: Request) -> list[str]:
        since = request.query.get("sinceTime", "")
        lines = self.logs.get(request.name, [])
        # As the kubelet: whole seconds, lines of that second come again.
        lines = [line for line in lines if line[:19] >= since[:19]]
        return lines if "timestamps" in request.query else [line.partition(" ")[2] for line in lines]


def _selected(found: Object, query: dict[str, str]) -> bool:
    wanted = dict(pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair)
    fields = dict(pair.split("=") for pair in query.get("fieldSelector", "").split(",") if pair)
    labels = wanted.items() <= found["metadata"].get("labels", {}).items()
    return labels and all(_field(found, path) == value for path, value in fields.items())


def _field(found: Object, path: str) -> Any:
    for step in path.split("."):
        found = found.get(step, {})
    return found


def _merged(found: Object, change: Object) -> Object:
    """RFC 7386."""
    merged = copy.deepcopy(found)
    for key, value in change.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key) or {}, value) if isinstance(value, dict) else value
    return merged


def _asked(method: str, path: str, query: dict[str, str]) -> tuple[str, str, str]:
    """Verb, resource and name of a request."""
    parts = path.rpartition("/namespaces/lab/")[2].split("/")
    resource, name = "/".join([parts[0], *parts[2:]]), parts[1] if len(parts) > 1 else ""
    if method != "GET":
        return {"POST": "create", "PATCH": "patch", "DELETE": "delete"}[method], resource, name
    if name:
        return "get", resource, name
    return "watch" if "watch" in query else "list", resource, ""


def _handler(api: ApiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            with suppress(ConnectionError):  # a watcher may leave before the end
                self.answer()

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            url = urlsplit(self.path)
            query = dict(parse_qsl(url.query))
            verb, resource, name = _asked(self.command, url.path, query)
            request = Request(verb, resource, name, query, dict(self.headers), body)
            api.requests.append(request)
            fault = api.fault_for(verb, resource)
            if fault and fault.done:
                api.answer(request)
            if fault and fault.status:
                status = {"kind": "Status", "message": fault.message, **fault.body}
                return self.send(fault.status, json.dumps(status), fault.headers)
            if fault and fault.silent:
                self.connection.recv(1)  # until the client gives up
            if fault and fault.lines is None:
                self.close_connection = True
                return None
            if verb == "watch" and resource in api.objects:
                return self.stream((json.dumps(change) for change in api.watched(request)), fault)
            code, answer = api.answer(request)
            if resource == "pods/log" and code == 200:
                return self.stream(api.log_lines(request), fault)
            return self.send(code, json.dumps(answer), {})

        def send(self, status: int, text: str, headers: dict[str, str]) -> None:
            self.send_response(status)
            for key, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def stream(self, lines: Iterator[str] | list[str], fault: Fault | None) -> None:
            """Chunked, cut off as the fault says."""
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for number, line in enumerate(lines):
                text = line.encode() + b"\n"
                last = fault is not None and number == fault.lines
                text = text[: len(text) // 2] if last else text
                self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
                if last:
                    break
            if fault is None or fault.clean:
                self.wfile.write(b"0\r\n\r\n")
            else:
                self.close_connection = True

        do_GET = do_POST = do_PATCH = do_DELETE = handle_any

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


class Time:
    """A clock that only `sleep` moves; `pauses` are what was slept, `at_sleep` is called at each."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []
        self.at_sleep: Callable[[], object] = lambda: None

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)
        self.at_sleep()

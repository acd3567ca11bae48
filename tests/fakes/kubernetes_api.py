"""A small HTTP server with the few paths of the Kubernetes API that volumes and the training launcher use.

It is not an API server (no validation, no selectors but labels): it answers what a test has put in, records what it is
asked, and can fail on demand. The real one belongs to the cluster tests.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fakes.kubeconfig import write_kubeconfig


def short_sleep(sleep: Callable[[float], None], seconds: float) -> None:
    """Stands for time.sleep where a stage waits for the server: a hundredth of the time."""
    sleep(seconds / 100)


class ShortTime:
    """The time of a client: it waits a hundredth of the given time, and its clock advances by all of it."""

    def __init__(self) -> None:
        self.slept = 0.0
        self._sleep = time.sleep

    def clock(self) -> float:
        return time.monotonic() + self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        short_sleep(self._sleep, seconds)


def next_of(states: deque[str]) -> str:
    """The next of some states, "" when there are none; the last one stays."""
    if not states:
        return ""
    return states.popleft() if len(states) > 1 else states[0]


def patch(target: dict[str, Any], changes: dict[str, Any]) -> None:
    """Change an object as a merge patch does: mappings in depth, None deletes."""
    for key, value in changes.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            patch(target.setdefault(key, {}), value)
        else:
            target[key] = value


class KubernetesApi:
    """Objects by kind (`pytorchjobs`, `persistentvolumeclaims`, `pods`, `events`) and name.

    Attributes:
        faults: status codes that the next requests get instead of an answer; 0 drops the connection.
        job_states: conditions' types that successive reads of a training job see; the last one stays. Suspended: in
            a queue. Running: what a TrainJob's status says of its pods, as it has no such condition.
        logs: text by pod name.
        refused: rights like `delete pytorchjobs` that access reviews deny; `rights` are those that were asked for.
        claim_phases: phases that successive reads of a claim see; the last one stays. A claim is bound at once else.
        requests: method and path of every request.
        user: who asks; a service account is named as `kubectl auth whoami` names it.
        kinds: what the group kubeflow.org/v1 serves; none: the group is unknown.
        dialect: the field of a TrainJob that tells Kubeflow Trainer's version; none: TrainJobs are not served.
        tried: objects that were to be created in a dry run.
        refusals: what these get instead of success, by kind: status and body.
        groups: the API groups that discovery knows, with their version.
    """

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, dict[str, Any]]] = {}
        self.faults: deque[int] = deque()
        self.job_states: deque[str] = deque()
        self.claim_phases: deque[str] = deque()
        self.logs: dict[str, str] = {}
        self.requests: list[str] = []
        self.refused: set[str] = set()
        self.rights: list[str] = []
        self.forbidden: set[str] = set()
        self.user = "system:serviceaccount:lab:pipeline-runner-dspa"
        self.kinds = ["pytorchjobs"]
        self.dialect = ""
        self.tried: list[dict[str, Any]] = []
        self.refusals: dict[str, tuple[int, Any]] = {}
        self.groups = {"batch": "v1", "kubeflow.org": "v1"}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def write_kubeconfig(self, path: Path) -> None:
        """A kubeconfig whose context is this server, namespace `lab`."""
        write_kubeconfig(path, f"http://127.0.0.1:{self.server.server_port}")

    def add(self, kind: str, name: str, **fields: Any) -> dict[str, Any]:
        metadata = {"name": name, **fields.pop("metadata", {})}
        self.objects.setdefault(kind, {})[name] = {"metadata": metadata, **fields}
        return self.objects[kind][name]

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if path.endswith("/selfsubjectreviews"):
            return 201, {"status": {"userInfo": {"username": self.user}}}
        if path.count("/") == 2:
            group = path.rpartition("/")[2]
            if group not in self.groups:
                return 404, "404 page not found\n"
            version = {"groupVersion": f"{group}/{self.groups[group]}", "version": self.groups[group]}
            return 200, {"kind": "APIGroup", "name": group, "versions": [version], "preferredVersion": version}
        if path.startswith("/openapi/v3/apis/trainer.kubeflow.org/"):
            spec: dict[str, Any] = {"properties": {"runtimeRef": {}, self.dialect: {}}}
            schemas = {"io.trainer.v1alpha1.TrainJob": {"properties": {"spec": spec}}, "io.trainer.v1alpha1.Other": {}}
            return 200, {"components": {"schemas": schemas}}
        if path in ("/apis/kubeflow.org/v1", "/apis/trainer.kubeflow.org/v1alpha1"):
            names = ["trainjobs", "trainingruntimes"] * bool(self.dialect) if "trainer" in path else self.kinds
            kinds = [{"name": name, "kind": "", "namespaced": True, "singularName": "", "verbs": []} for name in names]
            return (200, {"groupVersion": path[6:], "resources": kinds}) if kinds else (404, {})
        if path.endswith(("/selfsubjectaccessreviews", "/localsubjectaccessreviews")):
            asked = body["spec"]["resourceAttributes"]
            part = f"/{asked['subresource']}" if asked.get("subresource") else ""
            self.rights.append(f"{asked['verb']} {asked['resource']}{part}")
            return 201, {"spec": {}, "status": {"allowed": self.rights[-1] not in self.refused}}
        parts = path.rpartition("/namespaces/lab/")[2].removeprefix("/apis/storage.k8s.io/v1/").split("/")
        kind, name = parts[0], parts[1] if len(parts) > 1 else ""
        if kind in self.forbidden:
            what = f'{kind} is forbidden: User "{self.user}" cannot {method} resource "{kind}"'
            return 403, {"reason": "Forbidden", "message": what.replace("POST", "create")}
        stored = self.objects.setdefault(kind, {})
        if len(parts) > 2:
            return (200, self.logs.get(name, "")) if name in stored else (404, {})
        if method == "POST" and query.get("dryRun") == ["All"]:
            self.tried.append(body)
            return self.refusals.get(body["kind"], (201, body))
        if method == "POST":
            name = body["metadata"]["name"]
            if name in stored:
                return 409, {"reason": "AlreadyExists"}
            stored[name] = body
            return 201, body
        if not name:
            wanted = dict(pair.split("=") for pair in query.get("labelSelector", [""])[0].split(",") if pair)
            items = [o for o in stored.values() if wanted.items() <= o["metadata"].get("labels", {}).items()]
            return 200, {"items": items}
        if name not in stored:
            return 404, {"reason": "NotFound", "details": {"name": name}}
        if method == "DELETE":
            return 200, stored.pop(name)
        if method == "PATCH":
            patch(stored[name], body)
        if kind == "persistentvolumeclaims":
            stored[name]["status"] = {"phase": next_of(self.claim_phases) or "Bound"}
        if kind == "pytorchjobs" and self.job_states:
            state = next_of(self.job_states)
            condition = {"type": state, "status": "True", "message": f"job is {state}"}
            stored[name]["status"] = {"conditions": [condition] if state else []}
            # Kueue suspends the job when it is made, and lets it go when there is quota; it may take it back.
            stored[name]["spec"].setdefault("runPolicy", {})["suspend"] = state == "Suspended"
        if kind == "trainjobs" and self.job_states:
            state = next_of(self.job_states).replace("Succeeded", "Complete")
            condition = {"type": state, "status": "True", "message": f"job is {state}"}
            pods = {"name": "node", "ready": int(state == "Running"), "active": 1, "succeeded": 0, "failed": 0}
            stored[name]["status"] = {
                "conditions": [condition] if state not in ("", "Running") else [],
                "jobsStatus": [pods],
            }
            stored[name]["spec"]["suspend"] = state == "Suspended"
        return 200, stored[name]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                url = urlsplit(self.path)
                api.requests.append(f"{self.command} {url.path.rpartition('/namespaces/lab/')[2]}")
                status, answer = 200, None
                if api.faults:
                    status = api.faults.popleft()
                    answer = {"reason": "Fault"}
                    if status == 0:
                        self.close_connection = True
                        return
                else:
                    status, answer = api.answer(self.command, url.path, parse_qs(url.query), body)
                text = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_DELETE = do_PATCH = handle_any

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

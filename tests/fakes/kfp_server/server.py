"""The paths of the API; see the table in `tests.fakes.kfp_server`."""

import json
import re
from email import message_from_string
from email.message import Message
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.fakes.answers import Answer
from tests.fakes.answers import Server as AnsweringServer
from tests.fakes.kfp_server.checks import check_parameters, check_spec, refused
from tests.fakes.kfp_server.run import IMPL, Moment, Run

_API = "/apis/v2beta1/"
_DSPA = "datasciencepipelinesapplications.opendatahub.io"


class KfpServer(AnsweringServer):
    """A pipeline server and its project `lab`.

    Attributes:
        kfp: major and minor version of KFP.
        moments: how the next runs go; a number is the status of a server that fails at that moment.
        group, logs, messages, attempts: of the next runs, see Run.
        denied: resources of Kubernetes that the user may not read.
        no_uploads: the user may not upload pipelines.
        store_away: the object store can't be reached from here.
    """

    def __init__(self, release: str = "2.16.1", multi_user: bool = False) -> None:
        major, minor = release.split(".")[:2]
        self.kfp = int(major), int(minor)
        self.multi_user = multi_user
        self.moments: list[Any] = [Moment("SUCCEEDED")]
        self.group = ""
        self.logs: dict[str, str] = {}
        self.attempts: dict[str, tuple[str, ...]] = {}
        self.messages: dict[str, str] = {}
        self.denied: set[str] = set()
        self.no_uploads = False
        self.store_away = False
        self.experiments: list[dict[str, Any]] = []
        self.pipelines: list[dict[str, Any]] = []
        self.versions: list[dict[str, Any]] = []
        self.runs: list[Run] = []
        self.pipeline_servers: dict[str, dict[str, Any]] = {}
        self.console_links: dict[str, str] = {}
        super().__init__([])

    def answer(self, method: str, path: str, body: Any) -> Answer:
        place = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(place.query).items()}
        if place.path.startswith(_API):
            return self._api(method, place.path.removeprefix(_API).split("/"), query, body)
        if place.path.startswith("/apis/v1alpha1/runs/"):
            _, _, _, _, run_id, _, pod, _ = place.path.split("/")
            return self._server_log(run_id, pod)
        if place.path.startswith("/store/"):
            return self._stored(place.path, query)
        return self._kubernetes(place.path.strip("/").split("/"), query)

    def sent(self, method: str, path: str) -> list[Any]:
        """Bodies of the requests of this method to this path."""
        asked = [(one["method"], urlsplit(one["path"]).path, one["body"]) for one in self.requests]
        return [body for *place, body in asked if place == [method, path]]

    def duplicate_form(self, run_id: str) -> dict[str, str]:
        """What the dashboard's Duplicate fills in: pipeline and version, which it has from the run's reference."""
        reference = self._run(run_id).answer().get("pipeline_version_reference")
        if not reference:
            return {}
        version = next(one for one in self.versions if one["pipeline_version_id"] == reference["pipeline_version_id"])
        pipeline = next(one for one in self.pipelines if one["pipeline_id"] == version["pipeline_id"])
        return {"pipeline": pipeline["display_name"], "version": version["display_name"]}

    def _run(self, run_id: str) -> Run:
        return next(run for run in self.runs if run.id == run_id)

    def _api(self, method: str, parts: list[str], query: dict[str, str], body: Any) -> Answer:
        match [method, *parts]:
            case ["GET", "healthz"]:
                return 200, {"multi_user": self.multi_user}
            case ["GET", "experiments"]:
                return 200, _listed("experiments", self.experiments, query)
            case ["POST", "experiments"]:
                self.experiments.append({**body, "experiment_id": f"exp-{len(self.experiments)}"})
                return 200, self.experiments[-1]
            case ["GET", "pipelines"]:
                return 200, _listed("pipelines", self.pipelines, query)
            case ["POST", "pipelines"]:
                return self._create_pipeline(body)
            case ["GET", "pipelines", pipeline_id, "versions"]:
                own = [one for one in self.versions if one["pipeline_id"] == pipeline_id]
                return 200, _listed("pipeline_versions", own, query)
            case ["POST", "pipelines", "upload_version"]:
                return self._upload(query, body)
            case ["POST", "runs"]:
                return self._create_run(body)
            case ["GET", "runs", run_id]:
                answer = self._run(run_id).answer()
                return refused(answer, "later") if isinstance(answer, int) else (200, answer)
            case ["POST", "runs", action] if action.endswith(":terminate"):
                run = self._run(action.removesuffix(":terminate"))
                if run.moment.state in ("SUCCEEDED", "FAILED"):
                    return refused(400, f"Failed to terminate a run {run.id}. Row not found")
                run.stop()
                return 200, {}
            case ["GET", "artifacts"]:
                return 200, {"artifacts": [self._artifact(*one) for one in self._artifacts()]}
            case ["GET", "artifacts", number]:
                url = f"{self.url}/store/{number}?X-Amz-Signature=5f"
                found = self._artifact(*self._artifacts()[int(number)])
                return 200, {**found, "download_url": url} if query.get("view") == "DOWNLOAD" else found
        return refused(404, "Not Found")

    def _create_pipeline(self, body: dict[str, Any]) -> Answer:
        if self.no_uploads:
            return refused(403, "User is not authorized with reason: may not create pipelines")
        same = (one for one in self.pipelines if one.get("namespace") == body.get("namespace"))
        if any(one["display_name"] == body["display_name"] for one in same):
            return refused(409, "The name is already in use")
        self.pipelines.append({**body, "pipeline_id": f"pipeline-{len(self.pipelines)}"})
        return 200, self.pipelines[-1]

    def _upload(self, query: dict[str, str], body: str) -> Answer:
        boundary = body.split("\r\n", 1)[0].removeprefix("--")
        form = message_from_string(f"Content-Type: multipart/form-data; boundary={boundary}\n\n{body}")
        parts = form.get_payload()
        assert isinstance(parts, list)
        (file,) = parts
        assert isinstance(file, Message)
        assert 'name="uploadfile"' in file["Content-Disposition"]
        text = str(file.get_payload())
        pipeline_id = query["pipelineid"]
        if any((one["pipeline_id"], one["display_name"]) == (pipeline_id, query["name"]) for one in self.versions):
            return 409, {"error_message": "Failed to create a pipeline version"}
        spec, *platform = list(yaml.safe_load_all(text))
        if check_spec(spec, self.kfp):
            return 500, {"error_message": "Failed to create a pipeline version"}
        version = {
            "pipeline_id": pipeline_id,
            "pipeline_version_id": f"version-{len(self.versions)}",
            "display_name": query["name"],
            "description": query.get("description", ""),
            "pipeline_spec": {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec,
        }
        self.versions.append(version)
        return 200, version

    def _create_run(self, body: dict[str, Any]) -> Answer:
        if "plugins_input" in body and self.kfp < (2, 16):
            return refused(400, 'unknown field "plugins_input" in v2beta1.Run')
        reference = body.get("pipeline_version_reference")
        if reference:
            wanted = reference["pipeline_version_id"]
            found = [one for one in self.versions if one["pipeline_version_id"] == wanted]
            if not found or found[0]["pipeline_id"] != reference["pipeline_id"]:
                return refused(404, f"PipelineVersion {wanted} not found")
            held = found[0]["pipeline_spec"]
        else:
            held = body["pipeline_spec"]
        spec = held.get("pipeline_spec", held)
        values = body.get("runtime_config", {}).get("parameters", {})
        refusal = check_spec(spec, self.kfp) or check_parameters(spec, values)
        if refusal:
            return refusal
        name = spec["pipelineInfo"]["name"]
        templates = self._templates(spec, held.get("platform_spec", {}))
        self.runs.append(
            Run(
                body,
                name,
                list(self.moments),
                self.group,
                dict(self.logs),
                dict(self.messages),
                templates,
                self.attempts,
            )
        )
        return 200, {**body, "run_id": self.runs[-1].id, "state": "PENDING"}

    def _templates(self, spec: dict[str, Any], platform: dict[str, Any]) -> dict[str, str]:
        """Tasks with labels or annotations have a template of their own since 2.14."""
        executors = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
        components = {"root": spec["root"], **spec["components"]}
        found = {}
        for part in components.values():
            for task, content in part.get("dag", {}).get("tasks", {}).items():
                label = components[content["componentRef"]["name"]].get("executorLabel", "")
                metadata = executors.get(label, {}).get("podMetadata")
                if metadata and self.kfp >= (2, 14):
                    numbers = f"{len(metadata.get('annotations', {}))}-{len(metadata.get('labels', {}))}"
                    found[task] = f"metadata-{numbers}-{IMPL}"
        return found

    def _artifacts(self) -> list[tuple[Run, str, str]]:
        """What is in the object store: run, task, name. Nothing of failed tasks before 2.16, later only their log."""
        found = []
        for run in self.runs:
            for task, state in run.moment.tasks.items():
                if state == "SUCCEEDED":
                    found += [(run, task, "executor-logs"), (run, task, "findings")]
                elif state == "FAILED" and task in run.logs and self.kfp >= (2, 16):
                    found.append((run, task, "executor-logs"))
        return found

    def _artifact(self, run: Run, task: str, name: str) -> dict[str, Any]:
        path = f"{run.pipeline}/{run.id}/{task}/0b1c-77/{name}"
        number = str(self._artifacts().index((run, task, name)))
        return {"artifact_id": number, "storage_path": path, "uri": f"s3://pipelines/{path}"}

    def _stored(self, path: str, query: dict[str, str]) -> Answer:
        if self.store_away or query.get("X-Amz-Signature") != "5f":
            return 403, "<Error><Code>AccessDenied</Code></Error>"
        run, task, _ = self._artifacts()[int(path.rpartition("/")[2])]
        return 200, run.logs.get(task, "")

    def _server_log(self, run_id: str, pod: str) -> Answer:
        text = self._run(run_id).log(pod) if self.multi_user else None
        return 200, json.dumps({"error_message": f"Failed to read logs for run {run_id}"}) if text is None else text

    def _kubernetes(self, parts: list[str], query: dict[str, str]) -> Answer:
        resource = "pods/log" if parts[-1] == "log" else parts[-2] if "consolelinks" in parts else parts[-1]
        if resource in self.denied:
            return 403, {
                "kind": "Status",
                "status": "Failure",
                "reason": "Forbidden",
                "message": f"{resource} is forbidden",
            }
        chosen = [run for run in self.runs if query.get("labelSelector") == f"pipeline/runid={run.id}"]
        match parts:
            case ["apis", group, version, "namespaces", _, _] if group == _DSPA:
                found = self.pipeline_servers.get(version)
                return (200, found) if found else _no_such_kind()
            case ["api", "v1", "namespaces", _, "pods"]:
                return 200, {"items": [pod for run in chosen for pod in run.pods()]}
            case ["api", "v1", "namespaces", _, "pods", pod, "log"]:
                texts = [text for run in self.runs if (text := run.log(pod)) is not None]
                return (200, texts[0]) if texts else (404, {"reason": "NotFound", "details": {"name": pod}})
            case ["apis", "argoproj.io", "v1alpha1", "namespaces", _, "workflows"]:
                return 200, {"items": [run.manifest() for run in chosen]}
            case ["apis", "console.openshift.io", "v1", "consolelinks", name] if self.console_links:
                if name not in self.console_links:
                    return 404, {"reason": "NotFound", "details": {"name": name, "kind": "consolelinks"}}
                return 200, {"metadata": {"name": name}, "spec": {"href": self.console_links[name]}}
        return _no_such_kind()


def _no_such_kind() -> Answer:
    return 404, "404 page not found"


def _listed(key: str, items: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    """A list with the one filter that is used: of the display name. An empty list is an empty answer."""
    (wanted,) = json.loads(query["filter"])["predicates"]
    assert (wanted["key"], wanted["operation"]) == ("display_name", "EQUALS")
    assert not re.search(r"\s$", wanted["stringValue"])
    found = [
        one
        for one in items
        if one["display_name"] == wanted["stringValue"]
        and ("namespace" not in query or one.get("namespace") == query["namespace"])
    ]
    return {key: found} if found else {}

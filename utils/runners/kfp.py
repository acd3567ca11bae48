"""A run on a Kubeflow Pipelines server: find the server, submit, follow to the end.

The server walks the DAG; nothing here runs a task. It speaks the v2beta1 API through KFP's generated client.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kfp_server_api as api
import yaml
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError

from utils.errors import IlabError, PrerequisiteError, UsageError

FINAL_STATES = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"})
# Group and versions of the resource by which OpenShift AI sets up a pipeline server in a project.
_DSPA_GROUP = "datasciencepipelinesapplications.opendatahub.io"
_DSPA_VERSIONS = ("v1", "v1alpha1")
_REQUEST_SECONDS = 60


@dataclass(frozen=True)
class Server:
    """How to reach a server. `namespace` counts only on a multi-user one; "" is unset everywhere."""

    host: str
    token: str = field(default="", repr=False)
    ca_cert: str = ""
    namespace: str = ""


@dataclass(frozen=True)
class TaskReport:
    """What the server says of one task."""

    name: str
    state: str
    error: str = ""


@dataclass(frozen=True)
class RunReport:
    """What the server says of a run. `state` is one of KFP's: PENDING, RUNNING, SUCCEEDED, FAILED, CANCELED, …"""

    id: str
    name: str
    state: str
    error: str = ""
    tasks: tuple[TaskReport, ...] = ()

    @property
    def final(self) -> bool:
        return self.state in FINAL_STATES


def find_server(namespace: str = "", ca_cert: str = "") -> Server:
    """The pipeline server of a project on OpenShift AI, with the user's own token, from kubeconfig or the pod.

    Args:
        namespace: the project; "" for the current one.

    Raises:
        PrerequisiteError: no cluster, or no server in the project.
        UsageError: it has more than one.
    """
    from kubernetes import client, config

    try:
        settings, current = _cluster(config, client)
    except config.ConfigException as error:
        raise PrerequisiteError(
            "no pipeline server is named, and there is no cluster to find one in",
            str(error),
            "give --host URL (and --token-file), or log in to the cluster: oc login",
        ) from None
    project = namespace or current
    found = _pipeline_servers(client, settings, project)
    remedy = "name one with --host URL, or another project with --namespace"
    if not found:
        cause = "no DataSciencePipelinesApplication there is ready"
        raise PrerequisiteError(f"the project {project} has no pipeline server", cause, remedy)
    if len(found) > 1:
        raise UsageError(f"the project {project} has several pipeline servers: {', '.join(sorted(found))}", "", remedy)
    ((name, host),) = found.items()
    if not host:
        what = f"the pipeline server {name} in {project} has no address yet"
        raise PrerequisiteError(what, "", "wait until it is ready")
    # "Bearer TOKEN", or "bearer TOKEN" in a pod.
    token = settings.api_key.get("authorization", "").rpartition(" ")[2]
    return Server(host, token, ca_cert, project)


def _cluster(config: Any, client: Any) -> tuple[Any, str]:
    """Client settings for the cluster and the current namespace: the pod's own, else of the kubeconfig's context."""
    settings = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=settings)
        return settings, Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read_text().strip()
    except config.ConfigException:
        config.load_kube_config(client_configuration=settings)
        return settings, config.list_kube_config_contexts()[1]["context"].get("namespace", "default")


def _pipeline_servers(client: Any, settings: Any, project: str) -> dict[str, str]:
    """Name to URL of the pipeline servers in a project."""
    objects = client.CustomObjectsApi(client.ApiClient(settings))
    for version in _DSPA_VERSIONS:
        try:
            listed = objects.list_namespaced_custom_object(
                _DSPA_GROUP,
                version,
                project,
                "datasciencepipelinesapplications",
                _request_timeout=_REQUEST_SECONDS,
            )
        except client.ApiException as error:
            if error.status == 404:
                continue
            raise PrerequisiteError(
                f"can't look for a pipeline server in {project} ({error.status} {error.reason})",
                "the login has expired, or may not read DataSciencePipelinesApplications",
                "oc login, or give --host URL",
            ) from None
        except HTTPError as error:
            remedy = "oc login, or give --host URL"
            raise PrerequisiteError("the cluster can't be reached", str(error), remedy) from None
        return {item["metadata"]["name"]: _address(item) for item in listed["items"]}
    return {}


def _address(item: Mapping[str, Any]) -> str:
    server = item.get("status", {}).get("components", {}).get("apiServer", {})
    return server.get("externalUrl") or server.get("url") or ""


class KfpServer:
    """The API of one server; every refusal becomes a message for people."""

    def __init__(self, server: Server) -> None:
        """Prepare the connection; nothing is sent yet.

        Raises:
            UsageError: the host is no URL, the CA file is missing, or a token would travel unencrypted.
        """
        host = server.host.rstrip("/")
        if urlsplit(host).scheme not in ("http", "https") or not urlsplit(host).hostname:
            raise UsageError(f"--host {server.host!r} is no URL", "it starts with https://", "correct --host")
        if server.token and host.startswith("http:") and not _is_loopback(host):
            raise UsageError(
                f"a token is not sent to {host}", "http is not encrypted", "use the https:// address of the server"
            )
        if server.ca_cert and not Path(server.ca_cert).is_file():
            raise UsageError(f"the CA file {server.ca_cert} is missing", "", "correct --ca-cert")
        settings = api.Configuration(host=host)
        settings.ssl_ca_cert = server.ca_cert or None
        if server.token:
            settings.api_key["authorization"] = server.token
            settings.api_key_prefix["authorization"] = "Bearer"
        client = api.ApiClient(settings)
        self.host = host
        self._namespace = server.namespace
        self._runs = api.RunServiceApi(client)
        self._experiments = api.ExperimentServiceApi(client)
        self._health = api.HealthzServiceApi(client)

    def submit(self, package: str, arguments: Mapping[str, Any], experiment: str, name: str) -> str:
        """Start a run of a compiled pipeline and return its id.

        Args:
            package: the compiled pipeline's text; its documents are sent as they are.
            arguments: typed values of the pipeline's parameters.
            experiment: made when the server does not have it.
        """
        spec, *platform = [document for document in yaml.load_all(package, yaml.CSafeLoader) if document]
        run = api.V2beta1Run(
            display_name=name,
            experiment_id=self._experiment(experiment),
            pipeline_spec={"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec,
            runtime_config=api.V2beta1RuntimeConfig(parameters=dict(arguments)),
        )
        run_id: str = self._call(self._runs.run_service_create_run, run).run_id
        return run_id

    def report(self, run_id: str) -> RunReport:
        """How the run stands now."""
        run = self._call(self._runs.run_service_get_run, run_id)
        details = (run.run_details.task_details if run.run_details else None) or []
        tasks = (TaskReport(t.display_name or "", t.state or "", _message(t.error)) for t in details)
        ours = tuple(task for task in tasks if not _is_machinery(task.name))
        return RunReport(run_id, run.display_name or "", run.state or "PENDING", _message(run.error), ours)

    def follow(self, run_id: str, sleep: Callable[[float], None] = time.sleep) -> Iterator[RunReport]:
        """Reports of a run until it has ended, the last one final.

        The server may be away for up to ten minutes; what does not pass, such as a token that expired, is raised.

        Args:
            sleep: takes seconds.
        """
        failures = 0
        while True:
            try:
                report = self.report(run_id)
            except ServerAway:
                failures += 1
                if failures > 40:
                    raise
            else:
                failures = 0
                yield report
                if report.final:
                    return
            sleep(15.0 if failures else 5.0)

    def page(self, run_id: str) -> str:
        """Where the run is shown in KFP's own web interface."""
        return f"{self.host}/#/runs/details/{run_id}"

    def _experiment(self, name: str) -> str:
        """Id of the experiment of that name."""
        shared = not self._call(self._health.healthz_service_get_healthz).multi_user
        namespace = {} if shared or not self._namespace else {"namespace": self._namespace}
        condition = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
        found = self._call(
            self._experiments.experiment_service_list_experiments,
            filter=json.dumps({"predicates": [condition]}),
            **namespace,
        ).experiments
        if found:
            return str(found[0].experiment_id)
        new = api.V2beta1Experiment(display_name=name, **namespace)
        return str(self._call(self._experiments.experiment_service_create_experiment, new).experiment_id)

    def _call(self, operation: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return operation(*arguments, **options, _request_timeout=_REQUEST_SECONDS)
        except api.ApiException as error:
            raise _refusal(self.host, error) from None
        except MaxRetryError as error:
            if isinstance(error.reason, SSLError):
                raise IlabError(
                    f"TLS of {self.host} can't be verified", str(error.reason), "give its CA: --ca-cert FILE"
                ) from None
            raise ServerAway(f"{self.host} can't be reached", str(error.reason), "check --host and network") from None
        except HTTPError as error:
            raise ServerAway(f"{self.host} broke off", str(error), "try again") from None


class ServerAway(PrerequisiteError):
    """The server can't be reached or is overloaded: later it may answer."""


def _refusal(host: str, error: Any) -> IlabError:
    """What to tell about an answer that is no success; the server's own message is part of it."""
    said = " ".join(str(_said(error.body)).split())[:500]
    if error.status in (401, 403):
        remedy = "log in again (oc login), or give a fresh token: --token-file FILE"
        return IlabError(f"{host} refuses the token ({error.status})", said, remedy)
    if error.status in (408, 429) or error.status >= 500:
        return ServerAway(f"{host} answered {error.status}", said, "try again; look at the API server's log")
    if error.status == 404:
        return IlabError(f"{host}: not found", said, "check --host: it must be the Kubeflow Pipelines API")
    return IlabError(f"{host} refused the request ({error.status})", said, "ilab-pipeline lint checks the file")


def _said(body: Any) -> Any:
    try:
        content = yaml.safe_load(body or "")
    except yaml.YAMLError:
        return body
    return content.get("message") or content.get("error") or body if isinstance(content, dict) else body


def _is_machinery(name: str) -> bool:
    """Whether a task of the server's report is a pod of its own, beside those that the pipeline names."""
    return name in ("", "root", "executor") or name.endswith("-driver")


def _message(status: Any) -> str:
    return (status.message or "") if status else ""


def _is_loopback(host: str) -> bool:
    name = urlsplit(host).hostname or ""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"

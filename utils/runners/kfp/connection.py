"""Requests to one Kubeflow Pipelines server; every refusal becomes a message for people."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kfp_server_api as api
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError

from utils.errors import IlabError, PrerequisiteError, UsageError
from utils.foreign_text import TextError, read_yaml

REQUEST_SECONDS = 60
CLUSTER_PATIENCE = 10.0
"""Seconds in which a cluster must answer that is asked only for what the server does not say."""


@dataclass(frozen=True)
class Server:
    """How to reach a server.

    Attributes:
        namespace: of the user on a multi-user server; where the pods of runs are; "" is unset everywhere.
        ui: address that links to runs start with; "" to find it.
        project: found in the project `namespace` of a cluster with OpenShift AI.
        account: the service account of its runs; "" when it is not known.
    """

    host: str
    token: str = field(default="", repr=False)
    ca_cert: str = ""
    namespace: str = ""
    ui: str = ""
    project: bool = False
    account: str = ""


class ServerAway(PrerequisiteError):
    """The server can't be reached or is overloaded: later it may answer."""


class Refused(IlabError):
    """The server answered with a refusal, of this HTTP status."""

    def __init__(self, status: int, what: str, cause: str, remedy: str) -> None:
        super().__init__(what, cause, remedy)
        self.status = status


class Connection:
    """The API of one server."""

    def __init__(self, server: Server) -> None:
        """Prepare the connection; nothing is sent yet.

        Raises:
            UsageError: the host is not a URL, the CA file is missing, or a token would travel unencrypted.
        """
        host = server.host.rstrip("/")
        if urlsplit(host).scheme not in ("http", "https") or not urlsplit(host).hostname:
            raise UsageError(f"--host {server.host!r} is not a URL", "it starts with https://", "correct --host")
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
        self.host, self.server = host, server
        self.client = api.ApiClient(settings)

    @cached_property
    def multi_user(self) -> bool:
        """Whether the server has users with a namespace each; on OpenShift AI every project has its own server."""
        return bool(self.call(api.HealthzServiceApi(self.client).healthz_service_get_healthz).multi_user)

    @property
    def namespace(self) -> dict[str, str]:
        """The argument `namespace` of requests: the user's own on a multi-user server, else none."""
        return {"namespace": self.server.namespace} if self.server.namespace and self.multi_user else {}

    def call(self, operation: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """What an operation of the generated client returns.

        Raises:
            Refused: the server's answer is a refusal.
            ServerAway: it did not answer.
            IlabError: its certificate can't be verified.
        """
        try:
            return operation(*arguments, **options, _request_timeout=REQUEST_SECONDS)
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

    def get_text(self, path: str, **query: str) -> str:
        """The answer to a GET of a path that the generated client does not have."""
        answer = self.call(
            self.client.call_api,
            path,
            "GET",
            query_params=list(query.items()),
            auth_settings=["Bearer"],
            _return_http_data_only=True,
            _preload_content=False,
        )
        text: str = answer.data.decode(errors="replace")
        return text


def _refusal(host: str, error: Any) -> IlabError:
    """The message for an answer that is not a success, including the server's own message."""
    said = " ".join(str(_said(error.body)).split())[:500]
    if error.status in (401, 403):
        remedy = "log in again (oc login), or give a fresh token: --token-file FILE"
        return Refused(error.status, f"{host} refuses the token ({error.status})", said, remedy)
    if "Failed to compile job" in said or "compiling DAG" in said:
        # 500 of a server that does not understand the file (seen with KFP 2.5.0): it will never pass.
        remedy = "ilab-pipeline lint names what each release does not understand; compile the file again"
        return Refused(error.status, f"{host} can't compile the pipeline ({error.status})", said, remedy)
    if error.status in (408, 429) or error.status >= 500:
        return ServerAway(f"{host} answered {error.status}", said, "try again; look at the API server's log")
    if error.status == 404:
        remedy = "check --host: it must be the Kubeflow Pipelines API"
        return Refused(404, f"{host}: not found", said, remedy)
    remedy = "ilab-pipeline lint checks the file"
    if "plugins_input" in said or "pluginsInput" in said:
        remedy = "leave --mlflow-experiment out: only servers from OpenShift AI 3.5 on can log runs to MLflow"
    return Refused(error.status, f"{host} refused the request ({error.status})", said, remedy)


def _said(body: Any) -> Any:
    try:
        content = next(iter(read_yaml(body or "")), None)
    except TextError:
        return body
    keys = ("message", "error_message", "error")
    return next((content[key] for key in keys if content.get(key)), body) if isinstance(content, dict) else body


def _is_loopback(host: str) -> bool:
    name = urlsplit(host).hostname or ""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"

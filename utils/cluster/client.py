"""A pod's client: one request, retried while the API server is unreachable.

Pods carry this module: what only people at a terminal need belongs in `cluster` and `connection`.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar
from urllib.parse import urlencode

from urllib3 import HTTPResponse, Timeout
from urllib3.exceptions import HTTPError

from utils.cluster.errors import ClusterError
from utils.cluster.kinds import Kind
from utils.names import is_object_name

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its account's token, namespace and CA."""

Query = Mapping[str, str]
NO_QUERY: Query = MappingProxyType({})

# Seconds. The kubelet and etcd answer within a minute or not at all; a server that disappears may leave a connection
# without answers, so requests that only read are retried sooner the first time.
READ_SECONDS = 60.0
FIRST_READ_SECONDS = 15.0
# A server that is back is noticed within the longest pause; one request per pause is harmless.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0
# A server that has just started answers 401 and 403 while it loads roles, some 50 ms were seen.
DENIED_SECONDS = 6.0
TRANSIENT = {0, 429, 500, 502, 503, 504}
"""Status codes that may pass; 0 stands for no answer."""


class Tries:
    """Decides how long one request is retried.

    Attributes:
        client: who asks.
        verb, resource, name: what is asked, as in a Role's rule.
        body: what is sent.
        began, denied: when it began, and was denied first, by the client's clock; 0: it was not.
        pause: seconds before the next try.
        retried: it was sent more than once.
    """

    pause = FIRST_PAUSE
    denied = 0.0
    retried = False

    def __init__(self, client: "Client", verb: str, resource: str, name: str = "", body: Any = None) -> None:
        self.client, self.verb, self.resource, self.name, self.body = client, verb, resource, name, body
        self.began = client.clock()
        self.what = f"{verb} {resource} {name}".strip()

    def wait(self, status: int, text: str, retry_after: str = "") -> None:
        """Wait before the next try.

        Args:
            status: of the answer; 0 without one.
            text: the answer, or the reason of a lost connection.
            retry_after: the answer's header.

        Raises:
            ClusterError: retrying does not help, or did not.
        """
        client, now = self.client, self.client.clock()
        since, limit = self.began, client.patience
        if status not in TRANSIENT:
            since = self.denied = self.denied or now
            limit = DENIED_SECONDS if status in (401, 403) else 0
        if now - since + self.pause > limit:
            raise ClusterError(
                f"can't {self.what} in {client.namespace} ({status or 'no answer'})",
                text[:500],
                {
                    403: "apply manifests/access (on OpenShift: manifests/openshift), or give the account that right",
                    404: "install the operator that brings this kind of object",
                }.get(status, "try again when it is back"),
                status,
                self.retried,
            )
        client.sleep(self.pause)
        self.pause = min(2 * self.pause, LONGEST_PAUSE)

    def over(self) -> None:
        """It has succeeded."""


@dataclass(frozen=True)
class Client:
    """One namespace of one cluster, and how long to wait for it.

    Attributes:
        namespace: of all namespaced objects.
        api: the `kubernetes` package's ApiClient; it holds address, certificates and credentials.
        patience: seconds for which a request is retried while the API server is unreachable, overloaded or failing.
        clock: monotonic seconds.
        sleep: waits for a number of seconds.
    """

    namespace: str
    api: Any = field(repr=False)
    patience: float = 300.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    tries: ClassVar[type[Tries]] = Tries

    def send(
        self, verb: str, path: str, query: Query = NO_QUERY, body: Any = None, seconds: float = READ_SECONDS
    ) -> HTTPResponse:
        """One HTTP request, tried once; the response's body is still to be read.

        Args:
            seconds: that a read may take.

        Raises:
            urllib3.exceptions.HTTPError: no connection, or it was lost.
        """
        headers = {"Content-Type": f"application/{'merge-patch+' * (verb == 'patch')}json"}
        self.api.update_params_for_auth(headers, [], ["BearerToken"])
        return self.api.rest_client.pool_manager.request(
            {"create": "POST", "patch": "PATCH", "delete": "DELETE"}.get(verb, "GET"),
            f"{self.api.configuration.host}{path}{'?' * bool(query)}{urlencode(query)}",
            headers=headers,
            body=body and json.dumps(body),
            timeout=Timeout(connect=5, read=seconds),
            retries=False,
            redirect=False,
            preload_content=False,
        )

    def request(
        self,
        verb: str,
        kind: Kind,
        name: str = "",
        body: Any = None,
        query: Query = NO_QUERY,
        part: str = "",
    ) -> Any:
        """One request, retried while the API server is unreachable or overloaded, up to `patience` seconds.

        Retried with growing pauses: lost connections, 429, 500, 502, 503 and 504; for some seconds also 401 and
        403: a server that has just started does not know its roles yet.

        Args:
            verb: create, get, list, patch or delete.
            part: a subresource, like /log.

        Returns:
            the answer's JSON; the text of a log.

        Raises:
            ClusterError: with `status`; 404 for a missing object.
        """
        changes = verb in ("patch", "delete")  # without a name, of all objects
        if verb != "create" and (name or changes) and not is_object_name(name):
            raise ClusterError(f"can't {verb} {kind.resource} {name!r}", "no object can have this name", "", 404)
        tries = self.tries(self, verb, kind.resource + part, name, body)
        path = kind.path(self.namespace, "" if verb == "create" else name) + part
        while True:
            try:
                seconds = READ_SECONDS if body or tries.retried else FIRST_READ_SECONDS
                response = self.send(verb, path, query, body, seconds)
                status, text = response.status, response.read().decode(errors="replace")
                pause = response.headers.get("Retry-After", "")
            except HTTPError as error:
                status, text, pause = 0, f"{type(error).__name__}: {error}", ""
            if 0 < status < 300:
                answer = text if part else json.loads(text)
                tries.over()
                return answer
            tries.wait(status, text, pause)
            tries.retried = True


def pod_client() -> Client:
    """The client of the pod in which this runs, else of the default kubeconfig. Sends no request yet.

    Raises:
        ClusterError: neither exists.
    """
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        if (ACCOUNT / "token").exists():
            config.load_incluster_config(client_configuration=configuration)
            namespace = (ACCOUNT / "namespace").read_text().strip()
        else:
            config.load_kube_config(client_configuration=configuration)
            namespace = config.list_kube_config_contexts()[1]["context"].get("namespace", "default")
    except config.ConfigException as error:
        what = "the pod has no token for the Kubernetes API"
        raise ClusterError(what, str(error), "let it mount its account's token") from None
    return Client(namespace, client.ApiClient(configuration))

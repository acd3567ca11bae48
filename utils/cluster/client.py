"""The connection to a cluster, and one request, retried while the API server is unreachable.

Pods carry this module: what only people at a terminal need belongs in `connection` and `explained`.
"""

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from urllib3 import HTTPResponse, Timeout
from urllib3.exceptions import HTTPError

from utils.cluster.errors import AwayError, ClusterError, MissingKindError, UnreachableError
from utils.cluster.kinds import Kind

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its account's token, namespace and CA."""

# Seconds. The kubelet and etcd answer within a minute or not at all; a server that disappears may leave a connection
# without answers, so requests that only read are retried sooner the first time.
CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
FIRST_READ_SECONDS = 15.0
# A server that has never answered is more likely the wrong one than one that restarts.
FIRST_PATIENCE = 20.0
# A server that has just started answers 403 and 404 while it loads roles and kinds: some 50 ms were seen, with big
# clusters it takes longer. So what was granted before, or follows trouble, counts as denied only after so long.
SETTLING_SECONDS = 30.0
# A server that is back is noticed within the longest pause; one request per pause is no burden.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0
# The random part of a pause.
JITTER = 0.3
TRANSIENT = {429, 500, 502, 503, 504}
AWAY = {0, 502, 503, 504}
METHODS = {"create": "POST", "patch": "PATCH", "delete": "DELETE"}


class Words:
    """Messages about trouble with the API server, here for a pod's log. `explained` has longer ones."""

    def parsed(self, cluster: "Cluster", text: str) -> Any:
        """An answer's JSON."""
        return json.loads(text)

    def message(self, answer: Mapping[str, Any], body: Any) -> str:
        """The server's text in a Status; `body` is the body of the request."""
        return str(answer["message"])

    def lost(self, cluster: "Cluster", error: HTTPError) -> str:
        """A lost connection.

        Raises:
            ClusterError: waiting does not help.
        """
        return f"{type(error).__name__}: {str(error).rpartition(': ')[2]}"

    def refusal(self, asked: "Patience", answer: Mapping[str, Any]) -> ClusterError:
        """The error for a Status whose `code` is the HTTP status."""
        status = answer["code"]
        kind = MissingKindError if missing_kind(answer) else ClusterError
        return kind(
            f"can't {asked.what} in {asked.cluster.namespace} ({status})",
            self.message(answer, asked.body),
            "403: grant the right (kubectl apply -k manifests/access, oc: manifests/openshift); 404: install the "
            "operator of this kind; else correct what the cause names",
            status,
        )

    def waits(self, asked: "Patience", problem: str, away: bool) -> None:
        """Called before each pause before a retry; `away`: other requests fail as well."""

    def answered(self, asked: "Patience") -> None:
        """Called for each answer, including refusals."""


@dataclass
class Health:
    """The known state of the API server, shared by all threads.

    Attributes:
        answered: it has answered at least once.
        trouble: when it was last unreachable or failing, by the cluster's clock.
        granted: (verb, resource) of every request that it has allowed, for Secrets with the name.
    """

    answered: bool = False
    trouble: float = float("-inf")
    granted: set[tuple[str, ...]] = field(default_factory=set)


@dataclass(frozen=True)
class Cluster:
    """One namespace of one cluster, and how long to wait for it.

    Attributes:
        namespace: of all namespaced objects.
        api: the `kubernetes` package's ApiClient; it holds address, certificates and credentials.
        user: for messages: `in-cluster` or the kubeconfig's context.
        account: name of the service account of the pod in which this runs; "" outside a pod.
        patience: seconds for which a request is retried while the API server is unreachable, overloaded or failing.
        doubt: seconds for which a first denial is retried: the API server may have started just before this client.
        watch_seconds: length of one watch request; `stop` and deadlines are checked at least that often.
        log_seconds: a log without a new line for this long is reopened.
        clock: monotonic seconds.
        sleep: waits for a number of seconds.
        chance: a random number between 0 and 1, so that clients that lost a server do not return all at once.
        words: the messages about trouble.
    """

    namespace: str
    api: Any = field(repr=False)
    user: str = ""
    account: str = ""
    patience: float = 300.0
    doubt: float = 0.0
    watch_seconds: int = 5
    log_seconds: float = 30.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    words: Words = field(default=Words(), repr=False)
    health: Health = field(default_factory=Health, repr=False)

    @property
    def address(self) -> str:
        """URL of the API server."""
        return str(self.api.configuration.host)


def pod_cluster() -> Cluster:
    """The cluster of the pod in which this runs, else that of the default kubeconfig. Sends no request yet.

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
        raise ClusterError(
            "the pod has no token for the Kubernetes API", str(error), "let it mount its account's token"
        ) from None
    return Cluster(namespace, client.ApiClient(configuration), account="pod", doubt=5)


def missing_kind(answer: Mapping[str, Any]) -> bool:
    """Whether a Status is a 404 about the kind of object, not about one object or the namespace."""
    details = answer.get("details") or {}
    return answer["code"] == 404 and not details.get("name") and details.get("kind") != "namespaces"


def send(
    cluster: Cluster,
    verb: str,
    path: str,
    query: Mapping[str, str] | None = None,
    body: Any = None,
    read_seconds: float = READ_SECONDS,
) -> HTTPResponse:
    """One HTTP request, tried once; the response's body is still to be read.

    Raises:
        urllib3.exceptions.HTTPError: no connection, or it was lost.
    """
    content = "application/merge-patch+json" if verb == "patch" else "application/json"
    headers = {"Accept": "application/json, */*", "Content-Type": content, "User-Agent": "ilab-pipeline"}
    cluster.api.update_params_for_auth(headers, [], ["BearerToken"])
    return cluster.api.rest_client.pool_manager.request(
        METHODS.get(verb, "GET"),
        cluster.address + path + ("?" + urlencode(query) if query else ""),
        headers=headers,
        body=None if body is None else json.dumps(body).encode(),
        timeout=Timeout(connect=CONNECT_SECONDS, read=read_seconds),
        retries=False,
        redirect=False,
        preload_content=False,
    )


class Patience:
    """Decides how long an operation is retried: sleeps before the next try, or raises.

    Attributes:
        right: verb and resource as in a Role's rule.
        body: what is sent.
        since: when the trouble began, by the cluster's clock; None if there is none.
        told: it has been reported.
    """

    def __init__(self, cluster: Cluster, verb: str, resource: str, name: str = "", body: Any = None) -> None:
        self.cluster = cluster
        self.right = (verb, resource)
        self.name = name
        self.body = body
        self.since: float | None = None
        self.denied: float | None = None
        self.pause = FIRST_PAUSE
        self.told = False

    @property
    def what(self) -> str:
        """In words: `get jobs.batch train`."""
        return " ".join([*self.right, self.name]).strip()

    @property
    def _grant(self) -> tuple[str, ...]:
        """What a Role grants: Secrets one by one, other resources as a whole."""
        return (*self.right, self.name) if self.right[1] == "secrets" else self.right

    def worth_waiting(self, status: int, answer: Mapping[str, Any]) -> bool:
        """Whether the same request may get another answer a little later."""
        if status in TRANSIENT or (status == 409 and answer.get("reason") == "Conflict"):
            return True
        if status not in (401, 403) and not missing_kind(answer):
            return False
        now, health = self.cluster.clock(), self.cluster.health
        self.denied = now if self.denied is None else self.denied
        started = self._grant in health.granted or now - health.trouble < SETTLING_SECONDS
        return now - self.denied < (SETTLING_SECONDS if started else self.cluster.doubt)

    def trouble(self, problem: str, retry_after: str | None = None, status: int = 0) -> None:
        """Wait before the next try.

        Args:
            problem: for users, without secrets.
            retry_after: the header's value: seconds (a date counts as unset).
            status: of the answer; 0 without one.

        Raises:
            ClusterError: it has lasted too long.
        """
        cluster, now = self.cluster, self.cluster.clock()
        problem = f"{status} {problem}"[:300] if status else problem
        self.since = now if self.since is None else self.since
        # A log comes from its node: the node may be unreachable while the API server is not.
        away = status in AWAY and self.right[1] != "pods/log"
        if away:
            cluster.health.trouble = now
        right_one = cluster.health.answered or status or cluster.account
        limit = cluster.patience if right_one else min(cluster.patience, FIRST_PATIENCE)
        asked = retry_after is not None and retry_after.isdigit()
        pause = float(retry_after or 0) if asked else self.pause * (1 - JITTER * cluster.chance())
        if now - self.since + pause > limit:
            kind = AwayError if cluster.health.answered else UnreachableError
            raise kind(
                f"the cluster did not {self.what} within {limit:.0f} s",
                f"{cluster.address}: {problem}",
                "check that it is up: kubectl cluster-info; then start again with the same run id to resume",
                status,
            )
        cluster.words.waits(self, problem, away)
        self.pause = min(2 * self.pause, LONGEST_PAUSE)
        cluster.sleep(pause)

    def answered(self, status: int = 200) -> None:
        """The server has answered, perhaps with a refusal."""
        health = self.cluster.health
        health.answered, self.since, self.denied, self.pause = True, None, None, FIRST_PAUSE
        if status not in (401, 403):
            health.granted.add(self._grant)
        self.cluster.words.answered(self)


def request(
    cluster: Cluster,
    verb: str,
    kind: Kind,
    name: str = "",
    subresource: str = "",
    query: Mapping[str, str] | None = None,
    body: Any = None,
) -> Any:
    """One request, retried while the API server is unreachable or overloaded, up to `cluster.patience` seconds.

    Retried with growing pauses: lost connections, 429 (respecting Retry-After), 500, 502, 503, 504, a 409 that only
    means a concurrent write, and for some seconds also 401, 403 and unknown kinds if they follow trouble or deny what
    was granted before: a server that has just started does not know its roles and kinds yet.

    Args:
        verb: create, get, list, patch or delete.

    Returns:
        the answer's JSON, or text if the server sends text (logs).

    Raises:
        ClusterError: with `status`; 404 for a missing object. `cluster.words` chooses the subclass.
    """
    part = f"/{subresource}" if subresource else ""
    path = kind.path(cluster.namespace, "" if verb == "create" else name) + part
    text = answer_text(Patience(cluster, verb, kind.resource + part, name, body), path, query)
    return text if subresource == "log" else cluster.words.parsed(cluster, text)


def answer_text(patience: Patience, path: str, query: Mapping[str, str] | None = None) -> str:
    """The text of the answer to a request for a path; see `request`."""
    cluster, verb, body, retried = patience.cluster, patience.right[0], patience.body, False
    while True:
        seconds = FIRST_READ_SECONDS if verb in ("get", "list") and not retried else READ_SECONDS
        try:
            response = send(cluster, verb, path, query, body, seconds)
            status, text = response.status, response.read().decode(errors="replace")
        except HTTPError as error:
            patience.trouble(cluster.words.lost(cluster, error))
            retried = True
            continue
        if status < 300:
            patience.answered()
            return text
        answer = status_object(text, status)
        if not patience.worth_waiting(status, answer):
            patience.answered(status)
            refused = cluster.words.refusal(patience, answer)
            refused.retried = retried
            raise refused
        retried = True
        patience.trouble(cluster.words.message(answer, body), response.headers.get("Retry-After"), status)


def status_object(text: str, status: int) -> dict[str, Any]:
    """The server's Status object; a plain text answer (a proxy's, `404 page not found`) becomes one."""
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    found = answer if isinstance(answer, dict) else {"message": text.strip()[:300]}
    reason = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    return {**found, "code": status, "message": found.get("message") or found.get("reason") or reason}

"""One request to the API server, with patience."""

import json
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from urllib3 import HTTPResponse, Timeout
from urllib3.exceptions import HTTPError, SSLError

from utils.cluster.client import Cluster
from utils.cluster.errors import AwayError, ClusterError, UnreachableError
from utils.cluster.kinds import KINDS
from utils.cluster.refusal import missing_kind, redacted, refusal

# Seconds. The kubelet and etcd answer within a minute or not at all; a server that goes away may leave a connection
# that nothing answers on, so what only reads asks again sooner the first time.
CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
FIRST_READ_SECONDS = 15.0
# A server that has never answered is more likely the wrong one than one that restarts.
FIRST_PATIENCE = 20.0
# A server that has just started answers 403 and 404 while it loads roles and kinds: some 50 ms were seen, with big
# clusters it takes longer. So what was granted before, or follows trouble, counts as denied only after so long.
SETTLING_SECONDS = 30.0
# Trouble of one kind of request is told when it has lasted so long.
TELLING_SECONDS = 20.0
# A server that is back is noticed within the longest pause; one request in it burdens nobody.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0
# The part of a pause that is left to chance.
JITTER = 0.3
DENIALS = {401, 403, 404}
TRANSIENT = {429, 500, 502, 503, 504}
AWAY = {0, 502, 503, 504}
METHODS = {"create": "POST", "get": "GET", "list": "GET", "watch": "GET", "patch": "PATCH", "delete": "DELETE"}


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
        METHODS[verb],
        cluster.address + path + ("?" + urlencode(query) if query else ""),
        headers=headers,
        body=None if body is None else json.dumps(body).encode(),
        timeout=Timeout(connect=CONNECT_SECONDS, read=read_seconds),
        retries=False,
        redirect=False,
        preload_content=False,
    )


class Patience:
    """Decides how long one undertaking goes on in spite of trouble: sleeps before the next try, or raises."""

    def __init__(self, cluster: Cluster, verb: str, resource: str, name: str = "") -> None:
        self.cluster = cluster
        self.right = (verb, resource)
        self.name = name
        self.since: float | None = None
        self.told = False
        self.denied: float | None = None
        self.pause = FIRST_PAUSE

    @property
    def _grant(self) -> tuple[str, ...]:
        """What a Role grants: of Secrets one by one, of other resources all."""
        return (*self.right, self.name) if self.right[1] == "secrets" else self.right

    def worth_waiting(self, status: int, answer: Mapping[str, Any]) -> bool:
        """Whether the same request may be answered otherwise a little later."""
        if status in TRANSIENT or (status == 409 and answer.get("reason") == "Conflict"):
            return True
        if status not in DENIALS or (status == 404 and not missing_kind(answer)):
            return False
        now, health = self.cluster.clock(), self.cluster.health
        self.denied = now if self.denied is None else self.denied
        started = self._grant in health.granted or now - health.trouble < SETTLING_SECONDS
        return started and now - self.denied < SETTLING_SECONDS

    def trouble(self, problem: str, retry_after: str | None = None, status: int = 0) -> None:
        """Wait before the next try.

        Args:
            problem: for people, without secrets.
            retry_after: the header's value: seconds (a date counts as unset).
            status: of the answer; 0 without one.

        Raises:
            ClusterError: it has gone on for too long.
        """
        cluster, now = self.cluster, self.cluster.clock()
        problem = f"{status} {problem}"[:300] if status else problem
        self.since = now if self.since is None else self.since
        # A log comes from its node: when that is away, the API server need not be.
        away = status in AWAY and self.right[1] != "pods/log"
        if away:
            cluster.health.trouble = now
        right_one = cluster.health.answered or status or cluster.account
        limit = cluster.patience if right_one else min(cluster.patience, FIRST_PATIENCE)
        asked = retry_after is not None and retry_after.isdigit()
        pause = float(retry_after or 0) if asked else self.pause * (1 - JITTER * cluster.chance())
        if now - self.since + pause > limit:
            what = " ".join([*self.right, self.name]).strip()
            kind = AwayError if cluster.health.answered else UnreachableError
            raise kind(
                f"the cluster did not {what} within {limit:.0f} s",
                f"{cluster.address}: {problem}",
                "look whether it is up: kubectl cluster-info; then start again with the same run id: it goes on",
                status,
            )
        if away and not cluster.health.away:
            cluster.health.away = True
            cluster.notify(f"the API server is away ({problem}); waiting")
        elif not away and not self.told and now - self.since >= TELLING_SECONDS:
            # A broken admission webhook answers so, too, and does not mend itself.
            self.told = True
            cluster.notify(f"the API server does not {' '.join(self.right)} now ({problem}); trying again")
        self.pause = min(2 * self.pause, LONGEST_PAUSE)
        cluster.sleep(pause)

    def answered(self, status: int = 200) -> None:
        """The server has answered, be it with a refusal."""
        health = self.cluster.health
        health.answered, self.since, self.denied, self.pause = True, None, None, FIRST_PAUSE
        if status not in (401, 403):
            health.granted.add(self._grant)
        if health.away or self.told:
            health.away = self.told = False
            self.cluster.notify("the API server is back")


def connection_problem(cluster: Cluster, error: HTTPError) -> str:
    """A lost connection in words.

    Raises:
        ClusterError: waiting does not help: the server's certificate is not trusted.
    """
    if isinstance(error, SSLError) and isinstance(error.args[0], ssl.SSLCertVerificationError):
        raise ClusterError(
            "the API server's certificate is not trusted",
            f"{cluster.address}: {error.args[0].verify_message}",
            "put the cluster's CA into the kubeconfig (certificate-authority), or log in again",
        ) from None
    return f"{type(error).__name__}: {str(error).rpartition(': ')[2]}"


def request(
    cluster: Cluster,
    verb: str,
    kind: str,
    name: str = "",
    subresource: str = "",
    query: Mapping[str, str] | None = None,
    body: Any = None,
) -> Any:
    """One request, tried again while the API server is away or overloaded, up to `cluster.patience` seconds.

    Tried again with growing pauses: lost connections, 429 (Retry-After is kept), 500, 502, 503, 504, a 409 that only
    means that someone else wrote at the same time, and for some seconds also 401, 403 and unknown kinds where they come
    after trouble or deny what was granted before: a server that has just started does not know its roles and kinds yet.

    Args:
        verb: create, get, list, patch or delete.

    Returns:
        the answer's JSON, or text where the server sends text (logs).

    Raises:
        ForbiddenError, ConflictError, GoneError, MissingKindError, ClusterError: with `status`; 404 for what is not
            there.
    """
    known = KINDS[kind]
    path = known.path(cluster.namespace, "" if verb == "create" else name) + (f"/{subresource}" if subresource else "")
    resource = known.resource + (f"/{subresource}" if subresource else "")
    patience, retried = Patience(cluster, verb, resource, name), False
    while True:
        seconds = FIRST_READ_SECONDS if verb in ("get", "list") and not retried else READ_SECONDS
        try:
            response = send(cluster, verb, path, query, body, seconds)
            status, text = response.status, response.read().decode(errors="replace")
        except HTTPError as error:
            patience.trouble(connection_problem(cluster, error))
            retried = True
            continue
        if status < 300:
            patience.answered()
            return text if subresource == "log" else _parsed(cluster, text)
        answer = status_object(text, status)
        if not patience.worth_waiting(status, answer):
            patience.answered(status)
            refused = refusal(cluster.namespace, verb, resource, name, answer, body)
            refused.retried = retried
            raise refused
        retried = True
        patience.trouble(redacted(answer["message"], body), response.headers.get("Retry-After"), status)


def _parsed(cluster: Cluster, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise ClusterError(
            "the server that answers is not an API server",
            f"{cluster.address} sends something else than JSON, perhaps a login page",
            "correct the server's address in the kubeconfig",
        ) from None


def status_object(text: str, status: int) -> dict[str, Any]:
    """The server's Status object; a plain text answer (a proxy's, `404 page not found`) becomes one."""
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    found = answer if isinstance(answer, dict) else {"message": text.strip()[:300]}
    reason = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    return {**found, "code": status, "message": found.get("message") or found.get("reason") or reason}

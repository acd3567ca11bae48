"""A command's client, which survives hours of trouble and has messages for people at a terminal."""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar

from utils.cluster.client import FIRST_PAUSE, LONGEST_PAUSE, NO_QUERY, TRANSIENT, Client, Query, Tries
from utils.cluster.errors import AwayError, ClusterError, GoneError, UnreachableError
from utils.cluster.kinds import Kind
from utils.cluster.refusal import by_admission, missing_kind, redacted, refusal

# Seconds. A server that has never answered is more likely the wrong one than one that restarts.
FIRST_PATIENCE = 20.0
# A server that has just started answers 403 and 404 while it loads roles and kinds: some 50 ms were seen, with big
# clusters it takes longer. So what was granted before, or follows trouble, counts as denied only after so long.
SETTLING_SECONDS = 30.0
# Trouble of one kind of request is reported when it has lasted this long.
TELLING_SECONDS = 20.0
# The random part of a pause.
JITTER = 0.3
DENIALS = {401, 403, 404}
AWAY = {0, 502, 503, 504}
_PAGE = "500"


@dataclass
class Health:
    """The known state of the API server, shared by all threads.

    Attributes:
        answered: it has answered at least once.
        trouble: when it was last unreachable or failing, by the cluster's clock.
        away: its absence has been reported.
        granted: (verb, resource) of every request that it has allowed, for Secrets with the name.
    """

    answered: bool = False
    trouble: float = float("-inf")
    away: bool = False
    granted: set[tuple[str, ...]] = field(default_factory=set)


class Patience(Tries):
    """Decides how long an operation is retried: sleeps before the next try, or raises.

    It also retries a 409 that only means a concurrent write, respects Retry-After, and retries 401, 403 and unknown
    kinds for longer if they follow trouble or deny what was granted before. An answer that no API server gives (a
    proxy's, a login page) is retried if an API server has answered before.
    """

    def __init__(self, client: "Cluster", verb: str, resource: str, name: str = "", body: Any = None) -> None:
        super().__init__(client, verb, resource, name, body)
        self.cluster = client
        self.since: float | None = None
        self.told = False

    @property
    def _grant(self) -> tuple[str, ...]:
        """What a Role grants: Secrets one by one, other resources as a whole."""
        right = (self.verb, self.resource)
        return (*right, self.name) if self.resource == "secrets" else right

    def wait(self, status: int, text: str, retry_after: str = "") -> None:
        """Wait before the next try.

        Args:
            status: of the answer; 0 without one.
            text: the answer, or the reason of a lost connection.
            retry_after: the answer's header: seconds (a date counts as unset).

        Raises:
            ForbiddenError, ConflictError, GoneError, MissingKindError, ClusterError: it is refused, or the trouble has
                lasted too long.
        """
        if not status:
            self.trouble(self._lost(text))
            return
        answer = status_object(text, status)
        if not self.worth_waiting(status, answer):
            self._answered(status)
            raise self.refusal(answer)
        denied = self.refusal(answer) if status in DENIALS else None
        self.trouble(redacted(answer["message"], self.body), retry_after, status, denied)

    def over(self) -> None:
        """It has succeeded."""
        self._answered(200)

    def refusal(self, answer: Mapping[str, Any]) -> ClusterError:
        """The error for a Status."""
        namespace = self.cluster.namespace
        error = refusal(namespace, self.verb, self.resource, self.name, answer, self.body)
        error.retried = self.retried
        return error

    def worth_waiting(self, status: int, answer: Mapping[str, Any]) -> bool:
        """Whether the same request may get another answer a little later."""
        if status in TRANSIENT or status > 500 or (status == 409 and answer.get("reason") == "Conflict"):
            return True
        now, health = self.cluster.clock(), self.cluster.health
        if status not in DENIALS:
            return health.answered and (status < 400 or answer.get("kind") != "Status")
        if status == 404 and not missing_kind(answer):
            return False
        self.denied = self.denied or now
        granted = self._grant in health.granted
        started = granted or now - health.trouble < SETTLING_SECONDS
        regranted = granted and not (status == 403 and by_admission(answer["message"]))
        return started and now - self.denied < (self.cluster.regrant_seconds if regranted else SETTLING_SECONDS)

    def trouble(self, problem: str, retry_after: str = "", status: int = 0, denied: ClusterError | None = None) -> None:
        """Wait before the next try of what may get another answer a little later.

        Args:
            problem: for users, without secrets.
            retry_after: the header's value.
            status: of the answer; 0 without one.
            denied: the error if it lasts too long and is a refusal.

        Raises:
            ClusterError: it has lasted too long.
        """
        cluster, now = self.cluster, self.cluster.clock()
        problem = f"{status} {problem}"[:300] if status else problem
        self.since = now if self.since is None else self.since
        # A log comes from its node: the node may be unreachable while the API server is not.
        away = status in AWAY and self.resource != "pods/log"
        if away:
            cluster.health.trouble = now
        right_one = cluster.health.answered or status or cluster.account
        limit = cluster.patience if right_one else min(cluster.patience, FIRST_PATIENCE)
        asked = retry_after.isdigit()
        pause = float(retry_after) if asked else self.pause * (1 - JITTER * cluster.chance())
        if now - self.since + pause > limit or cluster.in_a_hurry():
            if denied:
                raise denied
            kind = AwayError if cluster.health.answered else UnreachableError
            raise kind(
                f"the cluster did not {self.what} within {limit:.0f} s",
                f"{cluster.address}: {problem}",
                "check that it is up: kubectl cluster-info; then start again with the same run id to resume",
                status,
            )
        if away and not cluster.health.away:
            cluster.health.away = True
            cluster.notify(f"the API server is unreachable ({problem}); waiting")
        elif not away and not self.told and now - self.since >= TELLING_SECONDS:
            # A broken admission webhook gives the same answer, and does not recover by itself.
            self.told = True
            cluster.notify(f"the API server does not {self.verb} {self.resource} now ({problem}); retrying")
        self.pause = min(2 * self.pause, LONGEST_PAUSE)
        cluster.sleep(pause)

    def _answered(self, status: int) -> None:
        """The server has answered, perhaps with a refusal."""
        health = self.cluster.health
        health.answered, self.since, self.denied, self.pause = True, None, 0.0, FIRST_PAUSE
        if status not in (401, 403):
            health.granted.add(self._grant)
        if health.away or self.told:
            health.away = self.told = False
            self.cluster.notify("the API server is back")

    def _lost(self, text: str) -> str:
        """A lost connection in words.

        Raises:
            ClusterError: waiting does not help: the server's certificate is not trusted, and never was.
        """
        kind, _, told = text.partition(": ")
        why = told.rpartition(": ")[2]
        if "CERTIFICATE_VERIFY_FAILED" in told and not self.cluster.health.answered:
            raise ClusterError(
                "the API server's certificate is not trusted",
                f"{self.cluster.address}: {why}",
                "put the cluster's CA into the kubeconfig (certificate-authority), or log in again",
            )
        return f"{kind}: {why}"


@dataclass(frozen=True)
class Cluster(Client):
    """One namespace of one cluster, as a command knows it.

    Attributes:
        user: for messages: `in-cluster` or the kubeconfig's context.
        account: name of the service account of the pod in which this runs; "" outside a pod.
        watch_seconds: length of one watch request; `stop` and deadlines are checked at least that often.
        regrant_seconds: how long what was granted before may be denied: a login is renewed, a role is restored.
        in_a_hurry: whether an API server that is away is no longer waited for.
        log_seconds: a log without a new line for this long is reopened.
        chance: a random number between 0 and 1, so that clients that lost a server do not return all at once.
        notify: called once when the API server becomes unreachable and once when it is back.
    """

    user: str = ""
    account: str = ""
    watch_seconds: int = 5
    regrant_seconds: float = SETTLING_SECONDS
    in_a_hurry: Callable[[], bool] = field(default=lambda: False, repr=False)
    log_seconds: float = 30.0
    chance: Callable[[], float] = random.random
    notify: Callable[[str], None] = field(default=lambda text: None, repr=False)
    health: Health = field(default_factory=Health, repr=False)
    tries: ClassVar[type[Tries]] = Patience

    @property
    def address(self) -> str:
        """URL of the API server."""
        return str(self.api.configuration.host)

    def request(
        self,
        verb: str,
        kind: Kind,
        name: str = "",
        body: Any = None,
        query: Query = NO_QUERY,
        part: str = "",
    ) -> Any:
        """As a pod's; a long list comes in pages, and an answer without JSON is an error."""
        if verb == "list":
            return self._list(kind, query)
        return self._request(verb, kind, name, body, query, part)

    def _request(self, *asked: Any) -> Any:
        """One request. A login page in the place of an API server that has answered before is waited out."""
        patience = Patience(self, asked[0], asked[1].resource, asked[2])
        while True:
            try:
                return super().request(*asked)
            except json.JSONDecodeError:
                if not self.health.answered:
                    raise ClusterError(
                        "the server that answers is not an API server",
                        f"{self.address} sends anything but JSON, perhaps a login page",
                        "correct the server's address in the kubeconfig",
                    ) from None
                patience.trouble("an answer that is not JSON, perhaps a login page")

    def _list(self, kind: Kind, query: Query) -> Any:
        items: list[Any] = []
        asked = {**query, "limit": _PAGE}
        while True:
            try:
                answer = self._request("list", kind, "", None, asked, "")
            except GoneError:  # the list took too long: its next pages are no longer known
                items, asked = [], {**query}
                continue
            items += answer["items"]
            following = (answer.get("metadata") or {}).get("continue")
            if not following:
                return {**answer, "items": items}
            asked = {**asked, "continue": following}


def status_object(text: str, status: int) -> dict[str, Any]:
    """The server's Status object; a plain text answer (a proxy's, `404 page not found`) becomes one."""
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    found = answer if isinstance(answer, dict) else {"message": text.strip()[:300]}
    reason = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    return {**found, "code": status, "message": found.get("message") or found.get("reason") or reason}

"""Follow the objects of a kind through everything that cuts a watch off."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError

from utils.cluster.client import Cluster
from utils.cluster.errors import GoneError
from utils.cluster.kinds import KINDS
from utils.cluster.objects import list_page, selectors
from utils.cluster.refusal import refusal
from utils.cluster.request import TRANSIENT, Patience, connection_problem, send, settling, status_object

# How long after its announced end a watch may still be silent before its connection counts as dead.
_SLACK_SECONDS = 15.0

Change = tuple[str, dict[str, Any]]


def never() -> bool:
    return False


def watch(
    cluster: Cluster, kind: str, labels: str = "", fields: str = "", stop: Callable[[], bool] = never
) -> Iterator[Change]:
    """What is there, then every change, until `stop` says so.

    Yields:
        ("ADDED" | "MODIFIED" | "DELETED", object), and ("SYNC", {}) whenever all that is known has been told: after
        the first list, and then at least every `cluster.watch_seconds`, the time to look at deadlines. While the API
        server is away nothing is yielded. After a gap, what vanished in it is told as DELETED with its last known
        state, what is new as ADDED, what has another resourceVersion as MODIFIED; nothing is told twice.

    Survives dropped connections, 410 (lists again), 429 (keeps Retry-After), 500 to 504, and a restarted API server.

    Raises:
        ForbiddenError, MissingKindError, ClusterError: 401, 403, an unknown kind, or no answer in `cluster.patience` s.
    """
    known: dict[str, dict[str, Any]] = {}
    patience = Patience(cluster, "watch", KINDS[kind].resource)
    query = selectors(labels, fields)
    version = ""
    while not stop():
        if not version:
            items, version = list_page(cluster, kind, labels, fields)
            yield from _relisted(known, items)
            yield "SYNC", {}
            continue
        try:
            for name, found in _window(cluster, kind, query, version, patience):
                version = found["metadata"].get("resourceVersion") or version
                if name != "BOOKMARK":
                    yield from _told(known, name, found)
                if stop():
                    return
            yield "SYNC", {}
        except GoneError as error:
            version = ""
            patience.trouble(str(error), status=410)
        except HTTPError as error:
            patience.trouble(connection_problem(cluster, error))


def _relisted(known: dict[str, dict[str, Any]], items: list[dict[str, Any]]) -> Iterator[Change]:
    """The changes between what was known and a new list; `known` becomes the list."""
    uids = {item["metadata"]["uid"] for item in items}
    for uid in [uid for uid in known if uid not in uids]:
        yield "DELETED", known.pop(uid)
    for item in items:
        yield from _told(known, "ADDED", item)


def _told(known: dict[str, dict[str, Any]], change: str, found: dict[str, Any]) -> Iterator[Change]:
    """A change, unless it was told before: a watch that goes on may repeat its last ones."""
    metadata = found["metadata"]
    before = known.get(metadata["uid"])
    if change == "DELETED":
        if known.pop(metadata["uid"], None):
            yield change, found
    elif before is None or before["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
        known[metadata["uid"]] = found
        yield "MODIFIED" if before else "ADDED", found


def _window(cluster: Cluster, kind: str, query: dict[str, str], version: str, patience: Patience) -> Iterator[Change]:
    """The changes of one watch request, which the server ends after `watch_seconds`.

    Raises:
        GoneError, urllib3.exceptions.HTTPError: to be gone on from.
        ForbiddenError, MissingKindError, ClusterError: for good.
    """
    path = KINDS[kind].path(cluster.namespace)
    more = {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": version,
        "timeoutSeconds": str(cluster.watch_seconds),
    }
    response = send(cluster, "watch", path, {**query, **more}, read_seconds=cluster.watch_seconds + _SLACK_SECONDS)
    try:
        if response.status >= 300:
            answer = status_object(response.read().decode(errors="replace"), response.status)
            _refused(cluster, kind, answer, response.headers.get("Retry-After"), patience)
            return
        for line in lines_of(response):
            change = json.loads(line)
            found = change["object"]
            if change["type"] == "ERROR":
                _refused(cluster, kind, status_object(json.dumps(found), found.get("code", 500)), None, patience)
                return
            patience.fine()
            yield change["type"], found
        patience.fine()
    finally:
        # A response left half read must not go back into the pool.
        response.close()


def _refused(cluster: Cluster, kind: str, answer: dict[str, Any], retry_after: str | None, patience: Patience) -> None:
    """Wait where that helps, else raise."""
    status = answer["code"]
    if status not in TRANSIENT and not settling(cluster, status, answer):
        raise refusal(cluster.namespace, "watch", KINDS[kind].resource, "", answer)
    patience.trouble(f"{status} {answer['message'][:300]}", retry_after, status)


def lines_of(response: HTTPResponse, rest_too: bool = False) -> Iterator[bytes]:
    """The lines of a stream as they come, without line ends.

    Args:
        rest_too: at a clean end, what follows the last line end is a line as well.

    Raises:
        urllib3.exceptions.HTTPError: the connection was lost; what was read of a line is dropped.
    """
    rest = b""
    for chunk in response.stream(2**16):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest and rest_too:
        yield rest

"""Follow the objects of a kind across everything that interrupts a watch."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from utils.cluster.cluster import DENIALS, Cluster, Patience, status_object
from utils.cluster.errors import GoneError
from utils.cluster.kinds import Kind
from utils.cluster.objects import list_page
from utils.cluster.streams import TryAgain, never, stream

# How long after its announced end a watch may still be silent before its connection counts as dead.
_SLACK_SECONDS = 5.0
# A watch that broke this many times in a row without a change may never get through a proxy; then list again.
_BROKEN = 3

Change = tuple[str, dict[str, Any]]


def watch(
    cluster: Cluster, kind: Kind, labels: str = "", fields: str = "", stop: Callable[[], bool] = never
) -> Iterator[Change]:
    """The existing objects, then every change, until `stop` returns true.

    Yields:
        ("ADDED" | "MODIFIED" | "DELETED", object), and ("SYNC", {}) whenever everything known has been yielded: after
        the first list, and then at least every `cluster.watch_seconds`, the time to check deadlines. While the API
        server is unreachable, nothing is yielded. After a gap, objects that vanished are yielded as DELETED with their
        last known state, new ones as ADDED, those with another resourceVersion as MODIFIED; nothing is yielded twice.

    Survives dropped connections, 410 (lists again), 429 (respects Retry-After), 500 to 504, and a restarted API server.
    Where watches do not get through, it lists now and then.

    Raises:
        ForbiddenError, MissingKindError, ClusterError: 401, 403, an unknown kind, or no answer in `cluster.patience` s.
    """
    known: dict[str, dict[str, Any]] = {}
    patience = Patience(cluster, "watch", kind.resource)
    query = {"labelSelector": labels, "fieldSelector": fields}
    version, broken = "", 0
    while not stop():
        started, told = cluster.clock(), False
        if not version or broken >= _BROKEN:
            items, version = list_page(cluster, kind, labels, fields)
            yield from _relisted(known, items)
            yield "SYNC", {}
            broken, patience.since = 0, None  # lists get through: what happens is seen
            continue
        try:
            for change, found in _window(cluster, kind, query, version, patience):
                version, broken, told = found["metadata"].get("resourceVersion") or version, 0, True
                if change != "BOOKMARK":
                    yield from _told(known, change, found)
                if stop():
                    return
            yield "SYNC", {}
            if not told and cluster.clock() - started < cluster.watch_seconds / 2:
                broken += 1  # a proxy ends the watch that it does not let through
                cluster.sleep(min(1.0, cluster.watch_seconds))
        except GoneError as error:
            version = ""
            patience.trouble(str(error), status=410)
        except TryAgain:
            broken += 1


def _relisted(known: dict[str, dict[str, Any]], items: list[dict[str, Any]]) -> Iterator[Change]:
    """The changes between what was known and a new list; `known` becomes the list."""
    uids = {item["metadata"]["uid"] for item in items}
    for uid in [uid for uid in known if uid not in uids]:
        yield "DELETED", known.pop(uid)
    for item in items:
        yield from _told(known, "ADDED", item)


def _told(known: dict[str, dict[str, Any]], change: str, found: dict[str, Any]) -> Iterator[Change]:
    """A change, unless it was yielded before: a watch that continues may repeat its last ones."""
    metadata = found["metadata"]
    before = known.get(metadata["uid"])
    if change == "DELETED":
        if known.pop(metadata["uid"], None):
            yield change, found
    elif before is None or before["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
        known[metadata["uid"]] = found
        yield "MODIFIED" if before else "ADDED", found


def _window(cluster: Cluster, kind: Kind, query: dict[str, str], version: str, patience: Patience) -> Iterator[Change]:
    """The changes of one watch request, which the server ends after `watch_seconds`.

    Raises:
        TryAgain: it was interrupted; continue from the last version.
        GoneError: list again.
        ForbiddenError, MissingKindError, ClusterError: permanent.
    """
    more = {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": version,
        "timeoutSeconds": str(cluster.watch_seconds),
    }
    seconds = cluster.watch_seconds + _SLACK_SECONDS
    for line in stream(patience, kind.path(cluster.namespace), {**query, **more}, seconds):
        try:
            change = json.loads(line)
        except ValueError:
            patience.trouble("a line of the watch is not JSON")
            raise TryAgain from None
        found = change["object"]
        if change["type"] == "ERROR":
            # The request was granted, then failed: the Status comes as a change.
            answer = status_object(json.dumps(found), found.get("code", 500))
            if not patience.worth_waiting(answer["code"], answer):
                raise patience.refusal(answer)
            denied = patience.refusal(answer) if answer["code"] in DENIALS else None
            patience.trouble(answer["message"], status=answer["code"], denied=denied)
            raise TryAgain
        yield change["type"], found

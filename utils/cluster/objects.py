"""Create, read, change and delete objects. Objects are plain dicts, as in YAML."""

import base64
from collections.abc import Iterator
from typing import Any

from utils.cluster.client import Client
from utils.cluster.errors import ClusterError, ConflictError
from utils.cluster.kinds import EVENT, KINDS, Kind
from utils.names import HASH_LABEL

# By default, the server silently drops fields that it does not know.
_STRICT = {"fieldValidation": "Strict"}
_POLL_SECONDS = 1.0
_SHOWN_CHARACTERS = 120

Object = dict[str, Any]


def create(cluster: Client, kind: Kind, manifest: Object) -> Object:
    """Create an object and return it as the cluster stores it. A field that the server does not know is an error.

    Raises:
        ClusterError: with status 409: the name is taken, perhaps by an earlier try whose answer was lost.
    """
    created: Object = cluster.request("create", kind, manifest["metadata"]["name"], manifest, _STRICT)
    return created


def create_once(cluster: Client, manifest: Object) -> Object:
    """As `create`; if the name is taken by an equal object after a lost connection, it is this object.

    Raises:
        ConflictError: the name is taken.
    """
    kind, name = KINDS[manifest["kind"]], manifest["metadata"].get("name", "")
    try:
        return create(cluster, kind, manifest)
    except ConflictError as error:
        found = get(cluster, kind, name) if error.retried else None
        if found is None or differences(manifest, found):
            raise
        return found


def get(cluster: Client, kind: Kind, name: str) -> Object | None:
    """The object, or None if it does not exist."""
    try:
        found: Object = cluster.request("get", kind, name)
    except ClusterError as error:
        if not error.absent:
            raise
        return None
    return found


def list_objects(cluster: Client, kind: Kind, labels: str = "", fields: str = "") -> list[Object]:
    """All objects of a kind in the namespace.

    Args:
        labels: a label selector, like `ilab-pipeline/run=r1,ilab-pipeline/task=train`.
        fields: a field selector, like `involvedObject.name=x`.
    """
    query = {"labelSelector": labels, "fieldSelector": fields}
    return list(cluster.request("list", kind, query=query)["items"])


def list_page(cluster: Client, kind: Kind, labels: str = "", fields: str = "") -> tuple[list[Object], str]:
    """All objects of a kind, and the resourceVersion from which a watch continues."""
    answer = cluster.request("list", kind, query={"labelSelector": labels, "fieldSelector": fields})
    return answer["items"], answer.get("metadata", {}).get("resourceVersion", "")


def patch(cluster: Client, kind: Kind, name: str, change: Object) -> Object:
    """Change an object by a JSON merge patch (RFC 7386: None removes a key) and return it.

    Raises:
        ClusterError: with status 404 if it does not exist.
    """
    changed: Object = cluster.request("patch", kind, name, change)
    return changed


def delete(cluster: Client, kind: Kind, name: str, propagation: str = "Foreground") -> bool:
    """Request an object's deletion; False if it was already gone, or the cluster does not know the kind.

    Args:
        propagation: Foreground (what it owns is deleted first), Background or Orphan.
    """
    try:
        cluster.request("delete", kind, name, {"propagationPolicy": propagation})
    except ClusterError as error:
        if error.status != 404:
            raise
        return error.retried and error.absent
    return True


def delete_all(cluster: Client, kind: Kind, labels: str) -> int:
    """Request the deletion of all objects with these labels (a selector, never ""); returns their number."""
    if not labels:
        raise ValueError("delete_all without labels would delete everything")
    try:
        found = list_objects(cluster, kind, labels)
    except ClusterError as error:
        if error.status != 404:
            raise
        return 0
    return sum(delete(cluster, kind, item["metadata"]["name"]) for item in found)


def wait_gone(cluster: Client, kind: Kind, name: str, seconds: float) -> bool:
    """Wait until an object that is being deleted is gone; False if it still exists after this many seconds."""
    until = cluster.clock() + seconds
    while get(cluster, kind, name) is not None:
        if cluster.clock() >= until:
            return False
        cluster.sleep(_POLL_SECONDS)
    return True


def create_or_attach(cluster: Client, manifest: Object) -> tuple[Object, bool]:
    """Create an object, or use the existing one of its name if its label `ilab-pipeline/hash` is the same.

    Waits for an object that is being deleted. The caller checks the state (running, failed) of an existing object.

    Returns:
        the object, and whether it was created now.

    Raises:
        ConflictError: a different object has the name; the message names what differs, but no values of Secrets.
    """
    kind, name = KINDS[manifest["kind"]], manifest["metadata"]["name"]
    until = cluster.clock() + cluster.patience
    while True:
        try:
            return create(cluster, kind, manifest), True
        except ConflictError as error:
            refused = error
        found = get(cluster, kind, name)
        if found and "deletionTimestamp" not in found["metadata"]:
            break
        if cluster.clock() >= until:
            if found is None:  # the name is not taken: something else gives this answer
                raise refused
            raise ConflictError(
                f"{kind.resource} {name} in {cluster.namespace} is being deleted but does not disappear",
                f"finalizers: {', '.join(found['metadata'].get('finalizers', [])) or 'none'}",
                f"kubectl -n {cluster.namespace} get {kind.resource} {name} -o yaml",
                409,
            )
        cluster.sleep(_POLL_SECONDS)
    if same_hash(manifest, found):
        return found, refused.retried
    differing = differences(manifest, found)
    raise ConflictError(
        f"{kind.resource} {name} already exists in {cluster.namespace} and is not the one this run needs",
        "\n".join([line for line in differing if HASH_LABEL not in line] or differing)
        or "it has no hash label: something else created it",
        f"check it, then: kubectl -n {cluster.namespace} delete {kind.resource} {name}; or use another run id",
        409,
    )


def same_hash(wanted: Object, found: Object) -> bool:
    """Whether both carry the same hash label."""
    one, other = ((o["metadata"].get("labels") or {}).get(HASH_LABEL) for o in (wanted, found))
    return one is not None and one == other


def differences(wanted: Object, found: Object) -> list[str]:
    """Where `found` differs from `wanted`, as `spec.x: A, wanted B`. What the cluster added does not count.

    Values of Secrets are never named.
    """
    if wanted.get("kind") == "Secret":
        there = found.get("data") or {}
        ours = dict(wanted.get("data") or {})
        ours |= {key: base64.b64encode(v.encode()).decode() for key, v in (wanted.get("stringData") or {}).items()}
        keys = sorted(ours.keys() | there.keys())
        secret = [f"data.{key}: another value" for key in keys if ours.get(key) != there.get(key)]
        rest = {key: value for key, value in wanted.items() if key not in ("data", "stringData")}
        return [*_differences("", rest, found), *secret]
    return list(_differences("", wanted, found))


def _differences(path: str, wanted: Any, found: Any) -> Iterator[str]:
    if isinstance(wanted, list) and isinstance(found, list):
        wanted, found = _by_name(wanted), _by_name(found)
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            step = key if key.startswith("[") or not path else f".{key}"
            yield from _differences(path + step, value, found.get(key))
    elif wanted != found and (wanted or found) and not _same_amount(path, wanted, found):
        # An environment variable's value may be confidential (a proxy's password), and a long value is unreadable.
        hidden = ".env[" in path or len(f"{found}{wanted}") > _SHOWN_CHARACTERS
        yield f"{path}: another value" if hidden else f"{path}: {found}, wanted {wanted}"


def _same_amount(path: str, wanted: Any, found: Any) -> bool:
    """Whether two quantities are equal: the API server writes 1024Gi as 1Ti."""
    if not path.rpartition(".")[0].endswith((".requests", ".limits")):
        return False
    from kubernetes.utils import parse_quantity

    try:
        return bool(parse_quantity(wanted) == parse_quantity(found))
    except ValueError:
        return False


def _by_name(items: list[Any]) -> dict[str, Any]:
    """A list as a dict: by `name` if every item has one (containers, env, volumes), else by position."""
    if all(isinstance(item, dict) and "name" in item for item in items):
        return {f"[{item['name']}]": item for item in items}
    return {**{f"[{place}]": item for place, item in enumerate(items)}, "length": len(items)}


def events_of(cluster: Client, kind: Kind, name: str) -> list[Object]:
    """The events about one object, oldest first; [] if events may not be read."""
    fields = f"involvedObject.kind={kind.name},involvedObject.name={name}"
    try:
        found = list_objects(cluster, EVENT, fields=fields)
    except ClusterError as error:
        if error.status != 403:
            raise
        return []
    return sorted(found, key=event_time)


def event_time(event: Object) -> str:
    """When it was last seen: RFC 3339, as text."""
    every = {**event["metadata"], **event, **(event.get("series") or {})}
    times = (every.get(key) for key in ("lastObservedTime", "lastTimestamp", "eventTime", "creationTimestamp"))
    return next(filter(None, times), "")

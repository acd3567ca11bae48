"""Make, read, change and delete objects. Objects are plain dicts, as in YAML."""

from typing import Any

from utils.cluster.client import Cluster

HASH_LABEL = "ilab-pipeline/hash"
"""Label with a hash of all that decides what an object does; two objects with one hash are the same."""

Object = dict[str, Any]


def create(cluster: Cluster, manifest: Object) -> Object:
    """Make an object and return it as the cluster keeps it.

    A name that is taken by an equal object after a lost connection is this very one.

    Raises:
        ConflictError: the name is taken.
    """
    raise NotImplementedError


def get(cluster: Cluster, kind: str, name: str) -> Object | None:
    """The object, or None when there is none of that name."""
    raise NotImplementedError


def list_objects(cluster: Cluster, kind: str, labels: str = "", fields: str = "") -> list[Object]:
    """All objects of a kind in the namespace.

    Args:
        labels: a label selector, like `ilab-pipeline/run=r1,ilab-pipeline/task=train`.
        fields: a field selector, like `involvedObject.name=x`.
    """
    raise NotImplementedError


def patch(cluster: Cluster, kind: str, name: str, change: Object) -> Object:
    """Change an object by a JSON merge patch (RFC 7386: None removes a key) and return it.

    Raises:
        ClusterError: with status 404 when it is not there.
    """
    raise NotImplementedError


def delete(cluster: Cluster, kind: str, name: str, propagation: str = "Foreground") -> bool:
    """Ask for an object's deletion; False when it was gone already, or the cluster does not know the kind.

    Args:
        propagation: Foreground (what it owns goes first), Background or Orphan.
    """
    raise NotImplementedError


def delete_all(cluster: Cluster, kind: str, labels: str) -> int:
    """Ask for the deletion of all objects with these labels (a selector, never ""); returns how many there were."""
    raise NotImplementedError


def wait_gone(cluster: Cluster, kind: str, name: str, seconds: float) -> bool:
    """Wait until an object that is being deleted is gone; False when it still is there after so many seconds."""
    raise NotImplementedError


def create_or_attach(cluster: Cluster, manifest: Object) -> tuple[Object, bool]:
    """Make an object, or take the one of its name when it is the same by its label `ilab-pipeline/hash`.

    One that is just being deleted is waited for. What state an object is in that was taken (running, failed) is for
    the caller to look at.

    Returns:
        the object, and whether it was made now.

    Raises:
        ConflictError: the name is taken by another one; the message names what differs, no values of Secrets.
    """
    raise NotImplementedError


def differences(wanted: Object, found: Object) -> list[str]:
    """Where `found` differs from `wanted`, as `spec.x: A, wanted B`. What the cluster added by itself does not count.

    Values of Secrets are never named.
    """
    raise NotImplementedError


def events_of(cluster: Cluster, kind: str, name: str) -> list[Object]:
    """The events about one object, oldest first; [] when events may not be read."""
    raise NotImplementedError

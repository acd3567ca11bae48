"""Objects that come with a run, such as Secrets made from flags: they belong to it, and go when it ends."""

from utils.cluster.objects import create_or_attach
from utils.names import HASH_LABEL, RUN_LABEL
from utils.runners.kubernetes.manifests import Manifest, fingerprint
from utils.runners.kubernetes.request import MakeExtras
from utils.runners.kubernetes.run_object import RunObject


def make_extras(run: RunObject, make: MakeExtras) -> None:
    """Make the objects that come with the run; those of a process that was killed are found.

    Raises:
        ConflictError: one already exists and differs, for instance a Secret with other values.
    """
    manifests = [owned_extra(run, one) for one in make(run.owner)]
    extras = tuple((one["kind"], one["metadata"]["name"]) for one in manifests)
    if extras != run.record.extras:
        run.update(extras=extras)
    for manifest in manifests:
        create_or_attach(run.cluster, manifest)


def owned_extra(run: RunObject, manifest: Manifest) -> Manifest:
    """The manifest with the run's label, owner and a hash, where it lacks them.

    The hash is salted with the owner's uid: two runs with one secret do not show that it is one.
    """
    metadata = manifest["metadata"]
    content = {key: manifest.get(key) for key in ("data", "stringData", "spec")}
    own = {RUN_LABEL: run.record.run_id, HASH_LABEL: fingerprint([run.uid, content])}
    labels = {**own, **metadata.get("labels", {})}
    owners = metadata.get("ownerReferences") or [run.owner]
    return {**manifest, "metadata": {**metadata, "labels": labels, "ownerReferences": owners}}

"""Whether the cluster's storage can give the run its volume, as far as its StorageClasses tell."""

from utils.cluster.client import Client
from utils.cluster.errors import ClusterError
from utils.cluster.kinds import STORAGE_CLASS
from utils.cluster.objects import Object, list_objects
from utils.messages import failure

SINGLE_NODE_PROVISIONERS = {
    "ebs.csi.aws.com": "",  # OpenShift, Drivers
    "kubernetes.io/aws-ebs": "",  # Kubernetes
    "pd.csi.storage.gke.io": "",  # OpenShift, Drivers
    "kubernetes.io/gce-pd": "",  # Kubernetes
    "disk.csi.azure.com": "",  # OpenShift, Drivers
    "kubernetes.io/azure-disk": "",  # Kubernetes
    "cinder.csi.openstack.org": "",  # OpenShift
    "kubernetes.io/cinder": "",  # Kubernetes
    "vpc.block.csi.ibm.io": "",  # OpenShift, Drivers
    "kubernetes.io/vsphere-volume": "",  # Kubernetes
    "topolvm.io": "",  # OpenShift (LVM Storage); https://github.com/topolvm/topolvm/discussions/663
    "rbd.csi.ceph.com": "",  # Drivers
    # OpenShift: block volumes ReadWriteOnce, file volumes ReadWriteMany.
    "csi.vsphere.vmware.com": "vSAN file services",
    # https://github.com/rancher/local-path-provisioner/pull/183
    "rancher.io/local-path": "a sharedFileSystemPath",
    # https://kubernetes.io/docs/concepts/storage/storage-classes/#local
    "kubernetes.io/no-provisioner": "a volume made by hand",
}
"""Provisioners whose file systems no two nodes can write to: "", or the condition under which they can.

OpenShift: the table "Supported access modes for persistent volumes" in its documentation, chapter Understanding
persistent storage. Kubernetes: the table at https://kubernetes.io/docs/concepts/storage/persistent-volumes.
Drivers: the list at https://kubernetes-csi.github.io/docs/drivers.html. Some offer ReadWriteMany for raw block
devices, which does not help here.
"""


def require_shared_storage(cluster: Client, storage_class: str) -> None:
    """Refuse a storage class whose volumes one node only can mount. What is not known for certain is told.

    A class that is missing is another matter: a claim waits for it, or for a volume that was made by hand.

    Args:
        storage_class: "" for the cluster's default class.

    Raises:
        SystemExit: volumes of the class are for one node.
        ClusterError: the API server stayed away.
    """
    try:
        found = list_objects(cluster, STORAGE_CLASS)
    except ClusterError as error:
        if not error.status:
            raise
        print(f"whether the storage class offers ReadWriteMany is unknown: {error.what}", flush=True)
        return
    provisioners = {one["metadata"]["name"]: one["provisioner"] for one in found}
    name = storage_class or default_class(found)
    provisioner = provisioners.get(name, "")
    condition = condition_of(provisioner)
    if condition is None:
        return
    what = f"the storage class {name}{'' if storage_class else ', the default,'} offers no ReadWriteMany"
    cause = f"its provisioner {provisioner} makes volumes for one node"
    if condition:
        print(f"warning: {what} without {condition}: {cause}", flush=True)
        return
    others = ", ".join(sorted(other for other, made_by in provisioners.items() if condition_of(made_by) is None))
    raise failure(what, cause, f"set k8s_storage_class_name to one that does: {others or 'there is none, install one'}")


def condition_of(provisioner: str) -> str | None:
    """Under which condition a provisioner offers ReadWriteMany: "" under none, None when nothing speaks against it.

    Rook and OpenShift Data Foundation put the namespace of their operator before the driver's name, as in
    openshift-storage.rbd.csi.ceph.com.
    """
    return "" if provisioner.endswith(".rbd.csi.ceph.com") else SINGLE_NODE_PROVISIONERS.get(provisioner)


def default_class(classes: list[Object]) -> str:
    """The class that a claim without one gets: of several defaults the newest; "" when there is none."""
    marks = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
    every = [one["metadata"] for one in classes]
    defaults = [one for one in every if "true" in map(one.get("annotations", {}).get, marks)]
    newest = max((one["creationTimestamp"] for one in defaults), default="")
    return min((one["name"] for one in defaults if one["creationTimestamp"] == newest), default="")

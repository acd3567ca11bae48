"""Whether the cluster's storage can give the run its volume, as far as its StorageClasses tell."""

import os

from utils.cluster.errors import ClusterError
from utils.cluster.kinds import STORAGE_CLASS
from utils.cluster.objects import Object, list_objects
from utils.names import CLAIMS_DIR
from utils.stages.cluster import stage_cluster
from utils.stages.prerequisites.findings import WARNING, Finding
from utils.stages.prerequisites.rights import Right, grant_command

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


def check_storage(storage_class: str) -> list[Finding]:
    """Findings about the class of the run's volume; none outside a cluster, where the volume is a directory.

    Args:
        storage_class: "" for the cluster's default class.
    """
    if os.environ.get(CLAIMS_DIR) or not os.environ.get("KUBERNETES_SERVICE_HOST"):
        return []
    with stage_cluster() as cluster:
        try:
            found = list_objects(cluster, STORAGE_CLASS)
        except ClusterError as error:
            if not error.status:
                raise
            problem = f"the storage classes can't be read ({error.status}): whether one offers ReadWriteMany is unknown"
            remedy = "look with kubectl get storageclass"
            if error.status == 403:
                remedy += "; " + grant_command(cluster, Right(STORAGE_CLASS, ["list"]))
            return [Finding(problem, remedy, WARNING)]
    conditions = {one["metadata"]["name"]: condition_of(one["provisioner"]) for one in found}
    others = ", ".join(sorted(name for name, condition in conditions.items() if condition is None))
    remedy = f"give one that offers ReadWriteMany with k8s_storage_class_name: {others or 'there is none, install one'}"
    name = storage_class or default_class(found)
    if not name:
        return [Finding("the cluster has no default storage class, and the run names none", remedy)]
    if name not in conditions:
        return [Finding(f"the cluster has no storage class {name}", remedy)]
    if conditions[name] is None:
        return []
    which = f"the storage class {name}" + ("" if storage_class else ", the cluster's default,")
    provisioner = next(one["provisioner"] for one in found if one["metadata"]["name"] == name)
    problem = f"{which} offers no ReadWriteMany: its provisioner {provisioner} makes volumes for one node"
    if not conditions[name]:
        return [Finding(problem, remedy)]
    return [Finding(f"{problem} without {conditions[name]}", remedy, WARNING)]


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

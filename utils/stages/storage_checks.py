"""Whether the cluster's storage can give the run its volume, as far as its StorageClasses tell."""

from utils.stages.claims import kube_call, kube_namespace
from utils.stages.rights import account_name, grant_command


def single_node_provisioners() -> list:
    """Provisioners whose file systems no two nodes can write to, and where that is documented.

    OpenShift: the table "Supported access modes for persistent volumes" in its documentation, chapter Understanding
    persistent storage. Kubernetes: the table at https://kubernetes.io/docs/concepts/storage/persistent-volumes.
    Drivers: the list at https://kubernetes-csi.github.io/docs/drivers.html. Some offer ReadWriteMany for raw block
    devices, which is no use here.
    """
    return [
        "ebs.csi.aws.com",  # OpenShift, Drivers
        "kubernetes.io/aws-ebs",  # Kubernetes
        "pd.csi.storage.gke.io",  # OpenShift, Drivers
        "kubernetes.io/gce-pd",  # Kubernetes
        "disk.csi.azure.com",  # OpenShift, Drivers
        "kubernetes.io/azure-disk",  # Kubernetes
        "cinder.csi.openstack.org",  # OpenShift
        "kubernetes.io/cinder",  # Kubernetes
        "vpc.block.csi.ibm.io",  # OpenShift, Drivers
        "kubernetes.io/vsphere-volume",  # Kubernetes
        "topolvm.io",  # OpenShift (LVM Storage); https://github.com/topolvm/topolvm/discussions/663
        "rbd.csi.ceph.com",  # Drivers
        "diskplugin.csi.alibabacloud.com",  # Drivers
        "dobs.csi.digitalocean.com",  # Drivers
        "csi.hetzner.cloud",  # Drivers
        "blockvolume.csi.oraclecloud.com",  # Drivers
    ]


def doubtful_provisioners() -> dict:
    """Provisioners that offer ReadWriteMany under a condition: the condition."""
    return {
        # OpenShift: block volumes ReadWriteOnce, file volumes ReadWriteMany.
        "csi.vsphere.vmware.com": "it offers ReadWriteMany with vSAN file services alone",
        # https://github.com/rancher/local-path-provisioner/pull/183
        "rancher.io/local-path": "it offers ReadWriteMany with a sharedFileSystemPath alone",
        # https://kubernetes.io/docs/concepts/storage/storage-classes/#local
        "kubernetes.io/no-provisioner": "it makes no volumes: one made by hand must offer ReadWriteMany and be free",
    }


def check_storage(storage_class: str) -> list:
    """Findings about the class of the run's volume; none outside a cluster, where the volume is a directory.

    Args:
        storage_class: "" for the cluster's default class.
    """
    import os

    from kubernetes import client, config

    if os.environ.get("ILAB_CLAIMS_DIR") or not os.environ.get("KUBERNETES_SERVICE_HOST"):
        return []
    try:
        namespace = kube_namespace()
        found = kube_call(client.StorageV1Api().list_storage_class).items
    except (client.ApiException, config.ConfigException) as error:
        reason = f"{error.status} {error.reason}" if isinstance(error, client.ApiException) else str(error)
        problem = f"the storage classes can't be read ({reason}): whether one offers ReadWriteMany is unknown"
        remedy = "look with kubectl get storageclass"
        if isinstance(error, client.ApiException) and error.status == 403:
            account = account_name() or "ACCOUNT"
            remedy += "; " + grant_command(namespace, account, "storage.k8s.io", "storageclasses", ["list"])
        return [{"level": "warning", "problem": problem, "remedy": remedy}]
    lacking = {one.metadata.name: lacks_shared_volumes(one.provisioner) for one in found}
    others = [name for name, lack in sorted(lacking.items()) if not lack]
    remedy = f"give one that offers ReadWriteMany with k8s_storage_class_name; {named_classes(others)}"
    name = storage_class or default_class(found)
    if not name:
        return [{"problem": "the cluster has no default storage class, and the run names none", "remedy": remedy}]
    if name not in lacking:
        by_hand = "for a volume made by hand, make the class with the provisioner kubernetes.io/no-provisioner"
        return [{"problem": f"the cluster has no storage class {name}", "remedy": f"{remedy}; {by_hand}"}]
    which = f"the storage class {name}" + ("" if storage_class else ", the cluster's default,")
    provisioner = next(one.provisioner for one in found if one.metadata.name == name)
    if provisioner in doubtful_provisioners():
        problem = f"{which} has the provisioner {provisioner}: {doubtful_provisioners()[provisioner]}"
        return [{"level": "warning", "problem": problem, "remedy": f"make sure that it does; else {remedy}"}]
    if lacking[name]:
        problem = f"{which} offers no ReadWriteMany: its provisioner {provisioner} makes volumes for one node"
        return [{"problem": problem, "remedy": remedy}]
    return []


def lacks_shared_volumes(provisioner: str) -> bool:
    """Whether a provisioner is known to offer no ReadWriteMany, or none without a condition.

    Rook and OpenShift Data Foundation put the namespace of their operator before the driver's name, as in
    openshift-storage.rbd.csi.ceph.com.
    """
    known = [*single_node_provisioners(), *doubtful_provisioners()]
    return provisioner in known or provisioner.endswith(".rbd.csi.ceph.com")


def default_class(classes: list) -> str:
    """The class that a claim without one gets: of several defaults the newest; "" when there is none."""
    marks = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
    defaults = [one for one in classes if "true" in [(one.metadata.annotations or {}).get(mark) for mark in marks]]
    newest = sorted(defaults, key=lambda one: (-one.metadata.creation_timestamp.timestamp(), one.metadata.name))
    return newest[0].metadata.name if newest else ""


def named_classes(names: list) -> str:
    """What to choose from."""
    return f"perhaps {', '.join(names)}" if names else "the cluster has none that is likely to: install one"

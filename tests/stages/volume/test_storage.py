"""A storage class is checked before the claim is made: on a volume for one node no other task would start."""

import pytest

from tests.fakes.kubernetes_api import KubernetesApi
from utils.cluster.client import pod_client
from utils.stages.volume.claims import VolumeClaim, create_claim
from utils.stages.volume.storage import condition_of, require_shared_storage

DEFAULT = {"storageclass.kubernetes.io/is-default-class": "true"}
BETA = {"storageclass.beta.kubernetes.io/is-default-class": "true"}
CLAIMS = "persistentvolumeclaims"


def add(
    api: KubernetesApi, name: str, provisioner: str, annotations: dict[str, str] | None = None, hour: int = 0
) -> None:
    metadata = {"annotations": annotations or {}, "creationTimestamp": f"2026-01-01T{hour:02}:00:00Z"}
    api.add("storageclasses", name, metadata=metadata, provisioner=provisioner)


def refusal(name: str) -> str:
    with pytest.raises(SystemExit) as caught:
        require_shared_storage(pod_client(), name)
    return str(caught.value)


@pytest.mark.parametrize("name", ["nfs", "", "cephfs"])
def test_class_for_many_nodes_passes(api: KubernetesApi, capsys: pytest.CaptureFixture[str], name: str) -> None:
    add(api, "nfs", "nfs.csi.k8s.io", DEFAULT)
    add(api, "cephfs", "openshift-storage.cephfs.csi.ceph.com")
    require_shared_storage(pod_client(), name)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "provisioner"), [("gp3", "ebs.csi.aws.com"), ("rbd", "openshift-storage.rbd.csi.ceph.com")]
)
def test_class_for_one_node_is_refused_and_those_for_many_are_named(
    api: KubernetesApi, name: str, provisioner: str
) -> None:
    add(api, name, provisioner)
    add(api, "nfs", "nfs.csi.k8s.io", DEFAULT)
    add(api, "cephfs", "openshift-storage.cephfs.csi.ceph.com")
    told = refusal(name)
    assert f"the storage class {name} offers no ReadWriteMany\n" in told
    assert f"its provisioner {provisioner} makes volumes for one node" in told
    assert "k8s_storage_class_name to one that does: cephfs, nfs" in told
    with pytest.raises(SystemExit, match="offers no ReadWriteMany"):
        create_claim(VolumeClaim("r", "5Gi", name, "ReadWriteMany"))
    assert api.objects[CLAIMS] == {}


@pytest.mark.parametrize(
    ("provisioner", "condition"),
    [
        ("csi.vsphere.vmware.com", "without vSAN file services"),
        ("rancher.io/local-path", "without a sharedFileSystemPath"),
        ("kubernetes.io/no-provisioner", "without a volume made by hand"),
    ],
)
def test_class_that_may_support_it_is_a_warning(
    api: KubernetesApi, capsys: pytest.CaptureFixture[str], provisioner: str, condition: str
) -> None:
    add(api, "some", provisioner)
    require_shared_storage(pod_client(), "some")
    told = capsys.readouterr().out
    assert told.startswith("warning: the storage class some offers no ReadWriteMany") and condition in told


def test_default_class_is_checked_like_any_other(api: KubernetesApi) -> None:
    add(api, "gp3", "ebs.csi.aws.com", BETA)
    told = refusal("")
    assert "the storage class gp3, the default, offers no ReadWriteMany" in told
    assert "there is none, install one" in told


def test_newest_of_two_default_classes_is_used(api: KubernetesApi) -> None:
    """As in Kubernetes, pkg/volume/util/storageclass.go: the newest, then the first by name."""
    add(api, "gp3", "ebs.csi.aws.com", DEFAULT, hour=1)
    add(api, "nfs", "nfs.csi.k8s.io", DEFAULT, hour=2)
    require_shared_storage(pod_client(), "")
    add(api, "a-disk", "disk.csi.azure.com", DEFAULT, hour=2)
    assert "a-disk, the default" in refusal("")


def test_unreadable_classes_are_unknown_not_passed(
    api: KubernetesApi, capsys: pytest.CaptureFixture[str]
) -> None:  # trap 9
    api.forbidden.add("storageclasses")
    require_shared_storage(pod_client(), "nfs")
    told = capsys.readouterr().out
    assert "whether the storage class offers ReadWriteMany is unknown: can't list storageclasses" in told
    assert "(403)" in told


def test_a_claim_that_is_there_needs_no_class_any_more(api: KubernetesApi) -> None:
    """A part of a run on the volume of another, whose claim was bound by hand or before the class has changed."""
    add(api, "gp3", "ebs.csi.aws.com", DEFAULT)
    wanted = VolumeClaim("r", "5Gi", "nfs", "ReadWriteMany")
    create_claim(wanted)
    add(api, "nfs", "rbd.csi.ceph.com")
    assert create_claim(wanted) == "ilab-r"


@pytest.mark.parametrize(
    "provisioner", ["efs.csi.aws.com", "file.csi.azure.com", "nfs.csi.k8s.io", "driver.longhorn.io"]
)
def test_unknown_and_file_provisioners_pass(provisioner: str) -> None:
    assert condition_of(provisioner) is None

"""Prerequisites check the storage class before anything is created; an unreadable one is unknown, not passed."""

import pytest

from tests.fakes.kubernetes_api import KubernetesApi
from utils.stages.prerequisites.storage import check_storage, condition_of

DEFAULT = {"storageclass.kubernetes.io/is-default-class": "true"}
BETA = {"storageclass.beta.kubernetes.io/is-default-class": "true"}


@pytest.fixture(autouse=True)
def in_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "cluster")


def add(
    api: KubernetesApi, name: str, provisioner: str, annotations: dict[str, str] | None = None, hour: int = 0
) -> None:
    metadata = {"annotations": annotations or {}, "creationTimestamp": f"2026-01-01T{hour:02}:00:00Z"}
    api.add("storageclasses", name, metadata=metadata, provisioner=provisioner)


@pytest.mark.parametrize(
    ("name", "problem", "remedy"),
    [
        ("nfs", "", ""),
        ("", "", ""),
        ("cephfs", "", ""),
        ("nsf", "the cluster has no storage class nsf", "k8s_storage_class_name: cephfs, nfs"),
        (
            "gp3",
            "gp3 offers no ReadWriteMany: its provisioner ebs.csi.aws.com makes volumes for one node",
            "cephfs, nfs",
        ),
        ("rbd", "rbd offers no ReadWriteMany: its provisioner openshift-storage.rbd.csi.ceph.com", "cephfs, nfs"),
    ],
)
def test_class_without_support_is_a_finding(api: KubernetesApi, name: str, problem: str, remedy: str) -> None:
    add(api, "gp3", "ebs.csi.aws.com")
    add(api, "nfs", "nfs.csi.k8s.io", DEFAULT)
    add(api, "rbd", "openshift-storage.rbd.csi.ceph.com")
    add(api, "cephfs", "openshift-storage.cephfs.csi.ceph.com")
    found = check_storage(name)
    assert bool(found) == bool(problem)
    if problem:
        assert problem in found[0].problem
        assert remedy in found[0].remedy
        assert found[0].level == "error"


@pytest.mark.parametrize(
    ("provisioner", "condition"),
    [
        ("csi.vsphere.vmware.com", "without vSAN file services"),
        ("rancher.io/local-path", "without a sharedFileSystemPath"),
        ("kubernetes.io/no-provisioner", "without a volume made by hand"),
    ],
)
def test_class_that_may_support_it_is_a_warning(api: KubernetesApi, provisioner: str, condition: str) -> None:
    add(api, "some", provisioner)
    (finding,) = check_storage("some")
    assert finding.level == "warning"
    assert condition in finding.problem


def test_default_class_is_checked_like_any_other(api: KubernetesApi) -> None:
    add(api, "gp3", "ebs.csi.aws.com", BETA)
    (finding,) = check_storage("")
    assert "the storage class gp3, the cluster's default, offers no ReadWriteMany" in finding.problem
    assert "there is none, install one" in finding.remedy


def test_no_default_class_is_an_error_only_where_the_run_names_none(api: KubernetesApi) -> None:
    add(api, "nfs", "nfs.csi.k8s.io", {"storageclass.kubernetes.io/is-default-class": "false"})
    (finding,) = check_storage("")
    assert finding.problem == "the cluster has no default storage class, and the run names none"
    assert "k8s_storage_class_name: nfs" in finding.remedy
    assert check_storage("nfs") == []


def test_newest_of_two_default_classes_is_used(api: KubernetesApi) -> None:
    """As in Kubernetes, pkg/volume/util/storageclass.go: the newest, then the first by name."""
    add(api, "gp3", "ebs.csi.aws.com", DEFAULT, hour=1)
    add(api, "nfs", "nfs.csi.k8s.io", DEFAULT, hour=2)
    assert check_storage("") == []
    add(api, "a-disk", "disk.csi.azure.com", DEFAULT, hour=2)
    assert "a-disk, the cluster's default" in check_storage("")[0].problem


def test_unreadable_classes_are_unknown_not_passed(api: KubernetesApi) -> None:  # trap 9
    api.forbidden.add("storageclasses")
    (finding,) = check_storage("nfs")
    assert finding.level == "warning"
    assert "can't be read (403): whether one offers ReadWriteMany is unknown" in finding.problem
    role = "create clusterrole ilab-storageclasses-list --verb=list --resource=storageclasses.storage.k8s.io"
    assert role in finding.remedy
    assert "create clusterrolebinding ilab-storageclasses-list-lab-pipeline-runner-dspa" in finding.remedy


def test_on_one_machine_no_class_is_checked(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    assert check_storage("") == []
    assert api.requests == []


@pytest.mark.parametrize(
    "provisioner", ["efs.csi.aws.com", "file.csi.azure.com", "nfs.csi.k8s.io", "driver.longhorn.io"]
)
def test_unknown_and_file_provisioners_pass(provisioner: str) -> None:
    assert condition_of(provisioner) is None

"""manifests/ is accepted by a real API server, and every setting reaches its places."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.guide import Guide, change_settings, follow
from tests.cluster.kserve import RELEASES, kserve_types
from tests.cluster.openshift import write_values
from tests.manifests.settings import root, settings
from utils.cluster.rbac import ROLE

SERVERLESS = ("serverless/judge", "serverless/teacher")
FOLDERS = ("access", "judge", "openshift", "secrets", *SERVERLESS, "storage", "teacher", "tokens", "workbench")


@pytest.fixture(scope="module", params=RELEASES)
def guide(
    request: pytest.FixtureRequest, cluster: Cluster, namespace: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guide]:
    """One with a checkout, on a cluster with the types of one release of KServe after the other."""
    with kserve_types(cluster, request.param):
        found = follow(cluster, tmp_path_factory.mktemp("checkout"), namespace)
        write_values(found.folder)
        yield found


@pytest.mark.parametrize("folder", FOLDERS)
def test_api_server_accepts_each_folder(guide: Guide, folder: str) -> None:
    if folder == "workbench":
        # Pods are only admitted when their account is there.
        guide.cluster.kubectl("apply", "-k", str(guide.folder / "manifests/access"))
    said = guide.cluster.kubectl("apply", "--dry-run=server", "-k", str(guide.folder / "manifests" / folder))
    assert said.strip()
    assert all(line.endswith("(server dry run)") for line in said.splitlines())


def test_api_server_accepts_the_nfs_server(guide: Guide) -> None:
    with guide.cluster.namespace("nfs", mounted=False):
        path = str(guide.folder / "manifests/nfs")
        assert "deployment.apps/nfs-server created" in guide.cluster.kubectl("apply", "--dry-run=server", "-k", path)


def test_unknown_kserve_field_is_refused(guide: Guide, tmp_path: Path) -> None:
    """What says that the tests above look at KServe's types at all."""
    text = guide.cluster.kubectl("kustomize", str(guide.folder / "manifests/judge"))
    (tmp_path / "judge.yaml").write_text(text.replace("minReplicas:", "lowestReplicas:"))
    with pytest.raises(ClusterError, match="lowestReplicas"):
        guide.cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", str(tmp_path / "judge.yaml"))


@pytest.fixture(scope="module")
def as_it_stands(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(root(), copy / "manifests")
    write_values(copy)
    return {folder: rendered(cluster, copy / "manifests" / folder) for folder in (*FOLDERS, "nfs")}


@pytest.mark.parametrize("key", sorted(settings()))
def test_a_setting_reaches_all_its_places(
    cluster: Cluster, as_it_stands: dict[str, list[str]], tmp_path: Path, key: str
) -> None:
    """Its old value no longer occurs, unless something else has the same value."""
    shutil.copytree(root(), tmp_path / "manifests")
    write_values(tmp_path)
    value = (
        "31" if key.endswith(("gpus", "cpu", "timeout")) else "31Gi" if key.endswith(("size", "memory")) else "changed"
    )
    change_settings(tmp_path, {key: value})
    after = {folder: rendered(cluster, tmp_path / "manifests" / folder) for folder in as_it_stands}
    changed = [folder for folder in as_it_stands if as_it_stands[folder] != after[folder]]
    assert changed
    assert all(any(value in word for word in after[folder]) for folder in changed)
    old = settings()[key]
    if value == "changed" and list(settings().values()).count(old) == 1 and old != ROLE:
        # The class of the NFS server keeps its name when runs use another one.
        assert [folder for folder in after if old in after[folder] and (folder, key) != ("nfs", "storage-class")] == []


def rendered(cluster: Cluster, folder: Path) -> list[str]:
    """Every value in what a folder of manifests/ comes to, sorted; parts of values that hold several on their own."""

    def leaves(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            for one in value.values():
                yield from leaves(one)
        elif isinstance(value, list):
            for one in value:
                yield from leaves(one)
        else:
            yield from str(value).split("=")

    objects = yaml.safe_load_all(cluster.kubectl("kustomize", str(folder)))
    return sorted(leaf for one in objects for leaf in leaves(one))

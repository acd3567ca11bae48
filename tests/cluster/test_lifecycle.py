"""`make cluster-down` leaves nothing running or mounted, and the next `make cluster` builds nothing again."""

from pathlib import Path

import pytest

from tests.cluster import lifecycle, node
from tests.cluster.cluster import Cluster
from tests.cluster.commands import run
from tests.cluster.processes import read
from tests.cluster.settings import CACHE, HOST_LINK, STATE

pytestmark = pytest.mark.alone

# What runs from Debian's packages; all else of the cluster runs from the cache.
PACKAGED = {"etcd", "containerd", "containerd-shim", "containerd-shim-runc-v2", "runc"}


def programs() -> dict[Path, int]:
    """The cached programs, and when they were made."""
    return {file: file.stat().st_mtime_ns for file in CACHE.glob("cluster-*/bin/*")}


def remains() -> list[str]:
    """Processes, mounts, links, cgroups, firewall rules and files of the cluster on this machine."""
    found = [f"process {entry.name}" for entry in Path("/proc").iterdir() if entry.name.isdigit() and _is_ours(entry)]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [f"mount {line}" for line in mounts if str(STATE) in line or "/kubelet" in line or "/containerd" in line]
    found += [f"link {name}" for name in (HOST_LINK, "cni0") if Path("/sys/class/net", name).exists()]
    found += [f"cgroup {root}" for root in node.cgroup_roots() if root.exists()]
    found += [f"rule {line}" for line in run(["iptables-save"]).splitlines() if "KUBE" in line]
    return found + ([f"folder {STATE}"] if STATE.exists() else [])


def _is_ours(entry: Path) -> bool:
    words = read(entry / "cmdline").decode(errors="replace").split("\0")
    return words[0].startswith(str(CACHE / "cluster-")) or Path(words[0]).name in PACKAGED


def test_down_leaves_nothing_and_up_starts_what_was_built(cluster: Cluster) -> None:
    if not cluster.owned:
        pytest.skip("ILAB_TEST_KUBECONFIG names another cluster")
    assert len(remains()) > 10
    built = programs()
    try:
        lifecycle.down()
        assert remains() == []
        assert lifecycle.problems(cluster) == lifecycle.NOT_RUNNING
    finally:
        lifecycle.up()
    assert lifecycle.problems(cluster) == []
    assert built
    assert programs() == built

"""Debian packages that the cluster needs, installed when their programs are missing."""

import os
import shutil

from tests.cluster.commands import run
from tests.cluster.errors import ClusterError

# Program: the package that has it.
PROGRAMS = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "debootstrap": "debootstrap",
    "iptables": "iptables",
    "ip": "iproute2",
    "unshare": "util-linux",
}
SBIN = ":/usr/local/sbin:/usr/sbin:/sbin"


def missing_packages() -> list[str]:
    """Packages of which a program is not there."""
    path = os.environ.get("PATH", "") + SBIN
    return sorted({package for program, package in PROGRAMS.items() if not shutil.which(program, path=path)})


def install_packages() -> None:
    """Install what is missing. Services that a package brings are not used; the machine's policy may start them."""
    packages = missing_packages()
    if not packages:
        return
    if not shutil.which("apt-get"):
        raise ClusterError(
            f"{', '.join(packages)} are missing",
            "this machine has no apt-get",
            "install them, or name a cluster in ILAB_TEST_KUBECONFIG",
        )
    print(f"installing {' '.join(packages)}", flush=True)
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-q"], env=env)
    run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages], env=env)

"""The node as this machine sees it: one process tree in namespaces of its own, a network link, a cgroup."""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from tests.cluster.commands import run
from tests.cluster.components import components
from tests.cluster.errors import ClusterError
from tests.cluster.packages import SBIN
from tests.cluster.settings import (
    CGROUP,
    CLAIMS,
    CONFIG,
    CONTROL_SOCKET,
    HOST_ADDRESS,
    HOST_LINK,
    LOGS,
    NODE_ADDRESS,
    NODE_LINK,
    PATIENCE,
    PREFIX_LENGTH,
    SERVICE_RANGE,
    STATE,
)
from tests.cluster.supervisor import PRIVATE
from utils.files import ROOT

PROCESS = STATE / "node.json"
CGROUPS = Path("/sys/fs/cgroup")
# Of all pods together, in versions 1 and 2. By default they weigh as much as one process outside: on a busy machine
# they would starve, first the controllers with their webhooks.
WEIGHTS = {"cpu.shares": "4096", "cpu.weight": "400"}


def start_node() -> None:
    """Start the node's first process, its link and its cgroup; no component runs yet."""
    LOGS.mkdir(parents=True, exist_ok=True)
    CLAIMS.mkdir(exist_ok=True)
    listed = [asdict(component) for component in components(sys.executable)]
    (CONFIG / "components.json").write_text(json.dumps(listed))
    for folder in PRIVATE:
        Path(folder).mkdir(parents=True, exist_ok=True)
    _make_cgroup()
    namespaces = ["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
    with (LOGS / "supervisor.log").open("ab") as log:
        outer = subprocess.Popen(
            ["unshare", *namespaces, sys.executable, "-m", "tests.cluster.supervisor"],
            cwd=ROOT,
            env={**os.environ, "PATH": os.environ["PATH"] + SBIN},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # With this one, which the first process dies with, an interrupted start can be undone.
    PROCESS.write_text(json.dumps([[outer.pid, _started(outer.pid)]]))
    wait_for("the node's first process", lambda: CONTROL_SOCKET.exists() and bool(request("list")))
    pid = _peer()
    PROCESS.write_text(json.dumps([[outer.pid, _started(outer.pid)], [pid, _started(pid)]]))
    _make_link(pid)


def stop_node() -> None:
    """End everything in the node and remove link, cgroup and folders; nothing happens when there is none."""
    if PROCESS.exists():
        for pid, started in reversed(json.loads(PROCESS.read_text())):
            if started and _started(pid) == started:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                # The first process of a PID namespace is gone when all others are.
                wait_for(f"the end of process {pid}", partial(_has_ended, pid, started))
    # It goes with the namespace at its other end, which the kernel takes apart in its own time.
    wait_for(f"the removal of the link {HOST_LINK}", _remove_link)
    for root in cgroup_roots():
        wait_for(f"the removal of {root}", partial(_remove_cgroup, root))
    mounted = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {STATE}" in line]
    if mounted:
        raise ClusterError(f"{STATE} was not removed", "something is mounted there: " + mounted[0], "unmount it")
    if STATE.exists():
        shutil.rmtree(STATE)
    for folder in PRIVATE:
        with suppress(OSError):
            # Made for the node; folders that hold anything stay.
            Path(folder).rmdir()


def request(action: str, name: str = "", timeout: float = 30.0) -> dict[str, Any]:
    """Ask the node's first process to `list`, `start`, `stop` or `kill`; returns what runs and what ended.

    An empty answer means that there is no such process.
    """
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(timeout)
        try:
            client.connect(str(CONTROL_SOCKET))
        except OSError:
            return {}
        with client.makefile("rw") as stream:
            stream.write(json.dumps({"do": action, "name": name}) + "\n")
            stream.flush()
            answer: dict[str, Any] = json.loads(stream.readline())
            return answer


def wait_for(what: str, ready: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Ask again and again until `ready` says so.

    Raises:
        ClusterError: it did not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise ClusterError(
                f"{what} did not come within {seconds:.0f} s", f"see {LOGS}", "make cluster-down cluster"
            )
        time.sleep(0.2)


def _peer() -> int:
    """The process id, here, of whoever listens on the control socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(CONTROL_SOCKET))
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", credentials)[0]
    return pid


def _has_ended(pid: int, started: str) -> bool:
    """Whether the process is gone, or its id belongs to a later one."""
    return _started(pid) != started


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if stat[0] == "Z" else stat[19]


def _make_link(pid: int) -> None:
    host, node = f"{HOST_ADDRESS}/{PREFIX_LENGTH}", f"{NODE_ADDRESS}/{PREFIX_LENGTH}"
    peer = ["peer", "name", NODE_LINK, "netns", str(pid)]
    run(["ip", "link", "add", HOST_LINK, "type", "veth", *peer])
    run(["ip", "address", "add", host, "dev", HOST_LINK])
    run(["ip", "link", "set", HOST_LINK, "up"])
    inside = ["nsenter", "--net", "--target", str(pid), "ip"]
    run([*inside, "link", "set", "lo", "up"])
    run([*inside, "address", "add", node, "dev", NODE_LINK])
    run([*inside, "link", "set", NODE_LINK, "up"])
    # Service addresses need a way before kube-proxy turns them; whatever else lies outside is refused at once.
    run([*inside, "route", "add", SERVICE_RANGE, "via", HOST_ADDRESS])
    run([*inside, "route", "add", "unreachable", "default"])


def _remove_link() -> bool:
    with suppress(ClusterError):
        run(["ip", "link", "delete", HOST_LINK])
    return not Path("/sys/class/net", HOST_LINK).exists()


def cgroup_roots() -> list[Path]:
    """Where the node's cgroup is: once in each hierarchy of version 1, or in the one of version 2."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS / CGROUP]
    return [folder / CGROUP for folder in CGROUPS.iterdir() if folder.is_dir() and not folder.is_symlink()]


def _make_cgroup() -> None:
    for root in cgroup_roots():
        root.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            # A cpuset of version 1 starts empty.
            if (root / name).exists() and (root.parent / name).exists():
                (root / name).write_text((root.parent / name).read_text())
    if (CGROUPS / "cgroup.controllers").exists():
        for controller in (CGROUPS / "cgroup.controllers").read_text().split():
            for group in (CGROUPS, CGROUPS / CGROUP):
                with suppress(OSError):
                    (group / "cgroup.subtree_control").write_text(f"+{controller}")
    for root in cgroup_roots():
        for name, weight in WEIGHTS.items():
            if (root / name).exists():
                (root / name).write_text(weight)


def _remove_cgroup(root: Path) -> bool:
    """Remove a cgroup with those below; False while the kernel still ends its processes."""
    if not root.exists():
        return True
    for folder, _, _ in os.walk(root, topdown=False):
        with suppress(OSError):
            Path(folder).rmdir()
    return not root.exists()

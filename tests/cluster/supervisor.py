"""The node's first process: starts, stops and reaps the others. When it ends, the kernel ends and unmounts all.

It runs as PID 1 in PID, mount and network namespaces of its own (see node.py) and is told what to do over a socket:
a line of JSON in, a line of JSON out.
"""

import json
import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.cluster.settings import CONFIG, CONTROL_SOCKET, LOGS

# Folders that containerd, CNI and the kubelet insist on; here they are the node's own.
PRIVATE = ("/run", "/var/log", "/var/lib/cni", "/var/lib/kubelet")
STOP_SECONDS = 5.0


class Supervisor:
    """Processes by name, and the code with which those that ended did."""

    def __init__(self, components: list[dict[str, Any]]) -> None:
        self._components = {component["name"]: component for component in components}
        self._pids: dict[str, int] = {}
        self._ended: dict[str, int] = {}

    def start(self, name: str) -> None:
        """Start a process unless it runs; its output is appended to its log."""
        if name in self._pids:
            return
        component = self._components[name]
        with (LOGS / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                component["argv"],
                env={**os.environ, **component["env"]},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._pids[name] = process.pid
        self._ended.pop(name, None)
        # Only reap() sees its end.
        process.returncode = 0

    def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        """End a process: by the signal, and when that takes more than 5 s, by SIGKILL."""
        deadline = time.monotonic() + STOP_SECONDS
        pid = self._pids.get(name)
        if pid:
            os.kill(pid, number)
        while name in self._pids:
            if time.monotonic() > deadline:
                os.kill(self._pids[name], signal.SIGKILL)
            time.sleep(0.05)
            self.reap()

    def reap(self) -> None:
        """Take the exit codes of every process that ended, orphans included."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for name, known in list(self._pids.items()):
                if known == pid:
                    self._ended[name] = os.waitstatus_to_exitcode(status)
                    del self._pids[name]

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request says: `{"do": "list" | "start" | "stop" | "kill", "name": …}`."""
        name = request.get("name", "")
        if request["do"] == "start":
            self.start(name)
        elif request["do"] == "stop":
            self.stop(name)
        elif request["do"] == "kill":
            self.stop(name, signal.SIGKILL)
        return {"running": sorted(self._pids), "ended": self._ended}


def main() -> None:
    """Serve requests forever."""
    for folder in PRIVATE:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    # Volumes that the kubelet mounts must reach containers.
    subprocess.run(["mount", "--make-rshared", "/"], check=True)
    supervisor = Supervisor(json.loads((CONFIG / "components.json").read_text()))
    listener = socket.socket(socket.AF_UNIX)
    Path(CONTROL_SOCKET).unlink(missing_ok=True)
    listener.bind(str(CONTROL_SOCKET))
    listener.listen()
    listener.settimeout(0.2)
    while True:
        supervisor.reap()
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        # A client that left or wrote nonsense must not end the node.
        with suppress(OSError, ValueError), connection, connection.makefile("rw") as stream:
            stream.write(json.dumps(supervisor.answer(json.loads(stream.readline()))) + "\n")


if __name__ == "__main__":
    main()

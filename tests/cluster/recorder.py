"""Keeps what a cluster shows while a test runs: objects come and go, and their logs go with them."""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.settings import STATE

# Everything but Secrets.
KINDS = "pods,jobs,pytorchjobs,trainjobs,trainingruntimes,configmaps,persistentvolumeclaims,services,events"
PAUSE = 2.0


@dataclass
class Recorder:
    """What was seen of a namespace.

    Attributes:
        folder: the objects as JSON, one file per state, and the containers' logs; for tests that look for words.
        seen: names of all objects ever seen, by kind.
    """

    cluster: Cluster
    namespace: str
    folder: Path
    seen: dict[str, set[str]] = field(default_factory=dict)

    def look(self) -> None:
        """Write down what is there now. An API server that is away is looked at again next time."""
        # Logs first: a pod that ends goes with them.
        self._keep_logs()
        with suppress(ClusterError):
            for item in self.cluster.get(KINDS, "-n", self.namespace)["items"]:
                self._keep(item)

    def _keep_logs(self) -> None:
        if self.cluster.owned:
            for log in (STATE / "pods").glob(f"{self.namespace}_*/*/*.log"):
                with suppress(FileNotFoundError):
                    shutil.copyfile(log, self.folder / "-".join(log.parts[-3:]))
            return
        # The files of another cluster's node are out of reach.
        for pod in self.seen.get("Pod", set()):
            with suppress(ClusterError):
                text = self.cluster.kubectl("logs", pod, "-n", self.namespace, "--all-containers")
                (self.folder / f"{pod}.log").write_text(text)

    def _keep(self, item: dict[str, Any]) -> None:
        kind, meta = item["kind"], item["metadata"]
        self.seen.setdefault(kind, set()).add(meta["name"])
        name = f"{kind}-{meta['name']}-{meta['uid'][:8]}-{meta['resourceVersion']}.json"
        (self.folder / name).write_text(json.dumps(item))

    def states(self, kind: str, name: str) -> list[dict[str, Any]]:
        """Every state seen of the objects whose name begins so, oldest first."""
        found = [json.loads(file.read_text()) for file in self.folder.glob(f"{kind}-{name}*.json")]
        return sorted(found, key=lambda one: int(one["metadata"]["resourceVersion"]))

    def holding(self, text: str) -> list[str]:
        """Names of the files that hold a text."""
        return sorted(file.name for file in self.folder.iterdir() if text.encode() in file.read_bytes())


@contextmanager
def recorded(cluster: Cluster, namespace: str, folder: Path) -> Iterator[Recorder]:
    """Look at a namespace every two seconds while the block runs, and once more at its end."""
    folder.mkdir(parents=True)
    recorder, ended = Recorder(cluster, namespace, folder), threading.Event()

    def work() -> None:
        while not ended.wait(PAUSE):
            recorder.look()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield recorder
    finally:
        ended.set()
        thread.join()
        recorder.look()

"""A fake cluster whose pods act as a test says, and runs on it."""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.kubeconfig import write_kubeconfig
from tests.fakes.node import Node
from tests.ir.memory_runner import compiled
from utils.ir.model import Event, TaskState
from utils.runners.kubernetes.request import RunRequest
from utils.runners.kubernetes.session import ClusterResult, Listener, run_on_cluster
from utils.runners.settings import ClusterSettings


@dataclass
class Lab:
    """Runs pipelines on the cluster `node`; `events` are those of the last run."""

    node: Node
    folder: Path
    settings: ClusterSettings
    events: list[Event] = field(default_factory=list)
    on_event: Callable[[Event], None] = lambda event: None
    on_notice: Callable[[str], None] = lambda text: None

    def run(
        self, pipeline: Any, run_id: str = "r1", arguments: Mapping[str, Any] | None = None, **options: Any
    ) -> ClusterResult:
        """Run a pipeline; `settings` are those that differ, all other options the request's."""
        settings = replace(self.settings, **options.pop("settings", {}))
        self.events = []

        def note(event: Event) -> None:
            self.events.append(event)
            self.on_event(event)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            spec = compiled(pipeline, self.folder)
        request = RunRequest(spec, arguments or {}, run_id, settings, **{"home": self.folder / "home", **options})
        return run_on_cluster(request, Listener(note, on_notice=self.on_notice))

    def states(self, task_id: str) -> list[TaskState]:
        return [event.state for event in self.events if event.task_id == task_id]

    def message(self, task_id: str) -> str:
        return [event.message for event in self.events if event.task_id == task_id][-1]

    def record(self, run_id: str = "r1") -> dict[str, Any]:
        data = self.node.objects["configmaps"][f"ilab-{run_id}"]["data"]
        return {key: json.loads(value) for key, value in data.items()}

    def take_over(self, **holder: Any) -> None:
        """Do as another process does that is started with the run r1."""
        data = self.node.objects["configmaps"]["ilab-r1"]["data"]
        self.node.put("configmaps", "ilab-r1", data={**data, "holder.json": json.dumps(holder)})

    def change_record(self, run_id: str = "r1", forget: tuple[str, ...] = (), **changes: Any) -> None:
        """Put the run's object into the state in which a process that was killed leaves it."""
        found = self.node.objects["configmaps"][f"ilab-{run_id}"]
        data = {key: value for key, value in found["data"].items() if key not in forget}
        data["run.json"] = json.dumps({**json.loads(data["run.json"]), **changes})
        self.node.put("configmaps", f"ilab-{run_id}", data=data)

    def left(self) -> list[str]:
        """What there is besides ConfigMaps."""
        kinds = (kind for kind in self.node.kinds if kind != "configmaps")
        return sorted(f"{kind}/{name}" for kind in kinds for name in self.node.objects[kind])


@pytest.fixture
def node() -> Iterator[Node]:
    server = Node()
    yield server
    server.stop()


@pytest.fixture
def kubeconfig(node: Node, tmp_path: Path) -> Path:
    return write_kubeconfig(tmp_path / "kubeconfig", node.url)


@pytest.fixture
def lab(node: Node, kubeconfig: Path, tmp_path: Path) -> Lab:
    return Lab(node, tmp_path, ClusterSettings(kubeconfig=str(kubeconfig)))

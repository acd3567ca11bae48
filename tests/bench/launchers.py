"""Measure what each launcher costs until the first optimizer step: `python -m tests.bench.launchers`.

A phase is trained up to its first step by each launcher on the test cluster, which is started if it is down, and by
bare `torchrun … main_ds` with as many ranks on the same machine, with the same data and model. They take turns, and of
each row the shortest round counts: on a shared machine, what else runs must not be mistaken for a launcher.

The launcher's task is a process of this machine: the start of a task's own pod, which all launchers need, is not in it.
Pods find their image on the node, and may take as much CPU as bare torchrun.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.bench.launcher_marks import Begun, Marks, table, watch
from tests.cluster import lifecycle
from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.programs import TRAINER
from tests.cluster.settings import PATIENCE
from tests.cluster.training import OPTIONS, Training, prepared
from tests.e2e.stages import environment, in_stages
from utils.cluster.pod_overlay import merge_overlay
from utils.stages.evaluation.serving import free_port
from utils.stages.programs import end_group, start_group

ROUNDS = 3


@dataclass(frozen=True)
class Bench:
    """Where trainings run, each in a folder of its own.

    Attributes:
        processed: a volume's files after data processing.
    """

    cluster: Cluster
    namespace: str
    processed: Path
    folder: Path

    @contextmanager
    def bare(self, name: str, nodes: int) -> Iterator[Begun]:
        """`torchrun … main_ds` of each node, all on this machine."""
        volume = self.folder / name / "volume"
        shutil.copytree(self.processed, volume)
        phase = {**OPTIONS, "run_id": name, "data_dir": str(volume), "volume_claim": ""}
        text = in_stages("-m", "tests.bench.bare", str(nodes), json.dumps(phase))
        text = text.replace("$(MASTER_ADDR)", "127.0.0.1").replace("$(MASTER_PORT)", str(free_port()))
        variables = {"OMP_NUM_THREADS": str(os.cpu_count()), "OMP_WAIT_POLICY": "PASSIVE", "TQDM_DISABLE": "1"}
        with (volume.parent / "log").open("wb") as log, ExitStack() as stack:
            started, processes = time.time(), []
            for rank in range(nodes):
                words = json.loads(text.replace("$(RANK)", str(rank)))
                processes.append(start_group(words, env=environment() | variables, stdout=log))
                stack.callback(end_group, processes[-1], 40)
            yield Begun(started, volume / "phase_1", volume.parent / "log", nodes, False, processes)

    @contextmanager
    def process(self, name: str) -> Iterator[Begun]:
        """The launcher that trains on its own machine."""
        folder = self.folder / name
        shutil.copytree(self.processed, folder / "volume")
        (folder / "overlay.yaml").write_text("{}")
        training = Training(self.cluster, self.namespace, name, folder, "process")
        with launched(training, 1, data_dir=str(folder / "volume"), volume_claim="") as begun:
            yield begun

    @contextmanager
    def pods(self, name: str, kind: str) -> Iterator[Begun]:
        """A launcher that trains in two pods."""
        folder = self.folder / name
        folder.mkdir()
        limits = {"spec": {"containers": [{"name": "*", "resources": {"limits": {"cpu": str(os.cpu_count())}}}]}}
        with prepared(self.cluster, self.namespace, self.processed, folder, name, kind) as training:
            overlay = merge_overlay(yaml.safe_load((folder / "overlay.yaml").read_text()), limits)
            (folder / "overlay.yaml").write_text(yaml.safe_dump(overlay))
            with launched(training, 2) as begun:
                yield begun
            training.check_nothing_left()


@contextmanager
def launched(training: Training, nodes: int, **options: Any) -> Iterator[Begun]:
    """The stage with the training's launcher; ended as by who stops a run."""
    training.python = os.environ["ILAB_PYTHON"]
    output = Path(options.get("data_dir") or training.volume, "phase_1")
    started, launcher = time.time(), training.train(**options)
    try:
        yield Begun(started, output, training.folder / "log", nodes, nodes > 1, [launcher])
    finally:
        launcher.send_signal(signal.SIGTERM)
        launcher.wait(PATIENCE)


def rows_of(bench: Bench) -> dict[str, Callable[[str], AbstractContextManager[Begun]]]:
    """What is measured; before launchers stands the bare torchrun that they are compared with."""
    return {
        "bare torchrun, 1 rank": lambda name: bench.bare(name, 1),
        "process": bench.process,
        "bare torchrun, 2 ranks": lambda name: bench.bare(name, 2),
        "pytorchjob": lambda name: bench.pods(name, "pytorchjob"),
        f"trainjob, Trainer {TRAINER}": lambda name: bench.pods(name, "trainjob"),
    }


def measure(cluster: Cluster, folder: Path) -> None:
    """Measure all rows and print them."""
    processed = folder / "processed"
    processed.mkdir()
    for step in ("volume", "data"):
        in_stages("tests/e2e/run_training.py", step, str(processed))
    with cluster.namespace(f"bench-{uuid.uuid4().hex[:8]}") as namespace:
        rows = rows_of(Bench(cluster, namespace, processed, folder))
        made: dict[str, list[Marks]] = {name: [] for name in rows}
        for number in range(ROUNDS):
            for place, (name, begin) in enumerate(rows.items()):
                with begin(f"r{number}-{place}") as begun:
                    made[name].append(watch(begun, 2 * PATIENCE))
                print(f"{name}: {made[name][-1].total:.1f} s", file=sys.stderr, flush=True)
    print(f"seconds, the shortest of {ROUNDS} rounds; {os.cpu_count()} cores")
    print(table({name: min(rounds, key=lambda one: one.total) for name, rounds in made.items()}))


def main() -> None:
    """Measure on the test cluster, which is left as it was found."""
    # A pod's time zone; the library notes its steps without one.
    os.environ["TZ"] = "UTC"
    was_up = lifecycle.is_up()
    try:
        with tempfile.TemporaryDirectory() as folder:
            measure(lifecycle.up(), Path(folder))
    finally:
        if not was_up:
            lifecycle.down()


if __name__ == "__main__":
    try:
        main()
    except ClusterError as error:
        sys.exit(error.render())

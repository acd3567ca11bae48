"""Measure what the project promises: `python -m tests.bench`. Exit code 1 when a promise is broken.

Compile time is that of the compilation itself; importing kfp, which takes longer, is shown beside it.

The overhead per task is that of a pipeline of ten tasks that do nothing, one after the other, run by ours (the whole
command, from start to end) and by kfp.local's SubprocessRunner without a virtual environment (in this process, which
has imported kfp), in turns. The promise is about components as KFP compiles them, which install kfp when they start:
kfp.local does so for each task, ours sees once that it is there. The other pair of lines is for components without
that step, such as ours; what is left there is the start of Python and kfp's executor, the same for both.
"""

import contextlib
import importlib.util
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.files import ROOT

TASKS = 10
ROUNDS = 3


@dataclass(frozen=True)
class Line:
    """One line of the table; `limit` None where nothing is promised."""

    name: str
    value: float
    unit: str
    limit: float | None = None

    @property
    def holds(self) -> bool:
        return self.limit is None or self.value <= self.limit


def main() -> int:
    if importlib.util.find_spec("pip") is None:
        print(
            "error: this environment has no pip, which kfp.local calls for each task\n  next: make setup",
            file=sys.stderr,
        )
        return 1
    started = time.perf_counter()
    from kfp import dsl

    importing = time.perf_counter() - started
    sys.path.insert(0, str(ROOT))
    from components.compile import compile_pipeline
    from pipeline import ilab_pipeline

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "pipeline.yaml")
        compiling = median(lambda: compile_pipeline(ilab_pipeline, target))
        size = target.stat().st_size / 1000
        executors = count_executors(target)
        workflow = workflow_lines(target)
        installing = measure_runs(Path(folder, "installing"), ten_tasks(dsl, True))
        bare = measure_runs(Path(folder, "bare"), ten_tasks(dsl, False))
    table = [
        Line("import of kfp", importing, "s"),
        Line("compilation of pipeline.py", compiling, "s", 1.0),
        Line("size of pipeline.yaml", size, "kB"),
        Line("executors", executors, "", 12),
        *workflow,
        Line("a task, kfp.local", installing[1], "s"),
        Line("a task, ours", installing[0], "s"),
        Line("ratio of the two", installing[0] / installing[1], "", 0.5),
        Line("a bare task, kfp.local", bare[1], "s"),
        Line("a bare task, ours", bare[0], "s"),
    ]
    for line in table:
        limit = f"at most {line.limit:g} {line.unit}".rstrip() if line.limit is not None else ""
        verdict = "" if line.limit is None else "ok" if line.holds else "BROKEN"
        print(f"{line.name:<28} {line.value:>8.3f} {line.unit:<3} {limit:<16} {verdict}".rstrip())
    return 0 if all(line.holds for line in table) else 1


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def median(call: Callable[[], object]) -> float:
    """The middle of the seconds of a few calls."""
    return statistics.median(seconds(call) for _ in range(ROUNDS))


def count_executors(package: Path) -> int:
    from utils.ir.load import load

    return sum(component.container is not None for component in load(package).components.values())


def workflow_lines(package: Path) -> list[Line]:
    """The estimate of the run's Argo Workflow, and its parts; utils/lint/size.py says what they are."""
    from utils.lint import examine_file
    from utils.lint.size import MAX_TEMPLATE_BYTES, WARN_BYTES

    size = examine_file(package).workflow
    assert size is not None, "our own file can be followed from task to task"
    tasks = sorted(size.tasks.items(), key=lambda part: -part[1])
    return [
        Line("Argo Workflow, estimated", size.total / 1000, "kB", WARN_BYTES / 1000),
        Line("  spec", size.spec / 1000, "kB"),
        Line("  nodes of DAGs", size.dags / 1000, "kB"),
        Line("  nodes of tasks", sum(size.tasks.values()) / 1000, "kB"),
        *(Line(f"    {name.removeprefix('comp-')}", bytes_ / 1000, "kB") for name, bytes_ in tasks),
        Line("largest template of a pod", max(size.templates.values()) / 1000, "kB", MAX_TEMPLATE_BYTES / 1000),
    ]


def ten_tasks(dsl: Any, install_kfp: bool) -> Callable[..., Any]:
    """A pipeline of ten tasks, one after the other, that do nothing; `install_kfp` is the compiler's default."""

    @dsl.component(base_image="python:3.11", install_kfp_package=install_kfp)
    def nothing(given: str) -> str:
        return given

    @dsl.pipeline(name="ten-tasks")
    def ten(given: str = "x") -> None:
        for _ in range(TASKS):
            given = nothing(given=given).output

    return ten


def measure_runs(folder: Path, pipeline: Callable[..., Any]) -> tuple[float, float]:
    """Seconds per task of ours and of kfp.local, the middle of a few rounds in which they take turns."""
    from kfp import compiler, local

    folder.mkdir()
    package = folder / "ten.yaml"
    compiler.Compiler().compile(pipeline, str(package))
    words = ["run", "--package", str(package), "--home", str(folder / "home"), "--python", sys.executable]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ILAB_")}
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "kfp"))

    def ours() -> None:
        command = [sys.executable, "-m", "utils.cli.main", *words]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)

    def theirs() -> None:
        # It prints each task's output, and sets up logging on the way.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            pipeline()

    pairs = [(seconds(ours), seconds(theirs)) for _ in range(ROUNDS)]
    return statistics.median(a for a, _ in pairs) / TASKS, statistics.median(b for _, b in pairs) / TASKS


if __name__ == "__main__":
    sys.exit(main())

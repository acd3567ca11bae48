"""`ilab-pipeline compile`: write pipeline.yaml, or show what a component of it carries."""

import importlib.util
from pathlib import Path
from typing import Any

import click
import yaml

from utils.cli.options import image_option, option
from utils.errors import PipelineError, UsageError
from utils.files import COMPILED, ROOT, default_output


def our_pipeline() -> Any:
    """The pipeline function of pipeline.py."""
    spec = importlib.util.spec_from_file_location("pipeline", ROOT / "pipeline.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ilab_pipeline


def carried_part(package: Path, name: str) -> str | bytes:
    """A part of what a compiled pipeline carries.

    Args:
        name: a component, for its function; `code`, for the bundle of the stages' code, a tar; or the path of a
            file in it, such as utils/stages/publish.py.

    Raises:
        UsageError: the package has no such part.
    """
    from utils.ir.code import carried_code
    from utils.packing import as_bytes, unpacked

    with package.open() as file:
        spec = next(yaml.load_all(file, yaml.CSafeLoader))
    parts: dict[str, str | bytes] = {name: executor_source(package, name) for name in names_of(package)}
    files: dict[str, str] = {}
    if code := "".join(carried_code(spec["deploymentSpec"]["executors"]).values()):
        parts["code"] = as_bytes(code)
        files = {path: content.decode() for path, content in unpacked(code).items()}
    if name not in {*parts, *files}:
        raise UsageError(
            f"{package} has no part {name!r}",
            f"it has {', '.join(parts)}" + (f", and {len(files)} files in code" if files else ""),
            "list the files: ilab-pipeline compile --source code | tar tj"
            if files
            else "ilab-pipeline compile --source PART",
        )
    return {**files, **parts}[name]


def executor_source(package: Path, component: str) -> str:
    """The Python source that the executor of a component runs.

    Raises:
        PipelineError: it is not a lightweight component.
    """
    from utils.ir.load import load

    container = load(package).components[f"comp-{component}"].container
    if container is None or not container.command:
        raise PipelineError(f"the component {component} carries no Python source", "it is not a lightweight component")
    return str(container.command[-1])


def names_of(package: Path) -> list[str]:
    """Names of the components of a compiled pipeline that run something."""
    from utils.ir.load import load

    return sorted(key.removeprefix("comp-") for key, part in load(package).components.items() if part.container)


@click.command()
@option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="ILAB_COMPILE_OUTPUT",
    show_default="pipeline.yaml, in the repository or else in the working directory",
    help="File to write.",
)
@option(
    "--source",
    metavar="PART",
    envvar="ILAB_COMPILE_SOURCE",
    help="Write nothing; print a part of the compiled file: the function of a component (train-skills), a file that "
    "pods import (utils/stages/publish.py), or the bundle of these (code | tar tj).",
)
@image_option
@option(
    "--queue",
    default="",
    metavar="NAME",
    help="LocalQueue of Kueue in which every task that requests a GPU waits; also becomes the default of k8s_queue. "
    "Kubeflow Pipelines takes the labels of pods only from the file.",
)
def compile(output: Path | None, source: str | None, images: tuple[str, ...], queue: str) -> None:
    """Compile the DAG of pipeline.py to pipeline.yaml, the same bytes each time."""
    if source and (images or queue):
        flag = "--image" if images else "--queue"
        raise UsageError(f"{flag} can't be combined with --source", "--source shows a file as it is", "leave one out")
    if source:
        part = carried_part(output or COMPILED, source)
        click.echo(part, nl=isinstance(part, str))
        return
    output = output or default_output()
    from components.compile import compile_pipeline
    from utils.queues import QUEUE
    from utils.stages.prerequisites.parameters import check_parameters

    if wrong := check_parameters({QUEUE: queue}):
        raise UsageError(wrong[0].problem.replace(QUEUE, "--queue"))
    compile_pipeline(our_pipeline(), output, queue)
    if images:
        from utils.image_choice import replaced

        output.write_text(replaced(output.read_text(), images, lambda line: click.echo(line, err=True)))
    click.echo(f"{output}: {output.stat().st_size / 1000:.1f} kB")

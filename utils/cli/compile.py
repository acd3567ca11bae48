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


def executor_source(package: Path, component: str) -> str:
    """The Python source that the executor of a component runs, unpacked.

    Raises:
        UsageError: the package has no such component.
        PipelineError: the package is no compiled pipeline.
    """
    from components.compile import stage_source
    from utils.ir.load import load

    if component.removeprefix("comp-") not in names_of(package):
        raise UsageError(
            f"{package} has no component {component!r}",
            f"it has {', '.join(names_of(package))}",
            "ilab-pipeline compile --source COMPONENT",
        )
    key = "comp-" + component.removeprefix("comp-")
    container = load(package).components[key].container
    if container is None or not container.command:
        raise PipelineError(f"the component {component} carries no Python source", "it is no lightweight component")
    with package.open() as file:
        spec = next(yaml.load_all(file, yaml.CSafeLoader))
    return stage_source(spec, key) or str(container.command[-1])


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
    metavar="COMPONENT",
    envvar="ILAB_COMPILE_SOURCE",
    help="Write nothing; print the Python source that this component of the compiled file runs.",
)
@image_option
@option(
    "--queue",
    default="",
    metavar="NAME",
    help="Queue (LocalQueue of Kueue) that every task which asks for a GPU waits in; it is the default of "
    "k8s_queue then. Kubeflow Pipelines takes the labels of pods from the file alone.",
)
def compile(output: Path | None, source: str | None, images: tuple[str, ...], queue: str) -> None:
    """Compile the DAG of pipeline.py to pipeline.yaml, the same bytes each time."""
    if source:
        click.echo(executor_source(output or COMPILED, source))
        return
    output = output or default_output()
    from components.compile import compile_pipeline
    from utils.queues import QUEUE
    from utils.stages.prerequisites.parameters import check_parameters

    if wrong := check_parameters({QUEUE: queue}):
        raise UsageError(wrong[0]["problem"].replace(QUEUE, "--queue"))
    compile_pipeline(our_pipeline(), output, queue)
    if images:
        from utils.image_choice import replaced

        output.write_text(replaced(output.read_text(), images, lambda line: click.echo(line, err=True)))
    click.echo(f"{output}: {output.stat().st_size / 1000:.1f} kB")

"""Tables in docs/: every image of utils/images.py with its purpose, and which image runs which task."""

import ast
from collections.abc import Mapping, Sequence

from utils.errors import PipelineError
from utils.ir.model import Node, Pipeline

BEGIN = "<!-- Made by `make docs` from utils/images.py. -->"
END = "<!-- End of what is made. -->"


def image_uses(source: str) -> dict[str, str]:
    """Image to its purpose: each constant of `source` and the comment lines above it."""
    lines = source.splitlines()
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            first = node.lineno - 1
            while first and lines[first - 1].startswith("# "):
                first -= 1
            comment = " ".join(line.removeprefix("# ") for line in lines[first : node.lineno - 1])
            found[str(ast.literal_eval(node.value))] = comment
    return found


def image_tasks(pipeline: Pipeline, names: Mapping[str, str]) -> dict[str, list[str]]:
    """Name of an image to the tasks that run in it, in the order of the workflow.

    Args:
        names: name of an image to the image, see `utils.image_choice.IMAGES`.
    """
    called = {image: name for name, image in names.items()}
    found: dict[str, list[str]] = {}
    # The root comes last: in our pipeline it holds the exit task.
    dags = [*(component.dag for component in pipeline.components.values()), pipeline.root.dag]
    for node in (node for dag in dags if dag for node in in_order(dag.nodes)):
        container = pipeline.components[node.component].container
        if container:
            found.setdefault(called.get(container.image, container.image), []).append(node.key)
    return found


def in_order(nodes: Sequence[Node]) -> list[Node]:
    """Each task after those that it waits for."""
    ordered: list[Node] = []
    waiting = list(nodes)
    while waiting:
        done = {node.key for node in ordered}
        ready = [node for node in waiting if done.issuperset(node.after)] or waiting
        ordered += ready
        waiting = [node for node in waiting if node not in ready]
    return ordered


def with_task_table(page: str, tasks: Mapping[str, Sequence[str]]) -> str:
    """`page` with a table of tasks and their image between its two marks.

    Raises:
        PipelineError: the marks are not there.
    """
    rows = [f"| `{name}` | {', '.join(f'`{task}`' for task in those)} |" for name, those in tasks.items()]
    return _between_marks(page, ["| NAME | tasks |", "|---|---|", *rows])


def with_image_list(page: str, uses: Mapping[str, str]) -> str:
    """`page` with a table of the images between its two marks.

    Raises:
        PipelineError: the marks are not there.
    """
    return _between_marks(
        page, ["| image | for |", "|---|---|", *(f"| `{image}` | {use} |" for image, use in uses.items())]
    )


def _between_marks(page: str, table: Sequence[str]) -> str:
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise PipelineError("the page has no place for the images", f"it lacks {BEGIN} or {END}", "put them back")
    return "\n".join([before + begin, "", *table, "", end]) + after

"""Pages of commands, in the style of a run's report: each loads nothing, runs nothing, and escapes foreign text."""

import re
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from utils.cli.options import option
from utils.errors import IlabError, UsageError
from utils.files import read_text
from utils.stages.evaluation.statistics import BETTER, SAME, WORSE
from utils.stages.report.text import number

_FOLDER = "utils/cli/pages"
_TEMPLATES = ("parts", "compare", "judges")
MARKS = {BETTER: "True", WORSE: "False", SAME: ""}
"""Classes of the style sheet."""
_CENTRE, _HALF, _ROW = 228, 104, 30
"""Of a chart, in pixels: the middle of its scale, half its width, the height of a row."""


@dataclass(frozen=True)
class Bar:
    """A row of a chart: a value with its interval.

    Attributes:
        low, high: None for no interval.
        other: a second value, drawn hollow; None for none.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    other: float | None = None


def page_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--page` and `--open`."""
    place = option(
        "--page", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file as a page, too."
    )
    shown = option(
        "--open",
        "show",
        is_flag=True,
        help="Write the page, to `pages` in --home without --page, and open it in a browser.",
    )
    return place(shown(command))


def page(template: str, values: Mapping[str, Any]) -> str:
    """HTML of a template of this folder (NAME.html.jinja, in which a line that starts with % is a statement)."""
    from jinja2 import DictLoader, Environment, StrictUndefined

    texts = {name: read_text(f"{_FOLDER}/{name}.html.jinja") for name in _TEMPLATES}
    loader = DictLoader(texts)
    env = Environment(autoescape=True, undefined=StrictUndefined, line_statement_prefix="%", loader=loader)
    env.filters["n"] = number
    style = read_text("utils/stages/report/page.css")
    return env.get_template(template).render(values, style=style)


def write_page(path: Path | None, home: Path, name: str, text: str, show: bool) -> Path:
    """Write a page, and open it in a browser if it is to be shown; where it is.

    Args:
        path: None for a file of this name in the folder `pages` of home.

    Raises:
        UsageError: it can't be written.
        IlabError: there is no browser.
    """
    path = path or home / "pages" / f"{re.sub(r'[^a-zA-Z0-9_-]+', '_', name)[:150]}.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8", "replace")
    except OSError as error:
        raise UsageError(f"{path} can't be written", str(error.strerror), "name a file in another folder") from None
    if show and not webbrowser.open(path.absolute().as_uri()):
        raise IlabError("no browser could be started here", f"the page is {path}", "open it on a machine with one")
    return path


def scaled(bars: Sequence[Bar], centre: float, half: float | None = None) -> dict[str, Any]:
    """Where each bar goes in a chart.

    Args:
        centre: value in the middle; half: what the scale reaches to each side of it. None: each bar has a scale of its
            own, with its farthest end near the edge.
    """
    rows = []
    for row, bar in enumerate(bars):
        ends = [one for one in (bar.value, bar.low, bar.high, bar.other) if one is not None]
        reach = half or max(abs(one - centre) for one in ends) * 1.1 or 1.0

        def at(value: float | None, reach: float = reach) -> float | None:
            return None if value is None else round(_CENTRE + _HALF * max(-1.0, min(1.0, (value - centre) / reach)), 1)

        places = {name: at(getattr(bar, name)) for name in ("value", "low", "high", "other")}
        rows.append({"name": bar.name, "y": 18 + _ROW * row, **places})
    return {"rows": rows, "height": 24 + _ROW * len(bars), "left": _CENTRE - _HALF, "right": _CENTRE + _HALF,
            "centre": _CENTRE}  # fmt: skip

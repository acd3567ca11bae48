"""From the facts of a run to one HTML page that loads nothing and runs nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.stages.report.charts import bar_chart, line_chart, titled
from utils.stages.report.text import counted, duration, flat, number, ordered, plain


def render(facts: Mapping[str, Any]) -> str:
    """The page of a run, from what report_facts returned.

    The template (page.html.jinja, where a line that starts with % is a statement) escapes everything but the style
    sheet (page.css) and the charts, whose text matplotlib escapes.

    The style: system fonts, one accent, light and dark, fit for an 800 pixel frame and for paper. Base and candidate
    differ in lightness too, so they can be told apart without color. `True` and `False` are classes of what is good
    and bad. A table that can be sorted has its rows once for each column; the style sheet shows those of the chosen
    one.
    """
    from jinja2 import ChainableUndefined, Environment

    env = Environment(autoescape=True, undefined=ChainableUndefined, line_statement_prefix="%")
    env.filters |= {"n": number, "many": counted, "time": duration, "plain": plain, "flat": flat, "titled": titled}
    env.filters["ordered"] = ordered
    env.globals |= {"bars": bar_chart, "line": line_chart, "points": checkpoint_points}
    return env.from_string(_beside("page.html.jinja")).render(facts, style=_beside("page.css"))


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def checkpoint_points(bench: Mapping[str, Any]) -> list[tuple[int, float, bool]]:
    """(training samples, MT-Bench score, whether it is the candidate) of every checkpoint that has a score."""
    return [
        (int(c["model"].rsplit("_", 1)[-1]), c["overall_score"], c["model"] == bench["candidate"])
        for c in bench["checkpoints"]
        if c["overall_score"] is not None
    ]

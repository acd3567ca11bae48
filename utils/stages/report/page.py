"""From the facts of a run to one HTML page that loads nothing and runs nothing."""

from utils.stages.report.charts import bar_chart, line_chart
from utils.stages.report.style import page_style
from utils.stages.report.template import page_template
from utils.stages.report.text import counted, duration, flat, number, plain


def render(facts: dict) -> str:
    """The page of a run, from what report_facts returned.

    The template escapes everything but the style sheet and the charts, whose text matplotlib escapes.
    """
    from jinja2 import ChainableUndefined, Environment

    env = Environment(autoescape=True, undefined=ChainableUndefined, line_statement_prefix="%")
    env.filters |= {"n": number, "many": counted, "time": duration, "plain": plain, "flat": flat}
    env.globals |= {"bars": bar_chart, "line": line_chart, "points": checkpoint_points}
    return env.from_string(page_template()).render(facts, style=page_style())


def checkpoint_points(bench: dict) -> list:
    """(training samples, MT-Bench score, whether it is the candidate) of every checkpoint that has a score."""
    return [
        (int(c["model"].rsplit("_", 1)[-1]), c["overall_score"], c["model"] == bench["candidate"])
        for c in bench["checkpoints"]
        if c["overall_score"] is not None
    ]

"""From the facts of a run to one HTML page that loads nothing and runs nothing."""

from utils.report.charts import bar_chart, line_chart
from utils.report.style import page_style
from utils.report.template import page_template
from utils.report.text import duration, number


def render(facts: dict) -> str:
    """The page of a run, from what report_facts returned. Everything in it is escaped but charts and style."""
    from jinja2 import ChainableUndefined, Environment

    checkpoints = facts["scores"].get("mt_bench", {}).get("checkpoints", [])
    points = [(int(c["model"].rsplit("_", 1)[-1]), c["overall_score"]) for c in checkpoints]
    names = {
        "versions": sorted({f"{n} {v}" for marker in facts["done"].values() for n, v in marker["versions"].items()}),
        "points": [p for p in points if p[1] is not None],
        "bars": bar_chart,
        "line": line_chart,
        "style": page_style(),
    }
    env = Environment("{%", "%}", "[[", "]]", line_statement_prefix="%", autoescape=True, undefined=ChainableUndefined)
    env.filters |= {"n": number, "time": duration}
    return env.from_string(page_template()).render(facts | names)

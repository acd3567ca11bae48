"""From the facts of a run to one HTML page that loads nothing and runs nothing."""

from utils.report.charts import bar_chart, line_chart
from utils.report.style import page_style
from utils.report.template import page_template
from utils.report.text import duration, number


def render(facts: dict) -> str:
    """The page of a run, from what report_facts returned. Everything in it is escaped but charts and style."""
    import jinja2

    bench = facts["scores"].get("mt_bench", {})
    points = [
        (int(c["model"].rsplit("_", 1)[-1]), c["overall_score"], c["model"]) for c in bench.get("checkpoints", [])
    ]
    names = {
        "versions": sorted({f"{n} {v}" for marker in facts["done"].values() for n, v in marker["versions"].items()}),
        "points": [(samples, score) for samples, score, _ in points if score is not None],
        "best": [samples for samples, _, model in points if model == bench["candidate"]],
        "bars": bar_chart,
        "line": line_chart,
        "style": page_style(),
    }
    options: dict = {"variable_start_string": "[[", "variable_end_string": "]]", "line_statement_prefix": "%"}
    pages = jinja2.Environment(autoescape=True, undefined=jinja2.ChainableUndefined, **options)
    pages.filters |= {"n": number, "time": duration}
    return pages.from_string(page_template()).render(facts | names).encode("utf-8", "replace").decode()

"""Charts as inline SVG that takes fonts and colours from the page. Drawn by matplotlib, the same bytes each time."""

import io
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from utils.stages.report.text import leaf_label, number

WIDTH = 340
"""Of a chart: on a phone, 390 pixels wide, its smallest text has 11 pixels."""


def svg(draw: Callable[[Any], None], height: int) -> str:
    """Markup of an `<svg>` that draw(axes) paints, WIDTH CSS pixels wide at natural size.

    Matplotlib escapes all text in it. The colours that draw uses become CSS variables of the page, so that a chart is
    light or dark with it: #000001 muted, #000002 rule, #000003 base, #000004 candidate.
    """
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "ilab",
        "text.parse_math": False,
        "font.size": 11.5,
    }
    out = io.StringIO()
    with matplotlib.rc_context(style):
        figure = Figure((WIDTH / 72, height / 72), layout="constrained")
        axes = figure.add_subplot(frame_on=False)
        axes.tick_params(length=0)
        draw(axes)
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = re.sub(r'(?s)^.*?(?=<svg)|<metadata.*?/metadata>| id="\w+_\d+"|xmlns.*?(?=viewBox)', "", out.getvalue())
    for digit, name in enumerate(("muted", "rule", "base", "candidate"), 1):
        text = text.replace(f"#00000{digit}", f"var(--{name})")
    return text


def titled(chart: str, title: str) -> str:
    """A chart that says to a screen reader what it is."""
    from markupsafe import escape

    return re.sub("<svg([^>]*)>", lambda tag: f'<svg role="img"{tag[1]}><title>{escape(title)}</title>', chart, count=1)


def bar_chart(rows: Iterable[Sequence[Any]], digits: int = 0) -> str:
    """Bars by taxonomy leaf: rows of (leaf, value) or (leaf, base, candidate).

    At most 40 are shown: those that changed most, or the largest values.
    """

    def weight(row: Sequence[Any]) -> float:
        return abs((row[-1] or 0) - sum(value or 0 for value in row[1:-1]))

    rows = sorted(sorted(rows, key=weight, reverse=True)[:40], key=lambda row: str(row[0]), reverse=True)
    pair = len(rows[0]) - 2
    colours = ["", "#000003", "#000004"] if pair else ["", "#000001"]

    def draw(axes: Any) -> None:
        for column in range(1, pair + 2):
            at = [i + pair * (0.57 - 0.38 * column) for i in range(len(rows))]
            bars = axes.barh(at, [r[column] or 0 for r in rows], 0.6 - 0.24 * pair, color=colours[column])
            axes.bar_label(bars, [number(r[column], digits) for r in rows], padding=4, fontsize=10.5)
        axes.set_yticks(range(len(rows)), [leaf_label(r[0]) for r in rows])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xticks([])
        axes.margins(x=0.14)
        axes.set_xlim(left=0)  # where all are 0, matplotlib would put them into the middle

    return svg(draw, 14 + len(rows) * (24 + 14 * pair))


def line_chart(points: Sequence[Sequence[Any]], x_label: str) -> str:
    """A line through (x, y) points, with a running mean from 30 of them on; (x, y, True) is a point that stands out."""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    reach = len(ys) // 30
    windows = [ys[max(0, i - reach) : i + reach + 1] for i in range(len(ys))]

    def draw(axes: Any) -> None:
        if reach:
            axes.plot(xs, ys, "#000003", linewidth=0.5)
        axes.plot(xs, [sum(w) / len(w) for w in windows], "#000004", linewidth=2, marker="" if reach else ".")
        for x, y, *marked in points:
            if any(marked):
                axes.plot(x, y, "o", color="#000004", markersize=9)
                axes.annotate(number(y, 2), (x, y), (4, 9), textcoords="offset points", ha="right")
        axes.grid(axis="y", color="#000002")
        axes.margins(0.04, 0.16)
        axes.locator_params(nbins=5)
        axes.locator_params("x", integer=True)
        if len(set(xs)) == 1:  # no other whole number is in sight
            axes.set_xticks(xs[:1])
        axes.set_xlabel(x_label)

    return svg(draw, 210)

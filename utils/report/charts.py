"""Charts as inline SVG that takes fonts and colours from the page. Drawn by matplotlib, the same bytes each time."""

from collections.abc import Callable
from typing import Any

from utils.report.text import leaf_label, number


def svg(draw: Callable, height: int) -> Any:
    """Markup of an `<svg>` that draw(axes) paints, 440 CSS pixels wide at natural size.

    Matplotlib escapes all text in it. The colours that draw uses become CSS variables of the page: #000001 muted,
    #000002 rules, #000003 base, #000004 candidate.
    """
    import io
    import re

    import matplotlib
    from markupsafe import Markup
    from matplotlib.figure import Figure

    style: dict = {"svg.fonttype": "none", "svg.hashsalt": "ilab", "text.parse_math": False, "font.size": 11.5}
    out = io.StringIO()
    with matplotlib.rc_context(style):
        figure = Figure((440 / 72, height / 72), layout="constrained")
        axes = figure.add_subplot(frame_on=False)
        axes.tick_params(length=0)
        draw(axes)
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = re.sub(r'(?s)^.*?(?=<svg)|<metadata.*?/metadata>| id="\w+_\d+"|xmlns.*?(?=viewBox)', "", out.getvalue())
    for digit, name in enumerate(("muted", "rule", "base", "candidate"), 1):
        text = text.replace(f"#00000{digit}", f"var(--{name})")
    return Markup(text)


def bar_chart(rows: Any, digits: int = 0) -> Any:
    """Bars by taxonomy leaf: rows of (leaf, value) or (leaf, base, candidate); at most the 40 that changed most."""
    rows = sorted(rows, key=lambda r: -abs((r[-1] or 0) - (r[1] or 0)))[:40]
    rows.sort(key=lambda r: str(r[0]), reverse=True)
    pair = len(rows[0]) - 2

    def draw(axes: Any) -> None:
        for column in range(1, pair + 2):
            at = [i + pair * (0.57 - 0.38 * column) for i in range(len(rows))]
            bars = axes.barh(
                at, [r[column] or 0 for r in rows], 0.6 - 0.24 * pair, color=f"#00000{1 + pair * (column + 1)}"
            )
            axes.bar_label(bars, [number(r[column], digits) for r in rows], padding=4, fontsize=10)
        axes.set_yticks(range(len(rows)), [leaf_label(r[0]) for r in rows])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xticks([])
        axes.margins(x=0.14)

    return svg(draw, 14 + len(rows) * (24 + 14 * pair))


def line_chart(points: list, x_label: str, marked: str = "") -> Any:
    """A line through (x, y) points, 30 and more with their running mean; the point whose x reads
    `marked` stands out."""
    xs, ys = zip(*points, strict=True)
    reach = len(ys) // 30
    means = [sum(w) / len(w) for w in (ys[max(0, i - reach) : i + reach + 1] for i in range(len(ys)))]

    def draw(axes: Any) -> None:
        axes.plot(xs, ys, "#000003", linewidth=0.7)
        axes.plot(xs, means, "#000004", marker="" if len(xs) > 20 else ".")
        for point in [p for p in points if str(p[0]) == marked]:
            axes.plot(*point, "o", color="#000004", markersize=9)
        axes.grid(axis="y", color="#000002")
        axes.locator_params(nbins=5)
        axes.set_xlabel(x_label)

    return svg(draw, 210)

"""The demo's table of scores."""

from typing import Any

from rich.table import Table

from utils.durations import format_duration


def score_table(summary: dict[str, Any]) -> Table:
    """The scores of both models, whole at 80 columns: the interval of a change is below it."""
    table = Table(title=f"{summary['headline']} ({format_duration(summary['seconds'])})", title_justify="left")
    for heading in ("score", "base", "candidate", "change", "verdict"):
        table.add_column(heading, justify="left" if heading in ("score", "verdict") else "right")
    for score in summary["scores"]:
        digits = score["digits"]
        shown = ["-" if score[n] is None else f"{score[n]:.{digits}f}" for n in ("base", "candidate")]
        change = "-" if score["change"] is None else f"{score['change']:+.{digits}f}"
        if score["low"] is not None:
            change += f"\n{score['low']:+.{digits}f} to {score['high']:+.{digits}f}"
        table.add_row(score["name"], *shown, change, (score["said"] or score["reason"]).replace(": ", "\n", 1))
    return table

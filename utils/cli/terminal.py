"""Text and tables for terminals."""

from collections.abc import Sequence

import click


def on_terminal(text: str) -> str:
    """Foreign text, without what a terminal would act upon."""
    return text if text.isprintable() else ascii(text)


def print_table(rows: Sequence[Sequence[str]], below: Sequence[str] = ()) -> None:
    """Rows of text in columns, the first of them a heading. Nothing is cut: a terminal wraps what is too long.

    Args:
        below: for each row but the heading, a line that follows it; "" for none.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        line = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        click.secho(line, bold=number == 0)
        if number and below and below[number - 1]:
            click.echo(f"  {below[number - 1]}")

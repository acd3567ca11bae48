"""Numbers, durations and names as the report writes them."""

from typing import Any


def number(value: Any, digits: int = 0, sign: str = "") -> str:
    """value with thousands separators, "–" for what is no number; sign "+" shows a plus too."""
    return format(value, f"{sign},.{digits}f").replace("-", "−") if isinstance(value, (int, float)) else "–"


def duration(seconds: float) -> str:
    """seconds as hours, minutes and seconds, `5:03:24`."""
    import datetime

    return str(datetime.timedelta(seconds=round(seconds)))


def leaf_label(leaf: Any) -> str:
    """The end of a taxonomy leaf's path that fits beside a chart, printable characters only."""
    parts = [p for p in str(leaf).split("/") if p != "qna.yaml"]
    label = "".join(filter(str.isprintable, "/".join(parts[-2:])))
    return label if len(label) < 35 else "…" + label[-33:]

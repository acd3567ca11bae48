"""Numbers, durations and names as the report writes them."""

from typing import Any


def number(value: Any, digits: int = 0, sign: str = "") -> str:
    """value with thousands separators, "–" for what is missing or not finite; sign "+" shows a plus too."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value - value != 0:
        return "–"
    return format(value, f"{sign},.{digits}f").replace("-", "−")


def duration(seconds: Any) -> str:
    """seconds as `7.5 s`, `3 min 20 s` or `26 h 05 min`."""
    if number(seconds) == "–" or seconds < 60:
        return f"{number(seconds, 1)} s"
    hours, minutes = int(seconds // 3600), int(seconds % 3600 // 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {int(seconds % 60):02} s"


def leaf_label(leaf: Any) -> str:
    """The end of a taxonomy leaf's path that fits beside a chart, printable characters only."""
    parts = [p for p in str(leaf).split("/") if p != "qna.yaml"]
    label = "".join(filter(str.isprintable, "/".join(parts[-2:])))
    return label if len(label) < 35 else "…" + label[-33:]

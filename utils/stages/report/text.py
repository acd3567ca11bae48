"""Numbers, durations and names as the report writes them."""

from collections.abc import Mapping, Sequence
from typing import Any


def number(value: Any, digits: int = 0, sign: str = "") -> str:
    """value with thousands separators, "–" for anything but a number; sign "+" also shows a plus."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "–"
    return format(value, f"{sign},.{digits}f").replace("-", "−")


def counted(count: Any, noun: str) -> str:
    """`1 step`, `2,000 steps`."""
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """seconds as `41.2 s`, `6 min 12 s` or `5 h 03 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02} min"


def plain(value: Any) -> str:
    """A parameter or a result of any type, as a person writes it."""
    if value is None or value in ("", [], {}):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(plain(inner) for inner in value)
    return str(value)


def flat(facts: Mapping[str, Any], left_out: Sequence[str] = ()) -> dict[str, str]:
    """facts as text, nested dicts taken apart: {"a": {"b": 1}} becomes {"a.b": "1"}; some names are left out."""
    found: dict[str, str] = {}
    for name, value in facts.items():
        if name in left_out:
            continue
        if isinstance(value, dict) and value:
            found |= {f"{name}.{inner}": text for inner, text in flat(value).items()}
        else:
            found[name] = plain(value)
    return found


def leaf_label(leaf: Any) -> str:
    """The end of a taxonomy leaf's path that fits beside a chart, printable characters only."""
    parts = [p for p in str(leaf).split("/") if p != "qna.yaml"]
    label = "".join(filter(str.isprintable, "/".join(parts[-2:])))
    return label if len(label) < 35 else "…" + label[-33:]


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, or `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def ordered(rows: Sequence[Mapping[str, Any]], column: str | None) -> list[Mapping[str, Any]]:
    """rows by a column: texts by the alphabet, numbers from the largest, of a mapping its sum; None: as they are."""

    def place(row: Mapping[str, Any]) -> tuple[float, str]:
        value = row.get(column or "")
        if isinstance(value, dict):
            value = sum(value.values())
        return (-value, "") if isinstance(value, (int, float)) else (0, str(value or "").casefold())

    return sorted(rows, key=place) if column else list(rows)

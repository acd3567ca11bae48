"""Durations as written in parameters and flags (90s, 60m, 72h, 7d), and as shown to users."""


def parse_duration(text: str) -> int:
    """Seconds of a duration: a whole number and s, m, h or d.

    Raises:
        ValueError: it is anything else.
    """
    given = text.strip()
    number, unit = given[:-1], {"s": 1, "m": 60, "h": 3600, "d": 86400}.get(given[-1:])
    if unit is None or not (number.isascii() and number.isdigit()):
        raise ValueError(f"{text!r} is not a valid duration, such as 90s, 60m or 72h")
    return int(number) * unit


def format_duration(seconds: float) -> str:
    """Seconds as shown to users: 8s, 1m05s, 2h03m, 3d04h."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"

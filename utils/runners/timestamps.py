"""Times as files and objects have them: UTC, RFC 3339, whole seconds."""

import calendar
import time

_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as text; "" for 0, which stands for unknown."""
    return time.strftime(_FORMAT, time.gmtime(seconds)) if seconds else ""


def seconds_since_epoch(text: str) -> float:
    """What `timestamp` made the text of."""
    return float(calendar.timegm(time.strptime(text, _FORMAT))) if text else 0.0

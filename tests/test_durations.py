"""Durations are read and written one way everywhere."""

import pytest

from utils.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), (" 60m", 3600), ("2h", 7200), ("72h ", 259200), ("7d", 604800)]
)
def test_duration_is_read_in_seconds(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "1.5h", "30 minutes", "-1h", "soon", "\u0663m"])
def test_text_that_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a valid duration, such as 90s, 60m or 72h"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0s"), (59.4, "59s"), (59.6, "1m00s"), (3725, "1h02m"), (90000, "1d01h")]
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text

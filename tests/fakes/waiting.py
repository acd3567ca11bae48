"""A clock for `Patience`: waiting takes no time, and something may come back meanwhile."""

from collections.abc import Callable

from utils.stages.patience import OUTAGE_SECONDS, Patience

QUARTER = 900.0
"""Seconds of an outage that a run survives."""


class FakeTime:
    """A clock that sleeping sets forward; `later` holds what happens once it is that late."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self.later: list[tuple[float, Callable[[], object]]] = []

    def at(self, seconds: float, act: Callable[[], object]) -> "FakeTime":
        self.later.append((seconds, act))
        return self

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)
        for due in [one for one in self.later if one[0] <= self.now]:
            self.later.remove(due)
            due[1]()

    def patience(self, seconds: float = OUTAGE_SECONDS) -> Patience:
        return Patience(seconds, self.sleep, lambda: self.now)

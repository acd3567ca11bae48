"""How long a stage waits for a service that is away: one policy, with every limit in this file."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from utils.messages import shown

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds between two tries: doubled each time, up to a minute."""
OUTAGE_SECONDS = 1800.0
"""How long a service may be away: an upgrade of a store or a reboot of its node takes up to a quarter of an hour."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Patience:
    """How long to try.

    Attributes:
        seconds: from the first failure to the last try; 0: there is one try.
        sleep: waits for a number of seconds.
        clock: monotonic seconds.
    """

    seconds: float = OUTAGE_SECONDS
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def outlast(self, action: Callable[[], Value], passes: Callable[[Exception], float | None], what: str) -> Value:
        """The result of action, which is tried again while it fails in ways that pass.

        Args:
            passes: seconds to wait at least after an error that may pass (of its Retry-After, else 0); None for
                any other, which is raised.
            what: what is waited for, for the log.

        Raises:
            Exception: of action, when it does not pass, or has not passed in time.
        """
        pause, until = FIRST_PAUSE, 0.0
        while True:
            try:
                return action()
            except Exception as error:
                least = passes(error)
                until = until or self.clock() + self.seconds
                wait = max(pause, least or 0)
                if least is None or self.clock() + wait > until:
                    raise
                print(f"{what}: {shown(str(error))}; trying again in {wait:g} s", flush=True)
            self.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)


ONCE = Patience(0)
"""Where a person waits for the answer: a wrong address is told at once."""

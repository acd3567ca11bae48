"""How long a stage waits for a service that is away: one policy, with every limit in this file.

Object store, teacher, judge, git and hub all wait here. Where their own clients try again by themselves, that is turned
off, or takes seconds: tries do not multiply.
"""

import re
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
RENEWAL_PAUSE = 10.0
RENEWAL_TRIES = 8
"""Seconds between tries, and their number, while credentials that were accepted are refused: two and a half minutes.
A Secret that was renewed gets to the pods that mount it within about a minute (kubelet: syncFrequency)."""
CHECK_TRIES = 3
"""Tries of prerequisites: a person waits for them, and nothing is lost yet."""
ODD_TRIES = 5
"""How often a server may answer another request but fail on this one, until this one is to blame."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Patience:
    """How long to try.

    Attributes:
        seconds: from the first failure to the last try; 0: there is one try.
        sleep: waits for a number of seconds.
        clock: monotonic seconds.
        first: seconds before the second try.
        tries: at most; 0: as many as there is time for.
    """

    seconds: float = OUTAGE_SECONDS
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    first: float = FIRST_PAUSE
    tries: int = 0

    def outlast(
        self,
        action: Callable[[], Value],
        passes: Callable[[Exception], float | None],
        what: str,
        words: Callable[[Exception], str] = str,
    ) -> Value:
        """The result of action, which is tried again while it fails in ways that pass.

        Args:
            passes: seconds to wait at least after an error that may pass (of its Retry-After, else 0); None for
                any other, which is raised.
            what: what is waited for, for the log.
            words: what the log says of an error.

        Raises:
            Exception: of action, when it does not pass, or has not passed in time.
        """
        pause, until, tried = self.first, 0.0, 0
        while True:
            try:
                return action()
            except Exception as error:
                least, tried = passes(error), tried + 1
                until = until or self.clock() + self.seconds
                wait = max(pause, least or 0)
                if least is None or tried == self.tries or self.clock() + wait > until:
                    raise
                print(f"{what}: {shown(words(error))}; trying again in {wait:g} s", flush=True)
            self.sleep(wait)
            pause = min(2 * pause, max(LONGEST_PAUSE, self.first))


OUTAGE = Patience()
"""In a run: a service that is away comes back."""
ONCE = Patience(0)
"""Where a person waits for the answer: a wrong address is told at once."""


def wait_of_status(status: int, retry_after: str = "") -> float | None:
    """Seconds to wait at least after an HTTP status that may pass, None after another one.

    Args:
        retry_after: the header of that name; a date in it is not heeded.
    """
    if status not in (408, 425, 429) and (status < 500 or status in (501, 505)):
        return None
    return float(retry_after) if re.fullmatch(r"\d+(\.\d+)?", retry_after) else 0.0

"""How many requests a model server gets at a time: as many as it takes."""

import threading
from collections.abc import Callable
from typing import Any

from utils.stages.patience import OUTAGE, Patience, wait_of_status


class InFlight:
    """Requests of any threads that wait for their answers: at most `limit`, which the server lowers.

    A server that has too many requests halves the limit, and holds all of them where it says for how long. Its answers
    raise the limit by one per round of requests, as TCP does.

    Attributes:
        now: requests in flight.
        limit: at a time.
        answered: requests that were.
        waited: seconds that requests waited for their answers, of all together, until `at`.
        told: time, `waited` and `answered` when `over_time` was last called.
    """

    def __init__(self, server: str, most: int, patience: Patience = OUTAGE) -> None:
        """Args are the server's name for the log, the highest limit, and what waits and tells the time."""
        self.server, self.most, self.patience, self.changed = server, most, patience, threading.Condition()
        self.now, self.answered, self.lowered, self.held, self.limit = 0, 0, 0, 0.0, float(most)
        self.waited, self.at = 0.0, patience.clock()
        self.told = self.at, self.waited, self.answered

    def over_time(self, quiet: float = 0.0) -> str:
        """Requests in flight, on average since the last call, and answers per hour; "" within `quiet` seconds of it."""
        with self.changed:
            self._count(0)
            began, waited, answered = self.told
            seconds = max(self.at - began, 1e-3)
            if seconds <= quiet:
                return ""
            self.told = self.at, self.waited, self.answered
            flying, pace = (self.waited - waited) / seconds, (self.answered - answered) * 3600 / seconds
            return f"{flying:.1f} requests in flight (at most {int(self.limit)}), {pace:.0f} answers/h"

    def _count(self, change: int) -> None:
        now = self.patience.clock()
        self.waited, self.at = self.waited + self.now * (now - self.at), now
        self.now += change

    def send(self, send: Callable[[], Any]) -> Any:
        """The httpx.Response of `send`, which is called when its turn comes."""
        lowered, response = self._begin(), None
        try:
            response = send()
        finally:
            with self.changed:
                self._count(-1)
                if response is not None:
                    self._learn(response, lowered)
                self.changed.notify_all()
        return response

    def _begin(self) -> int:
        """Wait for a place; how often the limit has been lowered by then."""
        while True:
            with self.changed:
                if (left := self.held - self.patience.clock()) <= 0:
                    self.changed.wait_for(lambda: self.now < int(self.limit))
                    self._count(1)
                    return self.lowered
            self.patience.sleep(left)

    def _learn(self, response: Any, lowered: int) -> None:
        """Of one burst, only the first refusal lowers the limit: lowered is its number when the request was sent."""
        after = response.headers.get("Retry-After", "")
        if response.is_success:
            self.answered += 1
            self.limit = min(self.most, self.limit + 1 / self.limit)
        elif response.status_code == 429 or (response.is_server_error and after):
            wait = wait_of_status(response.status_code, after) or 0
            if wait <= self.patience.seconds:
                self.held = max(self.held, self.patience.clock() + wait)
            if lowered == self.lowered:
                self.lowered += 1
                self.limit = max(1.0, min(self.limit, self.now + 1) / 2)
                print(f"{self.server} has too many requests: at most {int(self.limit)} in flight", flush=True)

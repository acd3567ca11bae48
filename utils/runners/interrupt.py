"""Ctrl-C and SIGTERM while a pipeline is walked."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from utils.ir.walk import Walker


@contextmanager
def interruptible(
    walker: Walker, kill: Callable[[], None], on_interrupt: Callable[[], None]
) -> Iterator[threading.Event]:
    """While the block runs, the first Ctrl-C or SIGTERM stops all tasks, and a second one calls `kill`.

    Exit tasks do not run then: they would delete the volume that a resumed run needs. The event is set by an interrupt.
    """
    interrupted = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        again = interrupted.is_set()
        interrupted.set()
        if again:  # in a thread: a signal handler must not wait
            threading.Thread(target=kill, daemon=True).start()
        else:
            walker.cancel()
            walker.cancel()  # the second call is for exit tasks
            on_interrupt()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

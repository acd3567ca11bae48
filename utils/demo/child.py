"""Servers that never outlive the demo, even if it is killed."""

import ctypes
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def end_with_parent(number: int) -> Callable[[], None] | None:
    """For Popen's preexec_fn: the kernel sends the child this signal when the thread that started it ends (Linux)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, number)

"""Messages of a stage to users: progress, and a failure that names its remedy."""

import re
from collections.abc import Sequence

FINDINGS_HEADER = "| check | result | finding | remedy |"
"""First line of a table of findings, by which it is found in a task's log."""
WAITING = "waiting for review"
"""What a failure starts with that is none: the task waits for a person, and continues when it is started again."""


def failure(what: str, cause: str, remedy: str) -> SystemExit:
    """The error that ends a stage; raise it. It prints without a traceback and exits with 1.

    Args:
        what: what failed and where, one line.
        cause: the likely cause.
        remedy: what to do or which command to run next.
    """
    return SystemExit(f"error: {what}\n  cause: {cause}\n  next: {remedy}")


def together(failures: Sequence[SystemExit]) -> SystemExit:
    """One failure that tells several, each part of them once."""
    parts = [re.split("\n  (?:cause|next): ", str(one).removeprefix("error: ")) for one in failures]
    what, cause, remedy = ("; ".join(dict.fromkeys(texts)) for texts in zip(*parts, strict=True))
    return failure(what, cause, remedy)


def progress(done: int, total: int, what: str) -> None:
    """Print a progress line, `progress: 3/80 answers`, from which displays compute the time left.

    In one piece: without a buffer (PYTHONUNBUFFERED), another thread's line can come before the end of this one.
    """
    print(f"progress: {done}/{total} {what}\n", end="", flush=True)


def shown(text: str) -> str:
    """An address, or a text with addresses, without the user and the password in them."""
    return re.sub(r"//[^/\s]*@", "//***@", text)

"""Endless answers: the lines of a watch or a log as they arrive."""

from collections.abc import Iterator, Mapping

from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError, ReadTimeoutError

from utils.cluster.cluster import Patience


class TryAgain(Exception):
    """The stream was interrupted; the pause before the next try is over."""


def never() -> bool:
    """A `stop` that never stops."""
    return False


def stream(
    patience: Patience, path: str, query: Mapping[str, str], read_seconds: float, rest_too: bool = False
) -> Iterator[str]:
    """The lines of one request until the server ends it. Waits out temporary refusals.

    Args:
        read_seconds: a connection that is silent for this long is dropped.
        rest_too: at the end, the text after the last line end also counts as a line.

    Raises:
        TryAgain: it was interrupted, or did not begin.
        ClusterError: it is refused permanently, or trouble has lasted too long.
    """
    try:
        response = patience.cluster.send(patience.verb, path, query, seconds=read_seconds)
        try:
            if response.status < 300:
                patience.over()
                yield from _lines(response, rest_too)
                return
            text = response.read().decode(errors="replace")
        finally:
            # A partly read response must not go back into the pool.
            response.close()
    except ReadTimeoutError:
        raise TryAgain from None
    except HTTPError as error:
        patience.wait(0, f"{type(error).__name__}: {error}")
        raise TryAgain from None
    patience.wait(response.status, text, response.headers.get("Retry-After", ""))
    raise TryAgain


def _lines(response: HTTPResponse, rest_too: bool) -> Iterator[str]:
    rest = b""
    for chunk in response.stream(2**16):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    if rest and rest_too:
        yield rest.decode(errors="replace")

"""Endless answers: the lines of a watch or a log as they arrive."""

from collections.abc import Iterator, Mapping

from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError, ReadTimeoutError

from utils.cluster.client import Patience, send, status_object


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
    cluster, verb = patience.cluster, patience.right[0]
    try:
        response = send(cluster, verb, path, query, read_seconds=read_seconds)
        try:
            if response.status < 300:
                patience.answered()
                yield from _lines(response, rest_too)
                return
            answer = status_object(response.read().decode(errors="replace"), response.status)
        finally:
            # A partly read response must not go back into the pool.
            response.close()
    except ReadTimeoutError:
        raise TryAgain from None
    except HTTPError as error:
        patience.trouble(cluster.words.lost(cluster, error))
        raise TryAgain from None
    if not patience.worth_waiting(response.status, answer):
        raise cluster.words.refusal(patience, answer)
    patience.trouble(answer["message"], response.headers.get("Retry-After"), response.status)
    raise TryAgain


def _lines(response: HTTPResponse, rest_too: bool) -> Iterator[str]:
    rest = b""
    for chunk in response.stream(2**16):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    if rest and rest_too:
        yield rest.decode(errors="replace")

"""The HTTP client of a teacher or a judge. Libraries get it in place of their own: it waits for a server that is away,
and sends the token that the Secret holds at that time.
"""

from collections.abc import Callable
from typing import Any

import httpx

from utils.stages.credentials import ModelServer
from utils.stages.in_flight import InFlight
from utils.stages.patience import ODD_TRIES, RENEWAL_PAUSE, RENEWAL_TRIES, Patience, wait_of_status

ODD = "odd"
"""Among the extensions of a response to a request that the server fails on, while it answers others."""


class PatientClient(httpx.Client):
    """Sends each request until the server answers it, or shows that it never will.

    A server may fail on one request alone, with the status 500 or 504: it is asked something short then, and when it
    answers that, the failed request is given up.

    Attributes:
        requests: those in flight: no more than the server takes.
        last_error: of the last request that failed for good, for messages. Others may be under way: who tells of one
            request takes what `said` makes of its own failure.
        accepted: the server has answered a request: its token was good, so a 401 may come of one that is renewed.
    """

    def __init__(self, server: ModelServer, patience: Patience, most: int = 64, **settings: Any) -> None:
        """Most is the number of requests at a time; settings are those of httpx.Client."""
        super().__init__(limits=httpx.Limits(max_connections=None), **settings)
        self.requests = InFlight(server.place, most, patience)
        self.server, self.patience, self.last_error, self.accepted = server, patience, "no answer", False

    def send(self, request: httpx.Request, **kwargs: Any) -> httpx.Response:
        """The server's answer.

        Raises:
            httpx.HTTPError: there was none.
        """
        request.read()
        answered = self.requests.answered
        try:
            return self.patience.outlast(
                lambda: self._once(request, **kwargs),
                self._passing(request),
                self.server.place,
                self.said,
            )
        except httpx.HTTPError as error:
            response = getattr(error, "response", None)
            if response is not None and response.status_code == 429 and self.requests.answered > answered:
                return PatientClient.send(self, request, **kwargs)  # it is not away
            self.last_error = self.said(error)
            return self.given_up(error, response)

    def said(self, failed: Any) -> str:
        """A response that tells of a failure, or an error of httpx, for messages."""
        response = getattr(failed, "response", failed)
        if isinstance(response, httpx.Response):
            return f"HTTP {response.status_code}: {self.server.masked(response.text)[:300]}"
        return self.server.masked(f"{type(failed).__name__}: {failed}")

    def given_up(self, error: httpx.HTTPError, response: httpx.Response | None) -> httpx.Response:
        """What is made of the last failure: the answer, or the error where there is no answer."""
        if response is None:
            raise error
        return response

    def _once(self, request: httpx.Request, **kwargs: Any) -> httpx.Response:
        """Raises httpx.HTTPStatusError for an answer that may change."""
        if token := self.server.token():
            request.headers["Authorization"] = f"Bearer {token}"
        send = super().send
        response: httpx.Response = self.requests.send(lambda: send(request, **kwargs))
        self.accepted = self.accepted or response.is_success
        if response.status_code == 401 or _wait(response) is not None:
            raise httpx.HTTPStatusError("", request=request, response=response)
        return response

    def _passing(self, request: httpx.Request) -> Callable[[Exception], float | None]:
        """What `Patience.outlast` asks after each failure of a request."""
        refused = odd = 0

        def passes(error: Exception) -> float | None:
            nonlocal refused, odd
            if not isinstance(error, httpx.HTTPStatusError):
                final = isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError)
                lost = isinstance(error, httpx.TransportError) and "CERTIFICATE_VERIFY_FAILED" not in str(error)
                return 0.0 if lost and not final else None
            status = error.response.status_code
            if status == 401:
                refused += 1
                if refused == 1 and request.headers.get("Authorization") != f"Bearer {self.server.token()}":
                    return 0.0
                return RENEWAL_PAUSE if self.accepted and refused < RENEWAL_TRIES else None
            if self.patience.seconds and (request.method == "GET" or status in (500, 504)) and self._alive(request):
                odd += 1
            if odd == ODD_TRIES:
                error.response.extensions[ODD] = True
                return None
            return _wait(error.response)

        return passes

    def _alive(self, request: httpx.Request) -> bool:
        """Whether the server answers a short request."""
        url, chat = request.url, b'"messages"' in request.content
        if request.method == "GET":
            url = httpx.URL(self.server.endpoint + "/completions")
        body: dict[str, Any] = {"model": self.server.model_name, "max_tokens": 1}
        body |= {"messages": [{"role": "user", "content": "Hello"}]} if chat else {"prompt": "Hello"}
        headers = {"Authorization": request.headers.get("Authorization", "")}
        try:
            return _wait(super().send(self.build_request("POST", url, json=body, headers=headers))) is None
        except httpx.HTTPError:
            return False


def _wait(response: httpx.Response) -> float | None:
    return wait_of_status(response.status_code, response.headers.get("Retry-After", ""))

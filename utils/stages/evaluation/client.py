"""The HTTP client of a model server, which the evaluation library sends its requests with."""

import json
import ssl
from collections.abc import Callable
from typing import Any

import httpx

from utils.messages import failure
from utils.stages.credentials import ModelServer


class ModelClient(httpx.Client):
    """Adds fields to the body of each request and counts good answers.

    Attributes:
        last_error: the last response or connection that failed, for messages.
    """

    def __init__(
        self, server: ModelServer, added: dict[str, Any], count: Callable[[], None] = lambda: None, ca: str = ""
    ) -> None:
        """Make a client for one server.

        Args:
            server: its token is kept out of messages; without one, and without ca, proxies are ignored (loopback).
            added: fields to add or replace in the body, such as max_tokens or grammar.
            count: called after each good answer.
            ca: a CA bundle for TLS; "" for the public roots.
        """
        super().__init__(
            verify=ssl.create_default_context(cafile=ca) if ca else True,
            timeout=600,
            trust_env=bool(ca or server.api_token),
        )
        self.server, self.added, self.count, self.last_error = server, added, count, "no answer"

    def send(self, request: httpx.Request, **kwargs: Any) -> httpx.Response:
        """Send a request.

        Raises:
            SystemExit: the server answers 401, 403 or 404: trying again would not help.
        """
        if self.added and request.method == "POST":
            body = json.loads(request.read()) | self.added
            del request.headers["content-length"]
            request = httpx.Request(
                "POST", request.url, headers=request.headers, json=body, extensions=request.extensions
            )
        try:
            response = super().send(request, **kwargs)
        except httpx.HTTPError as error:
            self.last_error = f"{type(error).__name__}: {error}"
            raise
        if response.is_success:
            self.count()
            return response
        response.read()
        self.last_error = f"HTTP {response.status_code}: {self.server.masked(response.text)[:300]}"
        if response.status_code in (401, 403, 404):
            raise self.failed()
        return response

    def failed(self, remedy: str = "check endpoint, model_name and api_token in the judge's Secret") -> SystemExit:
        """The failure of a server that does not answer, or not as it should."""
        return failure(
            f"{self.server.model_name} at {self.server.endpoint} does not answer",
            self.last_error,
            f"{remedy}, then resume",
        )

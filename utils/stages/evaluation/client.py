"""The HTTP clients of the servers that answer and judge, which the evaluation library sends its requests with."""

import json
import re
import ssl
from collections.abc import Callable
from typing import Any

import httpx

from utils.messages import failure
from utils.stages.credentials import ModelServer
from utils.stages.evaluation.audit import Twice
from utils.stages.model_client import ODD, PatientClient
from utils.stages.patience import ONCE, Patience
from utils.stages.reasoning import without_reasoning

NO_ANSWER = "$ERROR$"
"""What the evaluation library writes in place of an answer that it did not get."""
QUIET_SECONDS = 60.0
"""Between two lines about requests."""
_RATING = re.compile(r"\[\[\s*([0-9]+(?:\.[0-9]*)?)\s*\]\]")


class ModelClient(PatientClient):
    """Adds fields to the body of each request and counts good answers.

    The library ends its work at an answer without text; this client turns it into one that the library can count. The
    library asks 12 times by itself: a client that has been patient ends the stage instead.

    Attributes:
        fatal: statuses that trying again does not change.
    """

    fatal: tuple[int, ...] = (401, 403, 404)

    def __init__(
        self,
        server: ModelServer,
        added: dict[str, Any],
        count: Callable[[], None] = lambda: None,
        ca: str = "",
        patience: Patience = ONCE,
        most: int = 64,
    ) -> None:
        """Make a client for one server.

        Args:
            server: its token is kept out of messages; without one, and without ca, proxies are ignored (loopback).
            added: fields to add or replace in the body, such as max_tokens or grammar.
            count: called after each good answer.
            ca: a CA bundle for TLS; "" for the public roots.
            patience: how long a server that is away is waited for: a judge. One of our own is not away, but has ended.
            most: requests at a time.
        """
        super().__init__(
            server,
            patience,
            most,
            verify=ssl.create_default_context(cafile=ca) if ca else True,
            timeout=600,
            trust_env=bool(ca or server.api_token),
        )
        self.added, self.count = added, count

    def send(self, request: httpx.Request, **kwargs: Any) -> httpx.Response:
        """Send the request of a chat completion.

        Raises:
            SystemExit: the server answers with a fatal status.
        """
        response = self.answer(request, json.loads(request.read()) | self.added)
        if response.is_success:
            self.count()
            self.tell(QUIET_SECONDS)
        return response

    def tell(self, quiet: float = 0.0) -> None:
        """Print how many requests have been in flight since the last line, and how many were answered per hour.

        Args:
            quiet: seconds since the last line, before which nothing is printed.
        """
        if said := self.requests.over_time(quiet):
            print(f"{self.server.model_name}: {said}", flush=True)

    def answer(self, request: httpx.Request, body: dict[str, Any]) -> httpx.Response:
        """The server's answer to a request with this body; NO_ANSWER instead of one without text."""
        response = self.ask(request, body)
        if not response.is_success:
            return response
        text, flaw = content(response)
        if text is None:
            self.last_error = self.server.masked(flaw)[:400]
        return completion(NO_ANSWER if text is None else text, request)

    def ask(self, request: httpx.Request, body: dict[str, Any]) -> httpx.Response:
        """Send a request with another body, and remember what went wrong."""
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        request = httpx.Request("POST", request.url, headers=headers, json=body, extensions=request.extensions)
        response = super().send(request)
        if not response.is_success:
            self.last_error = said = self.said(response)
            if response.status_code in self.fatal:
                raise self.failed(said)
        return response

    def given_up(self, error: httpx.HTTPError, response: httpx.Response | None) -> httpx.Response:
        """The answer, or an error: the library tries again. A server that was waited for ends the stage."""
        if self.patience.seconds and not (response is not None and ODD in response.extensions):
            raise self.failed(self.said(error))
        return super().given_up(error, response)

    def failed(self, said: str) -> SystemExit:
        """The failure of a server that does not answer, or not as it should; `said` as PatientClient.said gives it."""
        what = f"{self.server.model_name} at {self.server.place} does not answer"
        return failure(what, *self.server.explained(said))


class JudgeClient(ModelClient):
    """Asks the judge by its real name, and reads its ratings.

    The library rates by the first `[[n]]` of a text, of any size, else by the first `[n]`. So this client puts the
    rating in front of the text, and makes an unrated text one in which the library finds none. The library itself uses
    a plain name for the judge, because it makes file names of it.
    """

    fatal = (401, 404)  # a gateway may answer 403 to a single text, and a server fail on one
    twice: Twice | None = None
    """Which judgments are asked for twice, and what came of it."""

    def answer(self, request: httpx.Request, body: dict[str, Any]) -> httpx.Response:
        """The judgment, asked for once more where it has no rating. An answer that was not given is not judged."""
        if any(f"\n{NO_ANSWER}\n" in message["content"] for message in body["messages"]):
            return completion("the model gave no answer", request)
        body |= {"model": self.server.model_name} | self.added
        # Other samples: at temperature 0 the same text would come again, and so it would with the same seed.
        again = {"temperature": body.get("temperature") or 0.7}
        if "seed" in body:
            again["seed"] = 1 if body["seed"] != 1 else 2
        for changes in ({}, again):
            response = self.ask(request, body | changes)
            if not response.is_success and response.status_code != 403 and ODD not in response.extensions:
                return response
            text, flaw = content(response)
            score = None if flaw else rating(text or "")
            if score is not None:
                if self.twice and not changes and self.twice.due():
                    again_text, odd = content(self.ask(request, body))
                    other = None if odd else rating(again_text or "")
                    if other is not None:
                        self.twice.ratings.append((score, other))
                return completion(f"[[{score:g}]] {text}", request)
        unrated = self.server.masked(f"{flaw} {text or ''}".strip())
        return completion(re.sub(r"\[(?=\d)", "[ ", unrated), request)


def content(response: httpx.Response) -> tuple[str | None, str]:
    """The text of a chat completion, None for none; and what is wrong with it, "" for nothing."""
    try:
        choice = response.json()["choices"][0]
        message = choice["message"]
        text, refusal, end = message["content"], message.get("refusal"), choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError):
        return None, f"HTTP {response.status_code}: not a chat completion: {response.text!r}"
    if not isinstance(text, str):
        return None, f"no text ({refusal or end})"
    if refusal or end in ("length", "content_filter"):
        return text, f"({refusal or end})"
    return text, ""


def rating(judgment: str) -> float | None:
    """The last well-formed `[[n]]` after any reasoning, None where there is none from 1 to 10."""
    found = _RATING.findall(without_reasoning(judgment))
    return float(found[-1]) if found and 1 <= float(found[-1]) <= 10 else None


def completion(text: str, request: httpx.Request) -> httpx.Response:
    """A chat completion with this text."""
    text = text.encode(errors="replace").decode()  # half of a character that JSON can spell, and httpx can't send
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    body = {"id": "", "object": "chat.completion", "created": 0, "model": "", "choices": [choice]}
    return httpx.Response(200, json=body, request=request)

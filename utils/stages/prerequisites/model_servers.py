"""Whether teacher and judge answer as the run will ask them."""

import re
import time
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from utils.stages.credentials import ModelServer, model_server
from utils.stages.patience import CHECK_TRIES, Patience, wait_of_status
from utils.stages.prerequisites.findings import WARNING, Finding

FINAL = {*range(500), "SSLError"} - {408, 429}
"""Statuses, and exceptions of requests by name, that another try would not change."""
CUT_OFF = (408, 502, 503, 504, "ConnectionError", "ChunkedEncodingError")
"""Those that a client gets when a proxy ends its request."""


class NoAnswer(Exception):
    """A try failed: the status or the exception's name, what the server or the exception says, its Retry-After."""

    def __init__(self, result: int | str, said: str, after: str = "") -> None:
        http = "HTTP " if isinstance(result, int) else ""
        self.result, self.told, self.after = result, f"{http}{result}: {said}", after
        super().__init__(f"gave no answer ({self.told})")


def _passes(error: Exception) -> float | None:
    """As `Patience.outlast` asks."""
    assert isinstance(error, NoAnswer)
    if error.result in FINAL:
        return None
    return (isinstance(error.result, int) and wait_of_status(error.result, error.after)) or 0.0


def check_model_server(
    role: str, path: str, secret_dir: str, ca: str, retry_seconds: float, other: str = ""
) -> list[Finding]:
    """A short completion from the teacher or the judge, three tries, long enough for a model that is cold; then, where
    a proxy may stand before it, one of the length that the run asks for.

    Args:
        role: `teacher` or `judge`.
        path: `completions` or `chat/completions`, whichever the role is used by.
        retry_seconds: pause before the second try, twice that before the third; a try waits six times as long for its
            answer.
        other: another model of the server than the Secret's; it need not have anything to say.
    """
    server = model_server(secret_dir, role)
    server = replace(server, model_name=other or server.model_name)
    where = f"{role} {server.model_name!r} at {urlsplit(server.endpoint).hostname}"
    patience = Patience(first=retry_seconds, tries=CHECK_TRIES)
    text, seconds = "The capital of France is", retry_seconds * 6
    try:
        patience.outlast(lambda: ask_model(server, path, ca, text, 16, seconds), _passes, where)
    except NoAnswer as error:
        failed = error
    else:
        direct = other or not behind_proxy(server.endpoint)
        return [] if direct else long_answer(where, server, path, ca, retry_seconds * 60)
    if other and failed.result == 200:
        return []
    cause, remedy = server.explained(failed.told, "")
    if other and failed.result == 404:
        remedy = "serve it, or give another sdg_pipeline: this one names it"
    return [Finding(f"{where} gave no answer: {cause}", remedy)]


def listed_models(server: ModelServer, ca: str, seconds: float) -> Any:
    """What a server answers to /v1/models, None where that is not JSON or nothing.

    Args:
        seconds: longest wait for it.
    """
    import requests

    try:
        return requests.get(
            f"{server.endpoint}/models",
            headers=token_header(server),
            timeout=(10, seconds),
            verify=ca or True,
            allow_redirects=False,
        ).json()
    except (requests.exceptions.RequestException, ValueError):
        return None  # not there: the request for a completion will say why


def token_header(server: ModelServer) -> dict[str, bytes]:
    token = server.token()
    return {"Authorization": f"Bearer {token}".encode()} if token else {}


def ask_model(server: ModelServer, path: str, ca: str, text: str, tokens: int, seconds: float) -> None:
    """Ask once for a completion.

    Args:
        text: a beginning, for chats too: a plain completion of a question may end at once.
        seconds: longest wait for the answer.

    Raises:
        NoAnswer: there is no completion.
    """
    import requests

    chat = "chat" in path
    try:
        # Nothing but the Secret's own token is ever sent; a redirect is not followed, so it goes nowhere else.
        answer = requests.post(
            f"{server.endpoint}/{path}",
            json={
                "model": server.model_name,
                "max_tokens": tokens,
                "temperature": 0,
                **({"messages": [{"role": "user", "content": text}]} if chat else {"prompt": text}),
            },
            headers=token_header(server),
            timeout=(10, seconds),
            verify=ca or True,
            allow_redirects=False,
        )
    except requests.exceptions.RequestException as error:
        raise NoAnswer(type(error).__name__, server.masked(str(error))[-200:]) from None
    try:
        choice = answer.json()["choices"][0]
        completion = choice["message"]["content"] if chat else choice["text"]
        if answer.status_code == 200 and ((completion or "").strip() or choice["finish_reason"] == "length"):
            return
    except (ValueError, LookupError, TypeError, AttributeError):
        pass  # no completion, whatever it is
    said = " ".join(server.masked(answer.text).split())[:200]
    raise NoAnswer(answer.status_code, said, answer.headers.get("Retry-After", ""))


def behind_proxy(endpoint: str) -> bool:
    """Whether something may stand before the server that ends long requests: a Route is found by its name, so not when
    the endpoint is an IP address or this machine.
    """
    return not re.fullmatch(r"localhost|[\d.]+|.*:.*", urlsplit(endpoint).hostname or "")


def long_answer(where: str, server: ModelServer, path: str, ca: str, seconds: float) -> list[Finding]:
    """Findings of one completion as long as SDG and MT-Bench ask for: proxies end requests that take too long.

    Args:
        where: the server, as findings name it.
        seconds: longest wait for it.
    """
    tokens = 2048  # of SDG's pipelines and of MT-Bench's judgements
    text = "Count to one thousand in words: one, two, three,"
    begun, error = time.monotonic(), None
    try:
        ask_model(server, path, ca, text, tokens, seconds)
    except NoAnswer as raised:
        error = raised
    took = f"after {time.monotonic() - begun:.0f} s"
    if error and error.result in CUT_OFF:
        problem = f"{where} answers short questions, but a long answer was cut off {took} ({error.told})"
        remedy = (
            "the Route or a proxy ends requests (after 30 s by default). KServe: annotate the InferenceService with "
            "haproxy.router.openshift.io/timeout: 600s and set spec.predictor.timeout: 600; else: oc annotate "
            "route NAME --overwrite haproxy.router.openshift.io/timeout=600s"
        )
        return [Finding(problem, remedy)]
    if error:
        cause, remedy = server.explained(error.told, "")
        return [Finding(f"{where} gave no answer of up to {tokens} tokens: {cause}", remedy, WARNING)]
    print(f"{where} gave a long answer {took}", flush=True)
    return []

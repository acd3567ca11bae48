"""Whether teacher and judge answer as the run will ask them."""

import re
import time
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from utils.stages.credentials import ModelServer, model_server
from utils.stages.prerequisites.findings import WARNING, Finding

FINAL = {*range(500), "SSLError"} - {408, 429}
"""Statuses, and exceptions of requests by name, that another try would not change."""
CUT_OFF = (408, 502, 503, 504, "ConnectionError", "ChunkedEncodingError")
"""Those that a client gets when a proxy ends its request."""


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
    for attempt in range(3):
        result, said = ask_model(server, path, ca, "The capital of France is", 16, retry_seconds * 6)
        if other and result in (0, 200):
            return []
        if not result:
            return long_answer(where, server, path, ca, retry_seconds * 60) if behind_proxy(server.endpoint) else []
        print(f"try {attempt + 1} of 3: {where} gave no answer ({result}: {said})", flush=True)
        if attempt == 2 or result in FINAL:
            break
        time.sleep(retry_seconds * 2**attempt)
    secret = f"in the {role}'s Secret"
    token = "refuses the token", f"renew api_token {secret}: tokens expire"
    problem, remedy = {
        200: ("gave no completion", f"correct endpoint (an OpenAI API) or model_name (an instruct model) {secret}"),
        401: token,
        403: token,
        404: (
            f"has no such model, or no {path}",
            f"correct model_name or endpoint {secret}; GET {server.place}/models lists its models"
            if not other
            else "serve it, or give another sdg_pipeline: this one names it",
        ),
        "SSLError": (
            "gave no answer, since TLS can't be verified",
            "add its CA to k8s_ca_configmap under k8s_ca_key (locally: a config map in --secrets)",
        ),
    }.get(
        result, ("gave no answer", f"look at its pod's log: is it loading, or overloaded? Or correct endpoint {secret}")
    )
    return [Finding(f"{where} {problem} ({result}: {said})", remedy)]


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
    return {"Authorization": f"Bearer {server.api_token}".encode()} if server.api_token else {}


def ask_model(server: ModelServer, path: str, ca: str, text: str, tokens: int, seconds: float) -> tuple[int | str, str]:
    """Ask once for a completion.

    Args:
        text: a beginning, for chats too: a plain completion of a question may end at once.
        seconds: longest wait for the answer.

    Returns:
        0 if there is a completion, else the status or the exception's name; and what the server or the exception says.
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
        return type(error).__name__, server.masked(str(error))[-200:]
    result: int = answer.status_code
    try:
        choice = answer.json()["choices"][0]
        completion = choice["message"]["content"] if chat else choice["text"]
        if result == 200 and ((completion or "").strip() or choice["finish_reason"] == "length"):
            result = 0
    except (ValueError, LookupError, TypeError, AttributeError):
        pass  # no completion, whatever it is
    return result, " ".join(server.masked(answer.text).split())[:200]


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
    begun = time.monotonic()
    result, said = ask_model(server, path, ca, text, tokens, seconds)
    took = f"after {time.monotonic() - begun:.0f} s"
    if result in CUT_OFF:
        problem = f"{where} answers short questions, but a long answer was cut off {took} ({result}: {said})"
        remedy = (
            "the Route or a proxy ends requests (after 30 s by default). KServe: annotate the InferenceService with "
            "haproxy.router.openshift.io/timeout: 600s and set spec.predictor.timeout: 600; else: oc annotate "
            "route NAME --overwrite haproxy.router.openshift.io/timeout=600s"
        )
        return [Finding(problem, remedy)]
    if result:
        problem = f"{where} gave no answer of up to {tokens} tokens ({result}: {said})"
        remedy = "look at its pod's log; the run needs answers of that length unless its SDG pipeline asks for less"
        return [Finding(problem, remedy, WARNING)]
    print(f"{where} gave a long answer {took}", flush=True)
    return []

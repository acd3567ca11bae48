"""Whether teacher and judge answer as the run will ask them."""

import ipaddress
import time
from typing import Any
from urllib.parse import urlsplit

from utils.stages.credentials import ModelServer, model_server
from utils.stages.prerequisites.findings import WARNING, Finding


def check_model_server(role: str, path: str, secret_dir: str, ca: str, retry_seconds: float) -> list[Finding]:
    """A short completion from the teacher or the judge, three tries, long enough for a model that is cold; then, where
    a proxy may stand before it, one of the length that the run asks for.

    Args:
        role: `teacher` or `judge`.
        path: `completions` or `chat/completions`, whichever the role is used by.
        retry_seconds: pause before the second try, twice that before the third; a try waits six times as long for its
            answer.
    """
    server = model_server(secret_dir, role)
    for attempt in range(3):
        problem, remedy, again = ask_model(server, role, path, ca, retry_seconds * 6)
        if not problem:
            return long_answer(server, role, path, ca, retry_seconds * 60) if behind_proxy(server.endpoint) else []
        if not again:
            break
        print(f"{role}, try {attempt + 1} of 3: {problem}", flush=True)
        if attempt < 2:
            time.sleep(retry_seconds * 2**attempt)
    return [Finding(problem, remedy)]


def ask_model(server: ModelServer, role: str, path: str, ca: str, seconds: float) -> tuple:
    """Ask once for a completion: what is wrong ("" when it answered), the remedy, and whether to try again."""
    import requests

    where = f"{role} {server.model_name!r} at {urlsplit(server.endpoint).hostname}"
    secret = f"the {role}'s Secret"
    log = "look at its pod's log"
    question = "What colour is a clear sky by day? Answer with one word."
    # A plain completion goes on with the text: after a question it may end at once.
    start = "The capital of France is"
    try:
        answer = post_completion(server, path, ca, question if "chat" in path else start, 16, seconds)
    except requests.exceptions.SSLError as error:
        remedy = "add its CA to k8s_ca_configmap under k8s_ca_key (locally: a config map in --secrets)"
        return f"{where}: TLS can't be verified ({str(error)[-160:]})", remedy, False
    except requests.exceptions.Timeout:
        return f"{where} gave no answer in {seconds:g} s", f"{log}: is it loading, or overloaded?", True
    except requests.exceptions.RequestException as error:
        return f"{where} can't be reached ({type(error).__name__})", f"start it, or correct endpoint in {secret}", True
    said = " ".join(server.masked(answer.text).split())[:200]
    status = answer.status_code
    if status in (401, 403):
        return f"{where} refuses the token ({status})", f"renew api_token in {secret}; tokens expire", False
    if status == 404:
        remedy = f"correct model_name or endpoint in {secret}; GET {server.endpoint}/models lists its models"
        return f"{where}: no such model, or no {path} (404: {said})", remedy, False
    if status != 200:
        again = status in (408, 429) or status >= 500
        return f"{where} answered {status}: {said}", f"{log}, and check endpoint in {secret}", again
    try:
        choice = answer.json()["choices"][0]
        text = choice["message"]["content"] if "chat" in path else choice["text"]
        if (text or "").strip() or choice.get("finish_reason") == "length":
            return "", "", False
    except (ValueError, LookupError, TypeError, AttributeError):
        return f"{where} answers, but no completion: {said}", f"endpoint in {secret} must be an OpenAI API", False
    return f"{where} answered with no text", f"{log}; is it an instruct model?", False


def post_completion(server: ModelServer, path: str, ca: str, text: str, tokens: int, seconds: float) -> Any:
    """The server's response to one completion: of `text` as a question, or as a beginning, whichever `path` takes."""
    import requests

    body: dict = {"model": server.model_name, "max_tokens": tokens, "temperature": 0}
    body |= {"messages": [{"role": "user", "content": text}]} if "chat" in path else {"prompt": text}
    # Nothing but the Secret's own token is ever sent; a redirect is not followed, so it goes nowhere else.
    token = server.api_token
    headers = {"Authorization": f"Bearer {token}".encode()} if token else {}
    url = f"{server.endpoint}/{path}"
    return requests.post(
        url, json=body, headers=headers, timeout=(10, seconds), verify=ca or True, allow_redirects=False
    )


def behind_proxy(endpoint: str) -> bool:
    """Whether something may stand before the server that ends long requests: a Route is found by its name, so not when
    the endpoint is an IP address or this machine.
    """
    host = urlsplit(endpoint).hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host != "localhost"
    return False


def long_answer(server: ModelServer, role: str, path: str, ca: str, seconds: float) -> list[Finding]:
    """Findings of one completion as long as SDG and MT-Bench ask for: proxies end requests that take too long.

    Args:
        seconds: longest wait for it.
    """
    import requests

    tokens = 2048  # of SDG's pipelines and of MT-Bench's judgements
    host = urlsplit(server.endpoint).hostname
    where, begun = f"{role} {server.model_name!r} at {host}", time.monotonic()
    question = "Write the numbers from one to one thousand in words, each on a line of its own."
    start = "The numbers from one to one thousand in words:\none\ntwo\nthree\nfour\n"
    try:
        answer = post_completion(server, path, ca, question if "chat" in path else start, tokens, seconds)
        ended = f"{answer.status_code}" if answer.status_code in (408, 502, 503, 504) else ""
        said = "" if answer.ok else f"{answer.status_code}: {' '.join(server.masked(answer.text).split())[:200]}"
    except requests.exceptions.ReadTimeout:
        ended, said = "", f"none in {seconds:g} s"
    except requests.exceptions.RequestException as error:
        ended = said = f"the connection was closed: {type(error).__name__}"
    took = time.monotonic() - begun
    if ended:
        problem = f"{where} answers short questions, but a long answer was cut off after {took:.0f} s ({ended})"
        remedy = (
            "the Route, or the proxy before the server, ends requests (after 30 s by default). KServe: annotate the "
            "InferenceService with haproxy.router.openshift.io/timeout: 600s and set spec.predictor.timeout: 600; "
            "another Route: oc annotate route NAME --overwrite haproxy.router.openshift.io/timeout=600s"
        )
        return [Finding(problem, remedy)]
    if said:
        problem = f"{where} gave no answer of up to {tokens} tokens ({said})"
        remedy = "look at its pod's log; the run needs answers of that length unless its SDG pipeline asks for less"
        return [Finding(problem, remedy, WARNING)]
    print(f"{role}: a long answer took {took:.0f} s", flush=True)
    return []

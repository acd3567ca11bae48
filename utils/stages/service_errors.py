"""What to say of a request that a service did not answer: the cause, and what helps. One table for all services.

The texts are those of requests, httpx, openai, botocore, git and curl, and the answers of vLLM, TGI, llama.cpp, SGLang
and of what stands before them. `told` makes one text of an error, so that a pattern serves every library.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from utils.messages import shown

THEN = ", then retry or resume the run"


@dataclass(frozen=True)
class Service:
    """A service, in words for messages.

    Attributes:
        url: the service's, "" if it is not known.
        address: the setting that holds the URL; token: the one that holds the token or key; model: its model.
        fewer: how to send it fewer requests at a time, as the end of a remedy.
        longer: how to make its context longer, with an "or" after it.
        shorter: what makes requests and answers shorter.
        options: the settings that change what is sent.
        trust: how to trust its certificate authority.
    """

    url: str
    address: str
    token: str
    model: str = ""
    fewer: str = ""
    longer: str = ""
    shorter: str = ""
    options: str = "settings"
    trust: str = "add its CA to k8s_ca_configmap under k8s_ca_key (locally: a config map in --secrets)"


Rows = Iterable[tuple[str, str, str]]
_LOG = "look at its log{then}"
_LENGTH = (
    "context.{0,9}(length|size|limit)|max.{0,20}(model|input|context)|(prompt|input).{0,40}too long"
    "|tokens?.{0,30}(exceed|must be <)|exceeds.{0,20}(token|context)"
)
CAUSES: Rows = (
    # Answers: HTTP and the status, then the body.
    (
        rf"^HTTP (413|(400|422|500).*({_LENGTH}))",
        "prompt and answer exceed its context length",
        "{longer}start a run with {shorter}",
    ),
    ("^HTTP 400.*HTTPS (port|server)", "it speaks TLS here", "write https:// in {address}{then}"),
    ("^HTTP [45].*chat.?template", "it has no chat template", "serve it with one (vLLM: --chat-template){then}"),
    ("^HTTP (3|20.: *<)", "a web page or a login answers", "correct {address}: the URL of the API itself{then}"),
    ("^HTTP 20", "it gives no text as an OpenAI API would", "correct {address} or {model}{then}"),
    ("^HTTP 401", "the token is missing, wrong or expired", "renew {token}{then}"),
    ("^HTTP 403", "the token lacks the right, or a gateway forbids it", "give it the right, or renew {token}{then}"),
    (
        "^HTTP 404.*(model.{0,200}\\b(not|no)\\b|no .{0,20}model)",
        "it has no such model",
        "correct {model}: {url}/models lists them{then}",
    ),
    ("^HTTP (404|405|501)", "it has nothing at this path", "correct {address}, which ends in /v1, or {model}{then}"),
    ("^HTTP 429", "its limit of requests, or its quota, is used up", "raise it, or wait{then}{fewer}"),
    (
        "^HTTP (408|504)",
        "a Route or a proxy cut off a long answer",
        "raise its timeout (haproxy.router.openshift.io/timeout){then}{fewer}",
    ),
    ("^HTTP 5", "it is not ready, or failed", _LOG),
    (
        "^(HTTP|proxy.*) 407\\b|proxy auth",
        "the proxy {proxy} wants a password",
        "put it into {variable}, or {host} into NO_PROXY",
    ),
    ("^HTTP", "it refuses the request", "start a run with other {options}"),
    # No answer; with a proxy between, the text begins with that word.
    (
        "^proxy(?!.*(TLS|SSL|header|read ?time)).*(connect|resol|refused|known|time|\\b(50.|403)\\b)",
        "the proxy {proxy} is away, or does not reach {host}",
        "correct {variable}, or put {host} into NO_PROXY",
    ),
    (
        "certificate.{0,30}(expired|not yet valid)",
        "its TLS certificate has expired, or is not valid yet",
        "renew it, or correct the clock here{then}",
    ),
    (
        "mismatch|n.t match|no alternative certificate",
        "its TLS certificate is for another name",
        "put a name of the certificate into {address}, or renew it{then}",
    ),
    (
        "CERTIFICATE_VERIFY|certificate (problem|verif)|self.signed",
        "its TLS certificate is of an unknown authority",
        "{trust}{then}",
    ),
    ("WRONG_VERSION|record layer|unexpected TLS", "it speaks no TLS here", "write http:// in {address}{then}"),
    (
        "Name or serv|name.?resol|not resolve|No address|idna",
        "the name {host} is not known",
        "correct {address} (SERVICE.NAMESPACE.svc in this cluster){then}",
    ),
    ("refused|Couldn't connect", "nothing listens there", "start it, or correct {address}{then}"),
    (
        "Connect(ion)? ?time|unreachable|No route",
        "a firewall or NetworkPolicy is between, or nobody is there",
        "allow it, or correct {address}{then}",
    ),
    ("time.?out|timed|took longer", "the answer took too long", _LOG + "{fewer}"),
    ("header|codec can't", "no token has such characters", "correct {token}: one line of ASCII{then}"),
    ("reset|disconn|closed|abort|broke|EOF|Incomplete|Empty reply", "the connection broke off", _LOG),
    ("", "there is no answer", "correct {address}{then}"),
)
"""(pattern, cause, remedy) each; the first that is found in the text counts.

Filled in: the attributes of Service; `{host}`; `{proxy}`, which `{variable}` names; `{then}`, what comes after the
correction. Most corrections can be made between two tries; a parameter can't, and its remedy says so.
"""


def explained(text: str, service: Service, then: str = THEN, first: Rows = ()) -> tuple[str, str]:
    """Cause and remedy for people.

    Args:
        text: of `told`, or `HTTP <status>: <body>`.
        then: what to do after the correction; "" where nothing has begun.
        first: rows of this kind of service, which count more than CAUSES.
    """
    parts = urlsplit(service.url)
    host = parts.hostname or "the host"
    proxy = "" if proxy_bypass(host) else shown(getproxies().get(parts.scheme, ""))
    words = {"host": host, "proxy": proxy, "variable": f"{parts.scheme.upper()}_PROXY", "then": then}
    words |= vars(service) | {"url": shown(service.url)}
    searched = f"proxy {text}" if proxy and not text.startswith("HTTP ") else text
    cause, remedy = next(row[1:] for row in (*first, *CAUSES) if re.search(row[0], searched, re.I | re.S))
    through = f", asked through the proxy {proxy}" if proxy and "proxy" not in cause else ""
    return f"{cause.format_map(words)}{through} ({text[:500]})", remedy.format_map(words).replace("{then}", then)


def told(error: BaseException | None) -> str:
    """An error and its causes as one text; where a server answered, after `HTTP <status>: `."""
    text, status = "", 0
    while error and text.count(" < ") < 4:
        status = status or getattr(error, "status_code", 0) or getattr(getattr(error, "response", 0), "status_code", 0)
        if str(error) not in text or not text:
            text += f" < {type(error).__name__}: {error}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return f"HTTP {status}: {text[3:]}" if status else text[3:]


def model_service(url: str, role: str) -> Service:
    """A model server: of the teacher, the judge, or (role "") of a model of the run."""
    lower, shorter, options = _SETTINGS.get(role, _SETTINGS["judge"])
    fewer = "; or start a run with a lower " + lower
    if not role:
        return Service(url, "the checkpoint", "", "its chat template", fewer, "", shorter, "eval_answer_options")
    secret = f" in the {role}'s Secret"
    longer = "serve it with a longer context (vLLM: --max-model-len){then}; or "
    return Service(
        url, "endpoint" + secret, "api_token" + secret, "model_name" + secret, fewer, longer, shorter, options
    )


_SETTINGS = {
    "teacher": (
        "sdg_num_workers or sdg_batch_size",
        "shorter documents or seed examples",
        "sdg_teacher_family or sdg_pipeline",
    ),
    "judge": (
        "mt_bench_max_workers and final_eval_max_workers",
        "a lower max_tokens in eval_answer_options",
        "eval_judge_options",
    ),
}

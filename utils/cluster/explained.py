"""Messages for people at a terminal: what a refusal of the API server means, and when it is unreachable and back."""

import base64
import json
import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any

from urllib3.exceptions import HTTPError, SSLError

from utils.cluster.client import Cluster, Patience, Words, missing_kind
from utils.cluster.errors import ClusterError, ConflictError, ForbiddenError, GoneError, MissingKindError
from utils.cluster.rbac import ROLE

# Trouble of one kind of request is reported when it has lasted this many seconds.
TELLING_SECONDS = 20.0

# A 403 that is not a missing right: an admission plugin's verdict on the object itself.
_ADMISSION = (
    "exceeded quota",
    "failed quota",
    "violates PodSecurity",
    "being terminated",
    "denied the request",
    "unable to validate against any security context constraint",
    "maximum ",
)


class Explained(Words):
    """The messages for a terminal."""

    def __init__(self, notify: Callable[[str], None] = lambda text: None) -> None:
        """Keep the settings.

        Args:
            notify: called once when the API server becomes unreachable and once when it is back.
        """
        self._notify = notify
        self._away = False

    def parsed(self, cluster: Cluster, text: str) -> Any:
        """An answer's JSON; an answer without JSON is not from an API server."""
        try:
            return json.loads(text)
        except ValueError:
            raise ClusterError(
                "the server that answers is not an API server",
                f"{cluster.address} sends anything but JSON, perhaps a login page",
                "correct the server's address in the kubeconfig",
            ) from None

    def message(self, answer: Mapping[str, Any], body: Any) -> str:
        """The server's text, without any value of a Secret that was sent."""
        return redacted(answer["message"], body)

    def lost(self, cluster: Cluster, error: HTTPError) -> str:
        """A lost connection; a certificate that is not trusted is an error."""
        if isinstance(error, SSLError) and isinstance(error.args[0], ssl.SSLCertVerificationError):
            raise ClusterError(
                "the API server's certificate is not trusted",
                f"{cluster.address}: {error.args[0].verify_message}",
                "put the cluster's CA into the kubeconfig (certificate-authority), or log in again",
            ) from None
        return super().lost(cluster, error)

    def refusal(self, asked: Patience, answer: Mapping[str, Any]) -> ClusterError:
        """The error for a Status, with the Role that gives a right and what to correct."""
        verb, resource = asked.right
        return refusal(asked.cluster.namespace, verb, resource, asked.name, answer, asked.body)

    def waits(self, asked: Patience, problem: str, away: bool) -> None:
        """Report that the server is unreachable, or that one kind of request keeps failing."""
        if away and not self._away:
            self._away = True
            self._notify(f"the API server is unreachable ({problem}); waiting")
        elif not away and not asked.told and asked.cluster.clock() - (asked.since or 0) >= TELLING_SECONDS:
            # A broken admission webhook gives the same answer, and does not recover by itself.
            asked.told = True
            self._notify(f"the API server does not {' '.join(asked.right)} now ({problem}); retrying")

    def answered(self, asked: Patience) -> None:
        """Report that the trouble is over."""
        if self._away or asked.told:
            self._away = asked.told = False
            self._notify("the API server is back")


def refusal(
    namespace: str, verb: str, resource: str, name: str, answer: Mapping[str, Any], body: Any = None
) -> ClusterError:
    """The error for a Status object.

    Args:
        verb, resource: as in a Role's rule: `create`, `jobs.batch`.
        answer: the Status; `code` is the HTTP status.
        body: what was sent; no value of a Secret in it appears in the message.
    """
    status, message = answer["code"], redacted(answer["message"], body if resource == "secrets" else None)
    what = f"{resource} {name}".strip()
    if status == 401:
        return ClusterError(
            f"the cluster does not know who we are (401 at {verb} {what})",
            "the login, or the pod's service account token, has expired",
            "log in again (oc login, or renew the kubeconfig) and start again with the same run id",
            status,
        )
    if status == 403 and not any(text in message for text in _ADMISSION):
        what = f"no right to {verb} {resource} in the namespace {namespace}"
        if (verb, resource) == ("create", "secrets"):
            return ForbiddenError(
                what,
                f"flags become a Secret of the run; the Role {ROLE} (manifests/) can't create one: {message}",
                "name a Secret instead, or apply what standalone.py show --rbac prints for these flags",
                status,
            )
        named = ", or not for this name (settings.yaml and --args name the Secrets)" if resource == "secrets" else ""
        return ForbiddenError(
            what,
            f"the Role {ROLE} (manifests/) or that of show --rbac grants it; the account lacks it{named}: {message}",
            f"kubectl apply -k manifests/access, and run with its account; "
            f"kubectl auth can-i {verb} {resource} -n {namespace} shows whether the account has the permission",
            status,
        )
    if status == 404 and missing_kind(answer):
        return MissingKindError(
            f"the cluster has no {resource}", message, "install the operator that brings this kind of object", status
        )
    if status == 404:
        remedy = f"kubectl create namespace {namespace}, or name another one" if "namespaces " in message else ""
        return ClusterError(f"can't {verb} {what} in {namespace}", message, remedy, status)
    if status == 409:
        return ConflictError(f"can't {verb} {what} in {namespace}: the name is taken", message, "", status)
    if status == 410:
        return GoneError(f"the history of {resource} is gone", message, "", status)
    remedy = _correction(message) if status in (400, 422) else ""
    return ClusterError(f"the cluster refuses to {verb} {what} in {namespace} ({status})", message, remedy, status)


def _correction(message: str) -> str:
    """What to correct in a manifest that the server can't read or accept."""
    fields = ", ".join(dict.fromkeys(re.findall(r'unknown field "([^"]+)"', message)))
    if fields:
        return f"correct {fields}: most likely misspelled or misplaced in the --pod-overlay"
    return "correct what the message names: a --pod-overlay, or a parameter"


def redacted(text: str, secret: Any) -> str:
    """The text with every value of a Secret (its manifest or a patch) replaced, plain or in base64."""
    if not isinstance(secret, dict):
        return text
    plain = [*(secret.get("stringData") or {}).values()]
    coded = [*(secret.get("data") or {}).values()]
    values = {*plain, *coded, *(base64.b64encode(v.encode()).decode() for v in plain)}
    values |= {base64.b64decode(v).decode(errors="replace") for v in coded if _is_base64(v)}
    for value in sorted(filter(None, values), key=len, reverse=True):
        text = text.replace(value, "***")
    return text


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return True

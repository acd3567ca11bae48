"""Messages for people at a terminal: what a refusal of the API server means. Pure."""

import base64
import re
from collections.abc import Mapping
from typing import Any

from utils.cluster.errors import ClusterError, ConflictError, ForbiddenError, GoneError, MissingKindError
from utils.cluster.rbac import ROLE

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


def missing_kind(answer: Mapping[str, Any]) -> bool:
    """Whether a 404 is about the kind of object, not about one object or the namespace."""
    details = answer.get("details") or {}
    return not details.get("name") and details.get("kind") != "namespaces"


def by_admission(message: str) -> bool:
    """Whether a 403 is an admission plugin's verdict on the object, and not about a missing right."""
    return any(text in message for text in _ADMISSION)


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
    if status == 403 and not by_admission(message):
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

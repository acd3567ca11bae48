"""Where pods may go, from KFP's form (kfp-kubernetes: NodeAffinityTerm, PodAffinityTerm) to a pod's `affinity`."""

from collections.abc import Mapping, Sequence
from typing import Any

_Term = Mapping[str, Any]
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def affinity(node_terms: Sequence[_Term], pod_terms: Sequence[_Term]) -> dict[str, Any]:
    """A pod's `affinity`, {} for none. Terms with a weight are preferences, others requirements.

    Args:
        node_terms: of `Task.kubernetes["node_affinity"]`; one may be a whole nodeAffinity in Kubernetes' own form.
        pod_terms: of `Task.kubernetes["pod_affinity"]`.
    """
    found = {
        "nodeAffinity": _node_affinity(node_terms),
        "podAffinity": _pod_affinity([term for term in pod_terms if not term.get("anti")]),
        "podAntiAffinity": _pod_affinity([term for term in pod_terms if term.get("anti")]),
    }
    return {key: value for key, value in found.items() if value}


def _node_affinity(terms: Sequence[_Term]) -> dict[str, Any]:
    required: list[Any] = []
    preferred: list[Any] = []
    for term in terms:
        if _REQUIRED in term or _PREFERRED in term:
            required += term.get(_REQUIRED, {}).get("nodeSelectorTerms", [])
            preferred += term.get(_PREFERRED, [])
            continue
        selector = {key: term[key] for key in ("matchExpressions", "matchFields") if term.get(key)}
        if term.get("weight"):
            preferred.append({"weight": term["weight"], "preference": selector})
        else:
            required.append(selector)
    found = {_REQUIRED: {"nodeSelectorTerms": required} if required else {}, _PREFERRED: preferred}
    return {key: value for key, value in found.items() if value}


def _pod_affinity(terms: Sequence[_Term]) -> dict[str, Any]:
    required: list[Any] = []
    preferred: list[Any] = []
    for term in terms:
        wanted = {
            "labelSelector": _selector(term, "Pod"),
            "namespaceSelector": _selector(term, "Namespace"),
            "namespaces": term.get("namespaces"),
            "topologyKey": term.get("topologyKey"),
        }
        one = {key: value for key, value in wanted.items() if value}
        if term.get("weight"):
            preferred.append({"weight": term["weight"], "podAffinityTerm": one})
        else:
            required.append(one)
    return {key: value for key, value in {_REQUIRED: required, _PREFERRED: preferred}.items() if value}


def _selector(term: _Term, what: str) -> dict[str, Any]:
    pair = {"matchLabels": term.get(f"match{what}Labels"), "matchExpressions": term.get(f"match{what}Expressions")}
    return {key: value for key, value in pair.items() if value}

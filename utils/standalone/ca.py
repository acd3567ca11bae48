"""Certificate authorities of judge and teacher: the pipeline accepts one ConfigMap, a user may have two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from utils.standalone.options import Given
from utils.standalone.secrets import Credentials, Read, flag_name, own_metadata, own_name

_KEY = "ca-bundle.crt"
_PEM = "-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True)
class Authority:
    """A certificate authority: a key of a ConfigMap, or the certificate itself (PEM)."""

    config_map: str = ""
    key: str = ""
    pem: str = ""
    role: str = ""

    @property
    def place(self) -> str:
        return f"{self.config_map}/{self.key}" if self.config_map else f"Secret of the {self.role}"


def authorities(
    given: Given, credentials: Sequence[Credentials], secrets: Mapping[str, Mapping[str, str]]
) -> list[Authority]:
    """The authorities of the roles that are used, each once.

    A flag on the command line takes precedence over the Secret's key, and the key over an environment variable.

    Args:
        secrets: data of the user's Secrets by role name; {} when they can't be read (dry run).
    """
    found: dict[str, Authority] = {}
    for one in credentials:
        if one.role.ca is None:
            continue
        flag, key_flag, key, key_key = one.role.ca
        inside = secrets.get(one.role.name, {})
        value, name = given[flag] or "", given[key_flag] or _KEY
        if inside.get(key) and flag not in given.typed:
            value = inside[key]
            name = inside.get(key_key) or _KEY
        if not value:
            continue
        pem = _PEM in value
        authority = Authority("" if pem else value, "" if pem else name, value if pem else "", one.role.name)
        found.setdefault(authority.pem or authority.place, authority)
    return list(found.values())


def ca_arguments(found: Sequence[Authority], run_id: str) -> dict[str, str]:
    """The pipeline's parameters: the user's ConfigMap if there is only one, else the run's own.

    Without any, it is the cluster's own certificate, which every namespace has. (Kubeflow Pipelines can't mount it, so
    it is not the pipeline's default.)
    """
    if not found:
        return {"k8s_ca_configmap": "kube-root-ca.crt", "k8s_ca_key": "ca.crt"}
    if len(found) == 1 and found[0].config_map:
        return {"k8s_ca_configmap": found[0].config_map, "k8s_ca_key": found[0].key}
    return {"k8s_ca_configmap": own_name(run_id, "ca"), "k8s_ca_key": _KEY}


def read_authorities(found: Sequence[Authority], read: Read) -> tuple[list[str], list[str]]:
    """The certificates (PEM) in order, and what is missing."""
    texts, findings = [], []
    for one in found:
        if one.pem:
            texts.append(one.pem)
            continue
        config_map = read("ConfigMap", one.config_map)
        text = ((config_map or {}).get("data") or {}).get(one.key, "")
        if config_map is None:
            findings.append(f"{one.role}: there is no ConfigMap {one.config_map} with its certificate authority")
        elif not text:
            flag = flag_name(f"{'sdg' if one.role == 'teacher' else one.role}_serving_model_ca_cert_cm_key")
            findings.append(f"{one.role}: the ConfigMap {one.config_map} has no key {one.key}; name it with {flag}")
        elif _PEM not in text:
            findings.append(f"{one.role}: {one.key} of the ConfigMap {one.config_map} is not a PEM certificate")
        texts.append(text)
    return texts, findings


def ca_manifest(
    found: Sequence[Authority], texts: Sequence[str], run_id: str, namespace: str, owner: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The run's own ConfigMap with all authorities; [] if the user's own is sufficient.

    Args:
        texts: the certificates; [] if they can't be read (dry run): then the ConfigMap names their sources.
    """
    if not found or (len(found) == 1 and found[0].config_map):
        return []
    bundle = "".join(
        f"# {one.place}\n{text.strip()}\n" for one, text in zip(found, texts or [""] * len(found), strict=True)
    )
    metadata = own_metadata(own_name(run_id, "ca"), run_id, namespace, owner)
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {_KEY: bundle}}]

"""Credentials of the run from a Secret, from flags, or from both: values from flags go into the run's own Secret."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from utils.names import RUN_LABEL
from utils.standalone.options import Given

Read = Callable[[str, str], dict[str, Any] | None]
"""Reads an object of the cluster by kind and name; None if it does not exist."""


@dataclass(frozen=True)
class Role:
    """What credentials are for.

    Attributes:
        name: also part of the name of the run's own Secret.
        flag: the flag with the name of a Secret.
        parameter: the pipeline's parameter that takes it.
        keys: flag of each value to its key in the Secret.
        required: flags that are needed if no Secret is named.
        aliases: other names that a key may have in the user's Secret.
        optional_keys: keys that a user's Secret may lack although the flag is required.
        ca: flags of the ConfigMap and its key, and the Secret's keys with the same.
    """

    name: str
    flag: str
    parameter: str
    keys: Mapping[str, str]
    required: tuple[str, ...]
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    optional_keys: tuple[str, ...] = ()
    ca: tuple[str, str, str, str] | None = None

    def said(self, key: str) -> str:
        """The names of a key for people: the judge's are taken for the teacher, but they are not the teacher's."""
        names = (key, *self.aliases.get(key, ()))
        return " or ".join(name for name in names if self.name == "judge" or not name.startswith("JUDGE_"))

    @property
    def endpoint(self) -> str:
        """The flag with the server's address."""
        return next(flag for flag in self.keys if flag.endswith("_endpoint"))


_STORE = "sdg_object_store_"
ROLES = {
    role.name: role
    for role in (
        Role(
            "object-store",
            f"{_STORE}secret",
            "sdg_object_store_secret",
            {
                f"{_STORE}{key}": key
                for key in ("endpoint", "bucket", "access_key", "secret_key", "region", "data_key", "verify_tls")
            },
            tuple(f"{_STORE}{key}" for key in ("bucket", "access_key", "secret_key", "data_key")),
        ),
        Role(
            "judge",
            "judge_serving_model_secret",
            "eval_judge_secret",
            {
                "judge_serving_model_endpoint": "JUDGE_ENDPOINT",
                "judge_serving_model_name": "JUDGE_NAME",
                "judge_serving_model_api_key": "JUDGE_API_KEY",
            },
            ("judge_serving_model_endpoint", "judge_serving_model_name", "judge_serving_model_api_key"),
            {
                "JUDGE_ENDPOINT": ("endpoint",),
                "JUDGE_NAME": ("model_name", "model"),
                "JUDGE_API_KEY": ("api_token", "api_key"),
            },
            ("JUDGE_API_KEY",),
            (
                "judge_serving_model_ca_cert",
                "judge_serving_model_ca_cert_cm_key",
                "JUDGE_CA_CERT",
                "JUDGE_CA_CERT_CM_KEY",
            ),
        ),
        Role(
            "teacher",
            "sdg_serving_model_secret",
            "sdg_teacher_secret",
            {
                "sdg_serving_model_endpoint": "endpoint",
                "sdg_serving_model_name": "model",
                "sdg_serving_model_api_key": "api_key",
            },
            ("sdg_serving_model_endpoint", "sdg_serving_model_name", "sdg_serving_model_api_key"),
            {"model": ("model_name", "JUDGE_NAME"), "api_key": ("api_token", "JUDGE_API_KEY"),
             "endpoint": ("JUDGE_ENDPOINT",)},
            ("api_key",),
            (
                "sdg_serving_model_ca_cert",
                "sdg_serving_model_ca_cert_cm_key",
                "SDG_CA_CERT",
                "SDG_CA_CERT_CM_KEY",
            ),
        ),
    )
}  # fmt: skip
NO_SECRET = "ilab-none"
"""A name that no Secret has, since KFP does not accept an empty one. A task reports what is missing."""


@dataclass(frozen=True)
class Credentials:
    """Where the credentials of one role come from.

    Attributes:
        secret: the user's Secret, "" for none.
        values: from flags, by key: all values, or those that replace the Secret's. If there are any, the run creates
            its own Secret.
    """

    role: Role
    secret: str
    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    def name(self, run_id: str) -> str:
        """The Secret that tasks get."""
        return own_name(run_id, self.role.name) if self.values else self.secret


def own_name(run_id: str, what: str) -> str:
    return f"ilab-{run_id}-{what}"


def credentials_of(given: Given, needs: Sequence[str]) -> tuple[list[Credentials], list[str]]:
    """Credentials of the required roles, and findings that name the user's flags."""
    found, findings = [], []
    for role in (ROLES[name] for name in needs):
        secret = given[role.flag] or ""
        # A pod that also has the Secret in its environment means the same Secret.
        taken = [flag for flag in role.keys if not secret or flag in given.typed]
        values = {role.keys[flag]: _text(given[flag]) for flag in taken if given[flag] is not None}
        missing = [] if secret else [flag_name(flag) for flag in role.required if role.keys[flag] not in values]
        if missing:
            findings.append(f"{role.name}: {', '.join(missing)}; or all values by {flag_name(role.flag)}")
        findings += _bad_address(values, role, flag_name(role.endpoint))
        found.append(Credentials(role, secret, values))
    return found, findings


def flag_name(key: str) -> str:
    return "--" + key.replace("_", "-")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).strip()


def _bad_address(values: Mapping[str, str], role: Role, where: str) -> list[str]:
    address = values.get(role.keys[role.endpoint], "")
    try:
        good = urlsplit(address).scheme in ("http", "https") and bool(urlsplit(address).hostname)
    except ValueError:
        good = False
    if not address or good:
        return []
    return [f"{role.name}: {where} is not an address that starts with http:// or https://"]


def read_credentials(
    credentials: Sequence[Credentials], read: Read
) -> tuple[list[Credentials], dict[str, dict[str, str]], list[str]]:
    """Read the Secrets that the user names.

    Returns:
        the credentials, with all values if a Secret and flags are combined; the data of each user's Secret by role
        name; and findings, which never contain a value.
    """
    whole, seen, findings = [], {}, []
    for one in credentials:
        secret = read("Secret", one.secret) if one.secret else None
        if one.secret and secret is None:
            findings.append(f"{one.role.name}: there is no Secret {one.secret}")
        data = _decoded(secret)
        seen[one.role.name] = data
        if secret is not None:
            known = _normal(one.role, data)
            required = {one.role.keys[flag] for flag in one.role.required} - {*one.role.optional_keys}
            lacking = [one.role.said(key) for key in sorted(required - {*known, *one.values})]
            if lacking:
                findings.append(f"{one.role.name}: the Secret {one.secret} lacks {'; '.join(lacking)}")
            key = one.role.keys[one.role.endpoint]
            where = f"{next(iter(_names(one.role, key, data)), key)} of the Secret {one.secret}"
            findings += _bad_address({**known, **one.values}, one.role, where)
            one = replace(one, values={**known, **one.values} if one.values else {})
        whole.append(one)
    return whole, seen, findings


def _decoded(secret: Mapping[str, Any] | None) -> dict[str, str]:
    data = (secret or {}).get("data") or {}
    return {key: base64.b64decode(value).decode("utf-8", "replace").strip() for key, value in data.items()}


def _normal(role: Role, data: Mapping[str, str]) -> dict[str, str]:
    """The values that are present and not blank, under the role's own key names."""
    found = {}
    for key in role.keys.values():
        names = _names(role, key, data)
        if names:
            found[key] = data[names[0]]
    return found


def _names(role: Role, key: str, data: Mapping[str, str]) -> list[str]:
    """The names under which a user's Secret has a key, the one that takes precedence first."""
    return [name for name in (*role.aliases.get(key, ()), key) if data.get(name)]


def secret_manifest(one: Credentials, run_id: str, namespace: str, owner: Mapping[str, Any]) -> dict[str, Any]:
    """The run's own Secret; "" is the namespace of the process that creates it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": own_metadata(own_name(run_id, one.role.name), run_id, namespace, owner),
        "type": "Opaque",
        "stringData": dict(one.values),
    }


def own_metadata(name: str, run_id: str, namespace: str, owner: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata of an object that belongs to the run."""
    place = {"namespace": namespace} if namespace else {}
    owners = {"ownerReferences": [dict(owner)]} if owner else {}
    return {"name": name, **place, "labels": {RUN_LABEL: run_id}, **owners}

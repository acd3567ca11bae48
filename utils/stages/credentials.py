"""Credentials come as files: a Secret mounted as a folder, a file a key. Both earlier generations' key names do."""

import os

from utils.messages import failure


def read_secret(secret_dir: str, aliases: dict, required: list) -> dict:
    """The values of a mounted Secret under our names; optional keys that are absent or blank are "".

    Args:
        secret_dir: the folder the Secret is mounted at.
        aliases: our name to the key names that are accepted, the first that is there counts.
        required: our names that must be there.

    Raises:
        SystemExit: a required key is missing; the message names all of them, never a value.
    """

    def value(keys: list) -> str:
        for key in keys:
            path = os.path.join(secret_dir, key)
            if os.path.isfile(path):
                with open(path) as file:
                    return file.read().strip()
        return ""

    found = {name: value(keys) for name, keys in aliases.items()}
    missing = [" or ".join(aliases[name]) for name in required if not found[name]]
    if missing:
        raise failure(
            f"the Secret mounted at {secret_dir} lacks: {'; '.join(missing)}",
            "the Secret does not exist, or has other keys" if os.path.isdir(secret_dir) else "it is not mounted",
            "create the Secret with these keys in the run's namespace (local runs: a folder in --secrets)",
        )
    return found


def secret_keys(secret_dir: str) -> set:
    """Keys of a mounted Secret, none where it does not exist: Kubernetes mounts an optional one with ..data in it."""
    listed = os.listdir(secret_dir) if os.path.isdir(secret_dir) else []
    return {name for name in listed if not name.startswith("..")}


def model_server(secret_dir: str, role: str) -> dict:
    """Address of a teacher or judge from its Secret: endpoint (ending in /v1), model_name, api_token ("" if none).

    Args:
        role: `teacher` or `judge`, for messages.
    """
    aliases = {
        "endpoint": ["endpoint", "JUDGE_ENDPOINT"],
        "model_name": ["model_name", "model", "JUDGE_NAME"],
        "api_token": ["api_token", "api_key", "JUDGE_API_KEY"],
    }
    server = read_secret(secret_dir, aliases, ["endpoint", "model_name"])
    endpoint = server["endpoint"].rstrip("/")
    if not endpoint.startswith(("http://", "https://")):
        raise failure(
            f"the {role}'s endpoint is no URL",
            "it must start with http:// or https://",
            f"correct the key endpoint of the {role}'s Secret",
        )
    server["endpoint"] = endpoint if endpoint.endswith("/v1") else endpoint + "/v1"
    return server


def object_store_settings(secret_dir: str) -> dict:
    """Object store access from its Secret: bucket, access_key, secret_key, data_key, endpoint, region, verify_tls.

    `endpoint` and `region` are "" when unset; `verify_tls` is a bool, true when unset.

    Raises:
        SystemExit: a key is missing, or verify_tls is neither true nor false.
    """
    names = ["bucket", "access_key", "secret_key", "data_key", "endpoint", "region", "verify_tls"]
    settings = read_secret(secret_dir, {n: [n] for n in names}, ["bucket", "access_key", "secret_key"])
    verify = settings["verify_tls"].lower()
    if verify not in ("", "true", "false"):
        raise failure(
            f"verify_tls is {settings['verify_tls']!r} in the Secret mounted at {secret_dir}",
            "it must be true or false; unset means true",
            "correct the key verify_tls of the object store's Secret",
        )
    return {**settings, "verify_tls": verify != "false"}

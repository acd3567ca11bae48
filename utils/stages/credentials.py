"""Credentials come as files: a Secret mounted as a folder, a file a key. Both earlier generations' key names do."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from utils.messages import failure


def read_secret(secret_dir: str, aliases: Mapping[str, Sequence[str]], required: Sequence[str]) -> dict[str, str]:
    """The values of a mounted Secret under our names; optional keys that are absent or blank are "".

    Args:
        secret_dir: the folder the Secret is mounted at.
        aliases: our name to the key names that are accepted, the first that is there counts.
        required: our names that must be there.

    Raises:
        SystemExit: a required key is missing; the message names all of them, never a value.
    """

    def value(keys: Sequence[str]) -> str:
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


def secret_keys(secret_dir: str) -> set[str]:
    """Keys of a mounted Secret, none where it does not exist: Kubernetes mounts an optional one with ..data in it."""
    listed = os.listdir(secret_dir) if os.path.isdir(secret_dir) else []
    return {name for name in listed if not name.startswith("..")}


@dataclass(frozen=True)
class ModelServer:
    """A teacher or judge: an OpenAI-compatible server that is there before the run.

    Attributes:
        endpoint: base URL; it ends in /v1.
        model_name: the model's name in requests.
        api_token: "" when the server wants none.
    """

    endpoint: str
    model_name: str
    api_token: str = field(default="", repr=False)

    def masked(self, text: str) -> str:
        """The text without the token: what servers answer may repeat it."""
        return text.replace(self.api_token, "***") if self.api_token else text


def model_server(secret_dir: str, role: str) -> ModelServer:
    """The teacher or judge that a mounted Secret names.

    Args:
        role: `teacher` or `judge`, for messages.

    Raises:
        SystemExit: the Secret lacks a key, or its endpoint is not a URL.
    """
    aliases = {
        "endpoint": ["endpoint", "JUDGE_ENDPOINT"],
        "model_name": ["model_name", "model", "JUDGE_NAME"],
        "api_token": ["api_token", "api_key", "JUDGE_API_KEY"],
    }
    server = ModelServer(**read_secret(secret_dir, aliases, ["endpoint", "model_name"]))
    if not server.endpoint.startswith(("http://", "https://")):
        raise failure(
            f"the {role}'s endpoint is not a URL",
            "it must start with http:// or https://",
            f"correct the key endpoint of the {role}'s Secret",
        )
    return replace(server, endpoint=server.endpoint.rstrip("/").removesuffix("/v1") + "/v1")

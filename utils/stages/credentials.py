"""Credentials come as files: a Secret mounted as a folder, one file per key. Both earlier generations' key names do."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from utils.messages import failure, shown, together
from utils.stages.service_errors import THEN, explained, model_service


def read_secret(secret_dir: str, required: Sequence[str], optional: Sequence[str], unsaid: str = " ") -> dict[str, str]:
    """The values of a mounted Secret under our names; optional keys that are absent or blank are "".

    Args:
        secret_dir: the folder the Secret is mounted at.
        required: keys that must be there, each as our name and then other accepted ones, with spaces between; the
            first that is there counts.
        optional: more keys, in the same way.
        unsaid: how names begin that are taken, but not told to people.

    Raises:
        SystemExit: required keys are missing, or values are not one line of text; one message tells all, and never
            shows a value.
    """
    found, missing, faults = {}, [], []
    for keys in [*required, *optional]:
        names = keys.split()
        files = [file for name in names if (file := Path(secret_dir, name)).is_file()]
        try:
            found[names[0]] = secret_value(files[0]) if files else ""
            if keys in required and not found[names[0]]:
                missing.append(" or ".join(name for name in names if not name.startswith(unsaid)))
        except SystemExit as error:
            faults.append(error)
    if missing:
        faults.append(lacking(secret_dir, missing))
    if faults:
        raise together(faults)
    return found


def secret_value(file: Path) -> str:
    """The value of a key that is one line of text, without the space around it.

    Raises:
        SystemExit: it has several lines, or marks of an editor's encoding, with which no server knows it.
    """
    data = file.read_bytes().strip()
    value = data.decode(errors="replace")
    wrong = {
        "it is UTF-16, as PowerShell's > writes it": b"\0" in data,
        "it begins with a byte order mark": data.startswith(b"\xef\xbb\xbf"),
        "it has several lines": b"\n" in data or b"\r" in data,
        "it is not UTF-8": "\ufffd" in value,
    }
    if cause := next((cause for cause, found in wrong.items() if found), ""):
        what = f"the key {file.name} of the Secret mounted at {file.parent} is not one line of plain text"
        raise failure(what, cause, f"printf %s VALUE > {file.name}, and create the Secret from that file")
    return value


def lacking(secret_dir: str, keys: Iterable[str]) -> SystemExit:
    """What to say of a Secret in which keys are missing."""
    return failure(
        f"the Secret mounted at {secret_dir} lacks: {'; '.join(keys)}",
        "the Secret does not exist, or has other keys",
        "create the Secret with these keys in the run's namespace (local runs: a folder in --secrets)",
    )


def secret_keys(secret_dir: str) -> set[str]:
    """Keys of a mounted Secret, none where it does not exist: Kubernetes mounts an optional one with ..data in it."""
    return {file.name for file in Path(secret_dir).glob("[!.]*")} if secret_dir else set()


def require_url(owner: str, endpoint: str, place: str) -> None:
    """End the stage when an endpoint is not a URL.

    Args:
        owner: whose endpoint, for messages.
        place: where it is set, for messages.
    """
    if not endpoint.startswith(("http://", "https://")):
        cause = "it must start with http:// or https://"
        raise failure(f"{owner}'s endpoint is not a URL", cause, f"correct endpoint in {place}")


TOKEN = "api_token api_key JUDGE_API_KEY"
"""Keys of a model server's token."""


@dataclass(frozen=True)
class ModelServer:
    """A teacher or judge: an OpenAI-compatible server that is there before the run.

    Attributes:
        endpoint: base URL; it ends in /v1.
        model_name: the model's name in requests.
        api_token: as it was at first; "" when the server wants none.
        secret_dir: folder of the Secret with the token as it is now; "" where it stays the same.
        tokens: all that were seen.
        role: `teacher` or `judge`; "" for a model of the run.
    """

    endpoint: str = field(repr=False)
    model_name: str
    api_token: str = field(default="", repr=False)
    secret_dir: str = field(default="", compare=False)
    role: str = field(default="", compare=False)
    tokens: set[str] = field(default_factory=set, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.tokens.add(self.api_token)

    def token(self) -> str:
        """The token for a request, which may be renewed while a run lasts."""
        token = self.secret_dir and read_secret(self.secret_dir, [], [TOKEN])["api_token"] or self.api_token
        self.tokens.add(token)
        return token

    @property
    def place(self) -> str:
        """The endpoint for messages."""
        return shown(self.endpoint)

    def explained(self, text: str, then: str = THEN) -> tuple[str, str]:
        """Cause and remedy of a request that it did not answer, see `service_errors.explained`."""
        return explained(self.masked(text), model_service(self.endpoint, self.role), then)

    def masked(self, text: str) -> str:
        """The text without the token, and without the password of the endpoint: what servers answer may repeat it."""
        hidden = {*self.tokens, *re.findall("//([^/]*)@", self.endpoint), urlsplit(self.endpoint).password}
        for value in sorted(filter(None, hidden), key=len, reverse=True):
            text = text.replace(value, "***")
        return text


def model_server(secret_dir: str, role: str) -> ModelServer:
    """The teacher or judge that a mounted Secret names.

    Args:
        role: `teacher` or `judge`, for messages.

    Raises:
        SystemExit: the Secret lacks a key, or its endpoint is not a URL.
    """
    required = ("endpoint JUDGE_ENDPOINT", "model_name model JUDGE_NAME")
    unsaid = " " if role == "judge" else "JUDGE_"
    values: dict[str, Any] = read_secret(secret_dir, required, [TOKEN], unsaid)
    server = ModelServer(secret_dir=secret_dir, role=role, **values)
    owner = f"the {role}"
    if not re.fullmatch("[!-~]*", server.api_token):
        cause = "it has a space, or a character that is not ASCII"
        raise failure(f"{owner}'s api_token is not a token", cause, f"put the token alone into {owner}'s Secret")
    require_url(owner, server.endpoint, owner + "'s Secret")
    return replace(server, endpoint=server.endpoint.rstrip("/").removesuffix("/v1") + "/v1")

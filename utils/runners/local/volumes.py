"""Volumes, Secrets and ConfigMaps of one machine: claims are folders, Secrets come from the files a user names."""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import PrerequisiteError, TaskFailed
from utils.foreign_text import TextError, read_yaml
from utils.ir.claims import checked_name
from utils.ir.model import EnvFrom, Task
from utils.names import is_object_name

# Every namespace of a cluster has this ConfigMap, with the cluster's own certificate; one machine has none.
_CLUSTER_CERTIFICATE = "kube-root-ca.crt"
# Keys of a Secret whose values are masked in logs. Others (bucket, endpoint, model_name) are what messages are about.
_SENSITIVE_KEY = re.compile(r"passw|token|secret|credential|docker|(access|api|private).?key", re.IGNORECASE)
_SHORTEST_SECRET = 6
# What a cluster takes as a key.
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_KINDS = {"Secret": "secret", "ConfigMap": "config_map"}
_WORDS = {"secret": "Secret", "config_map": "ConfigMap"}


@dataclass(frozen=True)
class KeyFiles:
    """A Secret or ConfigMap: its keys and their values."""

    kind: str
    name: str
    values: Mapping[str, bytes]
    folder: Path | None = None
    """Where its keys lie as files already; None when they came from a YAML file."""


class SecretFiles:
    """The Secrets and ConfigMaps of a folder: one folder each with one file per key, or Kubernetes YAML files.

    A folder serves as either kind. Values from YAML are written out only below `private`, a folder that only its
    owner can read, outside the run's folder.

    Raises:
        PrerequisiteError: the folder is missing, or a file in it can't be read.
    """

    def __init__(self, source: Path | None, private: Path) -> None:
        self._source = source
        self._private = private
        self._found: dict[tuple[str, str], KeyFiles] = {}
        if source is None:
            return
        if not source.is_dir():
            raise PrerequisiteError(
                f"there is no folder {source} with Secrets",
                remedy="give --secrets a folder that holds a folder for each Secret, or Kubernetes Secret YAML",
            )
        for path in sorted(source.iterdir()):
            for item in read_key_files(path):
                self._found[item.kind, item.name] = item

    def folder(self, kind: str, name: str, optional: bool) -> Path:
        """The folder with the keys as files; an empty one when it is absent and `optional`.

        Raises:
            TaskFailed: it is absent and not optional, or its name is not one.
        """
        item = self._get(kind, checked_name(name, _WORDS[kind]), optional)
        if item and item.folder:
            return item.folder
        target = self._private / kind / name
        if not target.exists():
            target.mkdir(parents=True, mode=0o700)
            for key, value in item.values.items() if item else ():
                (target / key).touch(mode=0o600)
                (target / key).write_bytes(value)
        return target

    def variable(self, source: EnvFrom) -> str | None:
        """The value for an environment variable, None when it is absent and optional.

        Raises:
            TaskFailed: it is absent and not optional.
        """
        item = self._get(source.kind, source.name, source.optional)
        if item and source.key in item.values:
            return item.values[source.key].decode(errors="surrogateescape")
        if source.optional:
            return None
        raise TaskFailed(
            f"the {_WORDS[source.kind]} {source.name} has no key {source.key}",
            f"the task needs it as the environment variable {source.env}",
            f"add a file {source.key} to the folder {source.name} of --secrets",
        )

    def sensitive(self, task: Task) -> tuple[str, ...]:
        """Values of the task's Secrets that must not get into its log; of one with several lines, each long line."""
        names = {m.name for m in task.mounts if m.kind == "secret"} | {
            e.name for e in task.env_from if e.kind == "secret"
        }
        values: set[str] = set()
        for name in names:
            item = self._found.get(("secret", name))
            for key, value in item.values.items() if item else ():
                if _SENSITIVE_KEY.search(key):
                    values.update(line.strip() for line in value.decode(errors="ignore").splitlines())
        return tuple(value for value in values if len(value) >= _SHORTEST_SECRET)

    def _get(self, kind: str, name: str, optional: bool) -> KeyFiles | None:
        item = self._found.get((kind, name))
        if item is None and not optional and name != _CLUSTER_CERTIFICATE:
            where = f"in {self._source}" if self._source else "because no --secrets was given"
            raise TaskFailed(
                f"there is no {_WORDS[kind]} {name} {where}",
                f"present: {', '.join(sorted(n for k, n in self._found if k == kind)) or 'none'}",
                f"make a folder {name} in the folder of --secrets with a file for each key, or a YAML file of it",
            )
        return item


def read_key_files(path: Path) -> Iterator[KeyFiles]:
    """The Secrets and ConfigMaps of a Kubernetes YAML file, or of a folder with one file per key (as both).

    Raises:
        PrerequisiteError: the file can't be read or is not YAML, or what is in it is not a Secret as a cluster takes
            it; values are not shown.
    """
    try:
        if path.is_dir() and not path.name.startswith("."):
            files = [file for file in sorted(path.iterdir()) if file.is_file() and not file.name.startswith("..")]
            values = {file.name: file.read_bytes() for file in files}
            for kind in _WORDS:
                yield KeyFiles(kind, path.name, values, path.resolve())
        elif path.suffix in (".yaml", ".yml"):
            yield from _from_yaml(path, path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise PrerequisiteError(f"{path}: not text in UTF-8", remedy="correct the file") from None
    except OSError as error:
        remedy = "make it readable, or take it out of the folder of --secrets"
        raise PrerequisiteError(f"{error.filename or path} can't be read", error.strerror or "", remedy) from error


def _from_yaml(path: Path, text: str) -> Iterator[KeyFiles]:
    try:
        documents = read_yaml(text)
    except TextError as error:
        # The parser's own message quotes the line, which may hold a secret.
        where = f", {error.place}" if error.place.startswith("line ") else ""
        cause = "it can't be parsed, is too deeply nested, or has a value that is not of its type"
        raise PrerequisiteError(f"{path}{where}: not valid YAML", cause, "correct the file") from None
    for document in documents:
        listed = isinstance(document, dict) and "items" in document
        items = (document["items"] or []) if listed else [document]
        if not isinstance(items, list):
            raise PrerequisiteError(f"{path}: items is not a list", remedy="put a - before each object")
        for item in items:
            yield from _from_manifest(path, item)


def _from_manifest(path: Path, manifest: Any) -> Iterator[KeyFiles]:
    kind = _KINDS.get(str(manifest.get("kind"))) if isinstance(manifest, dict) else None
    if kind is None:
        return
    metadata = manifest.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not name:
        raise PrerequisiteError(f"{path}: a {_WORDS[kind]} without metadata.name", remedy="give it a name")
    if not is_object_name(name):
        remedy = "use lowercase letters, digits, - and ., in quotes if there are only digits"
        raise PrerequisiteError(f"{path}: {str(name)[:80]!r} is not the name of a {_WORDS[kind]}", remedy=remedy)
    where = f"the {_WORDS[kind]} {name}"
    encoded = ("binaryData", "data") if kind == "secret" else ("binaryData",)
    values = {}
    for key, value in (pair for part in encoded for pair in _texts(path, where, manifest, part)):
        try:
            values[key] = base64.b64decode("".join(value.split()), validate=True)
        except ValueError:
            raise PrerequisiteError(
                f"{path}: the value of {key} in {where} is not base64",
                remedy="put it under stringData, where values stand as they are",
            ) from None
    plain = _texts(path, where, manifest, "stringData" if kind == "secret" else "data")
    yield KeyFiles(kind, name, values | {key: value.encode() for key, value in plain})


def _texts(path: Path, where: str, manifest: Mapping[str, Any], part: str) -> list[tuple[str, str]]:
    """The keys and values of a part of a Secret or ConfigMap, each checked as a cluster does; keys become file names.

    Raises:
        PrerequisiteError: it is not a mapping, a key is not one, or a value is not text.
    """
    given = manifest.get(part) or {}
    if not isinstance(given, dict):
        raise PrerequisiteError(f"{path}: {part} of {where} is not a mapping", remedy="write it as key: value lines")
    for key, value in given.items():
        if not _KEY.fullmatch(key) or key.startswith(".."):
            remedy = "keys have letters, digits, -, _ and ."
            raise PrerequisiteError(f"{path}: {key[:80]!r} in {where} is not a valid key", remedy=remedy)
        if not isinstance(value, str):
            raise PrerequisiteError(f"{path}: the value of {key} in {where} is not text", remedy="put it in quotes")
    return list(given.items())


def rewrite(value: str, folders: Iterable[tuple[str, Path]]) -> str:
    """A path at or under a mount path as the path on this machine; any other text as it is.

    Args:
        folders: (mount path, folder on this machine) of each mount; of nested ones the longest counts.
    """
    for mount_path, folder in sorted(folders, key=lambda pair: len(pair[0]), reverse=True):
        path = mount_path.rstrip("/")
        if value == path or value.startswith(path + "/"):
            return str(folder) + value[len(path) :]
    return value

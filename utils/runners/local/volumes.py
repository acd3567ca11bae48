"""Volumes, Secrets and ConfigMaps of one machine: claims are folders, Secrets come from the files a user names."""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from utils.errors import PrerequisiteError, TaskFailed
from utils.ir.model import EnvFrom, Task
from utils.runners.local.claims import checked_name

# Every namespace of a cluster has this ConfigMap, with the cluster's own certificate; one machine has none.
_CLUSTER_CERTIFICATE = "kube-root-ca.crt"
# Keys of a Secret whose values are masked in logs. Others (bucket, endpoint, model_name) are what messages are about.
_SENSITIVE_KEY = re.compile(r"passw|token|secret|credential|docker|(access|api|private).?key", re.IGNORECASE)
_SHORTEST_SECRET = 6
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
        item = self._get(kind, checked_name(_WORDS[kind], name), optional)
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
        PrerequisiteError: the file is not YAML, or a value in it is not base64; values are not shown.
    """
    if path.is_dir() and not path.name.startswith("."):
        values = {f.name: f.read_bytes() for f in sorted(path.iterdir()) if f.is_file() and not f.name.startswith("..")}
        for kind in _WORDS:
            yield KeyFiles(kind, path.name, values, path.resolve())
    elif path.suffix in (".yaml", ".yml"):
        try:
            documents = list(yaml.safe_load_all(path.read_text()))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            # The parser's own message quotes the line, which may hold a secret.
            mark = getattr(error, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark else ""
            raise PrerequisiteError(f"{path}{where}: not valid YAML", remedy="correct the file") from None
        for document in documents:
            for item in document.get("items", [document]) if isinstance(document, dict) else ():
                yield from _from_manifest(path, item)


def _from_manifest(path: Path, manifest: Any) -> Iterator[KeyFiles]:
    kind = _KINDS.get(str(manifest.get("kind"))) if isinstance(manifest, dict) else None
    if kind is None:
        return
    name = (manifest.get("metadata") or {}).get("name")
    if not name:
        raise PrerequisiteError(f"{path}: a {_WORDS[kind]} without metadata.name", remedy="give it a name")
    values = {}
    encoded = {**(manifest.get("binaryData") or {}), **((manifest.get("data") or {}) if kind == "secret" else {})}
    for key, value in encoded.items():
        try:
            values[key] = base64.b64decode("".join(str(value).split()), validate=True)
        except binascii.Error:
            raise PrerequisiteError(
                f"{path}: the value of {key} in the {_WORDS[kind]} {name} is not base64",
                remedy="put it under stringData, where values stand as they are",
            ) from None
    plain = manifest.get("stringData") if kind == "secret" else manifest.get("data")
    values.update({key: str(value).encode() for key, value in (plain or {}).items()})
    yield KeyFiles(kind, name, values)


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

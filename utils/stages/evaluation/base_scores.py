"""What the base model scored is kept in the object store, and taken from there by later runs with the same base.

An entry is one object, `base-scores/<hash>.json` beside the archive. Its name is a hash of all that decides the scores;
the entry repeats it, with a hash of its own content. Another entry, or half of one, is not believed. The store is a
convenience here: where it is away or refuses, the base model is evaluated.
"""

import contextlib
import hashlib
import importlib.metadata as metadata
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from utils.stages.authorities import ca_bundle
from utils.stages.credentials import secret_keys
from utils.stages.object_store.client import ObjectStore, store_of_secret
from utils.stages.patience import ONCE

FOLDER = "base-scores"
MOST_BYTES = 1 << 26
"""Of an entry: what is larger is not read."""
LIBRARIES = ("instructlab-eval", "lm-eval", "torch", "transformers", "vllm", "llama-cpp-python")


@dataclass(frozen=True)
class BaseScores:
    """The entries for one base model.

    Attributes:
        store: None to keep nothing.
        common: what decides the scores of each evaluation.
        folder: where a run has the base model's files, each evaluation's own among them.
    """

    store: ObjectStore | None
    common: Mapping[str, Any]
    folder: Path

    @contextlib.contextmanager
    def reused(self, decides: Mapping[str, Any], names: Sequence[str]) -> Iterator[dict[str, str]]:
        """Files of the base model for the block: taken from the store, or else kept there after it.

        Yields a dict that has the entry's key as `base_scores` after the block, if the scores are the entry's: the
        block may find that they no longer hold, and make others.

        Args:
            decides: what decides the scores of this evaluation, as JSON values.
            names: files below `folder`; an entry has all of them.
        """
        files, used = {name: self.folder / name for name in names}, dict[str, str]()
        if not self.store or all(path.exists() for path in files.values()):  # of a task that was killed
            yield used
            return
        known = json.loads(json.dumps({**self.common, **decides}))
        key = os.path.join(os.path.dirname(self.store.data_key), FOLDER, f"{digest([json.dumps(known)])}.json")
        taken = self._taken(key, known, names)
        for name, text in taken.items():
            files[name].parent.mkdir(parents=True, exist_ok=True)
            part = files[name].with_name(files[name].name + ".part")
            part.write_text(text)
            part.rename(files[name])  # half a file would count when this process is killed
        yield used
        if not all(path.exists() for path in files.values()):
            return
        texts = {name: path.read_text() for name, path in files.items()}
        if texts == taken:
            used["base_scores"] = key
        else:
            self._keep(key, {"decides": known, "sha256": digest(texts.values()), "files": texts})

    def _taken(self, key: str, known: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
        """The files of an entry; {} where there is none to believe."""
        from botocore.exceptions import BotoCoreError

        assert self.store
        where = f"s3://{self.store.bucket}/{key}"
        try:
            answer = self.store.call("get_object", Key=key)
            entry = json.loads(answer["Body"].read(MOST_BYTES))
            files = {name: entry["files"][name] for name in names}
            if entry["decides"] != known or entry["sha256"] != digest(files.values()):
                raise ValueError("its content is not what its name says")
        except SystemExit as error:
            if "NoSuchKey" not in str(error) and "404" not in str(error):
                print(f"scores of the base model can't be looked up: {error}", flush=True)
            return {}
        except (BotoCoreError, ValueError, LookupError, TypeError, AttributeError) as error:
            print(f"{where} is not used: {type(error).__name__}: {error}", flush=True)
            return {}
        print(f"the base model was evaluated before: its scores are those of {where}", flush=True)
        return files

    def _keep(self, key: str, entry: Mapping[str, Any]) -> None:
        assert self.store
        try:
            self.store.put(key, json.dumps(entry).encode())
            print(f"scores of the base model are kept for later runs: s3://{self.store.bucket}/{key}", flush=True)
        except SystemExit as error:
            print(f"scores of the base model can't be kept for later runs: {error}", flush=True)


def base_scores(secret_dir: str, data_key: str, ca_file: str, model: Path, template: str, folder: Path) -> BaseScores:
    """The entries for a base model.

    Args:
        secret_dir: the object store's; without a key in it nothing is kept.
        template: Jinja file of the chat template, "" for the tokenizer's own.
        folder: see BaseScores.
    """
    if not secret_keys(secret_dir):
        return BaseScores(None, {}, folder)
    try:
        store = replace(store_of_secret(secret_dir, ca_bundle(ca_file), data_key=data_key), patience=ONCE)
    except SystemExit as error:
        print(f"scores of the base model are not kept for later runs: {error}", flush=True)
        return BaseScores(None, {}, folder)
    found = {(one.name or "").lower().replace("_", "-"): one.version for one in metadata.distributions()}
    common = {
        "model": digest_of_files(model, ["*"]),
        "template": template and digest_of_files(Path(template).parent, [Path(template).name]),
        "code": digest_of_files(Path(__file__).parent, ["*.py"]),
        "libraries": {name: found.get(name) for name in LIBRARIES},
        "device": device(),
    }
    return BaseScores(store, common, folder)


def device() -> str:
    """What computes here: another GPU rounds in other ways."""
    import torch

    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else "cpu"


def digest(texts: Iterable[str]) -> str:
    """A hash of texts, in their order."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def digest_of_files(folder: Path, patterns: Iterable[str]) -> str:
    """A hash of the files below a folder that match a pattern, names and content."""
    found = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    sums = []
    for path in found:
        with path.open("rb") as file:
            sums += [str(path.relative_to(folder)), hashlib.file_digest(file, "sha256").hexdigest()]
    return digest(sums)

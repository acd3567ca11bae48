"""A store of the tests' server, and a download from it."""

from dataclasses import replace
from pathlib import Path

from tests.fakes.s3 import S3
from utils.stages.object_store.client import ObjectStore, store_of_secret
from utils.stages.object_store.download import Download, download_object, object_stat
from utils.stages.patience import ONCE

MIB = 1 << 20


def store_of(s3_server: S3, tmp_path: Path, **changes: str) -> ObjectStore:
    return replace(store_of_secret(str(s3_server.secret(tmp_path / "secret", **changes)), ""), patience=ONCE)


def download(store: ObjectStore, key: str, path: Path, chunk: int = MIB) -> Download:
    return download_object(store, object_stat(store, key), path, chunk)

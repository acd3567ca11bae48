"""Uploads to the object store: in parts, without a copy on disk, and whole or not at all."""

import base64
import hashlib
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from utils.messages import failure, progress
from utils.stages.object_store.client import ObjectStore
from utils.stages.object_store.download import MD5

PART_BYTES = 32 << 20


@dataclass(frozen=True)
class Upload:
    """An object that the store has now; size in bytes."""

    key: str
    sha256: str
    size: int


def upload_stream(
    store: ObjectStore, key: str, total: int, produce: Callable[[Any], object], replace: bool = False
) -> Upload:
    """Upload what `produce(sink)` writes to a file-like sink, in parts, without a copy on disk.

    Beside it `<key>.sha256` is written, as sha256sum prints it. An object of this name is not overwritten (where store
    and client know If-None-Match); an upload that fails leaves nothing behind.

    Args:
        total: bytes expected, for the progress lines.
        replace: overwrite an object of this name, when all of the new one has arrived.
    """
    # In a thread, so that a signal can't come between the store's answer and the knowledge of what to abort.
    creating = ThreadPoolExecutor(1).submit(store.call, "create_multipart_upload", Key=key)
    try:
        upload = {"Key": key, "UploadId": creating.result()["UploadId"]}
        etags, sha256, size = upload_parts(store, upload, total, produce)
        known = store.client.meta.service_model.operation_model("CompleteMultipartUpload").input_shape.members
        once = {"IfNoneMatch": "*"} if "IfNoneMatch" in known and not replace else {}
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        store.call("complete_multipart_upload", **upload, MultipartUpload={"Parts": parts}, **once)
    except BaseException:
        if creating.exception() is None:
            unfinished = creating.result()["UploadId"]
            try:
                store.call("abort_multipart_upload", Key=key, UploadId=unfinished)
            except SystemExit as error:
                print(f"the unfinished upload {unfinished} stays in the object store: {error}", flush=True)
        raise
    stored = store.call("head_object", Key=key)["ContentLength"]
    if stored != size:
        raise failure(f"s3://{store.bucket}/{key} has {stored} bytes", f"{size} were sent", "run it again")
    store.call("put_object", Key=key + ".sha256", Body=f"{sha256}  {key.rpartition('/')[2]}\n".encode())
    return Upload(key, sha256, size)


def upload_parts(
    store: ObjectStore, upload: Mapping[str, str], total: int, produce: Callable[[Any], object]
) -> tuple[list[str], str, int]:
    """Send what `produce(sink)` writes as the parts of a multipart upload, four of 32 MiB at a time.

    Args:
        upload: {"Key", "UploadId"}.

    Returns:
        The ETags of the parts in order, and of all bytes the hex sha256 and the number.
    """
    sha256, buffer, size = hashlib.sha256(), bytearray(), 0
    pending: list[Future[str]] = []
    etags: list[str] = []

    def send(number: int, data: bytes) -> str:
        md5 = base64.b64encode(MD5(data).digest()).decode()
        etag: str = store.call("upload_part", PartNumber=number, Body=data, ContentMD5=md5, **upload)["ETag"]
        return etag

    def start_part(leave: int) -> None:
        pending.append(pool.submit(send, len(etags) + len(pending) + 1, bytes(buffer[:PART_BYTES])))
        del buffer[:PART_BYTES]
        while len(pending) > leave:
            etags.append(pending.pop(0).result())
            sent = min(len(etags) * PART_BYTES, size)
            progress(-(-sent >> 20), -(-max(sent, total) >> 20), f"MiB to {upload['Key']}")

    def write(data: Any) -> int:
        nonlocal size
        size += len(data)
        sha256.update(data)
        buffer.extend(data)
        while len(buffer) >= PART_BYTES:
            start_part(4)
        return len(data)

    with ThreadPoolExecutor(4) as pool:
        produce(SimpleNamespace(write=write, flush=lambda: None))
        start_part(0)
    return etags, sha256.hexdigest(), size


def upload_file(store: ObjectStore, path: Path, key: str) -> Upload:
    """Upload a file with its sha256 beside it; see `upload_stream`."""
    with path.open("rb") as file:
        return upload_stream(store, key, path.stat().st_size, lambda sink: shutil.copyfileobj(file, sink))

"""Uploads to the object store: in parts, without a copy on disk, and whole or not at all."""

import base64
import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from utils.messages import failure, progress
from utils.stages.object_store.client import ObjectStore

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
        upload = creating.result()["UploadId"]
        parts, sha256 = upload_parts(store, {"Key": key, "UploadId": upload}, total, produce)
        size = sum(part.pop("size") for part in parts)
        known = store.client.meta.service_model.operation_model("CompleteMultipartUpload").input_shape.members
        once = {"IfNoneMatch": "*"} if "IfNoneMatch" in known and not replace else {}
        content = {"Key": key, "UploadId": upload, "MultipartUpload": {"Parts": parts}}
        store.call("complete_multipart_upload", **content, **once)
    except BaseException:
        if creating.exception() is None:
            upload = creating.result()["UploadId"]
            try:
                store.call("abort_multipart_upload", Key=key, UploadId=upload)
            except SystemExit as error:
                print(f"the unfinished upload {upload} stays in the object store: {error}", flush=True)
        raise
    stored = store.call("head_object", Key=key)["ContentLength"]
    if stored != size:
        raise failure(f"s3://{store.bucket}/{key} has {stored} bytes", f"{size} were sent", "run it again")
    name = key.rpartition("/")[2]
    store.call("put_object", Key=key + ".sha256", Body=f"{sha256}  {name}\n".encode())
    return Upload(key, sha256, size)


def upload_parts(
    store: ObjectStore, upload: Mapping[str, str], total: int, produce: Callable[[Any], object]
) -> tuple[list[dict[str, Any]], str]:
    """Send what `produce(sink)` writes as the parts of a multipart upload, four of 32 MiB at a time.

    Args:
        upload: {"Key", "UploadId"}.

    Returns:
        The parts, each {"ETag", "PartNumber", "size"}, and the hex sha256 of all bytes.
    """
    sha256 = hashlib.sha256()
    buffer = bytearray()
    pending: list[Future[dict[str, Any]]] = []
    parts: list[dict[str, Any]] = []

    def send(number: int, data: bytes) -> dict[str, Any]:
        md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        answer = store.call("upload_part", PartNumber=number, Body=data, ContentMD5=md5, **upload)
        return {"ETag": answer["ETag"], "PartNumber": number, "size": len(data)}

    def start_part() -> None:
        pending.append(pool.submit(send, len(parts) + len(pending) + 1, bytes(buffer[:PART_BYTES])))
        del buffer[:PART_BYTES]

    def finish_parts(leave: int) -> None:
        while len(pending) > leave:
            parts.append(pending.pop(0).result())
            sent = sum(part["size"] for part in parts)
            progress(-(-sent >> 20), -(-max(sent, total) >> 20), f"MiB to {upload['Key']}")

    def write(data: Any) -> int:
        sha256.update(data)
        buffer.extend(data)
        while len(buffer) >= PART_BYTES:
            start_part()
            finish_parts(4)
        return len(data)

    with ThreadPoolExecutor(4) as pool:
        produce(SimpleNamespace(write=write, flush=lambda: None))
        start_part()
        finish_parts(0)
    return parts, sha256.hexdigest()


def upload_file(store: ObjectStore, path: str, key: str) -> Upload:
    """Upload a file with its sha256 beside it; see `upload_stream`."""
    with open(path, "rb") as file:
        return upload_stream(store, key, os.path.getsize(path), lambda sink: shutil.copyfileobj(file, sink))

"""Uploads to the object store: in parts, without a copy on disk, and whole or not at all."""

import base64
import hashlib
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Condition
from types import SimpleNamespace
from typing import Any

from utils.messages import failure, progress
from utils.stages.marker import read_json, write_json
from utils.stages.object_store.client import ObjectStore
from utils.stages.object_store.download import MD5
from utils.stages.patience import Patience

LEAST_PART_BYTES = 32 << 20
REFUSES_CONDITION = ("NotImplemented", "InvalidArgument", "InvalidRequest", "501", "400")
"""Codes of stores that refuse If-None-Match."""
MOST_PARTS = 10_000
"""Of one upload (Amazon S3 user guide, "Amazon S3 multipart upload limits")."""


ABORT_SECONDS = 60.0
"""How long a store may show parts of an upload that was aborted: as long as a client waits for an answer by default."""


class Requests:
    """Requests that threads send, each in a block. After `end`, all have ended, and none can begin.

    A signal may raise its exception within `submit`, which waits there for a thread that works already
    (concurrent/futures/thread.py): nobody has its future then, and the end of the pool does not wait for it.
    """

    def __init__(self) -> None:
        self.changed, self.now, self.ended = Condition(), 0, False

    def __enter__(self) -> None:
        with self.changed:
            if self.ended:
                raise CancelledError
            self.now += 1

    def __exit__(self, *_: object) -> None:
        with self.changed:
            self.now -= 1
            self.changed.notify_all()

    def end(self) -> None:
        """Wait for those that have begun."""
        with self.changed:
            self.ended = True
            self.changed.wait_for(lambda: not self.now)


@dataclass(frozen=True)
class Upload:
    """An object that the store has now; size in bytes."""

    key: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Parts:
    """What has been sent as the parts of an upload: their ETags in order; sha256 (hex) and number of all bytes.

    Attributes:
        etag: that the whole object has, where ETags are MD5s: `MD5(MD5s of the parts)-N`.
    """

    etags: list[str]
    sha256: str
    size: int
    etag: str


def upload_stream(
    store: ObjectStore,
    key: str,
    total: int,
    produce: Callable[[Any], object],
    replace: bool = False,
    note: Path | None = None,
    told: bool = True,
) -> Upload:
    """Upload what `produce(sink)` writes to a file-like sink, in parts, without a copy on disk.

    Beside it `<key>.sha256` is written, as sha256sum prints it. An object of this name is not overwritten (where store
    and client know If-None-Match); an upload that fails leaves nothing behind.

    Args:
        total: bytes expected, for the progress lines and the size of the parts.
        replace: overwrite an object of this name, when all of the new one has arrived.
        note: file that tells a later process how far this one got, should it be killed: that one calls `take_up`.
        told: print progress.
    """
    requests, upload = Requests(), dict[str, str]()

    def create() -> None:
        with requests:
            upload.update(Key=key, UploadId=store.call("create_multipart_upload", Key=key)["UploadId"])
            _write(note, {"upload": upload})

    try:
        # In a thread, so that a signal can't come between the store's answer and the knowledge of what to abort.
        ThreadPoolExecutor(1).submit(create).result()
        parts = upload_parts(store, upload, total, produce, requests, told)
        _write(note, {"upload": upload, "parts": asdict(parts)})
        complete(store, upload, parts, replace)
    except BaseException:
        requests.end()
        if upload:
            abort(store, upload)
            _write(note, {})
        raise
    return _with_sha256(store, key, parts)


def _write(note: Path | None, value: Mapping[str, Any]) -> None:
    if note:
        write_json(note, value)


def _with_sha256(store: ObjectStore, key: str, parts: Parts) -> Upload:
    store.put(key + ".sha256", f"{parts.sha256}  {key.rpartition('/')[2]}\n".encode())
    return Upload(key, parts.sha256, parts.size)


def take_up(store: ObjectStore, note: Path) -> Upload | None:
    """What a killed process has uploaded, if it was whole; else its parts, which would be stored for good, are dropped.

    Returns:
        None if there is nothing to take up.
    """
    noted = read_json(note)
    if not noted:
        return None
    upload, parts = noted["upload"], Parts(**noted["parts"]) if "parts" in noted else None
    if parts and parts.etag in stored(store, upload["Key"]).get("ETag", ""):
        return _with_sha256(store, upload["Key"], parts)
    abort(store, upload)
    return None


def abort(store: ObjectStore, upload: Mapping[str, str]) -> None:
    """End an upload that is not to be completed, and do so until the store has no part of it; else that is told.

    The store may still be writing a part whose request was given up (Amazon S3 API, AbortMultipartUpload: "it might be
    necessary to abort a given multipart upload multiple times"; ListParts shows whether it is). An account that may not
    list parts is not told of one.
    """

    patience = Patience(ABORT_SECONDS, store.patience.sleep, store.patience.clock)
    try:
        patience.outlast(lambda: _abort_once(store, upload), lambda _: 0.0, f"the end of the upload of {upload['Key']}")
    except (SystemExit, TimeoutError) as error:
        if "NoSuchUpload" not in str(error):  # it is gone already
            print(f"the unfinished upload {upload['UploadId']} stays in the object store: {error}", flush=True)


def _abort_once(store: ObjectStore, upload: Mapping[str, str]) -> None:
    """Raises TimeoutError where the store shows parts."""
    store.call("abort_multipart_upload", **upload)
    with suppress(SystemExit):  # there is no such upload, or this account may not list parts
        if parts := store.call("list_parts", **upload).get("Parts"):
            raise TimeoutError(f"it was aborted, but has {len(parts)} parts")


def complete(store: ObjectStore, upload: Mapping[str, str], parts: Parts, replace: bool) -> None:
    """Make an object of the parts. An answer that was lost, or an error after the fact, does not count.

    An account that may write but not read is believed: the store has taken the object.

    Raises:
        SystemExit: the store does not have the object, or not the whole one.
    """
    known = store.client.meta.service_model.operation_model("CompleteMultipartUpload").input_shape.members
    once = {"IfNoneMatch": "*"} if "IfNoneMatch" in known and not replace else {}
    numbered = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(parts.etags, 1)]
    all_of = {**upload, "MultipartUpload": {"Parts": numbered}}
    try:
        try:
            store.call("complete_multipart_upload", **all_of, **once)
        except SystemExit as error:
            # 501, or 400 in imitations that don't know the header: the object's absence is asked for instead.
            if (
                not once
                or not any(f": {code}" in str(error) for code in REFUSES_CONDITION)
                or stored(store, upload["Key"])
            ):
                raise
            store.call("complete_multipart_upload", **all_of)
    except SystemExit:
        if parts.etag not in stored(store, upload["Key"]).get("ETag", ""):
            raise
    try:
        there = store.call("head_object", Key=upload["Key"])["ContentLength"]
    except SystemExit as error:
        if not any(f": {code}" in str(error) for code in ("AccessDenied", "403")):
            raise
        print(f"the size of the uploaded object can't be compared: {error}", flush=True)
        return
    if there != parts.size:
        raise failure(
            f"s3://{store.bucket}/{upload['Key']} has {there} bytes", f"{parts.size} were sent", "run it again"
        )


def stored(store: ObjectStore, key: str) -> dict[str, Any]:
    """What HEAD says of an object; {} where there is none, or it may not be read."""
    from botocore.exceptions import ClientError

    try:
        found: dict[str, Any] = store.wait_out(lambda: store.client.head_object(Bucket=store.bucket, Key=key), key)
    except ClientError:
        return {}
    return found


def part_bytes(total: int) -> int:
    """The size of each part of an upload of about total bytes: a twentieth more still fits the number of parts."""
    return max(LEAST_PART_BYTES, -(-total * 21 // 20 // MOST_PARTS))


def upload_parts(
    store: ObjectStore,
    upload: Mapping[str, str],
    total: int,
    produce: Callable[[Any], object],
    requests: Requests,
    told: bool = True,
) -> Parts:
    """Send what `produce(sink)` writes as the parts of a multipart upload, four at a time.

    Args:
        upload: {"Key", "UploadId"}.
        total: bytes expected.
        told: print progress.
    """
    each = part_bytes(total)
    sha256, md5s, buffer, size = hashlib.sha256(), MD5(), bytearray(), 0
    pending: list[Future[str]] = []
    etags: list[str] = []

    def send(number: int, data: bytes) -> str:
        md5 = base64.b64encode(MD5(data).digest()).decode()
        with requests:
            etag: str = store.call("upload_part", PartNumber=number, Body=data, ContentMD5=md5, **upload)["ETag"]
        return etag

    def start_part(leave: int) -> None:
        data = bytes(buffer[:each])
        del buffer[:each]
        md5s.update(MD5(data).digest())
        pending.append(pool.submit(send, len(etags) + len(pending) + 1, data))
        while len(pending) > leave:
            etags.append(pending.pop(0).result())
            sent = min(len(etags) * each, size)
            if told:
                progress(-(-sent >> 20), -(-max(sent, total) >> 20), f"MiB to {upload['Key']}")

    def write(data: Any) -> int:
        nonlocal size
        size += len(data)
        sha256.update(data)
        buffer.extend(data)
        while len(buffer) >= each:
            start_part(4)
        return len(data)

    with ThreadPoolExecutor(4) as pool:
        produce(SimpleNamespace(write=write, flush=lambda: None))
        start_part(0)
    return Parts(etags, sha256.hexdigest(), size, f"{md5s.hexdigest()}-{len(etags)}")


def upload_file(store: ObjectStore, path: Path, key: str) -> Upload:
    """Upload a file with its sha256 beside it; see `upload_stream`."""
    with path.open("rb") as file:
        return upload_stream(store, key, path.stat().st_size, lambda sink: shutil.copyfileobj(file, sink))

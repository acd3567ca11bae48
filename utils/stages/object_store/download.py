"""Downloads from the object store that resume and are verified."""

import glob
import hashlib
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from utils.messages import failure, progress
from utils.stages.object_store.client import ObjectStore
from utils.stages.service_errors import THEN, explained, told


@dataclass(frozen=True)
class ObjectStat:
    """What the store says of an object.

    Attributes:
        size: bytes.
        opaque_etag: the ETag says nothing about the content: the object is encrypted with SSE-KMS or SSE-C.
        sha256: hexadecimal; "" when unknown.
    """

    key: str
    size: int
    etag: str
    opaque_etag: bool
    sha256: str


@dataclass(frozen=True)
class Download:
    """An object that has arrived. `check` is what was compared: sha256, etag or size."""

    key: str
    sha256: str
    size: int
    check: str


def object_stat(store: ObjectStore, key: str) -> ObjectStat:
    """What the store says of an object.

    The sha256 comes from the object `<key>.sha256` (as sha256sum writes it), else from the user metadata `sha256`.
    An ETag is opaque, it says nothing about the content, where the object is encrypted with SSE-KMS or SSE-C.
    """
    from botocore.exceptions import ClientError

    head = store.call("head_object", Key=key)
    beside = {"Bucket": store.bucket, "Key": key + ".sha256"}
    try:
        side: bytes = store.wait_out(lambda: store.client.get_object(**beside)["Body"].read(200), beside["Key"])
    except ClientError as error:
        # Without the right to list, S3 answers 403 for an object that isn't there.
        if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (403, 404):
            raise store.failure(key + ".sha256", error) from None
        side = b""
    told = side.decode(errors="replace").strip() or head.get("Metadata", {}).get("sha256", "")
    if told and not re.match(r"[0-9a-fA-F]{64}(\s|$)", told):
        raise failure(
            f"s3://{store.bucket}/{key}: its sha256 can't be read",
            f"{key}.sha256, or the metadata sha256, does not start with 64 hexadecimal digits",
            f"sha256sum FILE > FILE.sha256, and upload it as {key}.sha256; or delete it",
        )
    encrypted = head.get("ServerSideEncryption", "").startswith("aws:kms") or "SSECustomerAlgorithm" in head
    return ObjectStat(key, head["ContentLength"], head["ETag"].strip('"'), encrypted, told[:64].lower())


def download_object(store: ObjectStore, stat: ObjectStat, path: Path, chunk: int = 16 << 20) -> Download:
    """Bring an object to `path`, whole and verified, or not at all.

    What has arrived lies in `<path>.<ETag>.part`; started again it continues from there. An object that changes
    meanwhile is begun anew.

    Args:
        stat: of `object_stat`.
        chunk: bytes of one ranged request; eight run at a time.

    Raises:
        SystemExit: the store refused or broke off for good (what has arrived is kept), or the content is wrong (it is
            removed).
    """
    for _ in range(3):
        part = path.with_name(f"{path.name}.{re.sub('[^0-9A-Za-z]', '', stat.etag)}.part")
        for old in path.parent.glob(glob.escape(path.name) + ".*.part"):
            if old != part:
                old.unlink()
        if path.exists():
            path.rename(part)
        if fetch_ranges(store, stat, part, chunk):
            break
        print(f"{stat.key} changed in the object store; starting it again", flush=True)
        stat = object_stat(store, stat.key)
    else:
        raise failure(f"{stat.key} changed three times during its download", "something writes it", "try later")
    sha256 = file_digest(part, hashlib.sha256)
    check = "sha256" if stat.sha256 else etag_check(part, stat)
    if check == "" or stat.sha256 not in ("", sha256):
        part.unlink()
        raise failure(
            f"s3://{store.bucket}/{stat.key} does not have the content it should have",
            f"its {check or 'MD5'} is not the one the object store names: a torn upload, or a sha256 of another file",
            "upload it again, with its sha256",
        )
    part.rename(path)
    return Download(stat.key, sha256, stat.size, check)


def fetch_ranges(store: ObjectStore, stat: ObjectStat, part: Path, chunk: int) -> bool:
    """Append to the file `part` what is missing of the object; False when the object is another one by now."""
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    size, key = stat.size, stat.key

    def fetch(start: int) -> bytes:
        # The client's own retries end where the body begins: a connection that breaks later is ours.
        wanted = {"Range": f"bytes={start}-{min(start + chunk, size) - 1}", "IfMatch": f'"{stat.etag}"'}
        return store.wait_out(
            lambda: store.client.get_object(Bucket=store.bucket, Key=key, **wanted)["Body"].read(),
            f"{key} from {start}",
        )

    try:
        with part.open("ab") as file, ThreadPoolExecutor(8) as pool:
            have = file.tell()
            if have > size:
                have = file.truncate(0)
            if have:
                print(f"{key}: {have >> 20} MiB are here from an earlier try", flush=True)
            starts = range(have, size, chunk)
            while starts:
                file.writelines(pool.map(fetch, starts[:8]))
                starts = starts[8:]
                progress(-(-file.tell() >> 20), -(-size >> 20), f"MiB of {key}")
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 412:
            return False
        raise store.failure(key, error) from None
    except (BotoCoreError, HTTPError, OSError) as error:
        what = f"the download of s3://{store.bucket}/{key} broke off at {part.stat().st_size >> 20} MiB"
        cause, remedy = str(error), "make room on the volume, or correct it"
        if not isinstance(error, OSError):
            cause, remedy = explained(told(error), store.service, "")
        raise failure(what, cause, f"{remedy}{THEN}: it continues from there") from None
    return True


MD5 = partial(hashlib.md5, usedforsecurity=False)
"""MD5 on machines in FIPS mode too."""


def file_digest(path: Path, new: Callable[..., "hashlib._Hash"]) -> str:
    """Hex digest of a file; `new` makes the hash."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, new).hexdigest()


def etag_check(path: Path, stat: ObjectStat) -> str:
    """Compare a file with an ETag: "etag" when it agrees, "" when it does not, "size" when that can't be told.

    The ETag of an object uploaded at once is its MD5; of one uploaded in N parts `MD5(MD5s of the parts)-N`, where the
    size of a part is not told, so usual sizes are tried (Amazon S3 user guide, "Checking object integrity").
    """
    if path.stat().st_size != stat.size:
        return ""
    digest, _, count = stat.etag.partition("-")
    if stat.opaque_etag or not re.fullmatch("[0-9a-f]{32}", digest):
        return "size"
    if not count:
        return "etag" if file_digest(path, MD5) == digest else ""
    for mib in (5, 8, 10, 15, 16, 25, 32, 50, 64, 100, 128, 256, 512, 1024):
        if count == str(-(-stat.size // (mib << 20))):
            with path.open("rb") as file:
                md5s = b"".join(MD5(data).digest() for data in iter(partial(file.read, mib << 20), b""))
            if MD5(md5s).hexdigest() == digest:
                return "etag"
    return "size"

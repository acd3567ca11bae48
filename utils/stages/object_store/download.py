"""Downloads from the object store that resume and are verified."""

import glob
import hashlib
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from utils.messages import failure, progress
from utils.stages.object_store.client import ObjectStore


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

    if not key:
        raise failure("the archive has no name", "data_key is missing in the object store's Secret", "add it there")
    head = store.call("head_object", Key=key)
    try:
        side = store.client.get_object(Bucket=store.bucket, Key=key + ".sha256")["Body"].read(200)
    except ClientError as error:
        # Without the right to list, S3 answers 403 for an object that isn't there.
        if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (403, 404):
            raise store.failure(key + ".sha256", error) from None
        side = b""
    told = side.decode(errors="replace").strip() or head.get("Metadata", {}).get("sha256", "")
    if told and not re.match(r"[0-9a-fA-F]{64}(\s|$)", told):
        raise failure(
            f"s3://{store.bucket}/{key}: its sha256 can't be read",
            f"the object {key}.sha256, or the metadata sha256, does not start with 64 hexadecimal digits",
            f"write it again: sha256sum FILE > FILE.sha256, and upload it as {key}.sha256; or delete it",
        )
    encrypted = head.get("ServerSideEncryption", "").startswith("aws:kms") or head.get("SSECustomerAlgorithm")
    return ObjectStat(key, head["ContentLength"], head["ETag"].strip('"'), bool(encrypted), told[:64].lower())


def download_object(store: ObjectStore, stat: ObjectStat, path: str, chunk: int = 16 << 20) -> Download:
    """Bring an object to `path`, whole and verified, or not at all.

    What has arrived lies in `<path>.<ETag>.part`; started again it goes on from there. An object that changes
    meanwhile is begun anew.

    Args:
        stat: of `object_stat`.
        chunk: bytes of one ranged request; eight run at a time.

    Raises:
        SystemExit: the store refused or broke off for good (what has arrived is kept), or the content is wrong (it is
            removed).
    """
    for _ in range(3):
        part = f"{path}.{re.sub(r'[^0-9A-Za-z]', '', stat.etag)}.part"
        for old in glob.glob(glob.escape(path) + ".*.part"):
            if old != part:
                os.remove(old)
        if os.path.exists(path):
            os.replace(path, part)
        if fetch_ranges(store, stat, part, chunk):
            break
        print(f"{stat.key} changed in the object store; starting it again", flush=True)
        stat = object_stat(store, stat.key)
    else:
        raise failure(f"{stat.key} changed three times during its download", "something writes it", "try later")
    sha256 = file_digest(part, "sha256")
    check = "sha256" if stat.sha256 else etag_check(part, stat)
    if check == "" or stat.sha256 not in ("", sha256):
        os.remove(part)
        raise failure(
            f"s3://{store.bucket}/{stat.key} does not have the content it should have",
            f"its {'sha256' if stat.sha256 else 'MD5'} is not the one the object store names: "
            "a torn upload, or a sha256 of another file",
            "upload the object again, with its sha256",
        )
    os.replace(part, path)
    return Download(stat.key, sha256, stat.size, check)


def fetch_ranges(store: ObjectStore, stat: ObjectStat, part: str, chunk: int) -> bool:
    """Append to the file `part` what is missing of the object; False when the object is another one by now."""
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    size, key = stat.size, stat.key
    have = os.path.getsize(part) if os.path.exists(part) else 0
    if have > size:
        os.remove(part)
        have = 0

    def fetch(start: int) -> bytes:
        # The client's own retries end where the body begins: a connection that breaks later is ours.
        span = f"bytes={start}-{min(start + chunk, size) - 1}"
        for attempt in range(6):
            try:
                answer = store.client.get_object(Bucket=store.bucket, Key=key, Range=span, IfMatch=f'"{stat.etag}"')
                data: bytes = answer["Body"].read()
                return data
            except (BotoCoreError, HTTPError) as error:
                print(f"{key} from byte {start}: {error}", flush=True)
                last = error
                time.sleep(2**attempt)
        raise last

    if have:
        print(f"{key}: {have >> 20} MiB are here from an earlier try", flush=True)
    starts = range(have, size, chunk)
    try:
        with open(part, "ab") as file, ThreadPoolExecutor(8) as pool:
            for first in range(0, len(starts), 8):
                for data in pool.map(fetch, starts[first : first + 8]):
                    file.write(data)
                progress(-(-file.tell() >> 20), -(-size >> 20), f"MiB of {key}")
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 412:
            return False
        raise store.failure(key, error) from None
    except (BotoCoreError, HTTPError, OSError) as error:
        raise failure(
            f"the download of s3://{store.bucket}/{key} broke off at {os.path.getsize(part) >> 20} MiB",
            str(error),
            "see to the network, or the volume's space; run it again: it goes on from there",
        ) from None
    return True


def file_digest(path: str, name: str) -> str:
    """Hex digest of a file by the hash of that name."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(name, usedforsecurity=False)).hexdigest()


def etag_check(path: str, stat: ObjectStat) -> str:
    """Compare a file with an ETag: "etag" when it agrees, "" when it does not, "size" when that can't be told.

    The ETag of an object uploaded at once is its MD5; of one uploaded in N parts `MD5(MD5s of the parts)-N`, where the
    size of a part is not told, so usual sizes are tried (Amazon S3 user guide, "Checking object integrity").
    """
    if os.path.getsize(path) != stat.size:
        return ""
    digest, _, count = stat.etag.partition("-")
    if stat.opaque_etag or not re.fullmatch("[0-9a-f]{32}", digest):
        return "size"
    if not count:
        return "etag" if file_digest(path, "md5") == digest else ""
    for mib in (5, 8, 10, 15, 16, 25, 32, 50, 64, 100, 128, 256, 512, 1024):
        if count != str(-(-stat.size // (mib << 20))):
            continue
        md5s = b""
        with open(path, "rb") as file:
            while data := file.read(mib << 20):
                md5s += hashlib.md5(data, usedforsecurity=False).digest()
        if hashlib.md5(md5s, usedforsecurity=False).hexdigest() == digest:
            return "etag"
    return "size"

"""The object store: a boto3 client that works with S3 and its imitations, downloads that resume, uploads in parts."""

import base64
import glob
import hashlib
import os
import re
import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, Callable

from utils.messages import failure, progress


def s3_client(settings: dict, ca: str) -> Any:
    """A client for the object store, usable from several threads.

    Args:
        settings: from `object_store_settings`; a blank endpoint is Amazon S3, a blank region the default one. `place`
            is where messages say that they are from, when that is not a Secret, and `trust` how to add a CA.
        ca: PEM bundle from `ca_bundle`, "" for the public roots.
    """
    import boto3
    from botocore.config import Config

    endpoint = settings["endpoint"]
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise failure(
            f"the object store's endpoint {endpoint!r} is not a URL",
            "it must start with http:// or https://, or be blank for Amazon S3",
            "correct endpoint in " + settings.get("place", "the object store's Secret"),
        )
    # Newer clients send checksums that many S3-compatible stores refuse. By environment, since older clients don't
    # know the option of Config.
    os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    os.environ.setdefault("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
    return boto3.client(
        "s3",
        aws_access_key_id=settings["access_key"],
        aws_secret_access_key=settings["secret_key"],
        endpoint_url=endpoint or None,
        region_name=settings["region"] or ("us-east-1" if endpoint else None),
        verify=(ca or None) if settings["verify_tls"] else False,
        config=Config(
            connect_timeout=15,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": 4},
            s3={"addressing_style": "path" if endpoint else "auto"},
        ),
    )


def s3_call(settings: dict, client: Any, operation: str, **arguments: Any) -> Any:
    """Call an operation of the client on the settings' bucket; an error becomes a message for people.

    Raises:
        SystemExit: the store refused, or can't be reached.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return getattr(client, operation)(Bucket=settings["bucket"], **arguments)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if operation == "head_object":
            # An answer to HEAD has no body; the same by GET tells what is wrong.
            return s3_call(settings, client, "get_object", **arguments)
        raise s3_failure(settings, str(arguments.get("Key", "")), code, str(error)) from None
    except BotoCoreError as error:
        raise s3_failure(settings, str(arguments.get("Key", "")), type(error).__name__, str(error)) from None


def s3_failure(settings: dict, key: str, code: str, text: str) -> SystemExit:
    """What to tell about an error of the object store: its S3 code, or the name of the client's exception."""
    place = settings.get("place", "the object store's Secret")
    trust = settings.get("trust", "add the store's CA to k8s_ca_configmap (locally: a config map in --secrets)")
    keys = f"correct access_key and secret_key in {place}, or the rights of that account"
    known = {
        "NoSuchBucket": (f"there is no bucket {settings['bucket']!r}", f"correct bucket in {place}"),
        "NoSuchKey": (
            f"the bucket holds no object {key!r}",
            f"upload it, or correct the key (data_key in {place})",
        ),
        "InvalidAccessKeyId": ("the store doesn't know the access key", keys),
        "SignatureDoesNotMatch": ("the secret key is wrong", keys),
        "AccessDenied": ("the store refuses this account", keys),
        "SSLError": (
            f"TLS can't be verified: {text}",
            f"{trust}; verify_tls: false in {place} turns the check off",
        ),
    }
    cause, remedy = known.get(code, (text, f"check endpoint, region and bucket in {place}"))
    where = settings["endpoint"] or "Amazon S3"
    return failure(f"s3://{settings['bucket']}/{key} at {where}: {code}", cause, remedy)


def object_stat(settings: dict, client: Any, key: str) -> dict:
    """What the store says of an object: {"key", "size", "etag", "opaque_etag", "sha256"}; sha256 is "" when unknown.

    The sha256 comes from the object `<key>.sha256` (as sha256sum writes it), else from the user metadata `sha256`.
    An ETag is opaque, it says nothing about the content, where the object is encrypted with SSE-KMS or SSE-C.
    """
    from botocore.exceptions import ClientError

    if not key:
        raise failure("the archive has no name", "data_key is missing in the object store's Secret", "add it there")
    head = s3_call(settings, client, "head_object", Key=key)
    try:
        side = client.get_object(Bucket=settings["bucket"], Key=key + ".sha256")["Body"].read(200)
    except ClientError as error:
        # Without the right to list, S3 answers 403 for an object that isn't there.
        if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (403, 404):
            raise s3_failure(settings, key + ".sha256", error.response["Error"]["Code"], str(error)) from None
        side = b""
    told = side.decode(errors="replace").strip() or head.get("Metadata", {}).get("sha256", "")
    if told and not re.match(r"[0-9a-fA-F]{64}(\s|$)", told):
        raise failure(
            f"s3://{settings['bucket']}/{key}: its sha256 can't be read",
            f"the object {key}.sha256, or the metadata sha256, does not start with 64 hexadecimal digits",
            f"write it again: sha256sum FILE > FILE.sha256, and upload it as {key}.sha256; or delete it",
        )
    encrypted = head.get("ServerSideEncryption", "").startswith("aws:kms") or head.get("SSECustomerAlgorithm")
    return {
        "key": key,
        "size": head["ContentLength"],
        "etag": head["ETag"].strip('"'),
        "opaque_etag": bool(encrypted),
        "sha256": told[:64].lower(),
    }


def download_object(settings: dict, client: Any, stat: dict, path: str, chunk: int = 16 << 20) -> dict:
    """Bring an object to `path`, whole and verified, or not at all.

    What has arrived lies in `<path>.<ETag>.part`; started again it goes on from there. An object that changes
    meanwhile is begun anew.

    Args:
        stat: of `object_stat`.
        chunk: bytes of one ranged request; eight run at a time.

    Returns:
        {"key", "sha256", "size", "check"}; check is what was compared: sha256, etag or size.

    Raises:
        SystemExit: the store refused or broke off for good (what has arrived is kept), or the content is wrong (it is
            removed).
    """
    for _ in range(3):
        part = f"{path}.{re.sub(r'[^0-9A-Za-z]', '', stat['etag'])}.part"
        for old in glob.glob(glob.escape(path) + ".*.part"):
            if old != part:
                os.remove(old)
        if os.path.exists(path):
            os.replace(path, part)
        if fetch_ranges(settings, client, stat, part, chunk):
            break
        print(f"{stat['key']} changed in the object store; starting it again", flush=True)
        stat = object_stat(settings, client, stat["key"])
    else:
        raise failure(f"{stat['key']} changed three times during its download", "something writes it", "try later")
    sha256 = file_digest(part, "sha256")
    check = "sha256" if stat["sha256"] else etag_check(part, stat)
    if check == "" or stat["sha256"] not in ("", sha256):
        os.remove(part)
        raise failure(
            f"s3://{settings['bucket']}/{stat['key']} does not have the content it should have",
            f"its {'sha256' if stat['sha256'] else 'MD5'} is not the one the object store names: "
            "a torn upload, or a sha256 of another file",
            "upload the object again, with its sha256",
        )
    os.replace(part, path)
    return {"key": stat["key"], "sha256": sha256, "size": stat["size"], "check": check}


def fetch_ranges(settings: dict, client: Any, stat: dict, part: str, chunk: int) -> bool:
    """Append to the file `part` what is missing of the object; False when the object is another one by now."""
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    size, key = stat["size"], stat["key"]
    have = os.path.getsize(part) if os.path.exists(part) else 0
    if have > size:
        os.remove(part)
        have = 0

    def fetch(start: int) -> bytes:
        # The client's own retries end where the body begins: a connection that breaks later is ours.
        span = f"bytes={start}-{min(start + chunk, size) - 1}"
        for attempt in range(6):
            try:
                answer = client.get_object(Bucket=settings["bucket"], Key=key, Range=span, IfMatch=f'"{stat["etag"]}"')
                return answer["Body"].read()
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
        raise s3_failure(settings, key, error.response["Error"]["Code"], str(error)) from None
    except (BotoCoreError, HTTPError, OSError) as error:
        raise failure(
            f"the download of s3://{settings['bucket']}/{key} broke off at {os.path.getsize(part) >> 20} MiB",
            str(error),
            "see to the network, or the volume's space; run it again: it goes on from there",
        ) from None
    return True


def file_digest(path: str, name: str) -> str:
    """Hex digest of a file by the hash of that name."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(name, usedforsecurity=False)).hexdigest()


def etag_check(path: str, stat: dict) -> str:
    """Compare a file with an ETag: "etag" when it agrees, "" when it does not, "size" when that can't be told.

    The ETag of an object uploaded at once is its MD5; of one uploaded in N parts `MD5(MD5s of the parts)-N`, where the
    size of a part is not told, so usual sizes are tried (Amazon S3 user guide, "Checking object integrity").
    """
    if os.path.getsize(path) != stat["size"]:
        return ""
    digest, _, count = stat["etag"].partition("-")
    if stat["opaque_etag"] or not re.fullmatch("[0-9a-f]{32}", digest):
        return "size"
    if not count:
        return "etag" if file_digest(path, "md5") == digest else ""
    for mib in (5, 8, 10, 15, 16, 25, 32, 50, 64, 100, 128, 256, 512, 1024):
        if count != str(-(-stat["size"] // (mib << 20))):
            continue
        md5s = b""
        with open(path, "rb") as file:
            while data := file.read(mib << 20):
                md5s += hashlib.md5(data, usedforsecurity=False).digest()
        if hashlib.md5(md5s, usedforsecurity=False).hexdigest() == digest:
            return "etag"
    return "size"


def upload_stream(settings: dict, client: Any, key: str, total: int, produce: Callable, replace: bool = False) -> dict:
    """Upload what `produce(sink)` writes to a file-like sink, in parts, without a copy on disk.

    Beside it `<key>.sha256` is written, as sha256sum prints it. An object of this name is not overwritten (where store
    and client know If-None-Match); an upload that fails leaves nothing behind.

    Args:
        total: bytes expected, for the progress lines.
        replace: overwrite an object of this name, when all of the new one has arrived.

    Returns:
        {"key", "sha256", "size"}.
    """
    # In a thread, so that a signal can't come between the store's answer and the knowledge of what to abort.
    creating = ThreadPoolExecutor(1).submit(s3_call, settings, client, "create_multipart_upload", Key=key)
    try:
        upload = creating.result()["UploadId"]
        parts, sha256 = upload_parts(settings, client, {"Key": key, "UploadId": upload}, total, produce)
        size = sum(part.pop("size") for part in parts)
        known = client.meta.service_model.operation_model("CompleteMultipartUpload").input_shape.members
        once = {"IfNoneMatch": "*"} if "IfNoneMatch" in known and not replace else {}
        content = {"Key": key, "UploadId": upload, "MultipartUpload": {"Parts": parts}}
        s3_call(settings, client, "complete_multipart_upload", **content, **once)
    except BaseException:
        if creating.exception() is None:
            upload = creating.result()["UploadId"]
            try:
                s3_call(settings, client, "abort_multipart_upload", Key=key, UploadId=upload)
            except SystemExit as error:
                print(f"the unfinished upload {upload} stays in the object store: {error}", flush=True)
        raise
    stored = s3_call(settings, client, "head_object", Key=key)["ContentLength"]
    if stored != size:
        raise failure(f"s3://{settings['bucket']}/{key} has {stored} bytes", f"{size} were sent", "run it again")
    name = key.rpartition("/")[2]
    s3_call(settings, client, "put_object", Key=key + ".sha256", Body=f"{sha256}  {name}\n".encode())
    return {"key": key, "sha256": sha256, "size": size}


def upload_parts(settings: dict, client: Any, upload: dict, total: int, produce: Callable) -> tuple:
    """Send what `produce(sink)` writes as the parts of a multipart upload, four of 32 MiB at a time.

    Args:
        upload: {"Key", "UploadId"}.

    Returns:
        The parts, each {"ETag", "PartNumber", "size"}, and the hex sha256 of all bytes.
    """
    part_size = 32 << 20
    sha256 = hashlib.sha256()
    buffer = bytearray()
    pending: list[Future] = []
    parts: list[dict] = []

    def send(number: int, data: bytes) -> dict:
        md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        answer = s3_call(settings, client, "upload_part", PartNumber=number, Body=data, ContentMD5=md5, **upload)
        return {"ETag": answer["ETag"], "PartNumber": number, "size": len(data)}

    def start_part() -> None:
        pending.append(pool.submit(send, len(parts) + len(pending) + 1, bytes(buffer[:part_size])))
        del buffer[:part_size]

    def finish_parts(leave: int) -> None:
        while len(pending) > leave:
            parts.append(pending.pop(0).result())
            sent = sum(part["size"] for part in parts)
            progress(-(-sent >> 20), -(-max(sent, total) >> 20), f"MiB to {upload['Key']}")

    def write(data: Any) -> int:
        sha256.update(data)
        buffer.extend(data)
        while len(buffer) >= part_size:
            start_part()
            finish_parts(4)
        return len(data)

    with ThreadPoolExecutor(4) as pool:
        produce(SimpleNamespace(write=write, flush=lambda: None))
        start_part()
        finish_parts(0)
    return parts, sha256.hexdigest()


def upload_archive(settings: dict, ca: str, path: str, key: str) -> dict:
    """Upload a file with its sha256 beside it: {"key", "sha256", "size"}; see `upload_stream`."""
    with open(path, "rb") as file:
        return upload_stream(
            settings, s3_client(settings, ca), key, os.path.getsize(path), lambda sink: shutil.copyfileobj(file, sink)
        )

"""The object store: its Secret, a boto3 client that works with S3 and its imitations, and errors for people."""

import base64
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from utils.messages import failure, shown
from utils.stages.credentials import read_secret, require_url, secret_keys
from utils.stages.folders import own_path
from utils.stages.patience import Patience, Value, wait_of_status
from utils.stages.service_errors import Service, explained, told

POLICIES = {
    "list_objects_v2": "s3:ListBucket",
    "head_object": "s3:GetObject",
    "get_object": "s3:GetObject",
    "delete_object": "s3:DeleteObject",
}
"""Operation to the policy action that allows it; s3:PutObject allows the rest, and s3:AbortMultipartUpload its own."""

KEYS = ["access_key AWS_ACCESS_KEY_ID", "secret_key AWS_SECRET_ACCESS_KEY", "session_token AWS_SESSION_TOKEN"]
REFUSED = (400, 401, 403)
"""Statuses of a request whose keys have expired."""


@dataclass(frozen=True)
class ObjectStore:
    """One bucket of an object store, and who we are there.

    Attributes:
        access_key, secret_key: "" where the pod's own cloud identity counts.
        session_token: of temporary keys; "" for lasting ones.
        data_key: key of the archive; "" where none is named.
        endpoint: URL; "" for Amazon S3.
        region: "" for the default one.
        ca: PEM bundle from `ca_bundle`; "" for the public roots.
        place: for messages, where these settings come from.
        trust: for messages, how to add a certificate authority.
        secret_dir: folder of the Secret with the keys as they are now; "" where they stay the same.
        sent_keys: those of `client`.
        patience: how long a store that is away is waited for.
    """

    bucket: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)
    data_key: str = ""
    endpoint: str = ""
    region: str = ""
    verify_tls: bool = True
    ca: str = ""
    place: str = "the object store's Secret"
    trust: str = "add the store's CA to k8s_ca_configmap (locally: a config map in --secrets)"
    patience: Patience = Patience()
    secret_dir: str = ""
    sent_keys: tuple[str, ...] = field(default=(), init=False, repr=False)

    def keys(self) -> tuple[str, ...]:
        """Access key, secret key and session token, which may be renewed while a run lasts."""
        if not self.secret_dir:
            return self.access_key, self.secret_key, self.session_token
        return tuple(read_secret(self.secret_dir, [], KEYS).values())

    @cached_property
    def client(self) -> Any:
        """The boto3 client, usable from several threads.

        Raises:
            SystemExit: the endpoint is not a URL.
        """
        from boto3 import Session
        from botocore.config import Config

        endpoint = self.endpoint
        if endpoint:
            require_url("the object store", endpoint, self.place)
        # Newer clients send checksums that many S3-compatible stores refuse. By environment, since older clients don't
        # know the option of Config.
        for name in ("REQUEST_CHECKSUM_CALCULATION", "RESPONSE_CHECKSUM_VALIDATION"):
            os.environ.setdefault("AWS_" + name, "when_required")
        vars(self)["sent_keys"] = access_key, secret_key, token = self.keys()
        # A session of its own: clients may be made anew in several threads.
        return Session().client(
            "s3",
            aws_access_key_id=access_key or None,
            aws_secret_access_key=secret_key or None,
            aws_session_token=token or None,
            endpoint_url=endpoint or None,
            region_name=self.region or ("us-east-1" if endpoint else None),
            verify=self.verify_tls and (self.ca or None),
            config=Config(
                connect_timeout=15,
                retries={"mode": "standard", "total_max_attempts": 4},
                s3={"addressing_style": "path" if endpoint else "auto"},
            ),
        )

    def call(self, operation: str, **arguments: Any) -> Any:
        """Call an operation of the client on the bucket; an error becomes a message for people.

        Raises:
            SystemExit: the store refused, or was away for too long.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        key = str(arguments.get("Key", ""))
        try:
            return self.wait_out(lambda: getattr(self.client, operation)(Bucket=self.bucket, **arguments), key)
        except (BotoCoreError, ClientError) as error:
            if operation == "head_object" and isinstance(error, ClientError):
                # An answer to HEAD has no body; the same by GET says what is wrong.
                return self.call("get_object", **arguments)
            raise self.failure(key, error, operation) from None

    def put(self, key: str, body: bytes, **more: str) -> None:
        """Store a small object, with the checksum that a bucket with object lock wants."""
        md5 = hashlib.md5(body, usedforsecurity=False).digest()
        self.call("put_object", Key=key, Body=body, ContentMD5=base64.b64encode(md5).decode(), **more)

    def wait_out(self, action: Callable[[], Value], key: str) -> Value:
        """The result of action, tried again while the store is away or overloaded, or when its keys were renewed.

        Args:
            action: takes `client` anew.
        """
        from botocore.exceptions import ClientError

        keys: object = ()

        def attempt() -> Value:
            nonlocal keys
            keys = self.client and self.sent_keys  # the client may be of an earlier request, or another thread
            return action()

        def passes(error: Exception) -> float | None:
            refused = isinstance(error, ClientError) and error.response["ResponseMetadata"]["HTTPStatusCode"] in REFUSED
            if refused and keys != self.keys():
                vars(self).pop("client", None)
                return 0.0
            return _passes(error)

        return self.patience.outlast(attempt, passes, f"s3://{self.bucket}/{key}")

    @property
    def service(self) -> Service:
        """The store in words for messages."""
        place = f" in {self.place}"
        return Service(
            self.endpoint or "https://s3.amazonaws.com",
            "endpoint" + place,
            "the keys" + place,
            options=f"endpoint, region or bucket{place}",
            trust=f"{self.trust}; or set verify_tls: false{place}",
        )

    def failure(self, key: str, error: Any, operation: str = "get_object") -> SystemExit:
        """What to say about an error of the client (botocore's ClientError or BotoCoreError)."""
        policy = POLICIES.get(operation, "s3:AbortMultipartUpload" if "abort" in operation else "s3:PutObject")
        code, text, place = type(error).__name__, told(error), f" in {self.place}"
        if getattr(error, "response", None):
            status, about = error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]
            code = about["Code"]
            text = f"HTTP {status}: {code}: {about.get('Message', '')}"
        rows = [
            ("NoSuchBucket|bucket ?name", f"there is no bucket {self.bucket!r}", f"correct bucket{place}"),
            ("NoSuchKey|404: 404", f"the bucket holds no object {key!r}", f"upload it, or correct data_key{place}"),
            ("InvalidAccessKey", "the store doesn't know the access key", f"correct access_key{place}"),
            ("SignatureDoesNot", "the secret key is wrong", f"correct secret_key{place}"),
            ("TimeTooSkewed", "the clocks here and of the store differ", "correct them"),
            ("ExpiredToken|InvalidToken", "the session token has expired", f"renew session_token{place}"),
            ("Redirect|AuthorizationHeader", "the bucket is in another region", f"correct region or endpoint{place}"),
            (
                "AccessDenied|403: ",
                f"this account may not {operation}",
                f"give it {policy} on the bucket, or correct access_key{place}",
            ),
            ("Credentials", "the pod has no cloud identity", f"name access_key and secret_key{place}"),
            ("invalid XML|ResponseParser|NotAllowed|HTTP 3", "no S3 API answers there", f"correct endpoint{place}"),
            ("StorageFull|Quota|HTTP 507", "the store is full", "make room there"),
        ]
        where = f"s3://{self.bucket}/{key} at {shown(self.endpoint) or 'Amazon S3'}: {code}"
        return failure(where, *explained(shown(text), self.service, "", rows))


def store_of_secret(secret_dir: str, ca: str, archive: bool = False, data_key: str = "") -> ObjectStore:
    """The object store of a mounted Secret, which may be a connection of OpenShift AI's dashboard.

    verify_tls is true when unset.

    Args:
        archive: it must name an archive.
        data_key: the archive's key; "", or a path on this machine, for the Secret's own.

    Raises:
        SystemExit: a key is missing, or verify_tls is neither true nor false.
    """
    data_key = "" if own_path(data_key) else data_key
    own, (*keys, session) = secret_keys(secret_dir), KEYS
    identity = own and not own.intersection(" ".join(keys).split())  # the pod's
    optional = [
        session,
        "endpoint AWS_S3_ENDPOINT",
        "region AWS_DEFAULT_REGION",
        "verify_tls",
    ]
    required = ["bucket AWS_S3_BUCKET", *([] if identity else keys)]
    (required if archive and not data_key else optional).append("data_key")
    values: dict[str, Any] = {"access_key": "", "secret_key": "", **read_secret(secret_dir, required, optional)}
    values["data_key"] = data_key or values["data_key"]
    verify = values.pop("verify_tls").lower()
    if verify not in ("", "true", "false"):
        raise failure(
            f"verify_tls is {verify!r}",
            "it must be true or false; unset means true",
            "correct verify_tls in the object store's Secret",
        )
    return ObjectStore(**values, verify_tls=verify != "false", ca=ca, secret_dir=secret_dir)


def _passes(error: Exception) -> float | None:
    """Seconds to wait at least after an error of the client that may pass; None for one that stays."""
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError, IncompleteReadError
    from urllib3.exceptions import HTTPError

    if isinstance(error, ClientError):
        about = error.response["ResponseMetadata"]
        return wait_of_status(about["HTTPStatusCode"], about.get("HTTPHeaders", {}).get("retry-after", ""))
    lost = isinstance(error, (ConnectionError, HTTPClientError, IncompleteReadError, HTTPError))
    return 0.0 if lost and "CERTIFICATE_VERIFY_FAILED" not in str(error) else None

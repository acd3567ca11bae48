"""The object store: its Secret, a boto3 client that works with S3 and its imitations, and errors for people."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from utils.messages import failure
from utils.stages.credentials import read_secret


@dataclass(frozen=True)
class ObjectStore:
    """One bucket of an object store, and who we are there.

    Attributes:
        data_key: key of the archive; "" where none is named.
        endpoint: URL; "" for Amazon S3.
        region: "" for the default one.
        ca: PEM bundle from `ca_bundle`; "" for the public roots.
        place: for messages, where these settings come from.
        trust: for messages, how to add a certificate authority.
    """

    bucket: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    data_key: str = ""
    endpoint: str = ""
    region: str = ""
    verify_tls: bool = True
    ca: str = ""
    place: str = "the object store's Secret"
    trust: str = "add the store's CA to k8s_ca_configmap (locally: a config map in --secrets)"

    @cached_property
    def client(self) -> Any:
        """The boto3 client, usable from several threads.

        Raises:
            SystemExit: the endpoint is not a URL.
        """
        import boto3
        from botocore.config import Config

        endpoint = self.endpoint
        if endpoint and not endpoint.startswith(("http://", "https://")):
            raise failure(
                f"the object store's endpoint {endpoint!r} is not a URL",
                "it must start with http:// or https://, or be empty for Amazon S3",
                "correct endpoint in " + self.place,
            )
        # Newer clients send checksums that many S3-compatible stores refuse. By environment, since older clients don't
        # know the option of Config.
        os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        os.environ.setdefault("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
        return boto3.client(
            "s3",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            endpoint_url=endpoint or None,
            region_name=self.region or ("us-east-1" if endpoint else None),
            verify=(self.ca or None) if self.verify_tls else False,
            config=Config(
                connect_timeout=15,
                read_timeout=60,
                retries={"mode": "standard", "total_max_attempts": 4},
                s3={"addressing_style": "path" if endpoint else "auto"},
            ),
        )

    def call(self, operation: str, **arguments: Any) -> Any:
        """Call an operation of the client on the bucket; an error becomes a message for people.

        Raises:
            SystemExit: the store refused, or can't be reached.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        key = str(arguments.get("Key", ""))
        try:
            return getattr(self.client, operation)(Bucket=self.bucket, **arguments)
        except ClientError as error:
            if operation == "head_object":
                # An answer to HEAD has no body; the same by GET tells what is wrong.
                return self.call("get_object", **arguments)
            raise self.failure(key, error) from None
        except BotoCoreError as error:
            raise self.failure(key, error) from None

    def failure(self, key: str, error: Any) -> SystemExit:
        """What to say about an error of the client (botocore's ClientError or BotoCoreError)."""
        code = error.response["Error"]["Code"] if hasattr(error, "response") else type(error).__name__
        keys = f"correct access_key and secret_key in {self.place}, or the rights of that account"
        known = {
            "NoSuchBucket": (f"there is no bucket {self.bucket!r}", f"correct bucket in {self.place}"),
            "NoSuchKey": (f"the bucket holds no object {key!r}", f"upload it, or correct data_key in {self.place}"),
            "InvalidAccessKeyId": ("the store doesn't know the access key", keys),
            "SignatureDoesNotMatch": ("the secret key is wrong", keys),
            "AccessDenied": ("the store refuses this account", keys),
            "SSLError": (
                f"TLS can't be verified: {error}",
                f"{self.trust}; verify_tls: false in {self.place} turns the check off",
            ),
        }
        cause, remedy = known.get(code, (str(error), f"check endpoint, region and bucket in {self.place}"))
        return failure(f"s3://{self.bucket}/{key} at {self.endpoint or 'Amazon S3'}: {code}", cause, remedy)


_KEYS = ("bucket", "access_key", "secret_key", "data_key", "endpoint", "region", "verify_tls")


def store_of_secret(secret_dir: str, ca: str = "", required: Sequence[str] = _KEYS[:3]) -> ObjectStore:
    """The object store of a mounted Secret. verify_tls is true when unset.

    Raises:
        SystemExit: a key is missing, or verify_tls is neither true nor false.
    """
    values = read_secret(secret_dir, {key: [key] for key in _KEYS}, list(required))
    verify = values.pop("verify_tls").lower()
    if verify not in ("", "true", "false"):
        raise failure(
            f"verify_tls is {verify!r} in the Secret mounted at {secret_dir}",
            "it must be true or false; unset means true",
            "correct the key verify_tls of the object store's Secret",
        )
    return ObjectStore(**values, verify_tls=verify != "false", ca=ca)

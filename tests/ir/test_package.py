"""The forms of a compiled pipeline: YAML, the API's JSON, archives. Errors name any other form."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from utils.errors import PipelineError
from utils.ir import package
from utils.ir.load import load, parse
from utils.ir.package import read_documents, read_package

SPEC = {"pipelineInfo": {"name": "small"}, "root": {"dag": {"tasks": {}}}, "schemaVersion": "2.1.0"}
PLATFORM: dict[str, Any] = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {}}}}}
TEXT = yaml.safe_dump_all([SPEC, PLATFORM])


def zipped(**files: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("_", "."), text)
    return data.getvalue()


def tarred(**files: str) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name.replace("_", "."))
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return data.getvalue()


@pytest.mark.parametrize("name", ["p.zip", "p.tar.gz", "p.tgz", "p.yaml"])
@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("files", [{"pipeline_yaml": TEXT, "other_yaml": "a: 1"}, {"any_yml": TEXT, "notes_txt": "x"}])
def test_archive_is_read_whatever_its_name(tmp_path: Path, name: str, pack: Callable[..., bytes], files: dict) -> None:
    file = tmp_path / name
    file.write_bytes(pack(**files))
    assert load(file).name == "small"
    assert read_package(file) == TEXT


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped(a_yaml=TEXT, b_yaml=TEXT), "does not contain exactly one pipeline: .* it has: a.yaml, b.yaml"),
        (zipped(notes_txt=TEXT), "does not contain exactly one pipeline: .* it has: none"),
        (tarred(), "does not contain exactly one pipeline"),
        (zipped(a_yaml=TEXT)[:60], "the archive .* can't be read"),
        (tarred(a_yaml=TEXT)[:60], "the archive .* can't be read"),
        (b"\x1f\x8bnothing", "the archive .* can't be read"),
        (b"\x7fELF\xff\xf0", "it is not text"),
    ],
    # An archive holds the time, and each worker of pytest must see the same names.
    ids=["two pipelines", "no pipeline", "empty", "torn zip", "torn gzip", "nothing in it", "a program"],
)
def test_file_that_is_not_a_package_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "p.zip"
    file.write_bytes(content)
    with pytest.raises(PipelineError, match=message) as caught:
        load(file)
    assert caught.value.exit_code == 2
    assert caught.value.remedy


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_archive_that_unpacks_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[..., bytes]
) -> None:
    """Foreign input: a few bytes may unpack to any size."""
    monkeypatch.setattr(package, "_MOST_BYTES", 1 << 20)
    file = tmp_path / "p.zip"
    file.write_bytes(pack(a_yaml=TEXT + "#" * ((1 << 20) - len(TEXT))))
    assert load(file).name == "small"
    file.write_bytes(pack(a_yaml="a" * ((1 << 20) + 1)))
    with pytest.raises(PipelineError, match="a.yaml is larger than 1 MiB"):
        load(file)


@pytest.mark.parametrize(
    "document",
    [
        {"pipeline_spec": SPEC, "platform_spec": PLATFORM},
        {"pipelineSpec": SPEC, "platformSpec": PLATFORM},
        # What `GET pipelines/{id}/versions/{id}` answers, which the dashboard's download holds.
        {"display_name": "v1", "pipeline_spec": {"pipeline_spec": SPEC, "platform_spec": PLATFORM}},
        {"kind": "PipelineVersion", "spec": {"pipelineSpec": SPEC, "platformSpec": PLATFORM}},
    ],
)
def test_forms_of_the_api_are_read(document: dict) -> None:
    assert read_documents(json.dumps(document)) == (SPEC, PLATFORM)


def test_platform_document_may_come_first_or_be_absent() -> None:
    assert read_documents(yaml.safe_dump_all([PLATFORM, SPEC])) == (SPEC, PLATFORM)
    assert read_documents(yaml.safe_dump(SPEC)) == (SPEC, {})
    assert read_documents(json.dumps({"display_name": "v1", "pipeline_spec": SPEC})) == (SPEC, {})


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([SPEC, SPEC], "it has 2 and 0, and 0 other documents"),
        ([SPEC, PLATFORM, PLATFORM], "it has 1 and 2, and 0 other documents"),
        ([SPEC, {"surprise": 1}], "it has 1 and 0, and 1 other documents"),
        ([PLATFORM], "it has only the platform spec"),
        ([{"kind": "Workflow", "spec": {}}], "it is a Workflow, as KFP v1"),
        ([{"name": "x", "implementation": {}}], "a single component"),
        (["text"], "it holds a str"),
        ([], "it is empty"),
        ([{"components": {}}], "or part of a pipeline"),
        ([{"surprise": 1}], "KFP v1 and Argo files are other formats"),
        ([{"pipeline_spec": "text"}], "it has no pipelineInfo"),
    ],
)
def test_other_kinds_of_documents_are_named(documents: list, message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        read_documents(yaml.safe_dump_all(documents))


@pytest.mark.parametrize("info", [{"name": ""}, {"name": "  "}, {"name": None}, {}, None, {"name": 7}])
def test_a_pipeline_without_a_name_is_refused(info: object) -> None:
    """What KFP 2.5 to 2.17 refuse: "invalid v2 pipeline spec: name is empty"."""
    with pytest.raises(PipelineError, match="has no name in it") as caught:
        parse(yaml.safe_dump({**SPEC, "pipelineInfo": info}), "no_name.yaml")
    assert caught.value.what.startswith("no_name.yaml")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[" * 300_000, "line 1, column 101"),
        ("a: !!int x", "not of its type"),
        ("? {a: b}\n: c", "line 1"),
        ("&a [*a]", "refers to itself"),
    ],
)
def test_yaml_that_breaks_a_parser_is_no_pipeline(text: str, cause: str) -> None:
    with pytest.raises(PipelineError, match="is not valid YAML") as error:
        parse(text)
    assert cause in error.value.cause


def test_archive_damaged_anywhere_is_named(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pipeline.yaml", TEXT)
    whole = data.getvalue()
    for content in (whole, tarred(pipeline_yaml=TEXT)):
        for at in range(0, len(content)):
            (tmp_path / "p.zip").write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
            try:
                read_package(tmp_path / "p.zip")
            except PipelineError as error:
                assert error.cause and error.remedy

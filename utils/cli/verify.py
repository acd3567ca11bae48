"""`ilab-pipeline verify`: whether an archive, a result's folder or an object in the store is what was published."""

import contextlib
import io
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click

from utils.cli.archive_check import Contents, compare, first_digest, provenance_of, read_archive, read_folder
from utils.cli.options import home_option, output_option
from utils.cli.results import published
from utils.cli.store_access import named_store, run_store, stage_errors, store_options
from utils.cli.terminal import on_terminal
from utils.errors import IlabError, UsageError
from utils.runners.run_folder import RunFolder, find_run

_SHOWN = 50
"""Findings that are printed; `-o json` has all."""


@dataclass(frozen=True)
class Source:
    """What is verified.

    Attributes:
        name: for people.
        read: gives its contents.
        sha256: of the whole archive, as told elsewhere; "" if nothing tells it.
        told_by: where.
        run_id: that it must come from; "" for any.
    """

    name: str
    read: Callable[[], Contents]
    sha256: str = ""
    told_by: str = ""
    run_id: str = ""


@click.command()
@click.argument("archive", metavar="ARCHIVE")
@store_options
@home_option
@output_option
def verify(archive: str, secret: Path | None, ca: Path | None, home: Path, output: str) -> None:
    """Compare every file of a published ARCHIVE with the hashes in its provenance.json.

    ARCHIVE is a file, a result's folder, the id of a run on this machine (or a part of it, or `latest`), or, with
    --secret, a key in the object store or s3://BUCKET/KEY. It is read once; nothing is unpacked or stored.

    If ARCHIVE.sha256 lies beside it, the hash of the whole archive is compared, too: only that shows whether
    provenance.json itself was changed. The exit code is 1 if a file is missing, added, changed or damaged.
    """
    with contextlib.ExitStack() as stack:
        source = _source(archive, secret, ca, home, stack)
        try:
            contents = source.read()
        except (OSError, ValueError) as error:
            raise IlabError(
                f"{source.name} can't be read", str(error), "name an archive or a result's folder"
            ) from None
    told = provenance_of(contents)
    if not contents.broken:
        compare(contents, told)
    if source.sha256 and contents.sha256 and source.sha256 != contents.sha256:
        contents.found("", f"its sha256 is {contents.sha256}, {source.told_by} says {source.sha256}")
    if source.run_id and told.get("run_id", source.run_id) != source.run_id:
        contents.found("", f"it comes from the run {told['run_id']}, not from {source.run_id}")
    _show(source, contents, told, output)
    sys.exit(1 if contents.findings else 0)


def _source(given: str, secret: Path | None, ca: Path | None, home: Path, stack: contextlib.ExitStack) -> Source:
    """What ARCHIVE names. What it needs until it has been read is left to the stack.

    Raises:
        UsageError: nothing has that name.
    """
    path = Path(given)
    if path.is_dir():
        return Source(given, lambda: read_folder(path))
    if path.is_file():
        return _file(path)
    if "/" in given or given.endswith((".tar", ".gz", ".tgz")):
        if not secret:
            command = f"ilab-pipeline verify {given} --secret FILE"
            raise UsageError(f"there is no file {given} here", "", f"if the object store has it: {command}")
        return _stored(named_store(given, secret, ca, stack))
    return _of_run(find_run(home, given), secret, ca, stack)


def _file(path: Path) -> Source:
    beside = path.with_name(path.name + ".sha256")
    sha256 = first_digest(beside.read_text(errors="replace"), str(beside)) if beside.is_file() else ""

    def read() -> Contents:
        with path.open("rb") as file:
            return read_archive(file, _progress(path.stat().st_size))

    return Source(str(path), read, sha256, beside.name)


def _of_run(folder: RunFolder, secret: Path | None, ca: Path | None, stack: contextlib.ExitStack) -> Source:
    """The result of a run on this machine: its folder, or its archive in the run's object store.

    Raises:
        UsageError: it published none, or the store's keys are not here.
        IlabError: the store can't be read.
    """
    key = published(folder.history().finished)["archive"]
    if not key:
        raise UsageError(
            f"the run {folder.run_id} has no archive", "it published none", f"ilab-pipeline status {folder.run_id}"
        )
    if key.startswith("/"):
        if not Path(key).is_dir():
            raise UsageError(f"the result of {folder.run_id} is gone", f"there is no {key}", "run it again")
        return Source(key, lambda: read_folder(Path(key)), run_id=folder.run_id)
    store = run_store(folder, key, secret, ca, f"ilab-pipeline verify {folder.run_id}", stack)
    return replace(_stored(store), run_id=folder.run_id)


def _stored(store: Any) -> Source:
    """The object data_key of a store.

    Raises:
        IlabError: the store refuses, or has no such object.
    """
    from utils.cli.stored_object import StoredObject
    from utils.stages.object_store.download import object_stat

    with stage_errors():
        stat = object_stat(store, store.data_key)

    def read() -> Contents:
        with stage_errors(), io.BufferedReader(StoredObject(store, stat), 1 << 20) as file:
            return read_archive(file, _progress(stat.size))

    return Source(f"s3://{store.bucket}/{stat.key}", read, stat.sha256, f"{stat.key}.sha256")


def _progress(total: int) -> Callable[[int], object]:
    """Prints on stderr how much has been read, at most every ten seconds."""
    last = time.monotonic()

    def tell(read: int) -> None:
        nonlocal last
        if time.monotonic() - last > 10:
            last = time.monotonic()
            click.echo(f"{read >> 20:,} of {total >> 20:,} MiB read", err=True)

    return tell


def _show(source: Source, contents: Contents, told: dict[str, Any], output: str) -> None:
    listed = told.get("files")
    facts = {
        "archive": source.name,
        "verified": not contents.findings,
        "size": contents.size,
        "sha256": contents.sha256,
        "sha256_compared_with": source.told_by if source.sha256 else "",
        "files": len(listed) if isinstance(listed, dict) else 0,
        "findings": [asdict(finding) for finding in contents.findings],
        **{name: told.get(name, "") for name in ("run_id", "published", "candidate")},
    }
    if output == "json":
        click.echo(json.dumps(facts, indent=1))
        return
    for finding in contents.findings[:_SHOWN]:
        click.echo(f"{on_terminal(finding.file) or 'the archive'}: {on_terminal(finding.problem)}")
    if len(contents.findings) > _SHOWN:
        click.echo(f"… and {len(contents.findings) - _SHOWN} more; -o json has all")
    count = f"{len(contents.findings)} findings" if len(contents.findings) != 1 else "1 finding"
    verdict = count if contents.findings else f"{facts['files']} files have the hashes of its provenance.json"
    click.echo(f"{source.name}: {contents.size:,} bytes, {verdict}")
    if contents.sha256:
        whole = f"as {source.told_by} says" if source.sha256 == contents.sha256 else "compared with nothing"
        whole = "which is wrong" if source.sha256 not in ("", contents.sha256) else whole
        click.echo(f"  sha256 {contents.sha256}, {whole}")
    if told:
        click.echo(f"  run {on_terminal(str(facts['run_id']))}, published {on_terminal(str(facts['published']))}")

"""`ilab-pipeline verify`: whether an archive, a result's folder or an object in the store is what was published."""

import contextlib
import io
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click

from utils.cli.archive_check import Contents, compare, first_digest, provenance_of, read_archive, read_folder
from utils.cli.get_model import run_credentials
from utils.cli.options import home_option, option, output_option
from utils.cli.results import published
from utils.cli.upload import store_settings
from utils.errors import IlabError, UsageError
from utils.runners.run_folder import RunFolder, find_run
from utils.stages.authorities import ca_bundle

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
@option(
    "--secret",
    type=click.Path(path_type=Path, exists=True),
    envvar="ILAB_OBJECT_STORE_SECRET",
    help="Kubernetes YAML of the object store's Secret, or a folder with one file per key.",
)
@option(
    "--ca",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar="ILAB_OBJECT_STORE_CA",
    help="PEM file of the object store's certificate authority.",
)
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
        source = _source(archive, secret, str(ca or ""), home, stack)
        try:
            contents = source.read()
        except OSError as error:
            raise IlabError(f"{source.name} can't be read", str(error)) from None
    told = provenance_of(contents)
    if not contents.broken:
        compare(contents, told)
    if source.sha256 and contents.sha256 and source.sha256 != contents.sha256:
        contents.found("", f"its sha256 is {contents.sha256}, {source.told_by} says {source.sha256}")
    if source.run_id and told.get("run_id", source.run_id) != source.run_id:
        contents.found("", f"it comes from the run {told['run_id']}, not from {source.run_id}")
    _show(source, contents, told, output)
    sys.exit(1 if contents.findings else 0)


def _source(given: str, secret: Path | None, ca: str, home: Path, stack: contextlib.ExitStack) -> Source:
    """What ARCHIVE names. What it needs until it has been read is left to the stack.

    Raises:
        UsageError: nothing has that name.
    """
    path, key = Path(given), re.fullmatch("s3://([^/]+)/(.+)", given)
    if path.is_dir():
        return Source(given, lambda: read_folder(path))
    if path.is_file():
        return _file(path)
    if key or "/" in given or given.endswith((".tar", ".gz", ".tgz")):
        if not secret:
            raise UsageError(f"there is no {given}", "", "for a key in the object store, give --secret")
        bundle = ca_bundle(ca)
        if bundle:
            stack.callback(Path(bundle).unlink)
        named = {"bucket": key[1], "data_key": key[2]} if key else {"data_key": given}
        return _stored(store_settings(secret, named, bundle))
    return _of_run(find_run(home, given), stack)


def _file(path: Path) -> Source:
    beside = path.with_name(path.name + ".sha256")
    sha256 = first_digest(beside.read_text(errors="replace"), str(beside)) if beside.is_file() else ""

    def read() -> Contents:
        with path.open("rb") as file:
            return read_archive(file, _progress(path.stat().st_size))

    return Source(str(path), read, sha256, beside.name)


def _of_run(folder: RunFolder, stack: contextlib.ExitStack) -> Source:
    """The result of a run on this machine: its folder, or its archive in the run's object store.

    Raises:
        UsageError: it published none, or the store's keys are not here.
        IlabError: the store can't be read.
    """
    from utils.stages.object_store.client import store_of_secret
    from utils.stages.patience import ONCE

    key = published(folder.history().finished)["archive"]
    if not key or folder.cluster_settings:
        raise UsageError(
            f"the archive of {folder.run_id} can't be verified by the run's id",
            "the run is on a cluster; the keys of its object store are not here" if key else "it published none",
            f"ilab-pipeline verify {key} --secret FILE" if key else f"ilab-pipeline status {folder.run_id}",
        )
    if key.startswith("/"):
        if not Path(key).is_dir():
            raise UsageError(f"the result of {folder.run_id} is gone", f"there is no {key}", "run it again")
        return Source(key, lambda: read_folder(Path(key)), run_id=folder.run_id)
    name = key.split("/", 3)[-1] if key.startswith("s3://") else key
    with _stage_errors():
        secret = stack.enter_context(run_credentials(folder))
        store = replace(store_of_secret(str(secret), "", data_key=name), patience=ONCE)
    return replace(_stored(store), run_id=folder.run_id)


def _stored(store: Any) -> Source:
    """The object data_key of a store.

    Raises:
        IlabError: the store refuses, or has no such object.
    """
    from utils.cli.stored_object import StoredObject
    from utils.stages.object_store.download import object_stat

    with _stage_errors():
        stat = object_stat(store, store.data_key)

    def read() -> Contents:
        with _stage_errors(), io.BufferedReader(StoredObject(store, stat), 1 << 20) as file:
            return read_archive(file, _progress(stat.size))

    return Source(f"s3://{store.bucket}/{stat.key}", read, stat.sha256, f"{stat.key}.sha256")


@contextlib.contextmanager
def _stage_errors() -> Iterator[None]:
    """How a stage fails becomes an error of this command; what it prints is left out."""
    try:
        with contextlib.redirect_stdout(None):
            yield
    except SystemExit as end:
        raise IlabError(str(end).removeprefix("error: ")) from None


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
        click.echo(f"{_plain(finding.file) or 'the archive'}: {_plain(finding.problem)}")
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
        click.echo(f"  run {_plain(str(facts['run_id']))}, published {_plain(str(facts['published']))}")


def _plain(text: str) -> str:
    """Foreign text, without what a terminal would act upon."""
    return text if text.isprintable() else ascii(text)

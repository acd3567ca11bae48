"""`ilab-pipeline upload`: pack the archive that data import reads, from local folders to the object store."""

import io
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from utils.cli.options import option
from utils.cli.outcome import INTERRUPTED
from utils.cli.taxonomy import count, documents_option, examine_taxonomy, print_findings
from utils.errors import IlabError, UsageError
from utils.runners.output import parse_progress
from utils.stages.archive import write_tar
from utils.stages.authorities import ca_bundle
from utils.stages.data_import.leaves import ERROR
from utils.stages.data_import.tree import require_tree
from utils.stages.evaluation.eval_names import FOLDER
from utils.stages.evaluation.task_files import check_task_folders
from utils.stages.object_store.client import ObjectStore
from utils.stages.object_store.upload import Upload, upload_stream
from utils.stages.patience import ONCE

_SETTINGS = ("bucket", "endpoint", "region", "data_key", "verify_tls", "access_key", "secret_key", "session_token")
_CONNECTION = {
    "AWS_S3_BUCKET": "bucket",
    "AWS_S3_ENDPOINT": "endpoint",
    "AWS_DEFAULT_REGION": "region",
    "AWS_ACCESS_KEY_ID": "access_key",
    "AWS_SECRET_ACCESS_KEY": "secret_key",
    "AWS_SESSION_TOKEN": "session_token",
}
"""Keys of a connection made in the dashboard of OpenShift AI, and ours."""
_HIDDEN = ("access_key", "secret_key")


@dataclass(frozen=True)
class Member:
    """A file of the archive: its name there, and its bytes."""

    name: str
    size: int


def _folder(flag: str, text: str, required: bool = False) -> Any:
    return option(flag, type=click.Path(path_type=Path, exists=True, file_okay=False), required=required, help=text)


def _setting(flag: str, variable: str, text: str, kind: Any = None) -> Any:
    return option(flag, type=kind, envvar=f"SDG_OBJECT_STORE_{variable}", help=text)


@click.command()
@_folder("--model", "Folder of the base model, in Hugging Face layout.", required=True)
@_folder("--taxonomy", "Folder of the taxonomy.", required=True)
@_folder("--data", "Folder with data generated elsewhere: recipes and train_*.jsonl.")
@_folder("--eval-tasks", "Folder that has, for each task of your own in eval_tasks, a folder with its files.")
@option(
    "--secret",
    type=click.Path(path_type=Path, exists=True),
    envvar="ILAB_OBJECT_STORE_SECRET",
    help="Kubernetes YAML of the object store's Secret, or a folder with one file per key.",
)
@_setting("--bucket", "BUCKET", "Bucket.  [default: bucket of --secret]")
@_setting("--endpoint", "ENDPOINT", "URL of the object store; empty for Amazon S3.  [default: endpoint of --secret]")
@_setting("--region", "REGION", "Region.  [default: region of --secret]")
@_setting("--verify-tls", "VERIFY_TLS", "false: trust any certificate.  [default: verify_tls of --secret]", bool)
@_setting("--key", "DATA_KEY", "Name of the archive in the bucket.  [default: data_key of --secret]")
@option(
    "--ca",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar="ILAB_OBJECT_STORE_CA",
    help="PEM file of the object store's certificate authority.",
)
@option("--force", is_flag=True, help="Replace an existing archive with this name.")
@option("--dry-run", is_flag=True, help="Check and list the files, but send nothing.")
@documents_option("Clone the repositories of the taxonomy's documents and read the documents.")
def upload(
    model: Path, taxonomy: Path, data: Path | None, secret: Path | None, ca: Path | None, force: bool, dry_run: bool,
    documents: bool, eval_tasks: Path | None, **given: Any,
) -> None:  # fmt: skip
    """Pack model, taxonomy and data, check them as data import does, and upload them to the object store.

    The taxonomy is checked as `ilab-pipeline taxonomy check` does, unless --data replaces what is generated from it.
    Nothing is written on this machine: the archive is sent in parts while it is packed, followed by its sha256.

    Access key and secret key come from --secret, from SDG_OBJECT_STORE_ACCESS_KEY and SDG_OBJECT_STORE_SECRET_KEY, or
    from a prompt. Flags and variables take precedence over the Secret. There are no flags for the keys, because other
    users can see arguments.
    """
    folders = {"model": model, "taxonomy": taxonomy, **({"data": data} if data else {})}
    folders |= {FOLDER: eval_tasks} if eval_tasks else {}
    members = list_members(folders)
    check_tree(folders)
    if not data:  # else no data is generated from the taxonomy
        require_good_taxonomy(taxonomy, documents)
    total = sum(member.size for member in members)
    if dry_run:
        for member in _shortened(members):
            click.echo(f"{member.size:>16,}  {member.name}")
        click.echo(f"{total:>16,}  bytes in {len(members)} files; nothing was sent")
        return
    given["data_key"] = given.pop("key")
    bundle = ca_bundle(str(ca or ""))
    store = store_settings(secret, given, bundle)
    try:
        sent = send(store, folders, total, force)
    finally:
        if bundle:
            Path(bundle).unlink()
    click.echo(f"uploaded s3://{store.bucket}/{sent.key}: {sent.size:,} bytes, sha256 {sent.sha256}")


def list_members(folders: dict[str, Path]) -> list[Member]:
    """The files below the folders by their names in the archive; a link is replaced by its target.

    Raises:
        IlabError: names every file that can't be packed: a broken link, a device, an unreadable file.
    """
    members, problems = [], []
    for top, folder in folders.items():
        for place, below, names in os.walk(folder, followlinks=True, onerror=lambda e: problems.append(str(e))):
            if top == "taxonomy":  # taxonomies come from others; models in a cache consist of such links
                for name in [name for name in (*below, *names) if _leads_out(Path(place, name), folder)]:
                    problems.append(f"{place}/{name}: the link points out of the taxonomy")
                    (below if name in below else names).remove(name)
            for name in [name for name in below if _leads_back(Path(place, name))]:
                problems.append(f"{place}/{name}: the link points to a folder above it")
                below.remove(name)
            for path in (Path(place, name) for name in sorted(names)):
                if not path.is_file():
                    problems.append(f"{path}: {'a broken link' if path.is_symlink() else 'not a regular file'}")
                elif not os.access(path, os.R_OK):
                    problems.append(f"{path}: not readable")
                else:
                    members.append(Member(f"{top}/{path.relative_to(folder)}", path.stat().st_size))
    if problems:
        raise IlabError(f"{len(problems)} files can't be packed", "\n".join(problems[:20]), "remove or correct them")
    return sorted(members, key=lambda member: member.name)


def _leads_back(path: Path) -> bool:
    return path.is_symlink() and path.parent.resolve().is_relative_to(path.resolve())


def _leads_out(path: Path, folder: Path) -> bool:
    return path.is_symlink() and path.exists() and not path.resolve().is_relative_to(folder.resolve())


def require_good_taxonomy(folder: Path, documents: bool) -> None:
    """Show what is wrong with a taxonomy.

    Raises:
        IlabError: data import would reject it.
    """
    _, findings = examine_taxonomy(folder, documents)
    print_findings(findings, err=True)
    if any(finding.level == ERROR for finding in findings):
        remedy = f"correct them, then run ilab-pipeline taxonomy check {folder}"
        raise IlabError(f"the taxonomy has {count(findings, ERROR)}", "the findings above", remedy)


def check_tree(folders: dict[str, Path]) -> None:
    """End the command if data import would reject this tree.

    Raises:
        SystemExit: names every missing part, and incomplete weights.
    """
    with tempfile.TemporaryDirectory() as root:
        for name, folder in folders.items():
            Path(root, name).symlink_to(folder.resolve())
        require_tree(Path(root), [name for name in folders if name != FOLDER])
        check_task_folders(Path(root, FOLDER))


def _shortened(members: list[Member]) -> list[Member]:
    """members, with a single line for everything inside a .git."""
    sizes: dict[str, int] = {}
    for member in members:
        before, git, _ = member.name.partition("/.git/")
        sizes[before + git] = sizes.get(before + git, 0) + member.size
    return [Member(name, size) for name, size in sizes.items()]


def store_settings(secret: Path | None, given: dict[str, Any], ca: str) -> ObjectStore:
    """The object store that flags, variables and the Secret describe.

    Args:
        secret: file or folder of the Secret.
        given: flags by setting; None if not given.
        ca: PEM bundle; "" for the public roots.

    Raises:
        UsageError: some are missing, or can't be read from the Secret.
    """
    found = {name: given.get(name) for name in _SETTINGS}
    found |= {name: os.environ.get(f"SDG_OBJECT_STORE_{name.upper()}") for name in _HIDDEN}
    stored = _secret_values(secret) if secret else {}
    settings = {name: stored.get(name, "") if found[name] is None else found[name] for name in _SETTINGS}
    for name in _HIDDEN:
        if not settings[name] and sys.stdin.isatty():
            settings[name] = click.prompt(name.replace("_", " "), hide_input=True, err=True).strip()
    missing = [name for name in ("bucket", "data_key", *_HIDDEN) if not settings[name]]
    if missing:
        raise UsageError(
            f"the object store's settings lack {', '.join(missing)}",
            f"they are not in flags, SDG_OBJECT_STORE_* variables or {secret or '--secret'}",
            "give --secret, or set SDG_OBJECT_STORE_ENDPOINT, _BUCKET, _ACCESS_KEY, _SECRET_KEY and _DATA_KEY",
        )
    verify = str(settings["verify_tls"]).lower()
    if verify not in ("", "true", "false"):
        raise UsageError("verify_tls of the Secret is neither true nor false", "unset means true", f"correct {secret}")
    own = [] if secret and set(found.values()) == {None} else ["flags", "SDG_OBJECT_STORE_* variables"]
    place = " or ".join([*own, *([str(secret)] if secret else [])])
    values: dict[str, Any] = {name: str(value or "") for name, value in settings.items() if name != "verify_tls"}
    trust = "give the store's CA with --ca"
    return ObjectStore(**values, verify_tls=verify != "false", ca=ca, place=place, trust=trust, patience=ONCE)


def _secret_values(secret: Path) -> dict[str, str]:
    from utils.runners.local.volumes import read_key_files

    buckets = {"bucket", "AWS_S3_BUCKET"}
    found = [one for one in read_key_files(secret) if one.kind == "secret" and buckets & one.values.keys()]
    if len(found) != 1:
        raise UsageError(
            f"{secret} holds {len(found) or 'no'} Secrets of an object store",
            "such a Secret has the key bucket, or is a connection with AWS_S3_BUCKET",
            "give Kubernetes YAML (.yaml) with one such Secret, or a folder with the files bucket, access_key, …",
        )
    texts = {key: value.decode(errors="replace").strip() for key, value in found[0].values.items()}
    return {ours: texts[theirs] for theirs, ours in _CONNECTION.items() if theirs in texts} | texts


def send(store: ObjectStore, folders: dict[str, Path], total: int, replace: bool) -> Upload:
    """Pack and upload; returns the archive's key, sha256 and size in bytes. An interrupted upload leaves nothing.

    Raises:
        IlabError: an archive of that name exists, or a file can no longer be read.
        SystemExit: the object store refused, or the command was stopped.
    """
    key = store.data_key
    if not replace and _exists(store, key):
        raise IlabError(f"s3://{store.bucket}/{key} already exists", "", "give another --key, or --force to replace it")
    places = {str(folder): name for name, folder in folders.items()}
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception it aborts the upload
    try:
        with _shown_progress():
            # Data import reads gzip, whatever the key is called.
            sent = upload_stream(store, key, total, lambda sink: write_tar(sink, places, "archive.tar.gz"), replace)
    except KeyboardInterrupt:
        click.echo("interrupted; nothing is left in the object store", err=True)
        sys.exit(INTERRUPTED)
    except OSError as error:
        raise IlabError("the archive could not be packed", str(error), "run it again") from None
    finally:
        signal.signal(signal.SIGTERM, before)
    return sent


def _exists(store: ObjectStore, key: str) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        store.client.head_object(Bucket=store.bucket, Key=key)
    except ClientError as error:
        # Without permission to list, S3 answers 403 for a missing object; the upload then reports what is wrong.
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in (403, 404):
            return False
        raise store.failure(key, error) from None
    except BotoCoreError as error:
        raise store.failure(key, error) from None
    return True


class _Lines(io.TextIOBase):
    """Replaces standard output while a stage's function prints: its progress goes to `tell`."""

    def __init__(self, tell: Callable[[float, float, str], object]) -> None:
        self._tell, self._rest = tell, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            found = parse_progress(line)
            if found:
                self._tell(*found)
            elif line:
                click.echo(line, err=True)
        return len(text)


@contextmanager
def _shown_progress() -> Iterator[None]:
    """Show the progress of the upload: a bar on a terminal, else one line every ten seconds."""
    out, last = sys.stdout, time.monotonic()

    def tell(done: float, total: float, what: str) -> None:
        nonlocal last
        if done >= total or time.monotonic() - last > 10:
            last = time.monotonic()
            print(f"{done:g} of {total:g} {what}", file=out, flush=True)

    if not out.isatty():
        with redirect_stdout(_Lines(tell)):
            yield
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=out)) as bar:
        task = bar.add_task("packing", total=None)
        lines = _Lines(lambda done, total, what: bar.update(task, completed=done, total=total, description=what))
        with redirect_stdout(lines):
            yield

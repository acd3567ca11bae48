"""The object store of a command: of a Secret that the user names, or of a run on this machine."""

import contextlib
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from utils.cli.options import option
from utils.cli.upload import store_settings
from utils.errors import IlabError, UsageError
from utils.runners.run_folder import RunFolder
from utils.stages.authorities import ca_bundle
from utils.stages.object_store.client import ObjectStore, store_of_secret
from utils.stages.patience import ONCE

_SECRET = "sdg_object_store_secret"
"""The pipeline's parameter with the name of the object store's Secret."""


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--secret` and `--ca`."""
    secret = option(
        "--secret",
        type=click.Path(path_type=Path, exists=True),
        envvar="ILAB_OBJECT_STORE_SECRET",
        help="Kubernetes YAML of the object store's Secret, or a folder with one file per key.",
    )
    ca = option(
        "--ca",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        envvar="ILAB_OBJECT_STORE_CA",
        help="PEM file of the object store's certificate authority.",
    )
    return secret(ca(command))


def key_of(address: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`; of a key alone, "" and the key."""
    found = re.fullmatch("s3://([^/]+)/(.+)", address)
    return (found[1], found[2]) if found else ("", address)


def named_store(address: str, secret: Path, ca: Path | None, stack: contextlib.ExitStack) -> ObjectStore:
    """The store of a Secret, with the object of the address as its data_key, while the stack lives."""
    bundle = ca_bundle(str(ca or ""))
    if bundle:
        stack.callback(Path(bundle).unlink)
    bucket, key = key_of(address)
    return store_settings(secret, {"data_key": key, **({"bucket": bucket} if bucket else {})}, bundle)


def run_store(
    folder: RunFolder, address: str, secret: Path | None, ca: Path | None, command: str, stack: contextlib.ExitStack
) -> ObjectStore:
    """The store of a run, with the object of the address as its data_key, while the stack lives.

    Args:
        command: for the remedy, what works with `--secret`.

    Raises:
        UsageError: the run is on a cluster, and no Secret is given.
        IlabError: the store's Secret can't be read.
    """
    if secret:
        return named_store(address, secret, ca, stack)
    if folder.cluster_settings:
        raise UsageError(
            f"{address} can't be read",
            f"the run {folder.run_id} is on a cluster; the keys of its object store are not here",
            f"{command} --secret FILE",
        )
    with stage_errors():
        keys = stack.enter_context(run_credentials(folder))
        return replace(store_of_secret(str(keys), "", data_key=key_of(address)[1]), patience=ONCE)


@contextlib.contextmanager
def run_credentials(folder: RunFolder) -> Iterator[Path]:
    """The folder with the keys of the object store's Secret of a run on this machine.

    The demo's store runs, and keys from YAML lie in files, while the block does.

    Raises:
        IlabError: there is no such Secret.
    """
    from utils.demo.run import STORE_SECRET, Demo, object_store
    from utils.runners.local.volumes import SecretFiles

    settings = folder.local_settings()
    demo = Demo(folder.home, folder.run_id, settings.python)
    if demo.folder.is_dir():
        with object_store(demo):
            yield demo.secrets / STORE_SECRET
        return
    name = str(folder.arguments.get(_SECRET, STORE_SECRET))
    source = Path(settings.secrets) if settings.secrets else None
    with tempfile.TemporaryDirectory() as scratch:
        yield SecretFiles(source, Path(scratch)).folder("secret", name, optional=False)


@contextlib.contextmanager
def stage_errors() -> Iterator[None]:
    """How a stage fails becomes an error of this command; what it prints is left out."""
    try:
        with contextlib.redirect_stdout(None):
            yield
    except SystemExit as end:
        raise IlabError(str(end).removeprefix("error: ")) from None

"""`get-model`: the model of a run on this machine, as a folder."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from utils.cli.options import home_option
from utils.cli.results import published
from utils.cli.store_access import run_store, stage_errors
from utils.errors import UsageError
from utils.runners.run_folder import LATEST, RunFolder, find_run

_BENCH = Path("scores", "mt_bench.json")
"""On the volume: the scores that name the candidate."""


@click.command("get-model")
@click.argument("words", nargs=-1, required=True, metavar="[RUN_ID] DIR")
@home_option
def get_model(words: tuple[str, ...], home: Path) -> None:
    """Put the trained model of RUN_ID into the new folder DIR, in Hugging Face layout.

    RUN_ID is an id, a part of one, or `latest`, which is also meant without one. The model comes from the run's
    volume where that is kept, else from its result: a folder, or the archive in the object store. The demo's store is
    started for it.
    """
    if len(words) > 2:
        raise UsageError(
            "there are more words than RUN_ID and DIR", " ".join(words), "ilab-pipeline get-model latest DIR"
        )
    folder, target = find_run(home, words[0] if len(words) == 2 else LATEST), Path(words[-1])
    if folder.cluster_settings:
        key = published(folder.history().finished)["archive"]
        raise UsageError(
            f"the run {folder.run_id} is on a cluster, and its model is not on this machine",
            f"it is in the archive {key}" if key else "nothing was published",
            "download the archive from the object store and unpack it; the folder model in it is the model",
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} already exists", "", "name a new or an empty folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        with _model(folder, Path(scratch)) as (model, source):
            place = Path(scratch, "whole")
            shutil.copytree(model, place)
        place.chmod(0o755)
        place.replace(target)
    click.echo(f"{target}: the model of {folder.run_id}, from {source}")


@contextlib.contextmanager
def _model(folder: RunFolder, scratch: Path) -> Iterator[tuple[Path, str]]:
    """The folder of the run's model, and in words where it comes from.

    Raises:
        UsageError: the run has no model that can still be had.
    """
    for claim in folder.own_claims():
        if (claim / _BENCH).is_file() and (candidate := json.loads((claim / _BENCH).read_text()).get("candidate")):
            yield claim / candidate, f"its volume {claim}"
            return
    key = published(folder.history().finished)["archive"]
    if not key:
        raise UsageError(
            f"the run {folder.run_id} has no model",
            "it published none, and its volume is gone or has no scored candidate",
            f"see how far it came: ilab-pipeline status {folder.run_id}",
        )
    if key.startswith("/"):
        if not Path(key, "model").is_dir():
            raise UsageError(f"the result of {folder.run_id} is gone", f"there is no {key}/model", "run it again")
        yield Path(key, "model"), key
    else:
        yield _downloaded(folder, key, scratch), key


def _downloaded(folder: RunFolder, key: str, scratch: Path) -> Path:
    """The model of an archive in the run's object store, unpacked in scratch.

    Raises:
        IlabError: the object store can't be read, or the archive is not whole.
    """
    from utils.stages.archive import unpack_archive
    from utils.stages.object_store.download import download_object, object_stat

    with contextlib.ExitStack() as stack:
        store = run_store(folder, key, None, None, "", stack)
        with stage_errors():
            download_object(store, object_stat(store, store.data_key), scratch / "archive.tar.gz")
            unpack_archive(scratch / "archive.tar.gz", scratch / "unpacked", ["model"])
    return scratch / "unpacked" / "model"

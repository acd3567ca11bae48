"""Files and folders of this machine, as a user names them in parameters of our pipeline."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from utils.errors import UsageError
from utils.ir.model import Pipeline
from utils.runners.local.volumes import read_key_files
from utils.runners.settings import LocalSettings

RESULT = "output_data_key"
"""The parameter that names the result: a key in the object store, or a folder."""
_FOLDERS = ("sdg_base_model", "sdg_repo_url")
"""Parameters whose other values are addresses."""
_KEYS = ("sdg_data_key", RESULT)
"""Parameters whose other values are keys in the object store: a relative path starts with a dot."""
_FILES = ("sdg_data_key",)
_STORE_SECRET = "sdg_object_store_secret"
_SDG_PIPELINE = "sdg_pipeline"
_TASKS = "eval_tasks"
"""A list, of names and folders."""
_MARKS = ("./", "../", "~", "file:")


def with_paths(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with absolute paths, since tasks run in other folders.

    They are addresses: a plain path may look like one of the folders that a pod mounts.

    Raises:
        UsageError: nothing is there, or the result's folder is in use or can't be made; names all.
    """
    wrong = [f"{name} is {path}, {why}" for name, path in _named(arguments) if (why := _fault(name, path))]
    if wrong:
        raise UsageError("paths in the arguments can't be used", "\n         ".join(wrong), "correct them")
    found = dict(arguments)
    if (named := found.get(_SDG_PIPELINE)) and Path(named).is_dir():
        found[_SDG_PIPELINE] = str(Path(named).absolute())
    found |= {name: f"file://{path}" for name, path in _named(arguments) if name != _TASKS}
    if tasks := arguments.get(_TASKS):
        found[_TASKS] = [one if (path := _task_folder(one)) is None else f"file://{path}" for one in tasks]
    return found


def _fault(name: str, path: Path) -> str:
    """Why a parameter can't have this path, "" if it can."""
    if name != RESULT:
        return "" if path.is_dir() or (name in _FILES and path.is_file()) else "and there is no such folder"
    if os.path.lexists(path) and (not path.is_dir() or any(path.iterdir())):
        return "which is not a new or empty folder"
    above = next(folder for folder in path.parents if os.path.lexists(folder))
    return "" if above.is_dir() and os.access(above, os.W_OK) else f"and nothing can be made in {above}"


def with_result_folder(
    pipeline: Pipeline, arguments: Mapping[str, Any], settings: LocalSettings, folder: Path
) -> dict[str, Any]:
    """The arguments with `folder` as the result's where a run names none, needs nothing of an object store, and has no
    Secret of one.

    Raises:
        PrerequisiteError: a file in the folder of --secrets can't be read.
    """
    given = {name: spec.default for name, spec in pipeline.parameters.items() if spec.has_default} | dict(arguments)
    model, taxonomy = map(given.get, _FOLDERS)
    there = (model and taxonomy) or str(given.get("sdg_data_key")).startswith("file:")
    if given.get(RESULT) != "" or not there or str(model).startswith("s3://"):
        return dict(arguments)
    secrets = sorted(Path(settings.secrets).iterdir()) if settings.secrets else []
    if given.get(_STORE_SECRET) in {one.name for path in secrets for one in read_key_files(path)}:
        return dict(arguments)
    return {**arguments, RESULT: f"file://{folder}"}


def refuse_paths(arguments: Mapping[str, Any]) -> None:
    """Refuse files and folders of this machine, which pods don't have.

    An absolute path as sdg_base_model may be a folder of the image: prerequisites looks.

    Raises:
        UsageError: names them.
    """
    named = [
        f"{name} is {arguments[name]}"
        for name, _ in _named(arguments)
        if name != "sdg_base_model" or not str(arguments[name]).startswith("/")
    ]
    if named:
        raise UsageError(
            "pods can't read folders of this machine",
            "; ".join(named),
            "ilab-pipeline upload packs model and taxonomy and sends them to the object store",
        )


def _task_folder(task: Any) -> Path | None:
    """The folder of this machine that an entry of eval_tasks names, None for another entry."""
    if not isinstance(task, str) or not task.startswith(("/", *_MARKS)):
        return None
    return Path(os.path.abspath(Path(task.removeprefix("file://")).expanduser()))  # noqa: PTH100 - also without ..


def _named(arguments: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """The parameters that name a file or a folder of this machine, with its absolute path."""
    for name in (*_FOLDERS, *_KEYS):
        value = arguments.get(name)
        if not isinstance(value, str) or not value:
            continue
        path = Path(value.removeprefix("file://")).expanduser()
        if value.startswith(("/", *_MARKS)) or (name in _FOLDERS and path.is_dir()):
            yield name, Path(os.path.abspath(path))  # noqa: PTH100 - also without ..
    tasks = arguments.get(_TASKS)
    yield from ((_TASKS, path) for path in map(_task_folder, tasks if isinstance(tasks, list) else ()) if path)

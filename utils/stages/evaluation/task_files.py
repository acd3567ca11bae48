"""Task files of the lm-evaluation-harness that a user wrote, as data alone.

The harness (0.4.8 to 0.4.13) runs code that a task file names: `!function` and `class` (tasks/__init__.py), loading
scripts of a data set (`trust_remote_code`), and metrics that it does not know, from a hub (api/registry.py). So a file
may have only the keys below, with values of JSON's types, and data of its own folder or of a hub.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from utils.messages import failure
from utils.stages.evaluation.eval_names import FOLDER

KEYS = {
    *("task", "task_alias", "tag", "include", "dataset_path", "dataset_name", "dataset_kwargs", "metadata"),
    *("training_split", "validation_split", "test_split", "fewshot_split", "fewshot_config", "num_fewshot"),
    *("output_type", "doc_to_text", "doc_to_target", "doc_to_choice", "description", "gen_prefix"),
    *("target_delimiter", "fewshot_delimiter", "generation_kwargs", "metric_list", "filter_list", "repeats"),
    *("should_decontaminate", "doc_to_decontamination_query"),
}
BUILDERS = ("json", "csv", "parquet", "text")
"""Values of dataset_path for files; another one is a data set of a hub."""
MOST_INCLUDES = 8


def read_tasks(folder: Path) -> list[dict[str, Any]]:
    """The tasks of a folder: of each file *.yaml that names one, with absolute paths of its data.

    Raises:
        SystemExit: there is none, or the first that can't be used, with the reason.
    """
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("*.yaml")):
        try:
            config = _with_includes(folder, file.name)
            if config.get("task") and found.setdefault(_checked(config, folder)["task"], config) is not config:
                raise ValueError(f"another file has the task {config['task']}, too")
        except ValueError as error:
            raise failure(
                f"the task file {folder.name}/{file.name} can't be used",
                str(error),
                "correct it: docs/metrics.md says what it may have",
            ) from None
    if not found:
        raise failure(
            f"there is no task of the lm-evaluation-harness in {folder}",
            "no file NAME.yaml there has the key task" if folder.is_dir() else "there is no such folder",
            f"put it into the folder {FOLDER}/{folder.name} of the archive, or correct eval_tasks",
        )
    return [*found.values()]


def check_task_folders(root: Path) -> None:
    """Read every folder of tasks below root, which need not exist.

    Raises:
        SystemExit: see `read_tasks`.
    """
    for folder in sorted(root.glob("[!.]*/")):
        read_tasks(folder)


def _with_includes(folder: Path, name: object, deep: int = 0) -> dict[str, Any]:
    """A file's content over that of the files that it includes."""
    import yaml

    if deep > MOST_INCLUDES:
        raise ValueError("its includes lead in a circle")
    try:
        config = yaml.safe_load(_inside(folder, name).read_bytes())
    except yaml.YAMLError as error:
        tags = re.findall(r"tag '(![^']*)'", str(error))
        raise ValueError(f"{name} has {tags[0]}: Python code is not run" if tags else f"{name}: {error}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{name} is not a mapping")
    if unknown := sorted(map(str, config.keys() - KEYS)):
        raise ValueError(f"{name} has {', '.join(unknown)}: only {', '.join(sorted(KEYS))} may be there")
    included = config.pop("include", [])
    merged: dict[str, Any] = {}
    for one in included if isinstance(included, list) else [included]:
        merged |= _with_includes(folder, one, deep + 1)
    return merged | config


def _inside(folder: Path, name: object) -> Path:
    """A file of the folder, by the path below it that a task file has."""
    if not isinstance(name, str) or name.startswith("/") or ".." in name.split("/"):
        raise ValueError(f"{name!r} is not the path of a file below its folder")
    if not (folder / name).is_file():
        raise ValueError(f"there is no file {name} in its folder")
    return folder / name


def _checked(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The configuration, with absolute paths."""
    if not re.fullmatch(r"[\w.-]+", str(config["task"]), re.ASCII):
        raise ValueError(f"task is {config['task']!r}: a name has letters, digits, - . and _")
    source, kwargs = config.get("dataset_path"), config.get("dataset_kwargs") or {}
    local = source in BUILDERS
    if not isinstance(source, str) or not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", source):
        raise ValueError(f"dataset_path is {source!r}: it is {', '.join(BUILDERS)}, or the name of a data set in a hub")
    if not isinstance(kwargs, dict) or kwargs.keys() - {"data_files" if local else "revision"}:
        raise ValueError(f"dataset_kwargs may only have {'data_files' if local else 'revision'}")
    if local:
        files = kwargs.get("data_files")
        if not isinstance(files, dict) or not files:
            raise ValueError(
                "data_files of dataset_kwargs must name a file for each split, like {test: questions.jsonl}"
            )
        config["dataset_kwargs"] = {"data_files": {split: _paths(folder, named) for split, named in files.items()}}
    metrics = config.get("metric_list") or []
    for metric in metrics if isinstance(metrics, list) else [metrics]:
        if not isinstance(metric, dict) or not isinstance(metric.get("metric"), str) or "hf_evaluate" in metric:
            raise ValueError("each entry of metric_list must name a metric of the harness, without hf_evaluate")
    return config


def _paths(folder: Path, named: object) -> list[str]:
    def paths() -> Iterator[str]:
        for name in named if isinstance(named, list) else [named]:
            yield str(_inside(folder, name).absolute())

    return [*paths()]

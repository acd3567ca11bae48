"""Finished stages leave a marker on the volume, `done/<stage>.json`: a stage started again returns at once.

All markers lie in one folder because some stages share a folder (`scores/`) and others write several.
"""

import dataclasses
import errno
import hashlib
import importlib.metadata as metadata
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from utils.messages import failure
from utils.stages.disk import disk_failure

STAGES = (
    *("data_import", "sdg", "data_processing", "train_phase_1", "train_phase_2"),
    *("mt_bench", "final_eval", "publish"),
)
"""Stages that leave a marker, in the order of the run."""

Result = TypeVar("Result")
"""A dataclass of utils/stages/results.py."""


def result_of(data_dir: str, stage: str, kind: type[Result]) -> Result | None:
    """The result of a finished stage, None when it has not finished.

    Args:
        stage: its marker's name: data_import, sdg, data_processing, train_phase_1, train_phase_2, mt_bench, publish.
        kind: the dataclass of its result.
    """
    marker = read_marker(data_dir, stage)
    return from_record(kind, marker["result"]) if marker else None


def from_record(kind: type[Result], record: Mapping[str, Any]) -> Result:
    """A dataclass from its JSON, nested ones too. Unknown keys are left out: another version may have written it."""
    types = get_type_hints(kind)
    values = {name: value for name, value in record.items() if name in types}
    nested = {n: from_record(types[n], v) for n, v in values.items() if dataclasses.is_dataclass(types[n])}
    return kind(**values | nested)


def upstream_hash(data_dir: str, stage: str) -> str:
    """The hash of a finished stage's inputs, which belongs to the inputs of the stage after it; "" if not finished."""
    hashed: str = read_marker(data_dir, stage).get("inputs_hash", "")
    return hashed


def read_marker(data_dir: str, stage: str) -> dict[str, Any]:
    """The marker of a finished stage, `{}` when the stage has not finished, or its marker can't be read."""
    path = _path(data_dir, stage)
    try:
        marker = read_json(path)
        return {**dict.fromkeys(("inputs", "outputs", "result"), {}), **marker} if marker else {}
    except (ValueError, TypeError):
        print(f"{path} can't be read: {stage} counts as not finished", flush=True)
        return {}


def _path(data_dir: str, stage: str) -> Path:
    return Path(data_dir, "done", f"{stage}.json")


def finished_result(data_dir: str, stage: str, inputs: Mapping[str, Any], force: bool) -> dict[str, Any] | None:
    """The result of an earlier run of this stage with the same inputs, or None when it has to run.

    Args:
        inputs: what decides the stage's output: parameters, and `upstream`, the hash of the stage before it.
        force: run again although the inputs differ from those of the finished stage.

    A marker is believed only while the stage's outputs are there. When the stage has to run, its marker and those of
    later stages are removed, so that nothing passes for finished while it is redone.

    Raises:
        SystemExit: the stage finished with other inputs, and `force` is off.
    """
    marker = read_marker(data_dir, stage)
    same = marker.get("inputs_hash") == inputs_hash(inputs)
    lost = [name for name, size in marker.get("outputs", {}).items() if size_of(f"{data_dir}/{name}") < size]
    if same and not lost:
        print(f"{stage} finished earlier with the same inputs ({marker['finished']}); nothing to do")
        result: dict[str, Any] = marker["result"]
        return result
    if same:
        print(f"{stage} finished earlier, but {', '.join(lost)} is no longer there whole: it runs again", flush=True)
    if same or force or not marker:
        for name in STAGES[STAGES.index(stage) :]:  # later stages worked on what is redone now
            _path(data_dir, name).unlink(missing_ok=True)
        return None
    changed = sorted(k for k in {*inputs, *marker["inputs"]} if inputs.get(k) != marker["inputs"].get(k))
    raise failure(
        f"{stage} finished earlier on this volume with other inputs",
        f"different now: {', '.join(changed)}",
        "start a new run (its own volume); standalone.py does it again on this one with --force-pull",
    )


def inputs_hash(inputs: Mapping[str, Any]) -> str:
    """A short hash of a stage's inputs, the same for the same values in any order."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def change_result(data_dir: str, stage: str, result: Any) -> None:
    """Change a finished stage's result, a dataclass; its inputs, and with them what was built on it, stay valid."""
    marker = read_marker(data_dir, stage)
    changed = marker | {"result": marker["result"] | dataclasses.asdict(result)}
    if changed != marker:  # a part that has nothing to do changes no file
        write_json(_path(data_dir, stage), changed)


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote; {} when there is no such file."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write path whole or not at all; its folder is made.

    Raises:
        SystemExit: it can't be written.
    """
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w") as file:
            json.dump(value, file, indent=1, default=float)  # pandas gives numpy's numbers
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_failure(str(path)) from None
        raise failure(f"{path} can't be written", str(error), "correct the volume, then resume") from None
    os.sync()  # the renaming


def as_it_ran(marker: Mapping[str, Any]) -> dict[str, Any]:
    """A marker without inputs without effect: of pods where the task itself trained, of GPUs on a CPU or in lora."""
    inputs, result = marker.get("inputs") or {}, marker.get("result") or {}
    unused = {"image", "num_workers", "gpu_per_worker"} if inputs.get("launcher") == "process" else set()
    if result.get("device") == "cpu" or "algorithm" in inputs:  # osft and lora can't use it
        unused |= {"cpu_offload"}
    return {**marker, "inputs": {name: value for name, value in inputs.items() if name not in unused}}


def size_of(path: str) -> int:
    """Bytes of a file, or of all files in a folder; 0 when there is neither."""
    return sum(file.stat().st_size for file in (Path(path), *Path(path).rglob("*")) if file.is_file())


def write_marker(
    data_dir: str,
    stage: str,
    inputs: Mapping[str, Any],
    outputs: list[str],
    result: Any,
    started: float,
    versions: Mapping[str, str] | None = None,
    gpus: int = 0,
) -> None:
    """Record that a stage finished: call it last, when every output is in its place. Outputs are on disk before it.

    Args:
        outputs: files or folders the stage wrote, relative to data_dir; their sizes in bytes are recorded.
        result: what later stages and the report need: a dataclass, or a dict of JSON.
        started: `time.time()` at the stage's start.
        versions: package to version of what did the work; None: this process.
        gpus: number that the task had; 0 for none, or where the inputs tell it.
    """
    packages = ("instructlab-sdg", "instructlab-training", "instructlab-eval", "torch", "transformers", "kfp")
    own = {one.name: one.version for one in metadata.distributions() if one.name in packages}
    marker = {
        "stage": stage,
        "inputs": inputs,
        "inputs_hash": inputs_hash(inputs),
        "outputs": {name: size_of(f"{data_dir}/{name}") for name in outputs},
        "versions": dict(own if versions is None else versions),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(time.time() - started, 1),
        "result": result if isinstance(result, dict) else dataclasses.asdict(result),
        **({"gpus": gpus} if gpus else {}),
    }
    os.sync()
    write_json(_path(data_dir, stage), marker)

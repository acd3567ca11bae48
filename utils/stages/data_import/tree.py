"""What data import leaves on the volume: base model, taxonomy and, when it was generated elsewhere, data."""

import glob
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from utils.messages import failure
from utils.stages.archive import KINDS, PACK, require_space, unpack_archive
from utils.stages.data_import.documents import require_taxonomy
from utils.stages.data_import.model import model_faults
from utils.stages.data_import.rows import check_rows
from utils.stages.evaluation.eval_names import FOLDER
from utils.stages.evaluation.task_files import check_task_folders
from utils.stages.folders import copy_folder
from utils.stages.object_store.client import ObjectStore
from utils.stages.object_store.download import Download, ObjectStat, download_object, object_stat
from utils.stages.sdg.files import LEAVES


def require_tree(root: Path, parts: Sequence[str], places: Mapping[str, str] | None = None) -> list[list[str]]:
    """End the stage when a piece of the required tree is missing, or data can't be used; the message names every one.

    Args:
        root: folder that holds model/, taxonomy/, data/.
        parts: which of `model`, `taxonomy`, `data` must be complete; without data, which is then generated from it,
            the taxonomy must have a leaf.
        places: where the archive has what looks like `model` and `taxonomy`; None: there is none.

    Returns:
        the orders of roles in the data (rows.py), [] without data.
    """
    faults = {"missing": missing_pieces(root, parts), "not usable": torn_weights(root) + model_faults(root / "model")}
    told = [f"{what}: {', '.join(names)}" for what, names in faults.items() if names]
    if told:
        elsewhere = {part: place for part, place in (places or {}).items() if place != part}
        remedy = "add or correct them"
        if any(name.startswith("data/") for name in faults["missing"]):
            remedy += "; data files of a kind that is not used may be empty"
        if faults["missing"] and elsewhere:
            told += [f"the archive has {part} in {place}/" for part, place in elsewhere.items()]
            remedy = packing_remedy({part: part for part in parts} | dict(places or {}))
        raise failure("files that a run needs are not there, or not whole", "; ".join(told), remedy)
    return check_rows(root / "data") if "data" in parts else []


def packing_remedy(places: Mapping[str, str]) -> str:
    """How to pack an archive again whose parts lie elsewhere than at its top.

    Args:
        places: part to its folder.
    """
    flags = " ".join(f"--{part} {place}" for part, place in places.items())
    remedy = f"ilab-pipeline upload {flags} packs and sends it"
    prefix = places["model"].removesuffix("model") if "model" in places else ""
    if prefix and all(place == prefix + part for part, place in places.items()):
        remedy += f"; or: {PACK} -C {prefix} {' '.join(places)}"
    return remedy


def missing_pieces(root: Path, parts: Sequence[str]) -> list[str]:
    """The pieces of the required tree that are not there, alternatives joined by "or"."""
    kinds, leaf = (KINDS, "") if "data" in parts else (KINDS[:2], "/**/qna.yaml")
    need = {
        "model": ["config.json", "tokenizer.json", "tokenizer_config.json", "*.safetensors"],
        "taxonomy": [" or taxonomy/".join(f"{kind}{leaf}" for kind in kinds)],
        "data": [f"{kind}_{file}" for kind in ("skills", "knowledge") for file in ("recipe_*.yaml", "train_*.jsonl")],
    }
    pieces = [f"{part}/{pattern}" for part in parts for pattern in need[part]]
    return [
        piece
        for piece in pieces
        if not any(glob.glob(pattern, root_dir=root, recursive=True) for pattern in piece.split(" or "))
    ]


def torn_weights(root: Path) -> list[str]:
    """The files model/*.safetensors whose length is not what their header says, each with what it is instead.

    A safetensors file is the header's length (8 bytes, little endian), the header (JSON: name to data_offsets, counted
    from the header's end), the data (https://github.com/huggingface/safetensors, "Format").
    """
    torn = []
    for path in sorted(root.glob("model/*.safetensors")):
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            data = 8 + int.from_bytes(start, "little")
            header = file.read(data - 8) if data <= size else b""
        try:
            ends = [one["data_offsets"][1] for name, one in json.loads(header).items() if name != "__metadata__"]
            whole = data + max(ends) == size
        except (ValueError, TypeError, KeyError, AttributeError):
            whole = False
        if not whole:
            what = "a Git LFS pointer" if start == b"version " else f"{size} bytes, not a whole safetensors file"
            torn.append(f"model/{path.name} ({what})")
    return torn


def fetch_model(base_model: str, store: ObjectStore | None, target: Path) -> None:
    """Bring the base model into the folder `target`: from `s3://bucket/prefix`, or from a folder of this machine.

    Args:
        store: its endpoint and keys are used, the bucket is the address's own; None for a local folder.
    """
    if not store or not base_model.startswith("s3://"):
        copy_folder(base_model.removeprefix("file://"), target)
        return
    bucket, _, prefix = base_model.removeprefix("s3://").partition("/")
    store = replace(store, bucket=bucket)
    prefix = prefix.rstrip("/") + "/" if prefix else ""
    found: dict[str, int] = {}
    token: dict[str, str] | None = {}
    while token is not None:
        page = store.call("list_objects_v2", Prefix=prefix, **token)
        found |= {one["Key"]: one["Size"] for one in page.get("Contents", []) if not one["Key"].endswith("/")}
        more = page.get("NextContinuationToken")
        token = {"ContinuationToken": more} if more else None
    if not found or any(".." in key.split("/") or "//" in key for key in found):
        cause = "a key there leads out of the folder" if found else "no object has this prefix"
        raise failure(f"no base model at {base_model}", cause, "correct sdg_base_model")
    target.mkdir(exist_ok=True)
    require_space(target, sum(found.values()), "the base model")
    for key in sorted(found):
        path = target / key.removeprefix(prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        download_object(store, object_stat(store, key), path)


def import_folder(data_dir: str, name: str) -> Path:
    """The folder that holds what is not yet whole, `import-<name>.part`; those of other inputs are removed."""
    work = Path(data_dir, f"import-{name}.part")
    work.mkdir(exist_ok=True)
    for other in work.parent.glob("import-*.part"):
        if other != work:
            shutil.rmtree(other)
    return work


def download_archive(store: ObjectStore, archive: ObjectStat, path: Path) -> Download:
    """Download the archive to `path` and say what was verified.

    Room for it and for its content must be there first; weights and JSON together shrink to no less than half in
    gzip as far as we have seen, the real sizes are checked while unpacking.
    """
    have = sum(part.stat().st_size for part in path.parent.glob(path.name + "*"))
    require_space(path.parent, 3 * archive.size - have, "the archive and its content")
    got = download_object(store, archive, path)
    print(f"{got.key}: {got.size} bytes, verified by {got.check}, sha256 {got.sha256}", flush=True)
    return got


def assemble_tree(
    work: Path, archive: Path, from_archive: Sequence[str], data_dir: str, ca: str
) -> tuple[list[str], list[list[str]]]:
    """Unpack what is taken from the archive, check the whole tree, and move it to its places on the volume.

    Args:
        work: holds the downloaded archive, and `model` or `taxonomy` where they come from elsewhere. Emptied on
            failure: a wrong archive does not get better. After a failure about documents, the archive stays: their
            repository may.
        archive: the archive, or a folder with its content.
        from_archive: which of model and taxonomy the archive gives; with any, it may bring data and eval_tasks, too.
        ca: for git, a PEM bundle; "" for the public roots.

    Returns:
        The folders put in place, model, taxonomy, and sdg when data came along, eval_tasks with tasks for the
            evaluation; and that data's orders of roles.
    """
    tree, places = work / "tree", dict[str, str]()
    shutil.rmtree(tree, ignore_errors=True)  # of an attempt that was killed
    tree.mkdir()
    try:
        if from_archive:
            wanted = [*from_archive, "data", FOLDER]
            if archive.is_dir():
                for part in filter(lambda name: archive.joinpath(name).is_dir(), wanted):
                    copy_folder(str(archive / part), tree / part)
            else:
                places = unpack_archive(archive, tree, wanted)
        for part in {"model", "taxonomy"}.difference(from_archive):
            if work.joinpath(part).exists():
                work.joinpath(part).rename(tree / part)
        kinds = [tree / "taxonomy" / kind for kind in KINDS]
        if any(kind.is_dir() for kind in kinds):  # a taxonomy of skills alone need not have knowledge/
            for kind in kinds[:2]:
                kind.mkdir(exist_ok=True)
        parts = ["model", "taxonomy", "data"]
        found = {part: places[part] for part in [*from_archive, "data"] if part in places}
        orders = require_tree(tree, parts if tree.joinpath("data").exists() else parts[:2], found)
        check_task_folders(tree / FOLDER)
    except SystemExit:
        shutil.rmtree(work)
        raise
    if not tree.joinpath("data").exists():  # else the taxonomy is not generated from
        require_taxonomy(tree / "taxonomy", work, ca)
    made, unfinished = Path(data_dir, "sdg"), Path(data_dir, "sdg.part")
    if made.joinpath(LEAVES).exists() and not unfinished.exists():
        # Generated here from an earlier import: leaves that did not change keep their samples.
        made.rename(unfinished)
    # What else an earlier import brought, or was generated from it, does not belong to this one.
    outputs = []
    for part, place in {"model": "model", "taxonomy": "taxonomy", "data": "sdg", FOLDER: FOLDER}.items():
        shutil.rmtree(Path(data_dir, place), ignore_errors=True)
        if tree.joinpath(part).exists():
            tree.joinpath(part).rename(Path(data_dir, place))
            outputs.append(place)
    return outputs, orders

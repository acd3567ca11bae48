"""What data import leaves on the volume: base model, taxonomy and, when it was generated elsewhere, data."""

import glob
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from utils.messages import failure
from utils.stages.archive import require_space, unpack_archive
from utils.stages.object_store.client import ObjectStore
from utils.stages.object_store.download import Download, ObjectStat, download_object, object_stat


def require_tree(root: str, parts: Sequence[str]) -> None:
    """End the stage when a piece of the required tree is missing; the message names every one.

    Args:
        root: folder that holds model/, taxonomy/, data/.
        parts: which of `model`, `taxonomy`, `data` must be complete; without data, which is then generated from it,
            the taxonomy must have a leaf.
    """
    missing = missing_pieces(root, parts) + torn_weights(root)
    if missing:
        raise failure(
            "files or folders that a run needs are not there, or not whole",
            "missing: " + ", ".join(missing),
            "add them (an empty folder will do for a kind of data the taxonomy does not have) and pack it again",
        )


def missing_pieces(root: str, parts: Sequence[str]) -> list[str]:
    """The pieces of the required tree that are not there, alternatives joined by "or"."""
    kinds = ("skills", "knowledge")
    need = {
        "model": [["config.json"], ["tokenizer.json"], ["tokenizer_config.json"], ["*.safetensors"]],
        "taxonomy": [["knowledge"], ["foundational_skills", "compositional_skills"]],
        "data": [[f"{kind}_{file}"] for kind in kinds for file in ("recipe_*.yaml", "train_*.jsonl")],
    }
    if "data" not in parts:
        need["taxonomy"].append([f"{kind}/**/qna.yaml" for kind in ("knowledge", "compositional_skills")])
    return [
        " or ".join(f"{part}/{pattern}" for pattern in patterns)
        for part in parts
        for patterns in need[part]
        if not any(glob.glob(os.path.join(glob.escape(root), part, p), recursive=True) for p in patterns)
    ]


def torn_weights(root: str) -> list[str]:
    """The files model/*.safetensors whose length is not what their header says, each with what it is instead.

    A safetensors file is the header's length (8 bytes, little endian), the header (JSON: name to data_offsets, counted
    from the header's end), the data (https://github.com/huggingface/safetensors, "Format").
    """
    torn = []
    for path in sorted(glob.glob(os.path.join(glob.escape(root), "model", "*.safetensors"))):
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            start = file.read(8)
            header_size = int.from_bytes(start, "little")
            header = file.read(header_size) if 8 + header_size <= size else b""
        try:
            tensors = json.loads(header or "null") or {}
            end = max((t["data_offsets"][1] for name, t in tensors.items() if name != "__metadata__"), default=-1)
        except (ValueError, TypeError, KeyError, AttributeError):
            end = -1
        if 8 + header_size + end != size:
            what = "a Git LFS pointer" if start == b"version " else f"{size} bytes, not a whole safetensors file"
            torn.append(f"model/{os.path.basename(path)} ({what})")
    return torn


def fetch_model(base_model: str, store: ObjectStore | None, target: str) -> None:
    """Bring the base model into the folder `target`: from `s3://bucket/prefix`, or from a folder of this machine.

    Args:
        store: its endpoint and keys are used, the bucket is the address's own; None for a local folder.
    """
    if not base_model.startswith("s3://"):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(base_model.removeprefix("file://"), target)
        return
    bucket, _, prefix = base_model.removeprefix("s3://").partition("/")
    assert store is not None
    store = replace(store, bucket=bucket)
    prefix = prefix.rstrip("/") + "/" if prefix else ""
    found: dict[str, int] = {}
    page: dict[str, Any] = {"NextContinuationToken": ""}
    while "NextContinuationToken" in page:
        token = {"ContinuationToken": page["NextContinuationToken"]} if page["NextContinuationToken"] else {}
        page = store.call("list_objects_v2", Prefix=prefix, **token)
        found |= {o["Key"]: o["Size"] for o in page.get("Contents", []) if not o["Key"].endswith("/")}
    if not found or any(".." in key.split("/") or "//" in key for key in found):
        cause = "a key there leads out of the folder" if found else "no object has this prefix"
        raise failure(f"no base model can be had from {base_model}", cause, "correct sdg_base_model")
    os.makedirs(target, exist_ok=True)
    require_space(target, sum(found.values()), "the base model")
    for key in sorted(found):
        path = os.path.join(target, key.removeprefix(prefix))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        download_object(store, object_stat(store, key), path)


def check_base_model(base_model: str) -> None:
    """End the stage when `base_model` is set to something no model can be had from."""
    path = base_model.removeprefix("file://")
    if base_model.startswith("s3://") or not base_model or (path.startswith("/") and os.path.isdir(path)):
        return
    raise failure(
        f"sdg_base_model is {base_model!r}",
        "it must be s3://bucket/prefix, the absolute path of a folder that is there, or blank for the archive's model/",
        "copy the model to the object store (aws s3 cp --recursive DIR s3://BUCKET/PREFIX) and give that address",
    )


def import_folder(data_dir: str, name: str) -> str:
    """The folder that holds what is not yet whole, `import-<name>.part`; those of other inputs are removed."""
    work = os.path.join(data_dir, f"import-{name}.part")
    for other in glob.glob(os.path.join(glob.escape(data_dir), "import-*.part")):
        if other != work:
            shutil.rmtree(other)
    os.makedirs(work, exist_ok=True)
    return work


def download_archive(store: ObjectStore, archive: ObjectStat, path: str) -> Download:
    """Download the archive to `path` and say what was verified.

    Room for it and for its content must be there first; weights and JSON together shrink to no less than half in
    gzip as far as we have seen, the real sizes are checked while unpacking.
    """
    have = sum(os.path.getsize(part) for part in glob.glob(glob.escape(path) + "*"))
    require_space(os.path.dirname(path), 3 * archive.size - have, "the archive and its content")
    got = download_object(store, archive, path)
    print(f"{got.key}: {got.size} bytes, verified by {got.check}, sha256 {got.sha256}", flush=True)
    return got


def assemble_tree(work: str, from_archive: Sequence[str], data_dir: str) -> list[str]:
    """Unpack what is taken from the archive, check the whole tree, and move it to its places on the volume.

    Args:
        work: holds `archive`, and `model` or `taxonomy` where they come from elsewhere. Emptied on failure: a wrong
            archive does not get better.
        from_archive: which of model and taxonomy the archive gives; with any, it may bring data too.

    Returns:
        The folders put in place: model, taxonomy, and sdg when data came along.
    """
    tree = os.path.join(work, "tree")
    os.makedirs(tree, exist_ok=True)
    try:
        if from_archive:
            unpack_archive(os.path.join(work, "archive"), tree, [*from_archive, "data"])
        checkout = os.path.join(work, "taxonomy")
        kinds = [os.path.join(checkout, kind) for kind in ("knowledge", "compositional_skills", "foundational_skills")]
        if any(os.path.isdir(kind) for kind in kinds):
            # Git keeps no empty folders: a taxonomy of skills alone has no knowledge/ in its checkout.
            for kind in kinds[:2]:
                os.makedirs(kind, exist_ok=True)
        for name in ("model", "taxonomy"):
            if os.path.exists(os.path.join(work, name)):
                os.replace(os.path.join(work, name), os.path.join(tree, name))
        require_tree(tree, ["model", "taxonomy", *(["data"] if os.path.exists(os.path.join(tree, "data")) else [])])
    except SystemExit:
        shutil.rmtree(work)
        raise
    places = {name: "sdg" if name == "data" else name for name in sorted(os.listdir(tree))}
    # What an earlier import brought, or was generated from it, does not belong to this one.
    for place in ("model", "taxonomy", "sdg"):
        shutil.rmtree(os.path.join(data_dir, place), ignore_errors=True)
    for name, place in places.items():
        os.replace(os.path.join(tree, name), os.path.join(data_dir, place))
    return list(places.values())

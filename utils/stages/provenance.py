"""Where a candidate comes from: what went into it, by hash, and what is needed to make it again."""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.messages import shown
from utils.stages.code import code_digest
from utils.stages.data_import.git import in_pod
from utils.stages.digests import Digests, combined, digest_of, digests_of
from utils.stages.marker import as_it_ran, result_of
from utils.stages.results import Imported

COMMIT = re.compile("[0-9a-f]{40}")
HUB_NOTE = ".cache/huggingface/download/config.json.metadata"
"""In a folder that huggingface_hub downloaded: the commit of the file, its ETag, the time (_local_folder.py there)."""
DATA = ("sdg/*.jsonl", "sdg/*recipe*.yaml", "processed/*.jsonl", "processed/*/*.jsonl")
"""What the model was trained on and compared by, below the volume's root."""


def stage_records(data_dir: str) -> dict[str, dict[str, Any]]:
    """Of every finished stage its inputs, their hash, versions, times and result, in the order they finished."""
    markers = [as_it_ran(json.loads(file.read_text())) for file in sorted(Path(data_dir, "done").glob("*.json"))]
    return {marker.pop("stage"): marker for marker in sorted(markers, key=lambda marker: marker.get("finished", ""))}


def provenance(
    data_dir: str, run_id: str, candidate: str, gate: Sequence[Mapping[str, Any]], images: Mapping[str, str]
) -> Callable[[Digests], str]:
    """What makes provenance.json of the files that are published with it.

    Args:
        gate: the gate's checks.
        images: the pipeline's images by their names in utils/images.py.

    Returns:
        a function from files to JSON: run_id, published, candidate, gate, stages (see `stage_records`), origin (see
        `origin`), and the files by name.
    """
    facts = {
        "run_id": run_id,
        "published": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "candidate": candidate,
        "gate": list(gate),
        "origin": origin(data_dir, images),
        "stages": stage_records(data_dir),
    }
    return lambda files: shown(json.dumps({**facts, "files": files}, indent=1))


def origin(data_dir: str, images: Mapping[str, str]) -> dict[str, Any]:
    """What a run must be given to end with this candidate.

    Returns:
        archive: key, size and sha256 of the imported one, {} without one;
        base_model: where it comes from, its commit in a hub ("" if that is not known), and one hash of its files (""
        where the archive's covers them);
        taxonomy: where it comes from, its commit, and one hash of its files;
        data: the files that the model was trained on and compared by;
        code: the stages' digest, `git log -S DIGEST -- pipeline.yaml` finds its commit; "" outside a run;
        images: {} on one machine, where none is used.
    """
    imported = result_of(data_dir, "data_import", Imported) or Imported()
    inputs = stage_records(data_dir).get("data_import", {}).get("inputs", {})
    covered = imported.sha256 and imported.model_source == "archive"
    archive = {"key": imported.archive, "size": imported.size, "sha256": imported.sha256}
    repository = (inputs.get("taxonomy") or [""])[0]
    return {
        "archive": archive if imported.archive else {},
        "base_model": {
            "source": imported.model_source,
            "commit": model_commit(Path(data_dir, "model"), imported.model_source),
            "sha256": "" if covered else combined(digests_of(Path(data_dir, "model"), ".cache")),
        },
        "taxonomy": {
            "source": repository or "archive",
            "commit": imported.taxonomy_commit,
            "sha256": combined(digests_of(Path(data_dir, "taxonomy"), ".git")),
        },
        "data": {
            str(path.relative_to(data_dir)): digest_of(path)
            for pattern in DATA
            for path in sorted(Path(data_dir).glob(pattern))
        },
        "code": code_digest(),
        "images": dict(images) if in_pod() else {},
    }


def model_commit(model: Path, source: str) -> str:
    """The commit of a model in a hub: of the snapshot it was copied from, or noted by the download; else ""."""
    note = model / HUB_NOTE
    told = note.read_text(errors="replace").partition("\n")[0] if note.is_file() and not note.is_symlink() else ""
    snapshot = re.search("/snapshots/([^/]+)", source)
    return next((one for one in (told, snapshot[1] if snapshot else "") if COMMIT.fullmatch(one)), "")

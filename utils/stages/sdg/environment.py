"""Where the libraries of this process look for their data, and write."""

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from utils.stages.authorities import trust_everywhere

SKILLS_RECIPE = Path("default_data_recipes", "skills.yaml")
"""The precomputed skills that instructlab-sdg mixes in, below its data folder."""


def sdg_environment(scratch: Path, sample_size: float, ca: str) -> None:
    """Point the libraries of this process to writable folders, and to data folders that suit this run.

    instructlab-sdg looks for its files in `instructlab/sdg` of the XDG data folders. Ours comes first and holds what
    must differ: the recipe of precomputed skills scaled by sample_size, and, where no docling models are installed, a
    models folder that is empty (Markdown needs none; without the folder the library goes to the network).

    Args:
        sample_size: fraction of the precomputed skills data that is mixed in, 0 or more.
        ca: a CA bundle for git and the teacher's client, "" for the public roots.
    """
    import yaml

    home = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    own, *folders = (Path(f, "instructlab/sdg") for f in (f"{scratch}/share", home, *shared.split(":")))
    if not any((folder / "models").exists() for folder in folders):
        models = own / "models"
        models.mkdir(parents=True)
        (models / "config.yaml").write_text(yaml.safe_dump({"models": [{"path": str(models)}]}))
    target, *recipes = (folder / SKILLS_RECIPE for folder in [own, *folders])
    recipe = next(filter(Path.exists, recipes), None)
    if recipe and sample_size != 1:
        content = yaml.safe_load(recipe.read_text())
        content["datasets"] = scaled_datasets(content.get("datasets") or [], sample_size)
        target.parent.mkdir(parents=True)
        target.write_text(yaml.safe_dump(content))
    trust_everywhere(ca)
    os.environ.update(
        XDG_DATA_HOME=f"{scratch}/share",
        XDG_DATA_DIRS=f"{home}:{shared}",
        XDG_CACHE_HOME=f"{scratch}/cache",
        HF_HOME=f"{scratch}/huggingface",
        HF_DATASETS_DISABLE_PROGRESS_BARS="1",
        GIT_TERMINAL_PROMPT="0",
        PATH=f"{os.path.dirname(sys.executable)}:{os.environ.get('PATH', '')}",
    )


def scaled_datasets(datasets: Iterable[Mapping[str, Any]], sample_size: float) -> list[dict[str, Any]]:
    """A recipe's datasets with their shares times sample_size.

    A share is a fraction (float) or a number of rows (int) to the library, and it can't take none: at 0 the datasets
    are left out, and a number of rows is at least 1.
    """

    def scaled(share: float) -> float:
        return max(1, round(share * sample_size)) if isinstance(share, int) else share * sample_size

    return [{**d, "sampling_size": scaled(d["sampling_size"])} for d in datasets] if sample_size else []

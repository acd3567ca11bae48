"""Where the libraries of this process look for their data, and write."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from utils.messages import failure
from utils.stages.authorities import trust_everywhere
from utils.stages.data_import.git import safe_git
from utils.stages.json_lines import count_lines

RECIPES = "default_data_recipes"
"""Where instructlab-sdg has the recipes of the precomputed samples that it mixes in, below its data folder."""


def sdg_environment(scratch: Path, sample_size: float, ca: str) -> None:
    """Point the libraries of this process to writable folders, and to data folders that suit this run.

    instructlab-sdg looks for its files in `instructlab/sdg` of the XDG data folders. Ours comes first and holds what
    must differ: the recipes of precomputed samples (`own_recipe`), and, where no docling models are installed, a
    models folder that is empty (Markdown needs none; without the folder the library goes to the network).

    Args:
        sample_size: fraction of the precomputed skills data that is mixed in; 1: as the recipe says.
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
    for name in ("skills", "knowledge"):
        target, *recipes = (folder / RECIPES / f"{name}.yaml" for folder in [own, *folders])
        if recipe := next(filter(Path.exists, recipes), None):
            target.parent.mkdir(parents=True, exist_ok=True)
            with usable_recipes():
                target.write_text(yaml.safe_dump(own_recipe(name, recipe, sample_size)))
    trust_everywhere(ca)
    os.environ.update(
        XDG_DATA_HOME=f"{scratch}/share",
        XDG_DATA_DIRS=f"{home}:{shared}",
        XDG_CACHE_HOME=f"{scratch}/cache",
        HF_HOME=f"{scratch}/huggingface",
        HF_DATASETS_DISABLE_PROGRESS_BARS="1",
        PATH=f"{os.path.dirname(sys.executable)}:{os.environ.get('PATH', '')}",
        **safe_git(),
    )


@contextlib.contextmanager
def usable_recipes() -> Iterator[None]:
    """A context in which any error is one of the precomputed samples: the image's, or whose the folder is.

    Raises:
        SystemExit: there was an error.
    """
    try:
        yield
    except Exception as error:
        raise failure(
            "the precomputed samples can't be mixed in",
            f"{type(error).__name__}: {error} {error.__cause__ or ''}",
            f"correct {RECIPES}/*.yaml in the image and the files they name, or set sdg_sample_size to 0",
        ) from error


def own_recipe(name: str, path: Path, sample_size: float) -> dict[str, Any]:
    """A recipe of precomputed samples as this run mixes them in: without what has no row, with absolute paths.

    The library draws a share of each data set, a fraction or a number of rows, and fails when it has to draw none. Of
    whatever type, a share of 1 is every row once.

    Args:
        sample_size: the share of the first data set of skills; 1 leaves the recipe's own.
    """
    import yaml

    content = yaml.safe_load(path.read_text())
    kept = []
    for number, entry in enumerate(content.get("datasets") or []):
        file, share = path.parent / entry["path"], entry["sampling_size"]
        if name == "skills" and number == 0 and sample_size != 1:
            share = sample_size
        if share == 1:
            share = 1.0
        drawn: float = share
        if file.suffix == ".jsonl" and file.is_file():  # anything else is the library's to read
            rows = count_lines(file)
            drawn = rows and (share if isinstance(share, int) else int(rows * share))
            print(f"precomputed {name}: {drawn} of {rows} rows of {file}", flush=True)
        if drawn:
            kept.append({"path": str(file), "sampling_size": share})
    return content | {"datasets": kept}

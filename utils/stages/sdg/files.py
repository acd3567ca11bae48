"""The files of one SDG run: two training files, and `node_datasets_<date>` with each leaf's samples and questions."""

import re
from dataclasses import replace
from pathlib import Path

from utils.messages import failure
from utils.stages.json_lines import count_lines
from utils.stages.leaves import leaf_of_dataset
from utils.stages.results import Generated

LEAVES = "leaves.json"
"""In the folder of a run, also a finished one: hash of its settings, the date in its files' names, and for each leaf
the hash of the seed records that its samples were generated from."""


def run_suffixes(folder: Path) -> list[str]:
    """What the names of training files end with, the date: the last is that of the newest run, "" if there is none."""
    names = "\n".join(path.name for path in folder.glob("*.jsonl"))
    return sorted({*re.findall(r"^(?:knowledge|skills)_train_(?:msgs_)?(.+)\.jsonl$", names, re.M)}) or [""]


def training_files(folder: Path, suffix: str) -> list[str]:
    """Names of the knowledge and the skills file of one run, "" for one that is empty or missing."""
    names = [[f"{kind}_train_{form}{suffix}.jsonl" for form in ("msgs_", "")] for kind in ("knowledge", "skills")]
    return [next((name for name in forms if count_lines(folder / name)), "") for forms in names]


def run_files(sdg: Path, suffix: str) -> Generated:
    """A result that names the files of one run, those that are not empty.

    Args:
        sdg: the folder on the volume.
        suffix: the date in the files' names.
    """
    nodes = f"node_datasets_{suffix}"
    knowledge, skills = [name and f"sdg/{name}" for name in training_files(sdg, suffix)]
    return Generated(
        knowledge_file=knowledge,
        skills_file=skills,
        mmlu_tasks_dir=f"sdg/{nodes}" if any(sdg.glob(f"{nodes}/mmlubench_*.jsonl")) else "",
    )


def imported_samples(data_dir: str) -> Generated:
    """The stage's result when the archive brought data: the files of one run, the newest where there are several."""
    folder = Path(data_dir, "sdg")
    *others, used = run_suffixes(folder)
    files = run_files(folder, used)
    samples = sum(count_lines(Path(data_dir, file)) for file in (files.knowledge_file, files.skills_file))
    if not samples:
        raise failure(
            "the archive's data has no sample",
            f"{folder}/*_train_*.jsonl are empty or missing",
            "pack it again with samples",
        )
    if others:
        print(f"used: SDG run {used}; left: {', '.join(others)}")
    leaves: dict[str, int] = {}
    questions = 0
    for path in (folder / f"node_datasets_{used}").glob("[!.]*.jsonl"):
        if path.name.startswith("mmlubench_"):
            questions += count_lines(path)
        elif not re.match("knowledge_.*_p10$", path.stem):
            leaves[leaf_of_dataset(path.stem)] = count_lines(path)
    reason = "the archive brought generated data"
    print(f"{reason}: {samples} samples", flush=True)
    return replace(
        files,
        generated=False,
        reason=reason,
        samples=samples,
        samples_by_leaf=leaves,
        mmlu_questions=questions,
    )

"""Generated samples and the precomputed ones become recipes and the two training files."""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from utils.stages.json_lines import count_lines, write_lines
from utils.stages.sdg.batches import Row
from utils.stages.sdg.samples import SdgRun


def mix_samples(run: SdgRun, generated: Mapping[str, Iterable[Row]]) -> dict[str, int]:
    """Write recipes, the two training files, and each leaf's samples; a kind without samples gets no file.

    Args:
        generated: rows of the SDG pipeline by the name of their leaf.

    Returns:
        the samples in each leaf's file.
    """
    from instructlab.sdg.generate_data import mix_datasets, postprocess_taxonomy

    prompt, part = system_prompt(run.data / "model"), run.part
    rows_of, nodes = part / "mixing", part / f"node_datasets_{run.suffix}"
    shutil.rmtree(rows_of, ignore_errors=True)
    for folder in (rows_of, nodes):
        folder.mkdir(parents=True, exist_ok=True)
    for name, rows in generated.items():
        if named := [row | {"leaf_node_path": name} for row in rows]:
            write_lines(rows_of / f"{name}.jsonl", named)
    postprocess_taxonomy(
        str(rows_of),
        str(part),
        run.suffix,
        pipeline=run.pipeline,
        num_procs=None,
        system_prompt=prompt,
        use_legacy_pretraining_format=False,
    )
    shutil.rmtree(rows_of)
    for kind in ("knowledge", "skills"):
        recipe = part / f"{kind}_recipe_{run.suffix}.yaml"
        mixed = part / f"{kind}_train_msgs_{run.suffix}.jsonl"
        mix_datasets(str(recipe), str(mixed), num_proc=None, system_prompt=prompt)
    phase = {name: "_p07" if name.startswith("knowledge_") else "" for name in generated}
    return {name: count_lines(nodes / f"{name}{phase[name]}.jsonl") for name in generated}


def system_prompt(model: Path) -> str:
    """The system message of every training sample: Granite's own for a Granite model, else a neutral one."""
    if json.loads((model / "config.json").read_text()).get("model_type", "").startswith("granite"):
        from instructlab.sdg.generate_data import _SYS_PROMPT

        return str(_SYS_PROMPT)
    return "You are a helpful assistant."

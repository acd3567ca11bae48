"""Generated samples and the precomputed ones become recipes and the two training files."""

import json
import random
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from utils.stages.chat_template.choice import own_chat_template
from utils.stages.json_lines import count_lines, read_lines, write_lines
from utils.stages.sdg.batches import Row
from utils.stages.sdg.environment import usable_recipes
from utils.stages.sdg.samples import SdgRun

GRANITE_7B = (
    "I am, Red Hat® Instruct Model based on Granite 7B, an AI language model developed by Red Hat and IBM Research, "
    "based on the Granite-7b-base language model. My primary function is to be a chat assistant."
)


def mix_samples(run: SdgRun, generated: Mapping[str, Iterable[Row]]) -> dict[str, int]:
    """Write recipes, the two training files, and each leaf's samples; a kind without samples gets no file.

    Args:
        generated: rows of the SDG pipeline by the name of their leaf.

    Returns:
        the samples that were generated for each leaf: those in its file, before some are drawn for training.
    """
    from instructlab.sdg.generate_data import mix_datasets, postprocess_taxonomy

    prompt, part = run.system_prompt or system_prompt(run.data / "model"), run.part
    rows_of, nodes = part / "mixing", part / f"node_datasets_{run.suffix}"
    random.seed(42)  # the library joins documents, and chooses instructions, by chance
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
    phase = {name: "_p07" if name.startswith("knowledge_") else "" for name in generated}
    counts = {name: count_lines(nodes / f"{name}{phase[name]}.jsonl") for name in generated}
    for kind in ("knowledge", "skills"):
        recipe = part / f"{kind}_recipe_{run.suffix}.yaml"
        mixed = part / f"{kind}_train_msgs_{run.suffix}.jsonl"
        draw(recipe, run.samples_per_skill)
        mix_datasets(str(recipe), str(mixed), num_proc=None, system_prompt=prompt)
    return counts


def draw(recipe: Path, per_skill: int) -> None:
    """Make the files of generated samples those that are mixed in, and the recipe say so: every row of them once.

    The library draws with replacement: of 150 rows, 30 drawn are 26 different ones. That is how it gives each skill
    leaf 30 rows, and how it fills up knowledge that is less than 3 percent of the precomputed skills.

    Args:
        per_skill: rows for each skill leaf, 0 for all that there are.
    """
    import yaml

    content = yaml.safe_load(recipe.read_text())
    for entry in content["datasets"]:
        file = recipe.parent / entry["path"]
        if not file.parent.name.startswith("node_datasets_"):
            continue
        rows, wanted = [*read_lines(file)], entry["sampling_size"]
        if not file.name.startswith("knowledge_"):
            wanted = per_skill
        if wanted and isinstance(wanted, int):
            times, rest = divmod(wanted, len(rows))
            write_lines(file, rows * times + random.Random(42).sample(rows, rest))
        entry["sampling_size"] = 1.0
    recipe.write_text(yaml.safe_dump(content))


def try_mixing(run: SdgRun) -> None:
    """Mix the precomputed samples with two made-up ones, before the teacher is paid for thousands.

    Raises:
        SystemExit: they can't be mixed.
    """
    trial = replace(run, part=run.part / "trial")
    row = {"question": "Which?", "response": "This.", "document": "A text.", "document_outline": "", "domain": ""}
    kinds = {"knowledge_trial": "knowledge", "compositional_skills_trial": "freeform_skill"}
    with usable_recipes():
        mix_samples(trial, {name: [row | {"leaf_node_type": kind}] for name, kind in kinds.items()})
    shutil.rmtree(trial.part)


def system_prompt(model: Path) -> str:
    """The system message of every training sample: a Granite model's own, or a neutral one.

    As the ilab command has it (instructlab.common and .utils of 0.26), which tells Granite 3.1 by its context, and
    Granite 7B, of Llama's architecture, by its special tokens. instructlab-sdg's default is that of Granite 3.0.
    """
    config = json.loads((model / "config.json").read_text())
    if config.get("model_type", "").startswith("granite"):
        from instructlab.sdg.generate_data import _SYS_PROMPT

        return str(_SYS_PROMPT).replace(
            "-3.0-", "-3.1-" if config.get("max_position_embeddings", 0) > 1 << 16 else "-3.0-"
        )
    tokens = own_chat_template(model).tokens
    if {tokens[role].token for role in ("bos", "eos") if role in tokens} == {"<|begginingoftext|>", "<|endoftext|>"}:
        return GRANITE_7B
    return "You are a helpful assistant."

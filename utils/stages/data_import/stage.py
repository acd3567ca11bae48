"""Stage 2: base model, taxonomy and generated data come to the run's volume."""

import os
import shutil
import time
from dataclasses import dataclass

from utils.stages.authorities import ca_bundle
from utils.stages.chat_template.choice import choose_chat_template
from utils.stages.credentials import object_store_settings
from utils.stages.data_import.git import check_taxonomy_source, clone_taxonomy, head_commit
from utils.stages.data_import.tree import (
    assemble_tree,
    check_base_model,
    download_archive,
    fetch_model,
    import_folder,
)
from utils.stages.marker import change_result, finished_result, inputs_hash, write_marker
from utils.stages.object_store import object_stat, s3_client
from utils.stages.train.training import require_training_room


@dataclass(frozen=True)
class DataImport:
    """What the stage is given: the parameters of the component `data_import`."""

    data_dir: str
    object_store_secret_dir: str
    ca_file: str
    base_model: str
    taxonomy_url: str
    taxonomy_branch: str
    taxonomy_pr: int
    taxonomy_commit: str
    taxonomy_secret_dir: str
    chat_template: str
    force: bool


def import_data(given: DataImport) -> dict[str, float]:
    """Import what the run starts from, unless that is done, and leave the marker; returns the stage's metrics."""
    started, measured = time.time(), dict[str, float]()
    check_base_model(given.base_model)
    check_taxonomy_source(given.taxonomy_url, given.taxonomy_branch, given.taxonomy_pr, given.taxonomy_commit)
    named = {"model": given.base_model, "taxonomy": given.taxonomy_url}
    from_archive = [part for part, source in named.items() if not source]
    ca, settings, client, archive = ca_bundle(given.ca_file), {}, None, {}
    if from_archive or given.base_model.startswith("s3://"):
        settings = object_store_settings(given.object_store_secret_dir)
        client = s3_client(settings, ca)
    if from_archive:
        archive = object_stat(settings, client, settings["data_key"])
    inputs = {
        "archive": archive,
        "base_model": given.base_model,
        "taxonomy": [given.taxonomy_url, given.taxonomy_branch, given.taxonomy_pr, given.taxonomy_commit],
    }
    result = finished_result(given.data_dir, "data_import", inputs, given.force)
    if result is None:
        work = import_folder(given.data_dir, inputs_hash(inputs))
        result = {"archive": "", "sha256": "", "size": 0, "check": "", "model_source": given.base_model or "archive"}
        if archive:
            result |= download_archive(settings, client, archive, os.path.join(work, "archive"))
        if given.base_model:
            fetch_model(given.base_model, settings, client, os.path.join(work, "model"))
        if given.taxonomy_url:
            choice = (given.taxonomy_url, given.taxonomy_branch, given.taxonomy_pr, given.taxonomy_commit)
            clone_taxonomy(*choice, given.taxonomy_secret_dir, ca, os.path.join(work, "taxonomy"))
        outputs = assemble_tree(work, from_archive, given.data_dir)
        result["taxonomy_commit"] = head_commit(os.path.join(given.data_dir, "taxonomy"))
        result["data_generated_elsewhere"] = "sdg" in outputs
        shutil.rmtree(work)
        write_marker(given.data_dir, "data_import", inputs, outputs, result, started)
    # Not among the inputs: synthetic data does not depend on it.
    template = choose_chat_template(given.data_dir, given.chat_template)
    if result.get("chat_template") != template:
        change_result(given.data_dir, "data_import", {"chat_template": template})
    print(f"chat template: {template['name']} ({template['why']})\n{template['example']}", flush=True)
    require_training_room(given.data_dir)
    measured["imported_archive_bytes"] = result["size"]
    measured["imported_samples_given"] = float(result["data_generated_elsewhere"])
    return measured

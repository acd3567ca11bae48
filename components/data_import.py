"""Stage 2, data import."""

from kfp import dsl

from components.stage import stage
from utils.images import NOTEBOOK
from utils.stages.authorities import ca_bundle
from utils.stages.credentials import object_store_settings
from utils.stages.data_import.chat_template import choose_chat_template
from utils.stages.data_import.git import check_taxonomy_source, clone_taxonomy, head_commit
from utils.stages.data_import.tree import assemble_tree, check_base_model, download_archive, fetch_model, import_folder
from utils.stages.marker import change_result, finished_result, inputs_hash, write_marker
from utils.stages.object_store import object_stat, s3_client
from utils.stages.train.training import require_training_room


@stage(image=NOTEBOOK)
def data_import(
    data_dir: str,
    object_store_secret_dir: str,
    ca_file: str,
    base_model: str,
    taxonomy_url: str,
    taxonomy_branch: str,
    taxonomy_pr: int,
    taxonomy_commit: str,
    taxonomy_secret_dir: str,
    chat_template: str,
    force: bool,
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Brings the base model, the taxonomy and, if there are, generated data to the run's volume, verified.

    They come in one archive, a gzip tar with model/, taxonomy/ and optionally data/, from the object store. The
    download goes on where it broke off; its sha256 (from the object KEY.sha256 or the metadata sha256), else its ETag
    and size, are checked. A base model or a taxonomy named below is taken from there, not from the archive; with both
    named, no archive is needed. A volume too small for the checkpoints of training fails the stage here, before the
    first GPU is used; so does a chat template in which no conversation can be written.

    Args:
        data_dir: The run's volume.
        object_store_secret_dir: Folder of the object store's Secret: bucket, access_key, secret_key, data_key;
            optional endpoint, region, verify_tls.
        ca_file: PEM file of additional certificate authorities; may be missing.
        base_model: s3://bucket/prefix (same endpoint and keys) or the absolute path of a folder in Hugging Face
            layout; blank for the archive's model/.
        taxonomy_url: Git repository of the taxonomy, https or ssh; blank for the archive's taxonomy/.
        taxonomy_branch: Branch or tag to check out; blank for the default branch.
        taxonomy_pr: Number of the pull request to check out; 0 for none.
        taxonomy_commit: Commit to check out; blank for none. At most one of branch, pr and commit.
        taxonomy_secret_dir: Folder of the repository's Secret: username and password, or ssh-privatekey and
            known_hosts; may be missing.
        chat_template: What conversations are written in; blank for the tokenizer's own and, where it has none, the
            library's for the model's family. Else ibm_generic_tmpl, ibm_legacy_tmpl, mistral_tmpl, or the path of a
            Python file of the library's form, which is read and not executed.
        force: Import again although this volume holds an import of something else.
        metrics: Size of the archive in bytes, and whether it brought generated data (1 or 0).
    """
    import os
    import shutil
    import time

    started = time.time()
    check_base_model(base_model)
    check_taxonomy_source(taxonomy_url, taxonomy_branch, taxonomy_pr, taxonomy_commit)
    from_archive = [part for part, given in (("model", base_model), ("taxonomy", taxonomy_url)) if not given]
    ca, settings, client, archive = ca_bundle(ca_file), {}, None, {}
    if from_archive or base_model.startswith("s3://"):
        settings = object_store_settings(object_store_secret_dir)
        client = s3_client(settings, ca)
    if from_archive:
        archive = object_stat(settings, client, settings["data_key"])
    inputs = {
        "archive": archive,
        "base_model": base_model,
        "taxonomy": [taxonomy_url, taxonomy_branch, taxonomy_pr, taxonomy_commit],
    }
    result = finished_result(data_dir, "data_import", inputs, force)
    if result is None:
        work = import_folder(data_dir, inputs_hash(inputs))
        result = {"archive": "", "sha256": "", "size": 0, "check": "", "model_source": base_model or "archive"}
        if archive:
            result |= download_archive(settings, client, archive, os.path.join(work, "archive"))
        if base_model:
            fetch_model(base_model, settings, client, os.path.join(work, "model"))
        if taxonomy_url:
            choice = (taxonomy_url, taxonomy_branch, taxonomy_pr, taxonomy_commit)
            clone_taxonomy(*choice, taxonomy_secret_dir, ca, os.path.join(work, "taxonomy"))
        outputs = assemble_tree(work, from_archive, data_dir)
        result["taxonomy_commit"] = head_commit(os.path.join(data_dir, "taxonomy"))
        result["data_generated_elsewhere"] = "sdg" in outputs
        shutil.rmtree(work)
        write_marker(data_dir, "data_import", inputs, outputs, result, started)
    # Not among the inputs: synthetic data does not depend on it.
    template = choose_chat_template(data_dir, chat_template)
    if result.get("chat_template") != template:
        change_result(data_dir, "data_import", {"chat_template": template})
    print(f"chat template: {template['name']} ({template['why']})\n{template['example']}", flush=True)
    require_training_room(data_dir)
    metrics.log_metric("imported_archive_bytes", result["size"])
    metrics.log_metric("imported_samples_given", float(result["data_generated_elsewhere"]))

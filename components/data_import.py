"""Stage 2, data import."""

from kfp import dsl

from components.stage import stage
from utils.images import NOTEBOOK


@stage(image=NOTEBOOK)
def data_import(
    data_dir: str,
    store_secret_dir: str,
    data_key: str,
    ca_file: str,
    base_model: str,
    taxonomy_url: str,
    taxonomy_branch: str,
    taxonomy_pr: int,
    taxonomy_commit: str,
    taxonomy_secret_dir: str,
    chat_template: str,
    force: bool,
    checkpoint_dtype: str,
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Import and verify the base model, the taxonomy and, if present, generated data into the run's volume.

    They come from the object store in one archive, a gzip tar with model/, taxonomy/ and optionally data/. An
    interrupted download resumes where it stopped. The download is verified by its sha256 (from the object KEY.sha256 or
    the metadata sha256), or else by its ETag and size. A base model or a taxonomy named below replaces that of the
    archive; if both are named, no archive is needed. The stage fails before any GPU is used if the volume is too small
    for the checkpoints of training, or if no conversation can be written in the chat template.

    Args:
        data_dir: The run's volume.
        store_secret_dir: Folder of the object store's Secret: bucket, access_key, secret_key, data_key;
            optional endpoint, region, verify_tls.
        data_key: Key of the imported archive, or its path on one machine; blank for the Secret's data_key.
        ca_file: PEM file with additional certificate authorities; may be missing.
        base_model: s3://bucket/prefix (same endpoint and keys) or the absolute path of a folder in Hugging Face
            layout; blank for the archive's model/.
        taxonomy_url: Git repository of the taxonomy, https or ssh, or a folder on one machine; blank for the archive's
            taxonomy/.
        taxonomy_branch: Branch or tag to check out; blank for the default branch.
        taxonomy_pr: Number of the pull request to check out; 0 for none.
        taxonomy_commit: Commit to check out; blank for none. At most one of branch, pr and commit.
        taxonomy_secret_dir: Folder of the repository's Secret: username and password, or ssh-privatekey and
            known_hosts; may be missing.
        chat_template: Chat template for conversations: ibm_generic_tmpl, ibm_legacy_tmpl, mistral_tmpl, or the path of
            a Python file in the library's format, which is parsed and not executed. Blank for the tokenizer's own or,
            if it has none, the library's for the model family.
        force: Import again if the volume holds an import of other inputs.
        checkpoint_dtype: Type of the weights in checkpoints, which decides their size; auto for the base model's.
        metrics: Size of the archive in bytes, and whether it contained generated data (1 or 0).
    """
    from utils.stages.data_import.stage import DataImport, import_data

    given = DataImport(
        data_dir,
        store_secret_dir,
        data_key,
        ca_file,
        base_model,
        taxonomy_url,
        taxonomy_branch,
        taxonomy_pr,
        taxonomy_commit,
        taxonomy_secret_dir,
        chat_template,
        force,
        checkpoint_dtype,
    )
    for metric, value in import_data(given).items():
        metrics.log_metric(metric, value)

"""Stage 2, data import."""

from kfp import dsl

from components.stage import stage
from utils.images import NOTEBOOK


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
    from utils.stages.code import put_on_volume
    from utils.stages.data_import.stage import DataImport, import_data

    put_on_volume(data_dir)
    given = DataImport(
        data_dir,
        object_store_secret_dir,
        ca_file,
        base_model,
        taxonomy_url,
        taxonomy_branch,
        taxonomy_pr,
        taxonomy_commit,
        taxonomy_secret_dir,
        chat_template,
        force,
    )
    for metric, value in import_data(given).items():
        metrics.log_metric(metric, value)

"""Stage 1, prerequisites."""

from kfp import dsl

from components.stage import stage
from utils.images import NOTEBOOK


@stage(image=NOTEBOOK)
def prerequisites(
    data_dir: str,
    run_id: str,
    object_store_secret_dir: str,
    teacher_secret_dir: str,
    judge_secret_dir: str,
    taxonomy_secret_dir: str,
    ca_file: str,
    base_model: str,
    taxonomy_url: str,
    taxonomy_branch: str,
    taxonomy_pr: int,
    taxonomy_commit: str,
    sdg_data_key: str,
    output_data_key: str,
    sdg_pipeline: str,
    sdg_teacher_family: str,
    train_launcher: str,
    eval_engine: str,
    k8s_queue: str,
    labelled_queue: str,
    retry_seconds: float,
    findings: dsl.Output[dsl.Markdown],
) -> None:
    """Check everything that can be checked before a GPU is used; report all findings at once, each with its remedy.

    The checks: parameters are in range and consistent; the Secrets have their keys; teacher and judge answer a real
    completion request (three tries); the object store has the archive and accepts uploads; the taxonomy's repository
    answers; the API server accepts the training job and the GPU pods in a dry run; the software for training and
    serving is available; the service account has the permissions that the run needs. Inputs have the same meaning as
    the pipeline's parameters with the same names; the task reads the values of all others from the run.

    The run's volume is mounted because this task brings the code of all later stages to it. If a check fails, nothing
    else is on the volume.

    Args:
        data_dir: The run's volume.
        run_id: id of the run.
        teacher_secret_dir: Folder of the teacher's Secret: endpoint, model_name, api_token. The judge's is the same.
        ca_file: PEM file with additional certificate authorities; may be missing.
        labelled_queue: Queue in the labels of evaluation's pods; empty for none.
        retry_seconds: Pause before the second try of a model server; each try waits six times as long for the answer.
        findings: The table of findings.
    """
    from utils.stages.code import put_on_volume
    from utils.stages.prerequisites.stage import Prerequisites, check_run
    from utils.stages.run_parameters import run_parameters

    put_on_volume(data_dir)
    check_run(
        Prerequisites(
            data_dir,
            run_id,
            object_store_secret_dir,
            teacher_secret_dir,
            judge_secret_dir,
            taxonomy_secret_dir,
            ca_file,
            base_model,
            taxonomy_url,
            taxonomy_branch,
            taxonomy_pr,
            taxonomy_commit,
            sdg_data_key,
            output_data_key,
            sdg_pipeline,
            sdg_teacher_family,
            train_launcher,
            eval_engine,
            k8s_queue,
            labelled_queue,
            retry_seconds,
        ),
        run_parameters(),
        findings.path,
    )

"""Stage 1, prerequisites."""

from kfp import dsl

from components.stage import stage
from utils.images import NOTEBOOK


@stage(image=NOTEBOOK)
def prerequisites(
    data_dir: str,
    run_id: str,
    store_secret_dir: str,
    teacher_secret_dir: str,
    judge_secret_dir: str,
    taxonomy_secret_dir: str,
    ca_file: str,
    labelled_queue: str,
    retry_seconds: float,
    findings: dsl.Output[dsl.Markdown],
) -> None:
    """Check everything that can be checked before a GPU is used; report all findings at once, each with its remedy.

    The checks: parameters are in range and consistent; the Secrets have their keys; teacher and judge answer a real
    completion request (three tries); the object store has the archive and accepts uploads; the taxonomy's repository
    answers; the API server accepts the training job and the GPU pods in a dry run; the software for training and
    serving is available; the service account has the permissions that the run needs. The task reads the values of the
    pipeline's parameters from the run.

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
            store_secret_dir,
            teacher_secret_dir,
            judge_secret_dir,
            taxonomy_secret_dir,
            ca_file,
            labelled_queue,
            retry_seconds,
        ),
        run_parameters(),
        findings.path,
    )

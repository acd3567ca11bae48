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
    secret_names: str,
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
    sdg_max_batch_len: int,
    sdg_held_out_fraction: float,
    sdg_checks: dict,
    sdg_review: str,
    train_num_workers: int,
    train_gpu_per_worker: int,
    train_gpu_identifier: str,
    train_cpu_per_worker: str,
    train_memory_per_worker: str,
    train_tolerations: list,
    train_node_selectors: dict,
    train_num_epochs_phase_1: int,
    train_num_epochs_phase_2: int,
    train_effective_batch_size_phase_1: int,
    train_effective_batch_size_phase_2: int,
    train_learning_rate_phase_1: float,
    train_learning_rate_phase_2: float,
    train_num_warmup_steps_phase_1: int,
    train_num_warmup_steps_phase_2: int,
    train_save_samples: int,
    train_max_batch_len: int,
    train_max_seq_len: int,
    train_seed: int,
    train_keep_checkpoints: int,
    train_pending_timeout: str,
    train_timeout: str,
    train_grace_period: str,
    mt_bench_max_workers: str,
    mt_bench_max_questions: int,
    mt_bench_max_error_rate: float,
    mt_bench_audit: int,
    final_eval_max_workers: str,
    final_eval_few_shots: int,
    final_eval_batch_size: str,
    final_eval_max_questions: int,
    mmlu_tasks: list,
    gate_min_mt_bench: float,
    gate_max_error_rate: float,
    gate_confidence: float,
    gate_max_regression: dict,
    eval_gpu_identifier: str,
    eval_gpus: str,
    eval_server_arguments: list,
    k8s_storage_size: str,
    k8s_keep_volume: str,
    k8s_queue_timeout: str,
    findings: dsl.Output[dsl.Markdown],
) -> None:
    """Check everything that can be checked before a GPU is used; report all findings at once, each with its remedy.

    The checks: parameters are in range and consistent (sdg checks its own before it asks the teacher); the Secrets have
    their keys; teacher and judge answer a real completion request (three tries); the object store has the archive and
    accepts uploads; the taxonomy's repository answers; the API server accepts the training job and the GPU pods in a
    dry run; the software for training and serving is available; the service account has the permissions that the run
    needs. Parameters have the same meaning as those of the pipeline with the same names.

    The run's volume is mounted because this task brings the code of all later stages to it. If a check fails, nothing
    else is on the volume.

    Args:
        data_dir: The run's volume.
        run_id: id of the run.
        teacher_secret_dir: Folder of the teacher's Secret: endpoint, model_name, api_token. The judge's is the same.
        secret_names: Names of these four Secrets in this order, and of the ConfigMap of ca_file, separated by commas.
        ca_file: PEM file with additional certificate authorities; may be missing.
        labelled_queue: Queue in the labels of evaluation's pods; empty for none.
        retry_seconds: Pause before the second try of a model server; each try waits six times as long for the answer.
        findings: The table of findings.
    """
    from utils.stages.code import put_on_volume
    from utils.stages.prerequisites.stage import Prerequisites, check_run

    put_on_volume(data_dir)
    check_run(
        Prerequisites(
            data_dir,
            run_id,
            object_store_secret_dir,
            teacher_secret_dir,
            judge_secret_dir,
            taxonomy_secret_dir,
            secret_names,
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
        locals(),
        findings.path,
    )

"""Stage 1, prerequisites."""

from kfp import dsl

from components.stage import stage
from utils.images import NOTEBOOK
from utils.stages.authorities import ca_bundle, certificates_of
from utils.stages.data_import.tree import check_base_model
from utils.stages.prerequisites.checks import (
    check_backends,
    check_model_server,
    check_object_store,
    check_rights,
    check_taxonomy_repo,
    check_teacher,
    findings_table,
    outcome_of_checks,
    run_checks,
)
from utils.stages.prerequisites.parameters import check_object_names, check_parameters, object_names
from utils.stages.prerequisites.queues import check_queue
from utils.stages.prerequisites.storage import check_storage


@stage(image=NOTEBOOK)
def prerequisites(
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
    sdg_pipeline: str,
    sdg_scale_factor: int,
    sdg_sample_size: float,
    sdg_batch_size: int,
    sdg_num_workers: int,
    sdg_max_batch_len: int,
    sdg_held_out_fraction: float,
    train_launcher: str,
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
    mt_bench_max_workers: str,
    mt_bench_max_questions: int,
    mt_bench_max_error_rate: float,
    final_eval_max_workers: str,
    final_eval_few_shots: int,
    final_eval_batch_size: str,
    final_eval_max_questions: int,
    gate_min_mt_bench: float,
    gate_max_error_rate: float,
    eval_engine: str,
    eval_gpu_identifier: str,
    k8s_storage_class_name: str,
    k8s_storage_size: str,
    k8s_keep_volume: str,
    k8s_queue: str,
    k8s_queue_timeout: str,
    labelled_queue: str,
    retry_seconds: float,
    findings: dsl.Output[dsl.Markdown],
) -> None:
    """Checks all that can be known before a GPU is used, and reports every finding at once, each with its remedy.

    Parameters are in range and consistent; the Secrets have their keys; teacher and judge answer a real completion
    (three tries); the object store has the archive and takes uploads; the taxonomy's repository answers; the storage
    class can give many pods one volume; what trains and serves is there; the account may do what the run does.
    Parameters mean the same as those of the pipeline with these names.

    Args:
        teacher_secret_dir: Folder of the teacher's Secret: endpoint, model_name, api_token. The judge's is alike.
        secret_names: Names of these four Secrets in this order, and of the ConfigMap of ca_file, with commas between.
        ca_file: PEM file of additional certificate authorities; may be missing.
        labelled_queue: Queue that the labels of evaluation's pods name; empty for none.
        retry_seconds: Pause before the second try of a model server; a try waits six times as long for its answer.
        findings: The table of findings.
    """
    import os

    given = dict(locals())
    names = secret_names.split(",")
    mounted = dict(zip(object_names(), names, strict=True)) if os.environ.get("KUBERNETES_SERVICE_HOST") else {}
    ca = ca_bundle(ca_file, strict=False)
    archive = not base_model or not taxonomy_url
    source = (taxonomy_url, taxonomy_branch, taxonomy_pr, taxonomy_commit, taxonomy_secret_dir, ca)
    checks = {
        "parameters": lambda: [
            *check_parameters(given),
            *check_object_names(mounted, on_kfp="KFP_POD_NAME" in os.environ),
        ],
        "certificate authorities": lambda: certificates_of(ca_file) and [],
        "queue": lambda: check_queue(k8s_queue, labelled_queue),
        "base model": lambda: check_base_model(base_model),
        "taxonomy": lambda: check_taxonomy_repo(*source),
        "object store": lambda: check_object_store(object_store_secret_dir, ca, base_model, taxonomy_url),
        "teacher": lambda: check_teacher(teacher_secret_dir, ca, retry_seconds, archive),
        "judge": lambda: check_model_server("judge", "chat/completions", judge_secret_dir, ca, retry_seconds),
        "storage": lambda: check_storage(k8s_storage_class_name),
        "rights": lambda: check_rights(train_launcher),
        "training and serving": lambda: check_backends(train_launcher, eval_engine, sdg_pipeline),
    }
    found = run_checks(checks)
    folders = [object_store_secret_dir, teacher_secret_dir, judge_secret_dir, taxonomy_secret_dir]
    folders.append(os.path.dirname(ca_file))
    for finding in found:
        for name, folder in zip(names, folders, strict=True):
            finding["problem"] = finding["problem"].replace(f"mounted at {folder}", f"{name} mounted at {folder}")
    table = findings_table(list(checks), found)
    print(table, flush=True)
    with open(findings.path, "w") as file:
        file.write(table)
    error = outcome_of_checks(found)
    if error:
        raise error

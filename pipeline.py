"""The InstructLab workflow as one DAG: its parameters, tasks and edges.

`python pipeline.py` compiles it to pipeline.yaml; `python pipeline.py run -e EXPERIMENT -r RUN -p NAME=VALUE`
submits it to a Kubeflow Pipelines server.
"""

from kfp import dsl, kubernetes

from components.clean_up import clean_up
from components.create_volume import create_volume
from components.data_import import data_import
from components.data_processing import data_processing
from components.final_eval import final_eval
from components.mt_bench import mt_bench
from components.prerequisites import prerequisites
from components.publish import publish
from components.report import report
from components.sdg import sdg
from components.stage import named
from components.train import train
from utils.images import INSTRUCTLAB, NOTEBOOK
from utils.names import API_LABEL
from utils.stages.train.late import RETRIES
from utils.stages.writable import HOME, HOME_FOLDERS

# Where a task's container sees the run's volume, the Secrets and the certificate. A runner may put them elsewhere:
# components get every path as a parameter.
DATA = "/data"
OBJECT_STORE = "/mnt/object-store"
TEACHER = "/mnt/teacher"
JUDGE = "/mnt/judge"
TAXONOMY_REPO = "/mnt/taxonomy-repo"
CA = "/mnt/ca"

# Hours after which a started task's pod is ended: far above what the largest runs take, so that only a pod that hangs
# is ended. Everything within the stages has its own, shorter deadline.
CHECK_HOURS = 2  # waits minutes for model servers, five minutes for the API server
COPY_HOURS = 48  # a model and its archive over a slow connection
GPU_HOURS = 14 * 24  # every leaf of a large taxonomy with the teacher; every checkpoint with the judge
TRAIN_HOURS = 100 * 24  # far above train_pending_timeout and train_timeout, which end a phase

# A task that runs for hours or days may lose its pod: to a node's upgrade, memory, a fault of a library. The stage
# continues where it stopped. Services that are away are waited for inside the stages (utils/stages/patience.py), so an
# attempt that fails for a cause that stays ends soon; a training that took too long is not repeated (train/late.py).
# Argo repeats pods that failed, not those that were deleted before it saw them fail (retryPolicy OnFailure, its
# default; KFP sets none). Each attempt adds to the Workflow: utils/lint/size.py.
RETRY_PAUSE = "60s"  # twice that before the second
# None starts later than this after the start of the first attempt, and pods of later ones end then, too (Argo 3.5 to
# 3.7, processNodeRetries in workflow/controller/operator.go). KFP's default is an hour.
RETRY_WINDOW = f"{TRAIN_HOURS * (RETRIES + 1)}h"

# The server replaces it only if it is the entire value of an input.
RUN_ID = dsl.PIPELINE_JOB_ID_PLACEHOLDER


def mount_secret(name: str, folder: str, *tasks: dsl.PipelineTask) -> None:
    """Mount a Secret by name into tasks; a missing Secret becomes a finding instead of a pod that never starts."""
    for task in tasks:
        kubernetes.use_secret_as_volume(task, secret_name=name, mount_path=folder, optional=True)


@dsl.pipeline(
    name="ilab",
    description="InstructLab: synthetic data from a taxonomy, two training phases, scores by a judge, a better model.",
)
def ilab_pipeline(
    # Data
    sdg_object_store_secret: str = "sdg-object-store-credentials",
    sdg_data_key: str = "",
    sdg_base_model: str = "",
    sdg_repo_url: str = "",
    sdg_repo_branch: str = "",
    sdg_repo_pr: int = 0,
    sdg_repo_commit: str = "",
    sdg_repo_secret: str = "taxonomy-repo-secret",
    force_pull: bool = False,
    # Synthetic data
    sdg_teacher_secret: str = "teacher-secret",
    sdg_pipeline: str = "/usr/share/instructlab/sdg/pipelines/agentic",
    sdg_teacher_family: str = "auto",
    sdg_scale_factor: int = 30,
    sdg_sample_size: float = 1.0,
    sdg_batch_size: int = 32,
    sdg_num_workers: int = 8,
    sdg_samples_per_skill: int = 0,
    sdg_held_out_seeds: int = 0,
    sdg_system_prompt: str = "",
    # Data processing
    sdg_max_batch_len: int = 5000,
    sdg_held_out_fraction: float = 0.05,
    sdg_checks: dict = {},  # noqa: B006
    sdg_review: str = "off",
    # Training
    train_launcher: str = "auto",
    train_strategy: str = "phased",
    train_algorithm: str = "sft",
    train_algorithm_options: dict = {},  # noqa: B006
    train_num_workers: int = 2,
    train_gpu_per_worker: int = 2,
    train_gpu_identifier: str = "nvidia.com/gpu",
    train_cpu_per_worker: str = "2",
    train_memory_per_worker: str = "250Gi",
    train_tolerations: list = [],  # noqa: B006 - KFP reads the default, nothing changes it
    train_node_selectors: dict = {},  # noqa: B006
    train_model_phase_1: str = "",
    train_model_phase_2: str = "",
    train_chat_template: str = "",
    train_num_epochs_phase_1: int = 7,
    train_num_epochs_phase_2: int = 10,
    train_effective_batch_size_phase_1: int = 128,
    train_effective_batch_size_phase_2: int = 3840,
    train_learning_rate_phase_1: float = 2e-5,
    train_learning_rate_phase_2: float = 6e-6,
    train_num_warmup_steps_phase_1: int = 1000,
    train_num_warmup_steps_phase_2: int = 1000,
    train_save_samples: int = 250000,
    train_max_batch_len: int = 5000,
    train_max_seq_len: int = 4096,
    train_seed: int = 42,
    train_keep_checkpoints: int = 0,
    train_cpu_offload: bool = True,
    train_progress: bool = True,
    train_image: str = INSTRUCTLAB,
    train_flash_attention: bool = True,
    train_checkpoint_dtype: str = "auto",
    train_mirror_states: bool = False,
    train_pending_timeout: str = "60m",
    train_timeout: str = "168h",
    train_grace_period: str = "300s",
    # Evaluation
    eval_judge_secret: str = "judge-secret",
    eval_engine: str = "vllm",
    eval_gpu_identifier: str = "nvidia.com/gpu",
    eval_gpus: str = "1",
    eval_server_arguments: list = [],  # noqa: B006
    eval_answer_options: dict = {},  # noqa: B006
    eval_judge_options: dict = {},  # noqa: B006
    mt_bench_max_workers: str = "auto",
    mt_bench_merge_system_user_message: bool = False,
    mt_bench_max_questions: int = 0,
    mt_bench_max_error_rate: float = 0.25,
    mt_bench_audit: int = 40,
    final_eval_max_workers: str = "auto",
    final_eval_few_shots: int = 5,
    final_eval_batch_size: str = "auto",
    final_eval_merge_system_user_message: bool = False,
    final_eval_max_questions: int = 0,
    mmlu_tasks: list = [],  # noqa: B006
    eval_tasks: list = [],  # noqa: B006
    final_eval_reuse_base: bool = True,
    # Publication and report
    gate_min_mt_bench: float = 0.0,
    gate_max_error_rate: float = 1.0,
    gate_require_improvement: bool = False,
    gate_confidence: float = 0.95,
    gate_max_regression: dict = {},  # noqa: B006
    output_data_key: str = "",
    report_notes: list = [],  # noqa: B006
    # Kubernetes
    k8s_storage_class_name: str = "",
    k8s_storage_size: str = "100Gi",
    k8s_keep_volume: str = "on_failure",
    k8s_ca_configmap: str = "odh-trusted-ca-bundle",
    k8s_ca_key: str = "ca-bundle.crt",
    k8s_queue: str = "",
    k8s_queue_timeout: str = "24h",
) -> None:
    """Train a model on a taxonomy, compare it with the base model, and publish it with a report.

    Args:
        sdg_object_store_secret: Object store's Secret, or a dashboard connection: bucket, access_key, secret_key,
            data_key; optional endpoint, region, verify_tls.
        sdg_data_key: Key of the archive with model and taxonomy in the bucket. Empty: the Secret's data_key. On one
            machine also a path: an archive, or a folder with the same content.
        sdg_base_model: Model to train: s3://BUCKET/PREFIX or a folder. Empty: model/ of the archive.
        sdg_repo_url: Git repository of the taxonomy (https or ssh). Empty: taxonomy/ of the archive. On one machine
            also a folder.
        sdg_repo_branch: Branch of the taxonomy. No branch, pull request or commit: the default branch.
        sdg_repo_pr: Pull request of the taxonomy, by number, instead of a branch. 0: none.
        sdg_repo_commit: Commit of the taxonomy, by hash, instead of a branch.
        sdg_repo_secret: Secret of a private taxonomy: username and password, or ssh-privatekey and known_hosts.
        force_pull: Repeat stages whose inputs have changed on a volume that already holds their results.
        sdg_teacher_secret: Secret of the teacher: endpoint, model_name, api_token.
        sdg_pipeline: How samples are generated: simple, full, or a folder of SDG pipeline YAML.
        sdg_teacher_family: Format of prompts: chat (of the teacher's server), mixtral, mistral, llama, granite,
            merlinite, blank, or auto: what model_name or /v1/models says for certain, else chat.
        sdg_scale_factor: Samples per seed example in blocks with `n: scaled`, as in simple; full and llama ignore it.
        sdg_sample_size: Fraction of the image's precomputed skills to mix in. 0: none; 1: as its recipe says.
        sdg_batch_size: Completions per request to the teacher, 1 to 4096.
        sdg_num_workers: Batches for the teacher at a time, of all leaves, 1 to 10. Fewer while it answers 429.
        sdg_samples_per_skill: Samples of each skill leaf to train on, drawn from those generated. 0: all, once.
        sdg_held_out_seeds: Seed examples of each leaf that the teacher does not see; they become held-out questions.
            One always stays with the teacher. No effect on data from an archive.
        sdg_system_prompt: System message of all training samples. Empty: Granite's own for Granite, else neutral.
        sdg_max_batch_len: Longest sample that data processing keeps, in tokens.
        sdg_held_out_fraction: Fraction of the samples kept for evaluation and never trained on, 0 to 0.5.
        sdg_checks: Limits of the checks of samples that differ from the defaults: near_duplicates (0.9; 1: off),
            overlap_words (13; 0: off), min_answer (1 letter), max_foreign_letters (0.5; 1: off), drop_refusals (true),
            max_dropped (0.9 of a leaf: more is an error).
        sdg_review: stop: before training, the run waits until someone has accepted, rejected or edited the samples;
            ilab-pipeline review shows them. off: it does not.
        train_launcher: trainjob (Kubeflow Trainer), pytorchjob (training operator), process (in the task itself, on
            all of its GPUs), or auto: TrainJobs where the cluster has them and the account may use them, else
            PyTorchJobs.
        train_strategy: phased: knowledge first, then skills, from the last checkpoint of knowledge. stacked: both data
            sets in one phase, from the base model, with the values of phase 2: each of its epochs repeats both.
        train_algorithm: sft trains all weights; osft only the directions of each matrix that the model uses least, and
            forgets less; lora small adapters, merged into each checkpoint. On H100, osft takes about ten times as long
            as sft. osft and lora need the training image of OpenShift AI 3.5 or newer: see docs/images.md.
        train_algorithm_options: Of osft: unfreeze_rank_ratio, the part of the directions that is trained (0.25). Of
            lora: r, the rank (16), and alpha (32).
        train_num_workers: Training pods (nodes), 1 or more. Not used by process.
        train_gpu_per_worker: GPUs per training pod. 0: train on CPU. Not used by process.
        train_gpu_identifier: Resource name of the GPUs.
        train_cpu_per_worker: CPUs per training pod, as a Kubernetes quantity.
        train_memory_per_worker: Memory per training pod, as a Kubernetes quantity.
        train_tolerations: List of Kubernetes tolerations for the GPU pods.
        train_node_selectors: Labels of the nodes that GPU pods may run on.
        train_model_phase_1: Model that phase 1 starts from, a folder on the volume. Empty: the base model.
        train_model_phase_2: The same for phase 2. Empty: the last checkpoint of phase 1, if any.
        train_chat_template: ibm_generic_tmpl, ibm_legacy_tmpl, mistral_tmpl, or a file on the volume. Empty: the
            model's own.
        train_num_epochs_phase_1: Passes over the knowledge data.
        train_num_epochs_phase_2: Passes over the skills data.
        train_effective_batch_size_phase_1: Samples per optimizer step in phase 1, over all GPUs.
        train_effective_batch_size_phase_2: Samples per optimizer step in phase 2, over all GPUs.
        train_learning_rate_phase_1: Peak learning rate of phase 1.
        train_learning_rate_phase_2: Peak learning rate of phase 2.
        train_num_warmup_steps_phase_1: Steps until phase 1 reaches its peak learning rate.
        train_num_warmup_steps_phase_2: Steps until phase 2 reaches its peak learning rate.
        train_save_samples: Samples between checkpoints within an epoch, in whole batches. 0: only after each epoch.
        train_max_batch_len: Tokens per micro-batch on one GPU; at least train_max_seq_len.
        train_max_seq_len: Longest sequence, in tokens.
        train_seed: Seed of training and of the held-out split.
        train_keep_checkpoints: Newest phase 2 checkpoints to keep, as far as the volume has space. 0: all.
        train_progress: Show the progress of TrainJobs in the dashboard: rank 0 tells it on port 28080.
        train_image: Image of the training pods, see docs/images.md. Not used by process.
        train_flash_attention: Train with flash attention where the GPUs and the image have it: not on T4, V100 or B200.
            Without it, training pads its samples and is slower.
        train_checkpoint_dtype: Type of the weights in checkpoints and the published model: bfloat16, float16, float32
            (twice the size), or auto: the base model's.
        train_mirror_states: Copy what training has saved to the object store, in training-states/ beside the archive,
            so that a run on a new volume with the same data continues there.
        train_cpu_offload: Keep optimizer state and parameters in CPU memory: slower, needs less GPU memory.
        train_pending_timeout: Longest wait for the training pods to start, like 60m or 2h.
        train_timeout: Longest training time of a phase, like 72h.
        train_grace_period: Time that training has to save its state when it is stopped or preempted, like 300s or 10m.
        eval_judge_secret: Secret of the judge: endpoint, model_name, api_token.
        eval_engine: Server for checkpoints during evaluation: vllm (GPU) or llama.cpp (CPU).
        eval_gpu_identifier: Resource name of the GPU that evaluation uses.
        eval_gpus: GPUs of each evaluation task, in quotes: "4" scores four checkpoints at a time, fewer where a model
            needs more than one GPU. On one machine all GPUs are used.
        eval_server_arguments: Arguments to add to vLLM's, as a list of words, such as ["--max-model-len", "8192"]. Not
            those that evaluation sets: model, its name, address, chat template.
        eval_answer_options: Fields to add to each request to a scored model, such as max_tokens.
        eval_judge_options: Fields to add to each request to the judge.
        mt_bench_max_workers: Parallel requests to each model in MT-Bench: a number, or auto: 64 per GPU, 64 to the
            judge.
        mt_bench_merge_system_user_message: Merge system and user message, for judges that accept no system message.
        mt_bench_max_questions: MT-Bench questions to ask, spread over the categories. 0: all 80.
        mt_bench_max_error_rate: Highest share of missing or unrated answers for an MT-Bench score to count, 0 to 1.
        mt_bench_audit: Judgments to ask the judge for twice, over all checkpoints; the report says how many ratings
            changed. 0: none.
        final_eval_max_workers: Parallel requests in the final evaluation, as mt_bench_max_workers.
        final_eval_few_shots: Solved examples before each multiple-choice question.
        final_eval_batch_size: Multiple-choice questions per batch: auto or a number.
        final_eval_merge_system_user_message: Merge system and user message, for judges that accept no system message.
        final_eval_max_questions: Taxonomy questions to ask in MT-Bench-branch. 0: all.
        mmlu_tasks: Standard MMLU tasks to add, such as mmlu_anatomy; their data are downloaded from a hub.
        eval_tasks: More tasks of the lm-evaluation-harness for both models, such as arc_easy, whose data are downloaded
            from a hub, or eval_tasks/NAME, a folder of task files in the archive.
        final_eval_reuse_base: Keep the base model's scores in the object store, in base-scores/ beside the archive, and
            take those of an earlier run with the same base model, questions, settings, library versions and GPU.
        gate_min_mt_bench: Lowest MT-Bench score to publish, 0 to 10. 0: any.
        gate_max_error_rate: Highest judge error rate to publish, 0 to 1. 1: any.
        gate_require_improvement: Publish only a candidate better than the base model in a comparison and worse in none,
            each by more than chance: its interval excludes zero.
        gate_confidence: Confidence of the intervals in gate and report, 0.5 to 0.999.
        gate_max_regression: Largest loss that the interval of a comparison may leave possible, in its score's unit,
            such as {"mmlu_branch": 0.02}; of likelihood, mmlu_branch, mmlu, mt_bench_branch, eval_NAME. Empty: any.
        output_data_key: Name of the published archive, after its timestamp. Empty: the Secret's data_key. On one
            machine also a new folder.
        report_notes: Remarks to show at the top of the report.
        k8s_storage_class_name: Storage class of the volume, with ReadWriteMany. Empty: the cluster's default.
        k8s_storage_size: Size of the volume. 7B model: 60Gi or more; 170Gi keeps 10 checkpoints.
        k8s_keep_volume: Keep the volume: never, always, or on_failure (failed, stopped, or rejected by the gate).
        k8s_ca_configmap: ConfigMap of more certificate authorities to trust, its name without dots. May be missing.
        k8s_ca_key: Key of the certificates (PEM) in that ConfigMap.
        k8s_queue: LocalQueue of Kueue for training; for evaluation too, compile with --queue. Empty: none.
        k8s_queue_timeout: Longest wait in the queue, like 24h.
    """
    ca_file = f"{CA}/{k8s_ca_key}"
    images = {"instructlab": INSTRUCTLAB, "notebook": NOTEBOOK}

    exit_task = clean_up(run_id=RUN_ID, keep_volume=k8s_keep_volume)

    with dsl.ExitHandler(exit_task):
        volume = create_volume(
            run_id=RUN_ID, size=k8s_storage_size, storage_class=k8s_storage_class_name, access_mode="ReadWriteMany"
        )
        checked = prerequisites(
            data_dir=DATA,
            run_id=RUN_ID,
            store_secret_dir=OBJECT_STORE,
            teacher_secret_dir=TEACHER,
            judge_secret_dir=JUDGE,
            taxonomy_secret_dir=TAXONOMY_REPO,
            ca_file=ca_file,
            labelled_queue="",  # `compile --queue` writes it
            retry_seconds=20.0,
        )
        imported = data_import(
            data_dir=DATA,
            store_secret_dir=OBJECT_STORE,
            data_key=sdg_data_key,
            ca_file=ca_file,
            base_model=sdg_base_model,
            taxonomy_url=sdg_repo_url,
            taxonomy_branch=sdg_repo_branch,
            taxonomy_pr=sdg_repo_pr,
            taxonomy_commit=sdg_repo_commit,
            taxonomy_secret_dir=TAXONOMY_REPO,
            chat_template=train_chat_template,
            checkpoint_dtype=train_checkpoint_dtype,
            force=force_pull,
        ).after(checked)
        generated = sdg(
            data_dir=DATA,
            teacher_secret_dir=TEACHER,
            ca_file=ca_file,
            sdg_pipeline=sdg_pipeline,
            teacher_family=sdg_teacher_family,
            scale_factor=sdg_scale_factor,
            sample_size=sdg_sample_size,
            batch_size=sdg_batch_size,
            num_workers=sdg_num_workers,
            system_prompt=sdg_system_prompt,
            samples_per_skill=sdg_samples_per_skill,
            held_out_seeds=sdg_held_out_seeds,
            force=force_pull,
        ).after(imported)
        processed = data_processing(
            data_dir=DATA,
            held_out_fraction=sdg_held_out_fraction,
            max_seq_len=train_max_seq_len,
            max_batch_len=sdg_max_batch_len,
            seed=train_seed,
            checks=sdg_checks,
            mmlu_tasks=mmlu_tasks,
            eval_tasks=eval_tasks,
            review=sdg_review,
            run_id=RUN_ID,
            store_secret_dir=OBJECT_STORE,
            ca_file=ca_file,
            force=force_pull,
        ).after(generated)

        every_phase = {
            "data_dir": DATA,
            "run_id": RUN_ID,
            "launcher": train_launcher,
            "image": train_image,
            "save_samples": train_save_samples,
            "max_batch_len": train_max_batch_len,
            "max_seq_len": train_max_seq_len,
            "seed": train_seed,
            "keep_checkpoints": train_keep_checkpoints,
            "cpu_offload": train_cpu_offload,
            "num_workers": train_num_workers,
            "gpu_per_worker": train_gpu_per_worker,
            "gpu_identifier": train_gpu_identifier,
            "cpu_per_worker": train_cpu_per_worker,
            "memory_per_worker": train_memory_per_worker,
            "tolerations": train_tolerations,
            "node_selectors": train_node_selectors,
            "volume_claim": volume.output,
            "queue": k8s_queue,
            "queue_timeout": k8s_queue_timeout,
            "pending_timeout": train_pending_timeout,
            "timeout": train_timeout,
            "force": force_pull,
            "progress": train_progress,
            "grace_period": train_grace_period,
            "flash_attention": train_flash_attention,
            "strategy": train_strategy,
            "algorithm": train_algorithm,
            "algorithm_options": train_algorithm_options,
            "checkpoint_dtype": train_checkpoint_dtype,
            "store_secret_dir": OBJECT_STORE,
        }
        phase_1 = named(train, "train-knowledge")(
            phase=1,
            model=train_model_phase_1,
            num_epochs=train_num_epochs_phase_1,
            effective_batch_size=train_effective_batch_size_phase_1,
            learning_rate=train_learning_rate_phase_1,
            num_warmup_steps=train_num_warmup_steps_phase_1,
            **every_phase,
        ).after(processed)
        phase_2 = named(train, "train-skills")(
            phase=2,
            model=train_model_phase_2,
            num_epochs=train_num_epochs_phase_2,
            effective_batch_size=train_effective_batch_size_phase_2,
            learning_rate=train_learning_rate_phase_2,
            num_warmup_steps=train_num_warmup_steps_phase_2,
            **every_phase,
        ).after(phase_1)

        every_evaluation = {
            "data_dir": DATA,
            "judge_secret_dir": JUDGE,
            "ca_file": ca_file,
            "engine": eval_engine,
            "answer_options": eval_answer_options,
            "judge_options": eval_judge_options,
            "max_error_rate": mt_bench_max_error_rate,
            "server_arguments": eval_server_arguments,
            "force": force_pull,
        }
        scored = mt_bench(
            max_workers=mt_bench_max_workers,
            merge_system_user_message=mt_bench_merge_system_user_message,
            max_questions=mt_bench_max_questions,
            audit=mt_bench_audit,
            **every_evaluation,
        ).after(phase_2)
        compared = final_eval(
            max_workers=final_eval_max_workers,
            few_shots=final_eval_few_shots,
            batch_size=final_eval_batch_size,
            merge_system_user_message=final_eval_merge_system_user_message,
            mmlu_tasks=mmlu_tasks,
            eval_tasks=eval_tasks,
            max_questions=final_eval_max_questions,
            store_secret_dir=OBJECT_STORE,
            data_key=sdg_data_key,
            reuse_base=final_eval_reuse_base,
            **every_evaluation,
        ).after(scored)
        published = publish(
            data_dir=DATA,
            run_id=RUN_ID,
            store_secret_dir=OBJECT_STORE,
            data_key=sdg_data_key,
            ca_file=ca_file,
            name=output_data_key,
            min_mt_bench=gate_min_mt_bench,
            max_error_rate=gate_max_error_rate,
            require_improvement=gate_require_improvement,
            confidence=gate_confidence,
            max_regression=gate_max_regression,
            images=images,
            force=force_pull,
        ).after(compared)
        reported = report(
            data_dir=DATA,
            run_id=RUN_ID,
            notes=report_notes,
            store_secret_dir=OBJECT_STORE,
            data_key=sdg_data_key,
            ca_file=ca_file,
            name=output_data_key,
        ).after(published)

        hours = {
            CHECK_HOURS: (volume, checked, reported, exit_task),
            COPY_HOURS: (imported, processed, published),
            GPU_HOURS: (generated, scored, compared),
            TRAIN_HOURS: (phase_1, phase_2),
        }
        for task in (generated, phase_1, phase_2, scored, compared):
            task.set_retry(RETRIES, RETRY_PAUSE, 2.0, RETRY_WINDOW)
        models = (generated, processed, scored, compared)
        for most, task in ((most, task) for most, tasks in hours.items() for task in tasks):
            # Never cached: each has an effect on the volume, the cluster or the object store.
            task.set_caching_options(False)
            kubernetes.set_timeout(task, most * 3600)
            for name, folder in (HOME_FOLDERS if task in models else HOME).items():
                task.set_env_variable(name, folder)
        for task in (exit_task, checked, volume, phase_1, phase_2, reported):
            # On plain Kubernetes only the pods with this label get the service account's token.
            kubernetes.add_pod_label(task, API_LABEL, "true")
        for task in (checked, imported, phase_1, phase_2, *models, published, reported):
            kubernetes.mount_pvc(task, pvc_name=volume.output, mount_path=DATA)
        stored = (checked, imported, processed, phase_1, phase_2, compared, published, reported)
        mount_secret(sdg_object_store_secret, OBJECT_STORE, *stored)
        mount_secret(sdg_repo_secret, TAXONOMY_REPO, checked, imported)
        mount_secret(sdg_teacher_secret, TEACHER, checked, generated)
        mount_secret(eval_judge_secret, JUDGE, checked, scored, compared)
        for task in (checked, imported, *models, published, reported):
            kubernetes.use_config_map_as_volume(task, config_map_name=k8s_ca_configmap, mount_path=CA, optional=True)
        for task in (scored, compared):
            task.set_accelerator_type(eval_gpu_identifier).set_accelerator_limit(eval_gpus)
            kubernetes.add_toleration_json(task, train_tolerations)
            kubernetes.add_node_selector_json(task, train_node_selectors)


if __name__ == "__main__":
    from utils.cli.submit import pipeline_main

    pipeline_main(ilab_pipeline)

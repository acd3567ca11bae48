"""Stage 7: a training phase; the pipeline has two, knowledge and then skills."""

from kfp import dsl

from components.stage import stage
from utils.images import NOTEBOOK


@stage(image=NOTEBOOK)
def train(
    data_dir: str,
    run_id: str,
    phase: int,
    launcher: str,
    image: str,
    model: str,
    num_epochs: int,
    effective_batch_size: int,
    learning_rate: float,
    num_warmup_steps: int,
    save_samples: int,
    max_batch_len: int,
    max_seq_len: int,
    seed: int,
    keep_checkpoints: int,
    cpu_offload: bool,
    num_workers: int,
    gpu_per_worker: int,
    gpu_identifier: str,
    cpu_per_worker: str,
    memory_per_worker: str,
    tolerations: list,
    node_selectors: dict,
    volume_claim: str,
    queue: str,
    queue_timeout: str,
    pending_timeout: str,
    timeout: str,
    force: bool,
    progress: bool,
    grace_period: str,
    flash_attention: bool,
    strategy: str,
    checkpoint_dtype: str,
    algorithm: str,
    algorithm_options: dict,
    store_secret_dir: str,
    manifest: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Train one phase with instructlab.training, or with mini-trainer. A phase without data returns immediately.

    When restarted, an interrupted phase resumes from its last saved state: with instructlab-training 0.16 and newer, at
    the step where it was stopped if it had time to save, else after its last complete epoch.

    Args:
        data_dir: the run's volume; reads model/ or phase_1/, and processed/; writes phase_1/ or phase_2/.
        run_id: id of the run; the training job is named after it.
        phase: 1 trains the base model on knowledge, 2 the last checkpoint of phase 1 on skills.
        launcher: trainjob or pytorchjob (pods), process (in this task, on its GPUs or else its CPU), or auto (TrainJobs
            where the cluster has them and the account may use them, else PyTorchJobs).
        image: image of the training pods.
        model: folder of the model to start from, below data_dir; blank: model/ in phase 1, its last checkpoint in phase
            2.
        num_epochs: passes over the data; each leaves a checkpoint.
        effective_batch_size: samples per optimizer step, over all GPUs; at most the number of samples, at least that of
            GPUs.
        learning_rate: peak of the cosine schedule.
        num_warmup_steps: optimizer steps until the peak.
        save_samples: samples between additional checkpoints inside an epoch, in whole batches; 0: none.
        max_batch_len: tokens per micro-batch on one GPU; not below the longest sample.
        max_seq_len: tokens of the longest sample; not above max_batch_len.
        seed: seed of the order of samples.
        keep_checkpoints: number of newest checkpoints to keep; fewer if the volume lacks space. 0: all in phase 2, the
            last in phase 1.
        cpu_offload: keep parameters and optimizer state in CPU memory (FSDP).
        num_workers: number of training pods.
        gpu_per_worker: GPUs per pod; 0: train on CPU.
        gpu_identifier: resource name of the GPUs.
        cpu_per_worker: CPUs per pod, a Kubernetes quantity.
        memory_per_worker: memory per pod, a Kubernetes quantity.
        tolerations: tolerations of the pods.
        node_selectors: labels of the nodes the pods may run on.
        volume_claim: claim that the pods mount at data_dir.
        queue: LocalQueue of Kueue in which the training job waits; blank: none.
        queue_timeout: longest wait in the queue, like 24h.
        pending_timeout: longest wait for the pods to start, and of those that have started for the others, like 60m.
        timeout: longest training time, like 72h.
        force: train again if the inputs have changed.
        progress: let rank 0 of a TrainJob tell its progress on port 28080, for the dashboard.
        grace_period: time that training has to save its state when it is stopped, like 300s.
        flash_attention: use it where the GPU and the image have it.
        strategy: phased, or stacked: phase 2 trains the base model on the data of both phases, phase 1 is skipped.
        checkpoint_dtype: type of the weights in checkpoints: that of the base model (auto), bfloat16, float16, float32.
        algorithm: sft, osft or lora.
        algorithm_options: of osft (unfreeze_rank_ratio) or lora (r, alpha); what is not given has its default.
        store_secret_dir: folder of the object store's Secret, to which states may be copied; see mirror.py.
        manifest: the training job, or the command in this task.
        metrics: steps, first and last loss, samples, tokens/s.
    """
    from utils.stages.train.stage import TrainingPhase, train_phase

    given = TrainingPhase(
        data_dir,
        run_id,
        phase,
        launcher,
        image,
        model,
        num_epochs,
        effective_batch_size,
        learning_rate,
        num_warmup_steps,
        save_samples,
        max_batch_len,
        max_seq_len,
        seed,
        keep_checkpoints,
        cpu_offload,
        num_workers,
        gpu_per_worker,
        gpu_identifier,
        cpu_per_worker,
        memory_per_worker,
        tolerations,
        node_selectors,
        volume_claim,
        queue,
        queue_timeout,
        pending_timeout,
        timeout,
        force,
        progress,
        grace_period,
        flash_attention,
        strategy,
        checkpoint_dtype,
        algorithm,
        algorithm_options,
        store_secret_dir,
    )
    for metric, value in train_phase(given, manifest.path).items():
        metrics.log_metric(metric, value)

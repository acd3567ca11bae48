"""A training: what it is made of, and what torchrun is told."""

from dataclasses import dataclass

RENDEZVOUS = ["--node_rank=$(RANK)", "--rdzv_endpoint=$(MASTER_ADDR):$(MASTER_PORT)"]
"""How several nodes find each other: the training operator sets these variables, and Kubernetes fills them in."""


@dataclass(frozen=True)
class Training:
    """What a phase's training is made of. `training.json` in the phase's folder records it under these names.

    Attributes:
        model: path of the model to start from.
        data: path of data.jsonl.
        output: path of the phase's folder.
        rows: samples in data.jsonl.
        epochs: passes over them.
        batch: samples per optimizer step, over all GPUs.
        learning_rate: peak of the cosine schedule.
        warmup_steps: optimizer steps until the peak.
        save_samples: samples between checkpoints inside an epoch; 0: none.
        max_batch_len: tokens of a micro-batch on one GPU.
        seed: seed of the order of samples.
        keep: most checkpoints to keep, the newest; 0: all.
        cpu_offload: whether FSDP keeps parameters and optimizer in CPU memory.
        chat_template: path of its Python file; "": the tokenizer's own.
        nodes: machines or pods.
        gpus: GPUs of each node; 0: CPU.
        flash_attention: whether the library is there.
    """

    model: str
    data: str
    output: str
    rows: int
    epochs: int
    batch: int
    learning_rate: float
    warmup_steps: int
    save_samples: int
    max_batch_len: int
    seed: int
    keep: int
    cpu_offload: bool
    chat_template: str
    nodes: int
    gpus: int
    flash_attention: bool

    @property
    def steps(self) -> int:
        """Optimizer steps of all epochs."""
        return self.epochs * -(-self.rows // self.batch)


def torchrun_arguments(training: Training, full_state: bool) -> list[str]:
    """Arguments of torchrun; a pod and this machine run the same.

    On CPU, torchrun runs the file cpu_main_ds.py in the phase's folder instead of the library's module.

    Args:
        full_state: save after each epoch what is needed to resume from there.
    """
    gpus, offload = training.gpus, training.cpu_offload and training.gpus > 0
    return [
        f"--nnodes={training.nodes}",
        f"--nproc_per_node={gpus or 1}",
        *(RENDEZVOUS if training.nodes > 1 else ["--standalone"]),
        *(["-m", "instructlab.training.main_ds"] if gpus else [training.output + "/cpu_main_ds.py"]),
        f"--model_name_or_path={training.model}",
        f"--data_path={training.data}",
        f"--output_dir={training.output}",
        f"--num_epochs={training.epochs}",
        f"--effective_batch_size={training.batch}",
        f"--learning_rate={training.learning_rate}",
        f"--num_warmup_steps={training.warmup_steps}",
        f"--save_samples={training.save_samples}",
        f"--max_batch_len={training.max_batch_len}",
        f"--seed={training.seed}",
        "--log_level=INFO",
        "--distributed_training_framework=fsdp",
        *([f"--chat-tmpl-path={training.chat_template}"] if training.chat_template else []),
        "--checkpoint_at_epoch",
        *(["--accelerate_full_state_at_epoch"] if full_state else []),
        *(["--cpu_offload_params_fsdp", "--cpu_offload_optimizer"] if offload else []),
        *([] if gpus and training.flash_attention else ["--disable_flash_attn"]),
    ]

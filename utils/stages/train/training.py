"""A phase's parameters, the training that they ask for, and what torchrun is told."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.durations import parse_duration
from utils.messages import failure

HYPERPARAMETERS = (
    *("num_epochs", "effective_batch_size", "learning_rate", "num_warmup_steps"),
    *("save_samples", "max_batch_len", "seed"),
)
"""Parameters that the component and the library call by the same names."""
KINDS = ("knowledge", "skills")
RECORDED = {
    "num_epochs": "epochs",
    "effective_batch_size": "batch",
    "num_warmup_steps": "warmup_steps",
    "keep_checkpoints": "keep",
}
"""Parameters that have another name in `training.json`."""


@dataclass(frozen=True)
class TrainingPhase:
    """What the stage is given: the parameters of the component `train`."""

    data_dir: str
    run_id: str
    phase: int
    launcher: str
    image: str
    model: str
    num_epochs: int
    effective_batch_size: int
    learning_rate: float
    num_warmup_steps: int
    save_samples: int
    max_batch_len: int
    max_seq_len: int
    seed: int
    keep_checkpoints: int
    cpu_offload: bool
    num_workers: int
    gpu_per_worker: int
    gpu_identifier: str
    cpu_per_worker: str
    memory_per_worker: str
    tolerations: list[object]
    node_selectors: dict[str, object]
    volume_claim: str
    queue: str
    queue_timeout: str
    pending_timeout: str
    timeout: str
    force: bool
    progress: bool = True
    grace_period: str = "300s"
    flash_attention: bool = True
    strategy: str = "phased"
    checkpoint_dtype: str = "auto"
    algorithm: str = "sft"
    algorithm_options: dict[str, Any] = field(default_factory=dict)
    store_secret_dir: str = ""

    @property
    def kind(self) -> str:
        """What is trained: knowledge, then skills."""
        return KINDS[self.phase - 1]

    @property
    def stacked(self) -> bool:
        """Whether phase 2 trains on the data of both, and phase 1 on none."""
        return self.strategy == "stacked"

    @property
    def output(self) -> str:
        """Path of the phase's folder."""
        return f"{self.data_dir}/phase_{self.phase}"


def seconds_of(duration: str) -> int:
    """Seconds of a duration like 90s, 30m, 72h or 7d."""
    try:
        return parse_duration(duration)
    except ValueError as error:
        raise failure(str(error), "one of the run's timeouts", "correct it") from None


@dataclass(frozen=True, kw_only=True)
class Training(TrainingPhase):
    """A phase's parameters, completed: `model` is a path, `effective_batch_size` and `keep_checkpoints` are final.

    Attributes:
        rows: samples in data.jsonl.
        chat_template: path of its Python file; "": the tokenizer's own.
        nodes: machines or pods.
        gpus: GPUs of each node; 0: CPU.
    """

    rows: int
    chat_template: str
    nodes: int
    gpus: int

    @property
    def data(self) -> str:
        """Path of data.jsonl."""
        return f"{self.data_dir}/processed/{'stacked' if self.stacked else self.kind}/data.jsonl"

    @property
    def parts(self) -> list[Path]:
        """Paths of the data: of both kinds when stacked."""
        kinds = KINDS if self.stacked else (self.kind,)
        paths = (Path(self.data_dir, "processed", kind, "data.jsonl") for kind in kinds)
        return [path for path in paths if path.exists()]

    @property
    def steps(self) -> int:
        """Optimizer steps of all epochs."""
        return self.num_epochs * -(-self.rows // self.effective_batch_size)

    def record(self) -> dict[str, Any]:
        """What decides the training, as `training.json` in the phase's folder records it."""
        names = (
            *("model", "data", "output", "rows", *HYPERPARAMETERS, "keep_checkpoints", "cpu_offload"),
            *("chat_template", "nodes", "gpus", "algorithm", "algorithm_options"),
        )
        return {RECORDED.get(name, name): getattr(self, name) for name in names}


def torchrun_arguments(training: Training, full_state: bool) -> list[str]:
    """Arguments of torchrun; a pod and this machine run the same.

    torchrun runs trainer.py in the phase's folder; on CPU it runs cpu_main_ds.py there, which runs trainer.py.

    Args:
        full_state: save what is needed to resume: after each epoch and, from training 0.16 on, when it is stopped.
    """
    gpus = training.gpus
    # How several nodes find each other: the training operator sets these variables, and Kubernetes fills them in.
    nodes = [
        *("--node_rank=$(RANK)", "--rdzv_endpoint=$(MASTER_ADDR):$(MASTER_PORT)"),
        f"--rdzv_conf=timeout={seconds_of(training.pending_timeout)}",  # by default 600
    ]
    return [
        f"--nnodes={training.nodes}",
        f"--nproc_per_node={gpus or 1}",
        *(nodes if training.nodes > 1 else ["--standalone"]),
        *([] if gpus else [training.output + "/cpu_main_ds.py"]),
        training.output + "/trainer.py",
        f"--model_name_or_path={training.model}",
        f"--data_path={training.data}",
        f"--output_dir={training.output}",
        *[f"--{name}={getattr(training, name)}" for name in HYPERPARAMETERS],
        "--log_level=INFO",
        "--distributed_training_framework=fsdp",
        # The library shares a model between the GPUs of a node, and copies it to the other nodes. With one GPU each,
        # torch would let every node train a model of its own.
        *(["--fsdp_sharding_strategy=FULL_SHARD"] if gpus == 1 and training.nodes > 1 else []),
        *([f"--chat-tmpl-path={training.chat_template}"] if training.chat_template else []),
        "--checkpoint_at_epoch",
        *(["--accelerate_full_state_at_epoch"] if full_state and training.num_epochs > 1 else []),
        *(["--on_demand_checkpointing"] if full_state else []),
        *(["--cpu_offload_params_fsdp", "--cpu_offload_optimizer"] if gpus and training.cpu_offload else []),
        *([] if gpus and training.flash_attention else ["--disable_flash_attn"]),
    ]

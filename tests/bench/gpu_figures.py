"""What `tests.bench.gpu` works out: a training's figures from its log, and what a GPU could do at best."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

WARM_UP = 2
"""Steps that do not count: the first compile and allocate."""
PEAK = {
    "NVIDIA H100 80GB HBM3": 989.4e12,
    "NVIDIA H200": 989.4e12,
    "NVIDIA H100 NVL": 835.5e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA L40S": 362e12,
}
"""FLOP/s of dense bfloat16 products in NVIDIA's data sheets, by the name that nvidia-smi shows."""


@dataclass(frozen=True)
class Shape:
    """A model's sizes, as its config.json names them."""

    model_type: str
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    tie_word_embeddings: bool = False

    @property
    def multiplied(self) -> int:
        """Weights that each token is multiplied with: all but input embeddings and norms."""
        keys = self.hidden_size * self.num_key_value_heads // self.num_attention_heads
        layer = self.hidden_size * (2 * self.hidden_size + 2 * keys + 3 * self.intermediate_size)
        return self.num_hidden_layers * layer + self.hidden_size * self.vocab_size


def training_flops(shape: Shape, lengths: Iterable[int]) -> int:
    """FLOPs that training on samples of these lengths (tokens) needs, forward and backward.

    6 per token and weight, and 12 · layers · hidden size · length per token for attention (PaLM, arXiv:2204.02311,
    appendix B). Of attention half, since it is causal (FlashAttention-2, arXiv:2307.08691, section 4.1). What gradient
    checkpointing computes twice counts once; padding does not count.
    """
    attention = 6 * shape.num_hidden_layers * shape.hidden_size
    return sum(6 * shape.multiplied * length + attention * length * length for length in lengths)


def utilization(shape: Shape, lengths: Sequence[int], tokens_per_second: float, card: str) -> float | None:
    """Model FLOPs utilization of a GPU, 0 to 1; None for a card that PEAK does not know."""
    if card not in PEAK:
        return None
    return tokens_per_second * training_flops(shape, lengths) / sum(lengths) / PEAK[card]


@dataclass(frozen=True)
class LoggedStep:
    """A line of the library's metrics: seconds since 1970, when it was written, and tokens, without padding."""

    time: float
    tokens: int


def logged_steps(text: str) -> list[LoggedStep]:
    """The steps (before training 0.12: the micro-batches) of training_params_and_metrics_global0.jsonl.

    In the data of this measurement each sample's first token is the only one that counts for no loss.
    """
    entries = [json.loads(line) for line in text.splitlines()]
    return [
        LoggedStep(
            datetime.fromisoformat(one["timestamp"]).timestamp(), one["num_loss_counted_tokens"] + one["batch_size"]
        )
        for one in entries
        if "samples_seen" in one
    ]


def tokens_per_second(steps: Sequence[LoggedStep]) -> float:
    """Speed after the warm-up, on the clock, with what stands between the steps.

    Raises:
        ValueError: there are no steps after the warm-up.
    """
    counted = steps[WARM_UP:]
    if not counted:
        raise ValueError(f"{len(steps)} steps are too few to measure: {WARM_UP} are warm-up")
    return sum(step.tokens for step in counted) / (counted[-1].time - steps[WARM_UP - 1].time)


def difference(losses: Sequence[float], others: Sequence[float]) -> float:
    """The largest relative difference of two loss curves.

    Raises:
        ValueError: they have not the same number of steps.
    """
    return max(abs(one - other) / abs(other) for one, other in zip(losses, others, strict=True))

"""What a training phase will cost in GPU time, from its model's size and its tokens."""

import math

from utils.stages.train.folder import model_tensors

PEAK = 989e12
"""Operations per second of an H100 with dense bfloat16, by NVIDIA's data sheet of the SXM card."""
EFFICIENCY = 0.3
"""Share of the peak that training reaches: 0.22 with 1.1 billion weights (docs/performance.md). Larger models come
nearer to it; offloading to the CPU or missing flash attention lower it a lot."""


def weights_of(model: str) -> int:
    """Number of weights in a model folder; 0 when it has no whole safetensors files."""
    return sum(math.prod(one["shape"]) for one in model_tensors(model).values())


def h100_hours(weights: int, tokens: int) -> float:
    """Hours that one H100 trains, unrounded.

    Six operations per weight and token, two forward and four backward: Kaplan et al., Scaling Laws for Neural Language
    Models, 2020, section 2.1. Attention's own share is left out; it is small while sequences are short.

    Args:
        weights: of the model.
        tokens: of all epochs.
    """
    return 6 * weights * tokens / (PEAK * EFFICIENCY) / 3600


def tell_estimate(model: str, tokens: int) -> float:
    """Print the estimate of a phase, and give its hours, 0.0 where the model's size is not known."""
    weights = weights_of(model)
    hours = h100_hours(weights, tokens)
    if weights:
        work = f"{weights / 1e9:.3g} billion weights, {tokens / 1e6:.3g} million tokens"
        reached = f"if training reaches {100 * EFFICIENCY:.0f} % of its peak"
        print(f"estimate: {hours:.3g} GPU-hours on H100, {reached} ({work})", flush=True)
    return round(hours, 4)

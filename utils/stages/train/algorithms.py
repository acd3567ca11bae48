"""The algorithms that training may use, and what each can be told."""

from collections.abc import Iterator, Mapping
from typing import Any

ALGORITHMS: dict[str, dict[str, tuple[float, float, float]]] = {
    "sft": {},
    # What training-hub 0.11.2 advises (docs/algorithms/osft.md), and its defaults of LoRA (peft_extender.py).
    "osft": {"unfreeze_rank_ratio": (0.25, 0.01, 1.0)},
    "lora": {"r": (16, 1, 1024), "alpha": (32, 1, 4096)},
}
"""By the name of an algorithm and of its option: default, lowest, highest. Whole numbers where the default is one."""


def options_of(algorithm: str, given: Mapping[str, float]) -> dict[str, float]:
    """All options of an algorithm: what is given, else the default."""
    return {name: type(known[0])(given.get(name, known[0])) for name, known in ALGORITHMS[algorithm].items()}


def option_faults(algorithm: str, given: Mapping[str, Any]) -> Iterator[str]:
    """What train_algorithm_options should be instead, for each fault."""
    known = ALGORITHMS.get(algorithm, {})
    for name, value in given.items():
        if name not in known:
            yield f"with train_algorithm {algorithm}: {' and '.join(known) or 'nothing'}"
            continue
        default, low, high = known[name]
        whole = type(default) is int
        if type(value) not in (int, float) or not low <= value <= high or (whole and value % 1):
            yield f"{name} from {low:g} to {high:g}" + ", a whole number" * whole

"""What values the pipeline's parameters may have: all that would else fail a run after hours."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from utils.stages.prerequisites.findings import Finding

_MANY = float("inf")
_GPU = "the resource name of a GPU, like nvidia.com/gpu"
_QUEUE = "the name of a LocalQueue, at most 63 small letters, digits and -, or nothing"
_NUMBER = r"(?=[0.]*[1-9])(\d+\.?\d*|\.\d+)"
_SIZES = ["train_memory_per_worker", "k8s_storage_size"]

RANGES: list[tuple[float, float, list[str]]] = [
    (1, _MANY, ["sdg_scale_factor", "train_num_workers", "train_max_seq_len"]),
    (1, _MANY, ["train_num_epochs_phase_1", "train_num_epochs_phase_2"]),
    (1, _MANY, ["train_effective_batch_size_phase_1", "train_effective_batch_size_phase_2"]),
    (0, _MANY, ["train_num_warmup_steps_phase_1", "train_num_warmup_steps_phase_2"]),
    (0, _MANY, ["train_gpu_per_worker", "train_save_samples", "train_keep_checkpoints"]),
    (0, _MANY, ["mt_bench_max_questions", "final_eval_max_questions", "final_eval_few_shots"]),
    (0, 2**32 - 1, ["train_seed"]),  # numpy takes no other
    (0, 1, ["mt_bench_max_error_rate", "gate_max_error_rate"]),
    (0, 0.5, ["sdg_held_out_fraction"]),
    (0, 10, ["gate_min_mt_bench"]),
    (1, 4096, ["sdg_batch_size"]),
    (2, 10, ["sdg_num_workers"]),
]
"""(lowest, highest, names of numbers) each."""

PATTERNS: list[tuple[str, str, list[str]]] = [
    (
        "auto|0*[1-9][0-9]*",
        "auto or a positive whole number",
        ["mt_bench_max_workers", "final_eval_max_workers", "final_eval_batch_size"],
    ),
    (r"[a-z0-9][a-z0-9.-]*/[A-Za-z0-9][\w.-]*", _GPU, ["train_gpu_identifier", "eval_gpu_identifier"]),
    (_NUMBER + "([kMGTPE]|[KMGTPE]i|[eE][0-9]+)?", "a Kubernetes quantity, like 250Gi", _SIZES),
    (_NUMBER + "m?", "a Kubernetes quantity, like 2 or 500m", ["train_cpu_per_worker"]),
    (
        "0*[1-9][0-9]*[smhd]",
        "a whole number and s, m, h or d, like 60m",
        ["train_pending_timeout", "train_timeout", "k8s_queue_timeout"],
    ),
    (r"|[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", _QUEUE, ["k8s_queue"]),
    ("pytorchjob|process", "pytorchjob or process", ["train_launcher"]),
    (r"vllm|llama\.cpp", "vllm or llama.cpp", ["eval_engine"]),
    ("never|on_failure|always", "never or on_failure or always", ["k8s_keep_volume"]),
    (
        r"[-._a-zA-Z0-9]*[-_a-zA-Z0-9][-._a-zA-Z0-9]*",
        "the name of a key: letters, digits, - _ and .",
        ["k8s_ca_key"],
    ),
]
"""(pattern, what is expected, names of texts that match it) each.

Quantities: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity, but for parts of a byte and
multiples of a CPU.
"""

AMOUNTS: list[tuple[float, float, str, list[str]]] = [
    (1e9, _MANY, "1G or more", _SIZES),
    (0.01, 512, "10m to 512", ["train_cpu_per_worker"]),
]
"""(lowest, highest, what is expected, names of quantities) each: amounts beyond lack a unit, or have a wrong one.

Less than 1 GB holds neither a training process nor a base model; no node has more than 512 CPUs.
"""

OBJECTS = ["sdg_object_store_secret", "sdg_teacher_secret", "eval_judge_secret", "sdg_repo_secret", "k8s_ca_configmap"]
"""Names of the parameters that name a Secret or ConfigMap which tasks mount."""


def quantity_value(text: str) -> float:
    """A Kubernetes quantity as bytes or CPUs."""
    number, unit = re.match(r"([\d.]+)(.*)", text).groups()  # type: ignore[union-attr] # the patterns have matched
    if len(unit) > 1 and unit[0] in "eE":
        return float(text)
    if unit in ("", "m"):
        return float(number) / (1000 if unit else 1)
    return float(number) * (1024.0 if unit.endswith("i") else 1000.0) ** ("KMGTPE".index(unit[0].upper()) + 1)


def probable_value(name: str, text: str) -> str:
    """What was probably meant by a quantity or duration that can't be, "" when that is anyone's guess."""
    match = re.fullmatch(r"(\d{1,5}(?:\.\d+)?)\s*([A-Za-z]?)[iI]?[bB]?", text.strip())
    if not match or not float(match[1]):
        return ""
    number, unit = match.groups()
    if name in _SIZES:
        return number + ("Ti" if unit in ("t", "T") else "Gi")
    if name == "train_cpu_per_worker":
        return f"{number}m" if not unit and float(number) > 512 else number
    if unit or not number.isdigit() or not name.endswith("_timeout"):
        return ""
    return number + ("m" if name == "train_pending_timeout" else "h")


def check_parameters(given: Mapping[str, Any]) -> list[Finding]:
    """Ranges, choices and consistency of the pipeline's parameters: a finding for each wrong one.

    Args:
        given: values by the pipeline's parameter names; those that are not there are not checked.
    """
    return [
        Finding(f"{name} is {str(given[name])[:80]!r}, expected {expected}", remedy or f"give it with -p {name}=VALUE")
        for name, expected, remedy in [*_wrong_values(given), *_inconsistent(given)]
    ]


def _wrong_values(given: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(parameter, what is expected, remedy or "") of each value that is wrong by itself."""

    def meant(name: str) -> str:
        guess = probable_value(name, given[name])
        return f"; did you mean {guess}?" if guess else ""

    for low, high, names in RANGES:
        for name in filter(given.__contains__, names):
            if not low <= given[name] <= high:
                yield name, f"{low} or more" if high == _MANY else f"{low} to {high}", ""
    refused = set()
    for pattern, expected, names in PATTERNS:
        for name in filter(given.__contains__, names):
            if not re.fullmatch(pattern, given[name]):
                refused.add(name)
                yield name, expected + meant(name), ""
    for low, high, expected, names in AMOUNTS:
        for name in filter((given.keys() - refused).__contains__, names):
            if not low <= quantity_value(given[name]) <= high:
                yield name, expected + meant(name), ""
    for name in ("sdg_sample_size", "train_learning_rate_phase_1", "train_learning_rate_phase_2"):
        if not 0 < given.get(name, 1) <= 1:
            yield name, "a number over 0, at most 1", ""


def _inconsistent(given: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The same for values that do not fit to others, or have parts."""
    longest = given.get("train_max_seq_len", 0)
    for name in ("sdg_max_batch_len", "train_max_batch_len"):
        if given.get(name, longest) < longest:
            expected = f"at least train_max_seq_len ({longest} tokens): the longest sample must fit"
            yield name, expected, f"raise {name} or lower train_max_seq_len"
    if not all(isinstance(value, str) for value in given.get("train_node_selectors", {}).values()):
        yield "train_node_selectors", 'a text for each label, like {"gpu": "true"}', ""
    fields = {"key", "operator", "value", "effect", "tolerationSeconds"}
    if not all(isinstance(one, dict) and one.keys() <= fields for one in given.get("train_tolerations", [])):
        yield "train_tolerations", f"mappings of {', '.join(sorted(fields))}", ""


def check_object_names(given: Mapping[str, Any], on_kfp: bool) -> list[Finding]:
    """A finding for each name of a Secret or ConfigMap that no object can have or, on Kubeflow Pipelines, no pod mount.

    Kubeflow Pipelines gives the pod's volume the name of the object, and a volume's name is a DNS label (RFC 1123): the
    API server refuses the pod of any other, which leaves neither a log nor a message. Our own Jobs name volumes
    themselves, so there an object may have every name that Kubernetes allows it.

    Args:
        given: values by the pipeline's parameter names; those that are not there are not checked.
    """
    label = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
    found = []
    for name in (name for name in OBJECTS if name in given):
        value = given[name]
        if on_kfp and not (re.fullmatch(label, value) and len(value) <= 63):
            expected = "at most 63 small letters, digits and -, no dots: Kubeflow Pipelines names the pod's volume "
            expected += "after the object"
            remedy = f"copy the object to another name, and give that with -p {name}=NAME"
        elif not (re.fullmatch(rf"{label}(\.{label})*", value) and len(value) <= 253):
            expected = "the name of a Kubernetes object: at most 253 small letters, digits, - and ."
            remedy = f"give it with -p {name}=NAME"
        else:
            continue
        problem = f"{name} is {str(value)[:80]!r}, expected {expected}"
        found.append(Finding(problem, f"{remedy}; none needed: any unused name"))
    return found

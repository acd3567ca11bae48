"""What values the pipeline's parameters may have: all that would else fail a run after hours."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from utils.names import DNS_LABEL as _LABEL
from utils.names import is_object_name
from utils.stages.data_processing.limits import limit_faults
from utils.stages.evaluation.eval_names import entries_fault, measure_of
from utils.stages.evaluation.server_arguments import arguments_fault
from utils.stages.prerequisites.findings import Finding
from utils.stages.train.algorithms import option_faults
from utils.stages.train.choice import LAUNCHERS

_MANY = float("inf")
_LABEL_VALUE = r"([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?"
_LABEL_KEY = rf"({_LABEL}(\.{_LABEL})*/)?[A-Za-z0-9]([-\w.]{{0,61}}[A-Za-z0-9])?"
_TOLERATION = {
    "key": (),
    "operator": ("", "Equal", "Exists", "Gt", "Lt"),
    "value": (),
    "effect": ("", "NoSchedule", "PreferNoSchedule", "NoExecute"),
}
_POSITIVE = "(?=[0.]*[1-9])"
COMPARED = ("likelihood", "mmlu_branch", "mmlu", "mt_bench_branch")
"""The comparisons of candidate and base: utils/stages/evaluation/verdict.py, which is too large to be carried here."""
_DURATION = "0*[1-9][0-9]*[smhd]"

RANGES = [
    (1, _MANY, ["sdg_scale_factor", "train_num_workers", "train_max_seq_len"]),
    (1, _MANY, ["train_num_epochs_phase_1", "train_num_epochs_phase_2"]),
    (1, _MANY, ["train_effective_batch_size_phase_1", "train_effective_batch_size_phase_2"]),
    (0, _MANY, ["train_num_warmup_steps_phase_1", "train_num_warmup_steps_phase_2"]),
    (0, _MANY, ["train_gpu_per_worker", "train_save_samples", "train_keep_checkpoints", "sdg_samples_per_skill"]),
    (0, _MANY, ["sdg_held_out_seeds", "sdg_repo_pr"]),
    (0, _MANY, ["mt_bench_max_questions", "final_eval_max_questions", "final_eval_few_shots", "mt_bench_audit"]),
    (0, 2**32 - 1, ["train_seed"]),  # numpy takes no other
    (0.0, 1, ["mt_bench_max_error_rate", "gate_max_error_rate", "sdg_sample_size"]),
    (1e-9, 1, ["train_learning_rate_phase_1", "train_learning_rate_phase_2"]),  # all but 0
    (0.0, 0.5, ["sdg_held_out_fraction"]),
    (0.0, 10, ["gate_min_mt_bench"]),
    (0.5, 0.999, ["gate_confidence"]),
    (1, 4096, ["sdg_batch_size"]),
    (1, 10, ["sdg_num_workers"]),
]
"""(lowest, highest, names of numbers) each; whole numbers where the lowest is a whole one."""

PATTERNS = [
    (
        "auto|0*[1-9][0-9]*",
        "auto or a positive whole number",
        ["mt_bench_max_workers", "final_eval_max_workers", "final_eval_batch_size"],
    ),
    (
        r"[a-z0-9][a-z0-9.-]*/[A-Za-z0-9][\w.-]*",
        "the resource name of a GPU, like nvidia.com/gpu",
        ["train_gpu_identifier", "eval_gpu_identifier"],
    ),
    (
        _POSITIVE + r"(\d{10,}|\d{7,}(k|Ki)|\d{4,}Mi?|0*[1-9]\d*(\.\d+)?(Gi?|[eE](9|\d\d))|\d*\.?\d+[TPE]i?)",
        "1G or more, like 250Gi",
        ["train_memory_per_worker", "k8s_storage_size"],
    ),
    (
        _POSITIVE + r"(([1-4]?\d{,2}|50\d|51[01])(\.\d+)?|512|[1-4]?\d{2,5}m)",
        "at most 512 CPUs, like 2 or 500m",
        ["train_cpu_per_worker"],
    ),
    (_DURATION, "a whole number and s, m, h or d, like 60m", ["train_pending_timeout"]),
    (_DURATION, "a whole number and s, m, h or d, like 300s", ["train_grace_period"]),
    (_DURATION, "a whole number and s, m, h or d, like 24h", ["train_timeout", "k8s_queue_timeout"]),
    ("|(?=.{1,63}$)" + _LABEL, "a LocalQueue: at most 63 small letters, digits and -, or nothing", ["k8s_queue"]),
    (
        "auto|chat|mixtral|mistral|llama|granite|merlinite|blank",
        "auto, chat, blank or a family of instructlab-sdg",
        ["sdg_teacher_family"],
    ),
    ("phased|stacked", "phased or stacked", ["train_strategy"]),
    ("sft|osft|lora", "sft, osft or lora", ["train_algorithm"]),
    ("auto|trainjob|pytorchjob|process", LAUNCHERS, ["train_launcher"]),
    (r"[\w.:/-]+(@sha256:[0-9a-f]{64})?", "an image, like quay.io/team/image@sha256:DIGEST", ["train_image"]),
    ("auto|bfloat16|float16|float32", "auto, bfloat16, float16 or float32", ["train_checkpoint_dtype"]),
    ("[1-9][0-9]?", "a number from 1 to 99, in quotes", ["eval_gpus"]),
    (r"vllm|llama\.cpp", "vllm or llama.cpp", ["eval_engine"]),
    ("off|stop", "off or stop", ["sdg_review"]),
    ("never|on_failure|always", "never or on_failure or always", ["k8s_keep_volume"]),
    (r"[-.\w]*[-\w][-.\w]*", "the name of a key: letters, digits, - _ and .", ["k8s_ca_key"]),
]
"""(pattern, what is expected, names of texts that match it) each. Numbers have an example's unit at the end.

Quantities: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity, but none that lacks a unit
or has a wrong one. Less than 1 GB holds neither a training process nor a base model; no node has more than 512 CPUs.
"""

TYPES: list[tuple[type, str, list[str]]] = [
    (list, 'a list, like ["a", "b"]', ["train_tolerations", "eval_server_arguments", "mmlu_tasks", "eval_tasks"]),
    (dict, 'a mapping, like {"a": 1}', ["train_node_selectors", "sdg_checks", "gate_max_regression"]),
    (dict, 'a mapping, like {"r": 16}', ["train_algorithm_options"]),
]
"""(type, what is expected, names) each."""

OBJECTS = ["sdg_object_store_secret", "sdg_teacher_secret", "eval_judge_secret", "sdg_repo_secret", "k8s_ca_configmap"]
"""Names of the parameters that name a Secret or ConfigMap which tasks mount."""


def check_parameters(given: Mapping[str, Any]) -> list[Finding]:
    """Ranges, choices and consistency of the pipeline's parameters: a finding for each wrong one.

    A server may hand on values of any type: what its client sent.

    Args:
        given: values by the pipeline's parameter names; those that are not there are not checked.
    """
    wrong = [*_wrong_values(given), *_wrong_types(given)]
    bad = {name for name, _ in wrong}
    wrong += _inconsistent({name: value for name, value in given.items() if name not in bad})
    return [_finding(given, name, expected, f"give it with -p {name}=VALUE") for name, expected in wrong]


def _finding(given: Mapping[str, Any], name: str, expected: str, remedy: str) -> Finding:
    return Finding(f"{name} is {str(given[name])[:80]!r}, expected {expected}", remedy)


def _wrong_values(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(parameter, what is expected) of each value that is wrong by itself."""
    for low, high, names in RANGES:
        for name in names:
            value = given.get(name, low)
            if not isinstance(value, int | float) or not low <= value <= high:
                yield name, f"{low:g} or more" if high == _MANY else f"{low:g} to {high}"
            elif isinstance(low, int) and value % 1:
                yield name, "a whole number"
    for pattern, expected, names in PATTERNS:
        for name in names:
            value = given.get(name, "")
            if name in given and not (isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII)):
                yield name, expected + _probable(pattern, expected, str(value))


def _wrong_types(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The same of each list or mapping that is none."""
    for kind, expected, names in TYPES:
        for name in names:
            if not isinstance(given.get(name, kind()), kind):
                yield name, expected


def _probable(pattern: str, expected: str, text: str) -> str:
    """What was probably meant by a number whose unit is missing or wrong: that of the example, or none."""
    number = re.fullmatch(r"(\d{1,5}(\.\d+)?) *[kmgtib]*", text, re.IGNORECASE)
    for unit in ("", "Ti" if "T" in text.upper() else re.split(r"\d", expected)[-1]):
        if number and re.fullmatch(pattern, number[1] + unit):
            return f"; did you mean {number[1]}{unit}?"
    return ""


def _inconsistent(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The same for values that do not fit to others, or have parts."""
    longest = given.get("train_max_seq_len", 0)
    for name in ("sdg_max_batch_len", "train_max_batch_len"):
        if given.get(name, longest) < longest:
            yield name, f"at least train_max_seq_len ({longest} tokens): the longest sample must fit"
    for key, value in given.get("train_node_selectors", {}).items():
        if not (isinstance(value, str) and re.fullmatch(f"{_LABEL_KEY}={_LABEL_VALUE}", f"{key}={value}", re.ASCII)):
            yield "train_node_selectors", 'labels, with a text for each, like {"nvidia.com/gpu.product": "A100"}'
    for one in given.get("train_tolerations", []):
        if wrong := _toleration_fault(one):
            yield "train_tolerations", f"{wrong} in {one}"
    if fault := arguments_fault(given.get("eval_engine", "vllm"), given.get("eval_server_arguments", [])):
        yield "eval_server_arguments", fault
    for expected in limit_faults(given.get("sdg_checks", {})):
        yield "sdg_checks", expected
    tasks = given.get("eval_tasks", [])
    if fault := entries_fault(tasks):
        yield "eval_tasks", fault
        tasks = []
    compared = (*COMPARED, *map(measure_of, tasks))
    for expected in option_faults(given.get("train_algorithm", "sft"), given.get("train_algorithm_options", {})):
        yield "train_algorithm_options", expected
    for name, loss in given.get("gate_max_regression", {}).items():
        if name not in compared or type(loss) not in (int, float) or not 0 <= loss < _MANY:
            yield "gate_max_regression", f'{", ".join(compared)}, each with 0 or more, like {{"likelihood": 0.02}}'
            break
    if not all(isinstance(one, str) and one for one in given.get("mmlu_tasks", [])):
        yield "mmlu_tasks", 'names of tasks, like ["mmlu_anatomy"]'


def _toleration_fault(one: Any) -> str:
    """What a toleration must be that it is not, "" if it is right; as the API server has it.

    https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.34/#toleration-v1-core
    """
    if not isinstance(one, dict) or not one.keys() <= {*_TOLERATION, "tolerationSeconds"}:
        return f"only {', '.join(_TOLERATION)} and tolerationSeconds"
    operator, seconds = one.get("operator") or "Equal", one.get("tolerationSeconds")
    for name, choices in _TOLERATION.items():
        if not isinstance(one.get(name) or "", str) or (choices and (one.get(name) or "") not in choices):
            return f"{' or '.join(choices[1:]) or 'a text'} as {name}"
    if operator == "Exists" and one.get("value"):
        return "no value beside operator Exists"
    if operator == "Equal" and not one.get("key"):
        return "a key, or operator Exists"
    if seconds is not None and (type(seconds) is not int or one.get("effect") != "NoExecute"):
        return "a whole number as tolerationSeconds, with effect NoExecute"
    return ""


def check_object_names(given: Mapping[str, Any], on_kfp: bool) -> list[Finding]:
    """A finding for each name of a Secret or ConfigMap that no object can have or, on Kubeflow Pipelines, no pod mount.

    Kubeflow Pipelines gives the pod's volume the name of the object, and a volume's name is a DNS label (RFC 1123): the
    API server refuses the pod of any other, which leaves neither a log nor a message. Our own Jobs name volumes
    themselves, so there an object may have every name that Kubernetes allows it.

    Args:
        given: values by the pipeline's parameter names; those that are not there are not checked.
    """
    most, more = (63, ": Kubeflow Pipelines names the pod's volume after the object") if on_kfp else (253, " or .")
    return [
        _finding(
            given,
            name,
            f"at most {most} small letters, digits and -{more}",
            f"copy the object to such a name, and give that with -p {name}=NAME; leave {name} out if none is needed",
        )
        for name in OBJECTS
        if name in given and not is_object_name(given[name], on_kfp)
    ]

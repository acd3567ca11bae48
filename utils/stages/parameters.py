"""What values the pipeline's parameters may have: all that would else fail a run after hours."""


def parameter_ranges() -> list:
    """(lowest, highest, names of numbers) each."""
    whole = float("inf")
    return [
        (1, whole, ["sdg_scale_factor", "train_num_workers", "train_max_seq_len"]),
        (1, whole, ["train_num_epochs_phase_1", "train_num_epochs_phase_2"]),
        (1, whole, ["train_effective_batch_size_phase_1", "train_effective_batch_size_phase_2"]),
        (0, whole, ["train_num_warmup_steps_phase_1", "train_num_warmup_steps_phase_2"]),
        (0, whole, ["train_gpu_per_worker", "train_save_samples", "train_keep_checkpoints"]),
        (0, whole, ["mt_bench_max_questions", "final_eval_max_questions", "final_eval_few_shots"]),
        (0, 2**32 - 1, ["train_seed"]),  # numpy takes no other
        (0, 1, ["mt_bench_max_error_rate", "gate_max_error_rate"]),
        (0, 0.5, ["sdg_held_out_fraction"]),
        (0, 10, ["gate_min_mt_bench"]),
        (1, 4096, ["sdg_batch_size"]),
        (2, 10, ["sdg_num_workers"]),
    ]


def parameter_patterns() -> list:
    """(pattern, what is expected, names of texts that match it) each.

    Quantities: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity, but for parts of a byte
    and multiples of a CPU.
    """
    number = r"(?=[0.]*[1-9])(\d+\.?\d*|\.\d+)"
    days = "a whole number and s, m, h or d, like 60m"
    auto = ["mt_bench_max_workers", "final_eval_max_workers", "final_eval_batch_size"]
    gpu = r"[a-z0-9][a-z0-9.-]*/[A-Za-z0-9][\w.-]*"
    sizes = ["train_memory_per_worker", "k8s_storage_size"]
    return [
        ("auto|0*[1-9][0-9]*", "auto or a positive whole number", auto),
        (gpu, "the resource name of a GPU, like nvidia.com/gpu", ["train_gpu_identifier", "eval_gpu_identifier"]),
        (number + "([kMGTPE]|[KMGTPE]i|[eE][0-9]+)?", "a Kubernetes quantity, like 250Gi", sizes),
        (number + "m?", "a Kubernetes quantity, like 2 or 500m", ["train_cpu_per_worker"]),
        ("0*[1-9][0-9]*[smhd]", days, ["train_pending_timeout", "train_timeout"]),
        ("pytorchjob|process", "pytorchjob or process", ["train_launcher"]),
        (r"vllm|llama\.cpp", "vllm or llama.cpp", ["eval_engine"]),
        ("never|on_failure|always", "never or on_failure or always", ["k8s_keep_volume"]),
    ]


def check_parameters(given: dict) -> list:
    """Ranges, choices and consistency of the pipeline's parameters: a finding {"problem", "remedy"} for each wrong one.

    Args:
        given: values by the pipeline's parameter names; those that are not there are not checked.
    """
    import re

    found = []

    def expect(right: bool, name: str, expected: str, remedy: str = "") -> None:
        if not right:
            problem = f"{name} is {str(given[name])[:80]!r}, expected {expected}"
            found.append({"problem": problem, "remedy": remedy or f"give it with -p {name}=VALUE"})

    def there(names: list) -> list:
        return [name for name in names if name in given]

    for low, high, names in parameter_ranges():
        expected = f"{low} or more" if high == float("inf") else f"{low} to {high}"
        for name in there(names):
            expect(low <= given[name] <= high, name, expected)
    for pattern, expected, names in parameter_patterns():
        for name in there(names):
            expect(bool(re.fullmatch(pattern, given[name])), name, expected)
    for name in there(["sdg_sample_size", "train_learning_rate_phase_1", "train_learning_rate_phase_2"]):
        expect(0 < given[name] <= 1, name, "a number over 0, at most 1")
    for name in there(["sdg_max_batch_len", "train_max_batch_len"]):
        longest = given.get("train_max_seq_len", 0)
        expected = f"at least train_max_seq_len ({longest} tokens): the longest sample must fit"
        expect(given[name] >= longest, name, expected, f"raise {name} or lower train_max_seq_len")
    selectors, tolerations = given.get("train_node_selectors", {}), given.get("train_tolerations", [])
    texts = all(isinstance(value, str) for value in selectors.values())
    expect(texts, "train_node_selectors", 'a text for each label, like {"gpu": "true"}')
    fields = {"key", "operator", "value", "effect", "tolerationSeconds"}
    known = all(isinstance(one, dict) and one.keys() <= fields for one in tolerations)
    expect(known, "train_tolerations", f"mappings of {', '.join(sorted(fields))}")
    return found

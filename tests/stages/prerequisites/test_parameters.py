"""Values that would fail a run after hours are found before it starts."""

import dataclasses
import inspect
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.prerequisites import prerequisites
from utils.stages.evaluation.verdict import MEASURES
from utils.stages.prerequisites.parameters import (
    COMPARED,
    OBJECTS,
    PATTERNS,
    RANGES,
    check_object_names,
    check_parameters,
)
from utils.stages.prerequisites.stage import Prerequisites

BOTH = ("phase_1", "phase_2")


@cache
def defaults() -> dict[str, Any]:
    spec = next(yaml.load_all(Path("pipeline.yaml").read_text(), yaml.CSafeLoader))
    return {name: p["defaultValue"] for name, p in spec["root"]["inputDefinitions"]["parameters"].items()}


def test_defaults_pass_all_checks() -> None:
    assert check_parameters(defaults()) == []


def test_every_rule_concerns_an_existing_parameter() -> None:
    names = [name for *_, names in [*RANGES, *PATTERNS] for name in names]
    assert not {*names} - {*defaults()}
    assert len({*names}) == len(names)


def test_every_input_of_the_component_is_used() -> None:
    used = {field.name for field in dataclasses.fields(Prerequisites)}
    assert set(inspect.signature(prerequisites.python_func).parameters) - used == {"findings"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train_num_workers", "2"),
        ("train_seed", 1.5),
        ("train_learning_rate_phase_1", "fast"),
        ("train_learning_rate_phase_2", None),
        ("eval_gpus", 1),
        ("train_timeout", None),
        ("train_tolerations", {}),
        ("mmlu_tasks", "mmlu_anatomy"),
        ("sdg_checks", []),
        ("train_node_selectors", "gpu=true"),
        ("gate_max_regression", 0.1),
    ],
)
def test_a_value_of_the_wrong_type_is_found(name: str, value: object) -> None:
    assert [finding.problem.split(" is ")[0] for finding in check_parameters({**defaults(), name: value})] == [name]


def test_parameters_that_are_not_given_are_not_checked() -> None:
    assert check_parameters({}) == []


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("sdg_batch_size", (1, 4096), (0, 4097)),
        ("sdg_num_workers", (1, 10), (0, 11)),
        ("sdg_scale_factor", (1, 1000), (0,)),
        ("sdg_sample_size", (0.0, 0.0002, 1.0), (-0.1, 1.01, float("nan"))),
        ("sdg_samples_per_skill", (0, 30), (-1,)),
        ("sdg_held_out_seeds", (0, 3), (-1,)),
        ("sdg_held_out_fraction", (0.0, 0.5), (-0.1, 0.51)),
        (
            "sdg_checks",
            ({}, {"near_duplicates": 1}, {"near_duplicates": 0.5, "overlap_words": 0.0}, {"drop_refusals": False}),
            (
                *({"near_duplicate": 0.9}, {"near_duplicates": 0.4}, {"near_duplicates": "0.9"}, {"max_dropped": 2}),
                *({"overlap_words": 12.5}, {"overlap_words": -1}, {"drop_refusals": 1}, {"min_answer": True}),
                {"max_foreign_letters": float("nan")},
            ),
        ),
        ("sdg_review", ("off", "stop"), ("", "Stop", "on")),
        ("sdg_max_batch_len", (4096, 20000), (4095,)),
        ("sdg_teacher_family", ("auto", "chat", "mixtral", "llama", "blank"), ("qwen", "", "Mixtral")),
        ("train_launcher", ("pytorchjob", "process"), ("mpi", "")),
        ("train_num_workers", (1, 64), (0,)),
        ("train_gpu_per_worker", (0, 8), (-1,)),
        ("train_max_batch_len", (4096, 20000), (4095,)),
        *((f"train_num_epochs_{phase}", (1, 100), (0, -1)) for phase in BOTH),
        *((f"train_effective_batch_size_{phase}", (1, 3840), (0, -8)) for phase in BOTH),
        *((f"train_learning_rate_{phase}", (2e-5, 1), (0, -1e-5, 2e5)) for phase in BOTH),
        *((f"train_num_warmup_steps_{phase}", (0, 1000), (-1,)) for phase in BOTH),
        ("train_save_samples", (0, 250000), (-1,)),
        ("train_keep_checkpoints", (0, 3), (-1,)),
        ("train_seed", (0, 2**32 - 1), (-1, 2**32)),
        (
            "train_cpu_per_worker",
            ("2", "0.5", "900m", "499.5", "512"),
            ("two", "0", "2Gi", "-1", "", "512.5", "513", "600"),
        ),
        (
            "train_memory_per_worker",
            ("250Gi", "250G", "1.5Ti", "1000000000", "3e9"),
            ("250GB", "0Gi", "500m", "-1Gi", ""),
        ),
        ("k8s_storage_size", ("100Gi", "1Ti", "1G"), ("200GB", "100 Gi", "big", "", "0.9G", "100000Ki")),
        ("k8s_queue", ("", "gpus", "team-a"), ("a.b", "Team", "-", "a" * 64)),
        ("k8s_queue_timeout", ("24h", "7d"), ("24", "", "0h")),
        ("k8s_ca_key", ("ca.crt", "ca_bundle.PEM"), ("", ".", "..", "a/b", "../token")),
        ("train_pending_timeout", ("60m", "1h"), ("90", "1.5h", "0m", "")),
        ("train_timeout", ("168h", "7d", "3600s"), ("forever", "-1h", "1w")),
        ("train_grace_period", ("300s", "10m"), ("300", "0s", "")),
        (
            "train_node_selectors",
            ({}, {"gpu": "true"}, {"nvidia.com/gpu.product": "NVIDIA-A100_80GB"}, {"a": ""}, {"b" * 63: "c" * 63}),
            (
                *({"gpu": True}, {"slots": 8}, {"my label": "b"}, {"a": "b c"}, {"-a": "b"}, {"a": "b-"}),
                *({"a/b/c": "d"}, {"A.b/c": "d"}, {"": "a"}, {"a": "x" * 64}, {"\u00e9": "a"}),
            ),
        ),
        (
            "train_tolerations",
            (
                *([], [{"key": "gpu", "operator": "Exists"}], [{"operator": "Exists"}], [{"key": "gpu"}]),
                [{"key": "gpu", "operator": "Equal", "value": "", "effect": ""}],
                [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
            ),
            (
                *(["gpu"], [{"name": "gpu"}], [{"key": "gpu", "effect": "NoSchedul"}], [{"key": 1}], [{"value": "a"}]),
                *([{"key": "gpu", "operator": "exists"}], [{"key": "gpu", "operator": "Exists", "value": "true"}]),
            ),
        ),
        ("mmlu_tasks", ([], ["mmlu_anatomy"]), ([1], [""], [["mmlu_anatomy"]])),
        (
            "eval_tasks",
            ([], ["arc_easy", "eval_tasks/tea"], ["tmmluplus_(level)"], ["file:///home/me/tea/"], ["/opt/tea"]),
            (
                [1],
                [""],
                ["a b"],
                ["tasks/tea"],
                ["eval_tasks/../tea"],
                ["tea", "eval_tasks/tea"],
                [["arc_easy"]],
                ["/"],
            ),
        ),
        ("eval_engine", ("vllm", "llama.cpp"), ("tgi", "llama-cpp")),
        ("eval_gpus", ("1", "8", "16"), ("0", "", "all", "1.5", "-1", "100")),
        ("eval_gpu_identifier", ("nvidia.com/gpu", "amd.com/gpu", "nvidia.com/mig-1g.5gb"), ("gpu", "a b/c", "")),
        (
            "eval_server_arguments",
            (
                *([], ["--max-model-len", "8192"], ["--max_model_len=8192"], ["-q", "fp8"], ["--config-format", "hf"]),
                *(["--tensor-parallel-size", "2"], ["--enforce-eager"], ["--model-impl=transformers"]),
                ["--chat-template-content-format", "openai"],
            ),
            (
                *(["--port", "1"], ["--port=1"], ["--por=1"], ["--host", "::"], ["--served_model_name", "a"]),
                *(["--ssl-keyfile", "k"], ["--config", "c"], ["--api-key=k"], ["-tp", "2"], ["-dp=2"], ["--", "x"]),
                *(["--trust-remote-code"], ["--tensor-parallel-size"], ["--tensor-parallel-size", "two"], ["--uds=s"]),
                *(["--chat-template", "t"], ["--pipeline_parallel_size", "2"], ["8192"], [""], [1], ["--a\0"]),
            ),
        ),
        ("mt_bench_max_error_rate", (0.0, 1.0), (-0.01, 1.5)),
        ("mt_bench_max_questions", (0, 80), (-1,)),
        ("final_eval_max_questions", (0, 5), (-1,)),
        ("final_eval_few_shots", (0, 5), (-1,)),
        ("gate_max_error_rate", (0.0, 1.0), (2.0,)),
        ("gate_min_mt_bench", (0.0, 10.0), (80.0, -1.0)),
        ("gate_confidence", (0.5, 0.95, 0.999), (0.0, 1.0, 95)),
        (
            "gate_max_regression",
            ({}, {"likelihood": 0.02, "mt_bench_branch": 1}, {"mmlu": 0}),
            ({"mt_bench": 0.1}, {"likelihood": -0.1}, {"likelihood": "0.1"}, {"mmlu": True}, {"mmlu": float("nan")}),
        ),
        ("k8s_keep_volume", ("never", "on_failure", "always"), ("yes",)),
    ],
)
def test_parameters_are_checked_against_their_range(name: str, right: tuple, wrong: tuple) -> None:
    for value in right:
        assert check_parameters({**defaults(), name: value}) == []
    for value in wrong:
        (finding,) = check_parameters({**defaults(), name: value})
        assert finding.problem.startswith(f"{name} is {str(value)!r}, expected ")
        assert name in finding.remedy


@pytest.mark.parametrize(("effect", "seconds"), [("NoExecute", "300"), ("NoExecute", True), ("NoSchedule", 300)])
def test_toleration_seconds_are_a_number_that_belongs_to_no_execute(effect: str, seconds: object) -> None:
    toleration = {"key": "gpu", "operator": "Exists", "effect": effect, "tolerationSeconds": seconds}
    (finding,) = check_parameters({"train_tolerations": [toleration]})
    assert "expected a whole number as tolerationSeconds, with effect NoExecute in " in finding.problem


@pytest.mark.parametrize("name", ["mt_bench_max_workers", "final_eval_max_workers", "final_eval_batch_size"])
def test_workers_are_auto_or_a_positive_number_before_training(name: str) -> None:
    """Trap 31: a number that stays text failed the evaluation after all the training."""
    for value in ("auto", "1", "8"):
        assert check_parameters({name: value}) == []
    for value in ("0", "-1", "8.0", "many", "", "Auto"):
        (finding,) = check_parameters({name: value})
        assert f"{name} is {value!r}, expected auto or a positive whole number" in finding.problem


@pytest.mark.parametrize(
    ("name", "value", "probable"),
    [
        *((name, value, "250Gi") for name in ("train_memory_per_worker", "k8s_storage_size")
          for value in ("250", "250m", "250M", "250Mi", "250K", "250k", "250GB", "250 Gi", "250gb")),
        ("k8s_storage_size", "2TB", "2Ti"),
        ("train_memory_per_worker", "1.5", "1.5Gi"),
        ("train_cpu_per_worker", "2000", "2000m"),
        ("train_cpu_per_worker", "2m", "2"),
        ("train_cpu_per_worker", "16Gi", "16"),
        ("train_pending_timeout", "60", "60m"),
        ("train_timeout", "72", "72h"),
        ("train_grace_period", "300", "300s"),
    ],
)  # fmt: skip
def test_implausible_quantity_is_refused_with_a_suggestion(name: str, value: str, probable: str) -> None:
    """The API server takes 250 as 250 bytes: the pods would be killed for their memory after the data is paid for."""
    (finding,) = check_parameters({name: value})
    assert finding.problem.startswith(f"{name} is {value!r}, expected ")
    assert finding.problem.endswith(f"; did you mean {probable}?")
    assert check_parameters({name: probable}) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("k8s_storage_size", "100000000"), ("k8s_storage_size", "0"), ("train_cpu_per_worker", "600000m"),
     ("train_timeout", "1.5h"), ("train_timeout", "soon"), ("train_memory_per_worker", "E")],
)  # fmt: skip
def test_ambiguous_quantity_gets_no_suggestion(name: str, value: str) -> None:
    (finding,) = check_parameters({name: value})
    assert "did you mean" not in finding.problem


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize(
    ("value", "on_kubernetes", "on_kfp"),
    [
        ("judge-secret", True, True),
        ("0-a", True, True),
        ("a" * 63, True, True),
        ("a" * 64, True, False),
        ("kube-root-ca.crt", True, False),
        ("openshift-service-ca.crt", True, False),
        ("a.b" * 90, False, False),
        ("", False, False),
        ("My-Secret", False, False),
        ("my_secret", False, False),
        ("-a", False, False),
        ("a-", False, False),
        ("a..b", False, False),
        ("a b", False, False),
    ],
)
def test_names_of_mounted_objects_are_dns_labels_on_kubeflow_pipelines(
    name: str, value: str, on_kubernetes: bool, on_kfp: bool
) -> None:
    """Trap 46. There the pod's volume gets the name of the object; our own Jobs number their volumes."""
    assert (check_object_names({name: value}, on_kfp=False) == []) is on_kubernetes
    found = check_object_names({name: value}, on_kfp=True)
    assert (found == []) is on_kfp
    for finding in found:
        assert finding.problem.startswith(f"{name} is {value[:80]!r}, expected at most 63 small letters")
        assert "names the pod's volume after the object" in finding.problem
        assert f"-p {name}=NAME" in finding.remedy


def test_all_errors_are_found_at_once() -> None:
    wrong = {"train_num_epochs_phase_1": 0, "train_timeout": "soon", "k8s_storage_size": "200GB"}
    assert [f.problem.split()[0] for f in check_parameters({**defaults(), **wrong})] == [*wrong][:1] + [
        "k8s_storage_size",
        "train_timeout",
    ]


@pytest.mark.parametrize(("limits", "right"), [({"eval_tea": 0.1}, True), ({"eval_arc": 0.1}, False)])
def test_limit_of_a_loss_may_name_a_task_that_is_asked(limits: dict[str, float], right: bool) -> None:
    given = {**defaults(), "eval_tasks": ["eval_tasks/tea"], "gate_max_regression": limits}
    assert [one.problem.partition(" ")[0] for one in check_parameters(given)] == ["gate_max_regression"] * (not right)


def test_comparisons_that_may_have_a_limit_are_those_of_the_verdict() -> None:
    assert set(COMPARED) == set(MEASURES)

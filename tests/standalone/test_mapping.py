"""How flags become parameters of the pipeline."""

from typing import Any

import pytest

from tests.standalone.conftest import Read
from utils.ir.load import load
from utils.standalone.flags import FLAGS
from utils.standalone.mapping import pipeline_arguments
from utils.standalone.parts import Part, part_of, skipped

WHOLE = Part("")


def mapped(given: Any, part: Part = WHOLE) -> dict[str, Any]:
    arguments, findings = pipeline_arguments(given, part)
    assert not findings
    return arguments


def test_every_flag_sets_parameters_that_the_pipeline_has() -> None:
    known = load("pipeline.yaml").parameters
    assert {name for flag in FLAGS.values() for name in flag.sets} <= set(known)


def test_defaults_match_those_of_the_first_generation(read: Read) -> None:
    arguments = mapped(read())
    for n, epochs in ((1, 7), (2, 10)):
        assert arguments[f"train_num_epochs_phase_{n}"] == epochs
        assert arguments[f"train_effective_batch_size_phase_{n}"] == 3840
        assert arguments[f"train_learning_rate_phase_{n}"] == 1e-4
        assert arguments[f"train_num_warmup_steps_phase_{n}"] == 800
    expected = {
        "train_num_workers": 2,
        "train_gpu_per_worker": 1,
        "train_seed": 42,
        "train_save_samples": 0,
        "train_max_batch_len": 20000,
        "sdg_max_batch_len": 20000,
        "train_max_seq_len": 4096,
        "train_cpu_offload": True,
        "sdg_pipeline": "simple",
        "sdg_scale_factor": 30,
        "sdg_sample_size": 1.0,
        "k8s_storage_size": "200Gi",
        "k8s_storage_class_name": "",
        "k8s_keep_volume": "on_failure",
        "force_pull": False,
    }
    assert {name: arguments[name] for name in expected} == expected
    assert "sdg_repo_branch" not in arguments and "report_notes" not in arguments


def test_values_are_typed_as_the_pipeline_wants_them(read: Read) -> None:
    arguments = mapped(
        read("--nproc-per-node", "4", "--training-1-learning-rate", "2e-5", "--no-cpu-offload", "--force-pull")
    )
    assert arguments["train_gpu_per_worker"] == 4
    assert arguments["train_learning_rate_phase_1"] == 2e-5
    assert arguments["train_cpu_offload"] is False and arguments["force_pull"] is True


@pytest.mark.parametrize("number", ["-1", "0", "", " "])
def test_minus_one_zero_and_blank_mean_no_pull_request(number: str, read: Read) -> None:
    given = read("--taxonomy-repo-pr", number, "--taxonomy-repo-url", "https://example.org/t.git")
    assert mapped(given)["sdg_repo_pr"] == 0


def test_branch_and_pull_request_of_an_archive_appear_only_in_the_report(read: Read) -> None:
    arguments = mapped(read("--taxonomy-repo-branch", "towns", "--taxonomy-repo-pr", "7"))
    assert arguments["report_notes"] == ["Taxonomy of the archive, said to be branch towns and pull request 7."]
    assert not {"sdg_repo_url", "sdg_repo_branch", "sdg_repo_pr"} & set(arguments)


def test_with_a_repository_the_branch_is_cloned(read: Read) -> None:
    arguments = mapped(read("--taxonomy-repo-url", "https://example.org/t.git", "--taxonomy-repo-branch", "towns"))
    assert arguments["sdg_repo_url"] == "https://example.org/t.git"
    assert arguments["sdg_repo_branch"] == "towns" and "report_notes" not in arguments


def test_all_errors_are_reported_at_once(read: Read) -> None:
    given = read(
        *("--taxonomy-repo-pr", "main", "--node-selector", "gpu"),
        *("--toleration", "=x", "--model-to-train", "/data/model"),
    )
    findings = pipeline_arguments(given, WHOLE)[1]
    assert [text.split()[0] for text in findings] == [
        "--taxonomy-repo-pr",
        "--model-to-train",
        "--node-selector",
        "--toleration",
    ]


def test_branch_and_pull_request_are_mutually_exclusive(read: Read) -> None:
    args = ("--taxonomy-repo-url", "https://x.org/t", "--taxonomy-repo-branch", "a", "--taxonomy-repo-pr", "1")
    assert "give only one of them" in pipeline_arguments(read(*args), WHOLE)[1][0]


@pytest.mark.parametrize("flag", ["--taxonomy-repo-url", "--taxonomy-repo-branch", "--judge-serving-model-endpoint"])
@pytest.mark.parametrize("url", ["https://canary@x.org/t", "HTTPS://user:canary@x.org/t"])
def test_address_with_a_password_is_refused_before_it_enters_a_manifest(flag: str, url: str, read: Read) -> None:
    (finding,) = pipeline_arguments(read(flag, url), WHOLE)[1]
    assert finding.startswith(f"{flag}: ") and "--taxonomy-repo-secret" in finding and "canary" not in finding


@pytest.mark.parametrize(
    ("text", "toleration"),
    [
        ("nvidia.com/gpu", {"key": "nvidia.com/gpu", "operator": "Exists"}),
        ("gpu:NoSchedule", {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}),
        ("a=b:NoExecute", {"key": "a", "operator": "Equal", "value": "b", "effect": "NoExecute"}),
        ("a=", {"key": "a", "operator": "Equal", "value": ""}),
    ],
)
def test_tolerations_are_written_as_taints_are(text: str, toleration: dict[str, str], read: Read) -> None:
    assert mapped(read("--toleration", text))["train_tolerations"] == [toleration]


def test_node_selectors_are_labels(read: Read) -> None:
    given = read("--node-selector", "gpu=h100", "--node-selector", "zone=a=b")
    assert mapped(given)["train_node_selectors"] == {"gpu": "h100", "zone": "a=b"}


@pytest.mark.parametrize(
    ("command", "phase", "kind", "tasks"),
    [
        ("sdg-data-fetch", None, None, "create-volume prerequisites data-import sdg data-processing"),
        ("sdg", None, None, "create-volume prerequisites data-import sdg data-processing"),
        ("train", "1", None, "create-volume train-knowledge"),
        ("train", "2", None, "create-volume train-skills"),
        ("evaluation", None, "mt-bench", "create-volume mt-bench"),
        ("evaluation", None, "final", "create-volume final-eval"),
        ("upload-trained-model", None, None, "create-volume publish report"),
    ],
)
def test_a_subcommand_runs_its_tasks(command: str, phase: str | None, kind: str | None, tasks: str) -> None:
    from utils.cli.board import leaf_ids

    ids = leaf_ids(load("pipeline.yaml"))
    part = part_of(command, phase, kind, False)
    left = [one.rsplit("/", 1)[-1] for one in ids if one not in skipped(part, ids)]
    assert left == [*tasks.split(), "clean-up"]


def test_the_subcommands_together_are_the_whole_run() -> None:
    from utils.cli.board import leaf_ids

    ids = leaf_ids(load("pipeline.yaml"))
    calls = [("sdg", None, None), ("train", "1", None), ("train", "2", None), ("evaluation", None, "mt-bench"),
             ("evaluation", None, "final"), ("upload-trained-model", None, None)]  # fmt: skip
    done = {one for call in calls for one in ids if one not in skipped(part_of(*call, False), ids)}
    assert done == set(ids) and not skipped(part_of("", None, None, True), ids)


@pytest.mark.parametrize("phase", ["1", "2"])
@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("/data/phase_1/hf_format/samples_9/", "phase_1/hf_format/samples_9"),
        ("phase_1/hf_format/samples_9", "phase_1/hf_format/samples_9"),
        ("/data/model/output/phase_1/hf_format/samples_9", "phase_1/hf_format/samples_9"),
        ("/data/model", "model"),
    ],
)
def test_the_model_to_train_is_a_folder_of_the_volume_in_both_phases(
    path: str, folder: str, phase: str, read: Read
) -> None:
    """Trap 11: --model-to-train could not work in phase 2."""
    given = read("--training-phase", phase, "--model-to-train", path)
    assert mapped(given, part_of("train", phase, None, False))[f"train_model_phase_{phase}"] == folder


@pytest.mark.parametrize("path", ["/elsewhere/model", "../x", "/data/../etc"])
def test_model_to_train_must_be_on_the_volume(path: str, read: Read) -> None:
    given = read("--training-phase", "1", "--model-to-train", path)
    assert "a folder on the run's volume" in pipeline_arguments(given, part_of("train", "1", None, False))[1][0]


@pytest.mark.parametrize("count", ["0", "1", "8"])
def test_processes_per_node_are_the_gpus_of_a_training_pod(count: str, read: Read) -> None:
    assert mapped(read("--nproc-per-node", count))["train_gpu_per_worker"] == int(count)


def test_a_part_keeps_the_volume_for_the_next(read: Read) -> None:
    assert mapped(read(), Part("sdg", ("sdg",)))["k8s_keep_volume"] == "always"
    assert mapped(read("--keep-volume", "never"), Part("sdg", ("sdg",)))["k8s_keep_volume"] == "never"


def test_only_what_a_part_uses_is_needed() -> None:
    assert part_of("train", "1", None, True).needs == ()
    assert part_of("evaluation", None, "final", True).needs == ("judge",)
    assert part_of("", None, None, False).needs == ("object-store", "judge")
    assert part_of("", None, None, True).needs == ("object-store", "judge", "teacher")
    assert part_of("sdg", None, None, False).needs == ("object-store", "judge", "teacher")

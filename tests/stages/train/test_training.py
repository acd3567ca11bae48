"""The training command."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.stages.train.phase_folders import described
from utils.stages.train.training import torchrun_arguments

STATES = ["--accelerate_full_state_at_epoch", "--on_demand_checkpointing"]


def test_command_on_cpu() -> None:
    arguments = torchrun_arguments(described(Path("/data")), full_state=True)
    assert arguments[:3] == ["--nnodes=1", "--nproc_per_node=1", "--standalone"]
    assert arguments[3:5] == ["/data/phase_2/cpu_main_ds.py", "/data/phase_2/trainer.py"]
    assert {
        "--model_name_or_path=/data/model", "--num_epochs=3", "--effective_batch_size=10", "--learning_rate=2e-05",
        "--num_warmup_steps=5", "--save_samples=0", "--seed=42", "--checkpoint_at_epoch", "--disable_flash_attn",
        *STATES, "--distributed_training_framework=fsdp", "--max_batch_len=5000",
    } <= set(arguments)  # fmt: skip
    assert not [argument for argument in arguments if "offload" in argument]


@pytest.mark.parametrize("gpus", [0, 8])
def test_the_chat_template_of_the_run_is_handed_to_the_trainer(gpus: int) -> None:
    given = described(Path("/data"), gpus=gpus, chat_template="/data/chat_template/template.py")
    assert "--chat-tmpl-path=/data/chat_template/template.py" in torchrun_arguments(given, False)
    own = torchrun_arguments(replace(given, chat_template=""), False)
    assert not [argument for argument in own if "chat" in argument]


def test_command_in_several_pods_with_gpus() -> None:
    given = described(Path("/data"), nodes=3, gpus=8)
    arguments = torchrun_arguments(given, full_state=False)
    assert arguments[:2] == ["--nnodes=3", "--nproc_per_node=8"]  # trap 11: GPUs asked for are GPUs used
    assert arguments[2:4] == ["--node_rank=$(RANK)", "--rdzv_endpoint=$(MASTER_ADDR):$(MASTER_PORT)"]
    assert arguments[4:6] == [
        "--rdzv_conf=timeout=3600",
        "/data/phase_2/trainer.py",
    ]  # as long as the pods may take to start: 60m
    assert {"--cpu_offload_params_fsdp", "--cpu_offload_optimizer"} <= set(arguments)
    assert not {"--disable_flash_attn", *STATES} & set(arguments)


@pytest.mark.parametrize(("epochs", "room", "states"), [(1, True, STATES[1:]), (2, True, STATES), (2, False, [])])
def test_states_are_saved_where_there_is_room_and_something_to_resume(
    epochs: int, room: bool, states: list[str]
) -> None:
    arguments = torchrun_arguments(described(Path("/data"), num_epochs=epochs), full_state=room)
    assert [one for one in arguments if one in STATES] == states


@pytest.mark.parametrize(("gpus", "wanted", "off"), [(8, True, False), (8, False, True), (0, True, True)])
def test_flash_attention_can_be_switched_off_and_is_off_on_cpu(gpus: int, wanted: bool, off: bool) -> None:
    given = described(Path("/data"), gpus=gpus, flash_attention=wanted)
    assert ("--disable_flash_attn" in torchrun_arguments(given, full_state=False)) == off


@pytest.mark.parametrize(("nodes", "gpus", "shared"), [(2, 1, True), (9, 1, True), (2, 2, False), (1, 1, False)])
def test_nodes_with_one_gpu_each_share_one_model(nodes: int, gpus: int, shared: bool) -> None:  # trap 69a
    arguments = torchrun_arguments(described(Path("/data"), nodes=nodes, gpus=gpus), full_state=False)
    assert ("--fsdp_sharding_strategy=FULL_SHARD" in arguments) == shared


@pytest.mark.parametrize(("pending", "seconds"), [("10m", 600), ("2h", 7200), ("1d", 86400)])
def test_rendezvous_waits_as_long_as_the_pods_may_take_to_start(pending: str, seconds: int) -> None:
    arguments = torchrun_arguments(described(Path("/data"), nodes=2, gpus=1, pending_timeout=pending), False)
    assert f"--rdzv_conf=timeout={seconds}" in arguments  # torch waits for 600 s

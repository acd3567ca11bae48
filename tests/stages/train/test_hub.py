"""OSFT and LoRA: what is changed in mini-trainer. Whole trainings are in tests/e2e/test_algorithms.py."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest

from utils.stages.train import hub, trainer
from utils.stages.train.algorithms import ALGORITHMS, option_faults, options_of
from utils.stages.train.folder import Step, training_steps


def skipped(left: int, batches: int) -> list[int]:
    """The batches of two epochs that the library's loop skips, as its condition is written (0.8.3, 0.9.0)."""
    target: Any = hub.Skip(13)
    target.left, found = left, []
    for epoch in range(2):
        count = 0
        for batch in range(batches):
            if target is not None:
                count += 1
                if count <= target:
                    found.append(epoch * batches + batch)
                    continue
                target = None
    return found


@pytest.mark.parametrize(("left", "batches"), [(0, 5), (3, 5), (5, 5)])
def test_batches_that_were_trained_are_skipped_in_their_epoch_only(left: int, batches: int) -> None:
    assert skipped(left, batches) == list(range(left))


def model(tied: bool) -> SimpleNamespace:
    buffers = [("model.rotary.inv_freq", 0), ("model._checkpoint_wrapped_module.scale", 0)]
    config = SimpleNamespace(tie_word_embeddings=tied)
    return SimpleNamespace(
        named_buffers=lambda: buffers, config=config, _tied_weights_keys={"head.weight": "embed.weight"}
    )


@pytest.mark.parametrize("tied", [True, False])
def test_checkpoint_has_merged_adapters_and_the_base_models_tensors(tied: bool) -> None:
    weight, up, down = (numpy.random.default_rng(0).random(shape) for shape in ((4, 3), (4, 2), (2, 3)))
    state = {
        "q.base_layer.weight": weight, "q.lora_A.default.weight": down, "q.lora_B.default.weight": up,
        "q.base_layer.bias": "bias", "embed.weight": "embed", "head.weight": "head",
        "model.rotary.inv_freq": 1, "model.scale": 1,
    }  # fmt: skip
    found = hub.base_tensors(state, model(tied), scale=2.0)
    assert {*found} == {"q.weight", "q.bias", "embed.weight"} | (set() if tied else {"head.weight"})
    assert numpy.allclose(found["q.weight"], weight + 2 * up @ down)
    assert found["q.bias"] == "bias"


def test_only_the_first_rank_logs_and_the_stage_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "training_params_and_metrics_global0.jsonl").touch()
    monkeypatch.setattr(hub.Steps, "path", str(tmp_path / "training_params_and_metrics_global0.jsonl"))
    step = {
        "epoch": 0, "step": 1, "lr": 1e-5, "grad_norm": 2.0, "loss": 1.5, "total_samples_accumulated": 8.0,
        "num_samples": 8.0, "samples_per_second": 4.0,
    }  # fmt: skip
    for rank in "10":
        monkeypatch.setenv("RANK", rank)
        hub.Steps("file").log_sync(step)
    assert training_steps(str(tmp_path)) == [Step(8, 1.5, 2.0)]


@pytest.fixture
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> hub.States:
    """Full states of a training of 5 batches per epoch, with the library and torch as far as they are used."""
    ended: list[str] = []
    distributed = SimpleNamespace(barrier=lambda: None, destroy_process_group=lambda: ended.append("group"))
    saved: dict[str, Any] = {}

    def save(known: dict[str, int], path: str) -> None:
        saved[path] = known

    torch = SimpleNamespace(distributed=distributed, save=save, load=lambda path: saved[str(path)])
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setenv("RANK", "0")
    made = hub.States(str(tmp_path), 0.0, trainer)
    made.write = lambda saver, **given: (saver._checkpoint_dir / f"step_{given['training_state']['step']}").mkdir(
        parents=True
    )
    made.load = lambda state: {"step": 7, "lr_scheduler_state": {"_last_lr": [0.5]}}
    made.given = {"optimizer": SimpleNamespace(param_groups=[{"lr": 1.0}])}
    return made


def test_sigterm_saves_the_state_of_its_epoch_and_ends_the_rank(states: hub.States, tmp_path: Path) -> None:
    given = {"training_state": {"epoch": 1, "step": 7}, "data_loader": range(5)}
    with pytest.raises(SystemExit) as ended:
        states.end(SimpleNamespace(), given)
    assert ended.value.code == 128 + 15
    state = tmp_path / "full_state/epoch_1_step_2/step_7"
    assert state.is_dir() and trainer.state_order(str(state.parent)) == (1, 2)
    known = states.resume(str(state))
    assert (known["step"], known["step"].left) == (7, 2)
    assert states.given["optimizer"].param_groups == [{"lr": 0.5}], "the library's first step has the peak rate"


def test_sigterm_before_an_epochs_first_step_saves_nothing(states: hub.States, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        states.end(SimpleNamespace(), {"training_state": {"epoch": 1, "step": 5}, "data_loader": range(5)})
    assert not (tmp_path / "full_state").exists()


@pytest.mark.parametrize(("algorithm", "more"), [("osft", ""), ("lora", " and peft")])
def test_image_without_the_library_is_refused(tmp_path: Path, algorithm: str, more: str) -> None:
    for program in (hub.HUB, trainer.TRAINER):
        shutil.copy(program, tmp_path)
    (tmp_path / "training.json").write_text(json.dumps({"algorithm": algorithm, "algorithm_options": {}}))
    done = subprocess.run([sys.executable, "-S", tmp_path / "hub.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        f"train_algorithm {algorithm} needs rhai-innovation-mini-trainer 0.8 or newer{more} in the image of the "
        "training pods (train_image)\n"
    )


@pytest.mark.parametrize(
    ("algorithm", "given", "fault"),
    [
        ("sft", {"r": 16}, "with train_algorithm sft: nothing"),
        ("osft", {"r": 16}, "with train_algorithm osft: unfreeze_rank_ratio"),
        ("osft", {"unfreeze_rank_ratio": 0}, "unfreeze_rank_ratio from 0.01 to 1"),
        ("osft", {"unfreeze_rank_ratio": True}, "unfreeze_rank_ratio from 0.01 to 1"),
        ("lora", {"r": 16.5}, "r from 1 to 1024, a whole number"),
        ("lora", {"r": "16"}, "r from 1 to 1024, a whole number"),
        ("lora", {"r": 16.0, "alpha": 8}, ""),
        ("unknown", {}, ""),
    ],
)
def test_options_of_an_algorithm_are_known_and_in_range(algorithm: str, given: dict[str, Any], fault: str) -> None:
    assert list(option_faults(algorithm, given)) == [fault] * bool(fault)


def test_what_is_not_given_has_its_default() -> None:
    """Kubeflow Pipelines hands on whole numbers of a mapping as 8.0; peft takes only 8."""
    assert options_of("lora", {"r": 8.0}) == {"r": 8, "alpha": 32} and type(options_of("lora", {"r": 8.0})["r"]) is int
    assert options_of("osft", {"unfreeze_rank_ratio": 1}) == {"unfreeze_rank_ratio": 1.0}
    assert all(not list(option_faults(name, options_of(name, {}))) for name in ALGORITHMS)

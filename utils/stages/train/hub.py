"""OSFT and LoRA in every rank: mini_trainer, told what main_ds is told. trainer.py beside it in the folder calls it.

OSFT (orthogonal subspace fine-tuning, arXiv:2504.07097) runs in rhai-innovation-mini-trainer, as training-hub has it
(read: training-hub 0.9.2 and 0.11.2, mini-trainer 0.8.3 and 0.9.0). LoRA runs there, too, with peft's layers, since
training-hub's own (unsloth) needs a GPU, and neither shards a model nor merges the adapters. Changed here:

- The tokenizer is main_ds's, with the tokens that a chat template adds.
- Steps are logged in main_ds's form.
- Checkpoints have the base model's tensors. The library adds buffers of the rotary embedding and tied weights.
- Full states lie where main_ds has them, and are also saved after each epoch. The library alone waits for a file that
  all jobs of a machine share, ends as if it had trained to the end, skips too many batches when it continues after the
  first epoch, and continues only OSFT.
"""

import importlib
import importlib.util
import json
import os
import signal
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

HUB = __file__
"""Path of this program."""
LIBRARY = "mini_trainer"
EACH_EPOCH = "--accelerate_full_state_at_epoch"


class Skip(int):
    """A step, of which `batch <= Skip(step)` is true for its first `left` comparisons: batches to skip in its epoch."""

    left = 0

    def __ge__(self, _: object) -> bool:
        self.left -= 1
        return self.left >= 0


class Steps:
    """Stands for the library's logger: a line of JSON per step, as main_ds writes it."""

    path = ""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def log_sync(self, step: dict[str, Any]) -> None:
        """Write it; the first rank of each node calls this."""
        if os.environ["RANK"] == "0":
            line = {
                **{name: step[name] for name in ("epoch", "step", "lr", "grad_norm")},
                "avg_loss": step["loss"],
                "samples_seen": int(step["total_samples_accumulated"]),
                "batch_size": int(step["num_samples"]),
                "overall_throughput": step["samples_per_second"],
            }
            print(json.dumps(line), flush=True)
            with open(self.path, "a") as file:
                file.write(json.dumps(line) + "\n")


def base_tensors(state: dict[str, Any], model: Any, scale: float) -> dict[str, Any]:
    """A gathered state with the tensors that the base model's files have: adapters merged, no buffers, no tied weights.

    Args:
        scale: of LoRA's product, alpha/r.
    """
    for name in [name for name in state if ".base_layer." in name]:
        weight = state.pop(name)
        low = [state.pop(name.replace("base_layer", f"lora_{part}.default"), None) for part in "BA"]
        state[name.replace(".base_layer", "")] = weight if low[0] is None else weight + scale * (low[0] @ low[1])
    extra = {name.replace("_checkpoint_wrapped_module.", "") for name, _ in model.named_buffers()}
    if model.config.tie_word_embeddings:
        extra |= {*(model._tied_weights_keys or ())}
    return {name: weight for name, weight in state.items() if name not in extra}


class States:
    """Full states: on SIGTERM, and after each epoch.

    Args:
        output: path of the phase's folder.
        scale: see `base_tensors`.
        trainer: the module trainer.py.
    """

    def __init__(self, output: str, scale: float, trainer: Any) -> None:
        self.torch: Any = importlib.import_module("torch")
        self.output, self.scale, self.trainer, self.asked = output, scale, trainer, False

    def install(self, library: Any) -> None:
        """Replace the library's functions."""
        self.library, self.train, self.save_model = library, library.train, library.save_model
        self.kind: Any = library.FullStateCheckpointer
        self.write, self.load = self.kind.save, self.kind.load_metadata
        vars(library).update(train=self.start, save_model=self.save, find_latest_full_state_checkpoint=self.newest)
        self.kind._handle_signal = lambda *_: setattr(self, "asked", True)
        self.kind.should_save = lambda _, device: self.requested(device)
        self.kind.save = lambda saver, **given: self.end(saver, given)
        self.kind.load_metadata = staticmethod(self.resume)

    def start(self, model: Any, resume_from_full_state_checkpoint: str | None, **given: Any) -> None:
        """The library's `train`."""
        self.given = given
        prepare = getattr(model, "prepare_state_dict_for_save", dict)
        if (state := resume_from_full_state_checkpoint) and prepare is dict:  # the library does it for OSFT only
            load: Any = importlib.import_module("torch.distributed.checkpoint").load
            load({"model": model.state_dict()}, checkpoint_id=f"{state}/distributed")
        model.prepare_state_dict_for_save = lambda state: base_tensors(prepare(state), model, self.scale)
        self.train(model=model, resume_from_full_state_checkpoint=state, **given)

    def save(self, model: Any, samples_seen: float, *given: Any, **named: Any) -> None:
        """The library's `save_model`: a checkpoint, and after each epoch but the last a full state."""
        model.config.use_cache = True  # for who loads it
        self.save_model(model, int(samples_seen), *given, **named)
        model.config.use_cache = False
        loader = self.given["data_loader"]
        epoch, rest = divmod(int(samples_seen), len(loader.dataset))
        if EACH_EPOCH in sys.argv and not rest and epoch < self.given["max_epochs"]:
            names = ("optimizer", "lr_scheduler", "data_loader")
            saved = dict.fromkeys(("last_saved_samples", "last_frequency_saved_samples"), samples_seen)
            trained = {
                **{"model": model, "device": None} | {name: self.given[name] for name in names},
                "training_state": {
                    **{"step": epoch * len(loader), "epoch": epoch},
                    **{"total_samples_accumulated": samples_seen, "total_tokens_processed": 0},
                },
                "checkpointer_state": {**saved, "best_val_loss": None},
            }
            rank, size = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))
            self.save_state(self.kind(checkpoint_dir="", rank=rank, world_size=size), f"epoch_{epoch - 1}", 0, trained)

    def requested(self, device: Any) -> bool:
        """Whether a rank got SIGTERM: all ranks ask alike."""
        asked = self.torch.tensor(int(self.asked), device=device)
        self.torch.distributed.all_reduce(asked, self.torch.distributed.ReduceOp.MAX)
        return bool(asked.item())

    def save_state(self, saver: Any, name: str, step: int, given: dict[str, Any]) -> None:
        """Save the state after `step` steps of an epoch, unless it is saved; its metadata come last."""
        state = f"{self.output}/full_state/{name}"
        if state in self.trainer.whole_states(self.output):
            return
        saver._checkpoint_dir = Path(state)
        self.write(saver, **given)
        if os.environ["RANK"] == "0":
            self.torch.save({"steps_of_epoch": step}, f"{state}/{self.trainer.METADATA}")
        self.torch.distributed.barrier()

    def end(self, saver: Any, given: dict[str, Any]) -> None:
        """SIGTERM: save the state after the last optimizer step, and end the rank."""
        epoch = given["training_state"]["epoch"]
        step = given["training_state"]["step"] - epoch * len(given["data_loader"])
        if step:
            self.save_state(saver, f"epoch_{epoch}_step_{step}", step, given)
        if os.environ["RANK"] == "0":
            print(f"SIGTERM: training continues after step {step} of epoch {epoch} (counted from 0)", flush=True)
        self.torch.distributed.destroy_process_group()
        raise SystemExit(128 + signal.SIGTERM)

    def newest(self, _: str) -> str | None:
        """What the library continues from: the newest whole state, the same in all ranks."""
        found = [self.trainer.whole_states(self.output)[-1:]]
        self.torch.distributed.broadcast_object_list(found, src=0)
        return next((str(path) for state in found[0] for path in Path(state).glob("step_*")), None)

    def resume(self, state: str) -> dict[str, Any]:
        """The library's metadata of a state, with a step that skips what was trained of its epoch.

        Here the optimizer gets the state's learning rates: the library's first step has those of the first of all.
        """
        known: dict[str, Any] = self.load(state)
        for group, rate in zip(
            self.given["optimizer"].param_groups, known["lr_scheduler_state"]["_last_lr"], strict=True
        ):
            group["lr"] = rate
        known["step"] = Skip(known["step"])
        known["step"].left = self.torch.load(Path(state).with_name(self.trainer.METADATA))["steps_of_epoch"]
        return known


def add_adapters(setup: Any, r: int, alpha: int) -> float:
    """Let the library train a model's LoRA adapters, on all linear layers but the last; returns their scale."""
    peft: Any = importlib.import_module("peft")
    align = setup.align_model_and_tokenizer

    def adapted(model: Any, tokenizer: Any) -> Any:
        # Once for the weights, in the first rank, and in all ranks for the model that gets them.
        config = peft.LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear")
        return peft.inject_adapter_in_model(config, align(model, tokenizer))

    setup.align_model_and_tokenizer = adapted
    return alpha / r


def main() -> None:
    """Train by osft or lora, with the arguments of main_ds.

    Raises:
        SystemExit: the image lacks the library, or has an older one.
    """
    trainer: Any = importlib.import_module("trainer")
    room = json.loads(Path(__file__).with_name("training.json").read_text())
    algorithm, options = room["algorithm"], room["algorithm_options"]
    needed = [LIBRARY, f"{LIBRARY}.full_state_checkpoint", *["peft"] * (algorithm == "lora")]
    if not all(map(importlib.util.find_spec, needed)):
        lacks = "rhai-innovation-mini-trainer 0.8 or newer" + " and peft" * (algorithm == "lora")
        raise SystemExit(f"train_algorithm {algorithm} needs {lacks} in the image of the training pods (train_image)")
    given = dict(word[2:].split("=", 1) for word in sys.argv if word.startswith("--") and "=" in word)
    library: Any = importlib.import_module(f"{LIBRARY}.train")
    setup: Any = importlib.import_module(f"{LIBRARY}.setup_model_for_training")
    if why := "it is switched off" if trainer.DISABLE in sys.argv else trainer.without_flash_attention():
        print(f"training is slower, without flash attention: {why}", flush=True)
        setup.needs_sdpa = lambda _: True
    tokenizers: Any = importlib.import_module("instructlab.training.tokenizer_utils")
    tokenizer = tokenizers.setup_tokenizer(given["model_name_or_path"], given.get("chat-tmpl-path"))
    importlib.import_module("transformers").AutoTokenizer.from_pretrained = lambda *_, **__: tokenizer
    library.AsyncStructuredLogger = Steps
    Steps.path = given["output_dir"] + "/training_params_and_metrics_global0.jsonl"
    scale = add_adapters(setup, **options) if algorithm == "lora" else 0.0
    States(given["output_dir"], scale, trainer).install(library)
    resumable = trainer.STATE_ON_SIGTERM in sys.argv
    if resumable and os.environ["RANK"] == "0":
        version = metadata.version("rhai-innovation-mini-trainer")
        told = "saves its state on SIGTERM: interrupted, training continues at its step"
        print(f"rhai-innovation-mini-trainer {version} {told}", flush=True)
    library.main(
        **{name: given[name] for name in ("model_name_or_path", "data_path", "output_dir")},
        batch_size=int(given["effective_batch_size"]),
        max_tokens_per_gpu=int(given["max_batch_len"]),
        learning_rate=float(given["learning_rate"]),
        num_warmup_steps=int(given["num_warmup_steps"]),
        lr_scheduler="cosine",
        seed=int(given["seed"]),
        osft=algorithm == "osft",
        osft_unfreeze_rank_ratio=options.get("unfreeze_rank_ratio"),
        min_samples_per_checkpoint=int(given["save_samples"]) or None,
        max_epochs=int(given["num_epochs"]),
        checkpoint_at_epoch=True,
        save_dtype=room["dtype"],
        on_demand_checkpointing=resumable,
    )


if __name__ == "__main__":
    main()

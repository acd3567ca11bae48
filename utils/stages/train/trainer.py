"""The program of every rank: instructlab.training's main_ds, changed where it would lose samples, checkpoints or time.

torchrun starts a copy of this file in the phase's folder, with main_ds's arguments. It imports none of our modules but
those whose copies lie beside it, packing.py and progress_server.py: pods have the training image's.

The changes, by the library's version (read: 0.10.3, 0.11.1, 0.12.1, 0.16.2):

- all: collectives wait for the slowest write of a checkpoint (`outlast_checkpoints`).
- all: a GPU or image without flash attention trains without it (`without_flash_attention`); the library raises.
- all: checkpoints have the type that training.json says (`save_in_type`); the library saves float32.
- before 0.12: packing loses no sample (packing.py, `pack_every_sample`).
- from 0.12: without flash attention all ranks get as many micro-batches (`pack_in_step`), and `--save_samples` saves
  whenever as many were seen (`save_every`).
- from 0.16: a full state on SIGTERM, from which training continues at its step (`StepStates`).
"""

import argparse
import glob
import importlib
import importlib.util
import json
import os
import runpy
import signal
import sys
import zipfile
from collections.abc import Mapping
from datetime import timedelta
from importlib import metadata
from multiprocessing import popen_fork
from pathlib import Path
from typing import Any

TRAINER = __file__
"""Path of this program."""
LIBRARY = "instructlab.training"
STATE_ON_SIGTERM = "--on_demand_checkpointing"
METADATA = "training_metadata.json"
"""File of a full state (torch's zip format) that the library writes last."""
DISABLE = "--disable_flash_attn"
PROGRESS_PORT = "ILAB_PROGRESS_PORT"
"""Environment variable: the port where rank 0 tells its progress; unset for none."""


def main() -> None:
    """Train, with the arguments of main_ds."""
    options = argparse.ArgumentParser(allow_abbrev=False)
    options.add_argument("--model_name_or_path")
    options.add_argument("--num_epochs", type=int)
    options.add_argument("--effective_batch_size", type=int)
    options.add_argument("--data_path")
    options.add_argument("--output_dir")
    given, _ = options.parse_known_args()
    if PROGRESS_PORT in os.environ and os.environ.get("RANK") == "0":
        importlib.import_module("progress_server").serve_progress(int(os.environ[PROGRESS_PORT]), given)
    leave_versions()
    outlast_checkpoints(given.model_name_or_path)
    room = json.loads(Path(__file__).with_name("training.json").read_text())
    if room["algorithm"] != "sft":
        runpy.run_path(str(Path(__file__).with_name("hub.py")), run_name="__main__")
        return
    save_in_type(room["dtype"], room["other_dtypes"])
    if STATE_ON_SIGTERM in sys.argv:
        save_on_sigterm(given.output_dir)
    packing: Any = importlib.import_module("packing")
    if importlib.util.find_spec(f"{LIBRARY}.multipack_sampler"):
        packing.pack_every_sample(given.num_epochs)
    else:
        packing.pack_in_step()
        save_every()  # after save_on_sigterm, whose loading of a state it extends
    if DISABLE not in sys.argv and (why := without_flash_attention()):
        print(f"training is slower, without flash attention: {why}", flush=True)
        sys.argv.append(DISABLE)
    runpy.run_module(f"{LIBRARY}.main_ds", run_name="__main__", alter_sys=True)


def leave_versions() -> None:
    """Leave the versions of what trains beside this file, from the first rank: a pod's are not the launcher's."""
    names = ("torch", "transformers", "instructlab-training", "rhai-innovation-mini-trainer", "peft")
    found = {one.name: one.version for one in metadata.distributions() if one.name in names}
    if os.environ.get("RANK", "0") == "0":
        Path(__file__).with_name("versions.json").write_text(json.dumps(found))


def whole_states(output: str) -> list[str]:
    """Folders of a phase's full states from which training can resume, the newest last.

    A state without its metadata, or with a torn one, doesn't count.
    """
    last = glob.glob(f"{output}/full_state/epoch_*/{METADATA}")
    return sorted(map(os.path.dirname, filter(zipfile.is_zipfile, last)), key=state_order)


def state_order(state: str) -> tuple[int, int]:
    """Whole epochs and further steps after which a state was saved: epoch_0 is (1, 0), epoch_1_step_15 (1, 15)."""
    epoch, _, step = os.path.basename(state).removeprefix("epoch_").partition("_step_")
    return (int(epoch), int(step)) if step else (int(epoch) + 1, 0)


def within_epoch(state: str) -> bool:
    """Whether a state was saved before its epoch's last step."""
    return state_order(state)[1] > 0


def save_on_sigterm(output: str) -> None:
    """Let training save its state on SIGTERM if the library can (from 0.16 on), and print whether it does.

    Raises:
        SystemExit: it can't, and could not continue such a state either.
    """
    version = f"instructlab-training {metadata.version('instructlab-training')}"
    if importlib.util.find_spec(f"{LIBRARY}.on_demand_checkpoint"):
        StepStates().install()
        told = "saves its state on SIGTERM: interrupted, training continues at its step"
    else:
        sys.argv.remove(STATE_ON_SIGTERM)
        if any(map(within_epoch, whole_states(output)[-1:])):
            raise SystemExit(f"{version} can't continue {whole_states(output)[-1]}: use the image that saved it")
        told = "saves its state after each epoch only: interrupted, training repeats the epoch it was in"
    if os.environ.get("RANK", "0") == "0":
        print(f"{version} {told}", flush=True)


class StepStates:
    """Full states within an epoch, saved on SIGTERM.

    The library (0.16.2) alone waits for a file in /dev/shm that only its own launcher writes; then writes a checkpoint
    that nobody asked for, and the state where an earlier one of the epoch is; does not log its last step; and ends as
    if it had trained to the end. Started again, it skips a step that was not taken, and from the second epoch on,
    where it counts the steps of all epochs, the rest of the epoch.
    """

    def __init__(self) -> None:
        self.asked = self.gained = False
        self.calls = self.steps = 0

    def install(self) -> None:
        """Replace the library's functions."""
        names = ("on_demand_checkpoint", "utils", "accelerator")
        library, utils, accelerators = (importlib.import_module(f"{LIBRARY}.{name}") for name in names)
        vars(library).update(check_checkpoint_requested=self.requested, save_on_demand_checkpoint=self.save)
        vars(utils).update(load_latest_full_state=self.load)
        kind = accelerators.Accelerator
        step = kind.take_optimizer_step

        def take_step(accelerator: Any) -> None:
            step(accelerator)
            self.gained, self.calls = True, -1
            self.steps += 1

        kind.take_optimizer_step = take_step

    def load(self, args: Any, accelerator: Any) -> None:
        """Load the newest whole state, the same in all ranks, and heed SIGTERM from now on."""
        torch: Any = importlib.import_module("torch")
        self.device = accelerator.device
        found = [whole_states(args.output_dir)[-1:]]
        torch.distributed.broadcast_object_list(found, src=0, device=self.device)
        for state in found[0]:
            accelerator.load_state(state)
            known = torch.load(f"{state}/{METADATA}")
            args.samples_seen, args.last_step = known["samples_seen"], known.get("global_step", 0)
            args.current_epoch = known["current_epoch"] + ("global_step" not in known)
            self.steps = args.current_epoch * len(accelerator.train_loader) + args.last_step
        signal.signal(signal.SIGTERM, self.ask)
        # Who ends all processes at once must not end those that load rows: the next batch would fail before the save.
        os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))
        popen: Any = popen_fork.Popen
        popen.terminate = popen.kill

    def ask(self, *_: object) -> None:
        """SIGTERM: end after the micro-batch at work."""
        self.asked = True

    def requested(self) -> bool:
        """Whether a rank was asked to end.

        The library asks all ranks alike, three times for each micro-batch, and before and after an optimizer step. Here
        they agree once for each, when no micro-batch is at work and the last step is logged.
        """
        self.calls += 1
        if self.calls % 3 != 1:
            return False
        torch: Any = importlib.import_module("torch")
        asked = torch.tensor(int(self.asked), device=self.device)
        torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
        return bool(asked.item())

    def save(self, args: Any, accelerator: Any, samples_seen: int, epoch: int, **_: Any) -> None:
        """Save the state as it is after the last optimizer step, unless it is saved, and end the rank."""
        torch: Any = importlib.import_module("torch")
        step = self.steps - epoch * len(accelerator.train_loader)  # of this epoch, as the library counts to skip
        if self.gained and step:
            state = f"{args.output_dir}/full_state/epoch_{epoch}_step_{step}"
            accelerator.save_state(output_dir=state)
            torch.distributed.barrier()
            if accelerator.is_main_process:
                known = {"current_epoch": epoch, "samples_seen": samples_seen, "global_step": step}
                torch.save(known, f"{state}/{METADATA}")
            torch.distributed.barrier()
        if accelerator.is_main_process:
            print(f"SIGTERM: training continues after step {step} of epoch {epoch} (counted from 0)", flush=True)
        torch.distributed.destroy_process_group()
        raise SystemExit(128 + signal.SIGTERM)


def outlast_checkpoints(model: str) -> None:
    """Let collectives wait for one hour, and one second for each MiB of the model's weights.

    While rank 0 writes weights and optimizer, up to 10 times the size of bfloat16 weights, the others wait for it: by
    default for 10 minutes (NCCL) or 30. FSDP's own groups have no other setting.
    """
    size = sum(file.stat().st_size for file in Path(model).glob("*.safetensors"))
    torch: Any = importlib.import_module("torch.distributed.distributed_c10d")
    torch.default_pg_timeout = torch.default_pg_nccl_timeout = timedelta(hours=1, seconds=size >> 20)


def without_flash_attention() -> str:
    """Why flash attention can't be used; "" when it can.

    The library accepts GPUs of capability 8.x or 9.0 and some of AMD's (0.10 to 0.16), and raises for others, such as
    T4 (7.5), V100 (7.0) and B200 (10.0). It looks at the first GPU of the node, so that all ranks there do the same.
    """
    torch: Any = importlib.import_module("torch.cuda")
    torch.set_device(int(os.environ["LOCAL_RANK"]))  # as main_ds does first: else each rank takes memory of the first
    new = importlib.util.find_spec(f"{LIBRARY}.model")  # from 0.11
    library: Any = importlib.import_module(f"{LIBRARY}.model" if new else f"{LIBRARY}.utils")
    if not (library.Model if new else library).supports_flash_attention():
        return f"the library does not support it on {torch.get_device_name(0)}"
    try:
        importlib.import_module("flash_attn")
    except ImportError as error:
        return f"this image does not have it ({error})"
    return ""


def save_in_type(dtype: str, others: Mapping[str, str]) -> None:
    """Let `Accelerator.save_model` save checkpoints in a type. Full states stay as they are.

    Under FSDP with mixed precision, accelerate (read: 1.0.1, 1.15.0) trains float32 weights, whatever type the model
    was loaded in (`prepare_model`, "upcasting"), and saves them as they are. With transformers 5, tied
    weights are saved once, also those that FSDP gathers one by one: 5.0, which finds both, does not tie them again.

    Args:
        dtype: float32, bfloat16 or float16; config.json gets it before there are weights beside it.
        others: names of weights with another type.
    """
    torch: Any = importlib.import_module("torch")
    kind: Any = importlib.import_module("accelerate").Accelerator
    save = kind.save_model

    def save_model(self: Any, model: Any, save_directory: Any, *given: Any, **named: Any) -> None:
        gather = self.get_state_dict

        def cast(*given: Any, **named: Any) -> Any:
            state, made = gather(*given, **named), {}
            for name in getattr(model, "all_tied_weights_keys", ()):
                state.pop(name, None)
            for name, weight in state.items():
                if getattr(weight, "dtype", None) in (torch.float32, torch.bfloat16, torch.float16):
                    key = weight.data_ptr(), weight.shape, others.get(name, dtype)
                    if key not in made:
                        made[key] = weight.to(getattr(torch, key[2]))
                    state[name] = made[key]  # frees the memory of the other
            return state

        if self.is_main_process:
            name_type(Path(save_directory, "config.json"), dtype)
        self.get_state_dict = cast
        try:
            save(self, model, save_directory, *given, **named)
        finally:
            self.get_state_dict = gather

    kind.save_model = save_model


def name_type(path: Path, dtype: str) -> None:
    """Write the type of the weights into a model's config.json, whole or not at all."""
    config = json.loads(path.read_text())
    names = {"dtype", "torch_dtype"}  # transformers 5, and before
    if not names & config.keys():
        config["torch_dtype"] = dtype
    for part in (config, config.get("text_config") or {}):
        part.update(dict.fromkeys(names & part.keys(), dtype))
    partial = path.with_name("config.json.part")
    partial.write_text(json.dumps(config, indent=2))
    partial.replace(path)


class Every(int):
    """A number of samples; `seen % Every(n)` is 0 where another n were seen, not only where `seen` is a multiple."""

    done = 0

    def __rmod__(self, seen: int) -> int:
        before, self.done = self.done, seen // int(self)
        return int(self.done == before)


def save_every() -> None:
    """Let training from 0.12 on save whenever `--save_samples` more were seen: batches seldom end at a multiple."""
    library: Any = importlib.import_module(f"{LIBRARY}.utils")
    load = library.load_latest_full_state

    def load_state(args: Any, accelerator: Any) -> None:
        load(args=args, accelerator=accelerator)
        args.save_samples = every = Every(args.save_samples)
        every.done = getattr(args, "samples_seen", 0) // max(1, every)  # saved before a restart

    library.load_latest_full_state = load_state


if __name__ == "__main__":
    main()

"""instructlab.training on CPU: torchrun starts this file, it runs the program that its first argument names."""

import importlib
import importlib.metadata
import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Run a program of instructlab.training on a machine without CUDA: its path and arguments are this program's.

    Everything that needs CUDA is replaced: device placement, memory statistics, and FSDP with bf16, by accelerate's CPU
    mode. Two more changes save time: no processes to load a few rows, and bfloat16 arithmetic on float32 weights if the
    processor supports it. Checkpoints lose the prefix that DistributedDataParallel gives to names; full states keep it,
    and are not safetensors, which can't hold the tied embeddings of small models. OSFT and LoRA run with
    FSDP2, which needs no GPU.

    Raises:
        SystemExit: the library's version is not supported.
    """
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # threads that spin while others compute cost a factor of 2 to 5
    os.environ["NUMBA_DISABLE_JIT"] = "1"  # compiling takes longer than packing a few rows
    version = importlib.metadata.version("instructlab-training")
    prepare = {"0.10": prepare_0_10, "0.16": prepare_0_16}.get(".".join(version.split(".")[:2]))
    if prepare is None:
        raise SystemExit(
            f"training on CPU was made for instructlab-training 0.10 and 0.16, this is {version}: use a GPU"
        )
    import torch

    torch.cuda.set_device = lambda *_: None
    torch.cuda.memory_stats = lambda *_: {"num_alloc_retries": 0}
    torch.Tensor.cuda = lambda tensor, *_: tensor
    if json.loads(Path(__file__).with_name("training.json").read_text())["algorithm"] != "sft":
        prepare_hub()
    else:
        prepare(cpu_accelerator())
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


def cpu_accelerator() -> type:
    """accelerate's Accelerator, always on the CPU."""
    import accelerate
    import torch

    class CpuAccelerator(accelerate.Accelerator):
        def __init__(self, **options: Any) -> None:
            fast = torch.cpu._is_avx512_bf16_supported()
            super().__init__(cpu=True, mixed_precision="bf16" if fast else "no")

        def prepare(self, model: Any, *others: Any, **options: Any) -> Any:
            # The library prepares the model, then the model with the rest: it must be wrapped and kept only once.
            if isinstance(model, torch.nn.parallel.DistributedDataParallel):
                rest = super().prepare(*others, **options)
                return (model, *(rest if len(others) > 1 else (rest,)))
            if hasattr(model, "gradient_checkpointing_disable") and model.num_parameters() < 500_000_000:
                model.gradient_checkpointing_disable()  # halves the memory of activations, takes a third more time
            return super().prepare(model.float(), *others, **options)

        def save_model(self, model: Any, save_directory: Any, *arguments: Any, **options: Any) -> None:
            super().save_model(getattr(model, "module", model), save_directory, *arguments, **options)

        def save_state(self, output_dir: Any) -> str:
            return super().save_state(output_dir, safe_serialization=False)

    return CpuAccelerator


def prepare_0_16(accelerator: type) -> None:
    """Replace what version 0.16 does only on GPUs."""
    import instructlab.training.accelerator as library
    import instructlab.training.batch_loss_manager as losses
    import instructlab.training.sampler as sampler
    import torch

    def on_cpu(self: Any, *arguments: Any, **options: Any) -> None:
        start(self, *arguments, **options)
        self.torch_device = torch.device("cpu")

    start, loader = losses.BatchLossManager.__init__, sampler.get_data_loader
    losses.BatchLossManager.__init__ = on_cpu
    sampler.get_data_loader = lambda **options: loader(**{**options, "num_workers": 0})
    library.TransformersAccel = accelerator


def prepare_0_10(accelerator: type) -> None:
    """Replace what version 0.10, that of the pipeline's image, does only on GPUs."""
    import instructlab.training.setup_accelerator as library
    import instructlab.training.token_dataset as rows
    import torch

    loader, join, to = rows.setup_dataloader, torch.distributed.init_process_group, torch.Tensor.to
    rows.setup_dataloader = lambda *arguments, **options: loader(*arguments, **{**options, "num_workers": 0})
    library.Accelerator = accelerator
    torch.distributed.init_process_group = lambda *_, **options: join("gloo", **options)
    # Rows go to a GPU by its number.
    torch.Tensor.to = lambda tensor, *where, **options: (
        tensor if where and type(where[0]) is int else to(tensor, *where, **options)
    )


def prepare_hub() -> None:
    """Replace what mini-trainer does only on GPUs: devices, NCCL, memory statistics, and flash attention."""
    import torch

    names = ("osft_utils", "setup_model_for_training", "utils")
    osft, library, start = (importlib.import_module(f"mini_trainer.{name}") for name in names)

    class CpuTorch:
        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

        def device(self, kind: str, *number: int) -> torch.device:
            return torch.device("cpu") if kind == "cuda" else torch.device(kind, *number)

    join, mesh, policy = torch.distributed.init_process_group, library.init_device_mesh, library.MixedPrecisionPolicy
    torch.distributed.init_process_group = lambda *_, timeout, **__: join("gloo", timeout=timeout)
    vars(osft)["torch"] = vars(start)["torch"] = CpuTorch()
    vars(library)["init_device_mesh"] = lambda _, *given, **named: mesh("cpu", *given, **named)
    if not torch.cpu._is_avx512_bf16_supported():
        vars(library)["MixedPrecisionPolicy"] = lambda **_: policy()
    torch.cuda.reset_peak_memory_stats = lambda *_: None


if __name__ == "__main__":
    main()

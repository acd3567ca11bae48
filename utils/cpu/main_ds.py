"""instructlab.training on CPU: torchrun starts this file in place of the library's module. It stands alone."""

import importlib.metadata
import os
import runpy
from typing import Any


def main() -> None:
    """Run the library's own main_ds on a machine without CUDA.

    What needs CUDA is replaced: device placement, memory statistics, and FSDP with bf16, by accelerate's CPU mode. Two
    more things save time: no processes to load a few rows, and bfloat16 arithmetic on weights that stay float32 where
    the processor has it. Checkpoints lose the prefix that DistributedDataParallel gives to names; full states keep it,
    and are no safetensors, which can't hold the tied embeddings of small models.

    Raises:
        SystemExit: another version of the library than those this was made for.
    """
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # threads that spin while others compute cost a factor of 2 to 5
    os.environ["NUMBA_DISABLE_JIT"] = "1"  # compiling takes longer than packing a few rows
    version = importlib.metadata.version("instructlab-training")
    if not version.startswith("0.16."):
        raise SystemExit(f"training on CPU was made for instructlab-training 0.16, this is {version}: use a GPU")
    import accelerate
    import instructlab.training.accelerator as library
    import instructlab.training.batch_loss_manager as losses
    import instructlab.training.sampler as sampler
    import torch

    class CpuAccelerator(accelerate.Accelerator):
        def __init__(self, **options: Any) -> None:
            fast = torch.cpu._is_avx512_bf16_supported()
            super().__init__(cpu=True, mixed_precision="bf16" if fast else "no")

        def prepare(self, model: Any, *others: Any, **options: Any) -> Any:
            if hasattr(model, "gradient_checkpointing_disable") and model.num_parameters() < 500_000_000:
                model.gradient_checkpointing_disable()  # it halves the memory of activations for a third more time
            prepared = super().prepare(model.float(), *others, **options)
            del self._models[:-1]  # prepared twice by the library, it would be saved twice in each full state
            return prepared

        def get_state_dict(self, model: Any, unwrap: bool = True) -> dict:
            state = super().get_state_dict(model, unwrap)
            return {name.removeprefix("module."): state[name] for name in state} if unwrap else state

        def save_state(self, output_dir: Any) -> str:
            return super().save_state(output_dir, safe_serialization=False)

    def on_cpu(self: Any, *arguments: Any, **options: Any) -> None:
        start(self, *arguments, **options)
        self.torch_device = torch.device("cpu")

    start, loader = losses.BatchLossManager.__init__, sampler.get_data_loader
    losses.BatchLossManager.__init__ = on_cpu
    sampler.get_data_loader = lambda **options: loader(**{**options, "num_workers": 0})
    library.TransformersAccel = CpuAccelerator
    torch.cuda.set_device = lambda *_: None
    torch.cuda.memory_stats = lambda *_: {"num_alloc_retries": 0}
    torch.Tensor.cuda = lambda tensor, *_: tensor
    runpy.run_module("instructlab.training.main_ds", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

"""Runs in the stages' interpreter; prints JSON last.

`run_ranks.py pack CASES`: what each rank trains on in an epoch.
`run_ranks.py train DATA_DIR LENGTHS JSON`: a phase on two nodes of one process each; JSON changes its parameters.
`run_ranks.py attention CARDS`: why each card trains without flash attention.
`run_ranks.py shard ARGUMENTS`: a step of FSDP in two gloo ranks, as torchrun_arguments configure it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.e2e.run_training import make_volume
from tests.e2e.volume import leave_skills, options
from utils.stages.evaluation.serving import free_port
from utils.stages.marker import result_of
from utils.stages.results import Processed
from utils.stages.train.packing import pack_every_sample, pack_in_step
from utils.stages.train.process import ProcessLauncher
from utils.stages.train.stage import TrainingPhase, train
from utils.stages.train.trainer import without_flash_attention

OLD = bool(find_spec("instructlab.training.multipack_sampler"))
"""Whether this is a version before 0.12."""


def row(length: int) -> dict[str, Any]:
    return {"input_ids": [5] * length, "labels": [-100] + [5] * (length - 1), "len": length}


def pack(cases: str) -> list[dict[str, Any]]:
    """An epoch in the library's own batches, as its collate functions leave them: tokens, and learnt ones, per share.

    Args:
        cases: lengths, batch, limit, ranks and flash of each, as JSON.
    """
    if OLD:
        pack_every_sample(epochs=3)
    else:
        pack_in_step()
    return [(pack_old if OLD else pack_new)(**case) for case in json.loads(cases)]


def pack_old(lengths: list[int], batch: int, limit: int, ranks: int, flash: bool) -> dict[str, Any]:
    import instructlab.training.multipack_sampler as packing
    import numpy
    import torch
    from instructlab.training.utils import make_collate_fn

    os.environ["RANK"] = "0"
    rows = numpy.array(lengths)
    data = SimpleNamespace(get_lengths=lambda: rows)
    collate = make_collate_fn(0, flash_enabled=flash, max_batch_len=limit)
    # main_ds catches its RuntimeError, and then drops samples.
    size, micro_batches = packing.find_packing_max_batch_len_and_grad_accum(
        ranks, rows.mean(), batch, limit, not flash, data, 1
    )
    kind = packing.MultipackDistributedBatchSampler
    samplers = [kind(size, rows, ranks, rank, seed=1, padding=not flash) for rank in range(ranks)]
    shares = []
    for batches in zip(*samplers, strict=True):
        for indices in batches:
            tensors = [{"input_ids": torch.ones(rows[i]), "labels": torch.ones(rows[i])} for i in indices]
            made = collate([{**one, "attention_mask": one["labels"]} for one in tensors])
            shares.append({"tokens": made["input_ids"].numel(), "learnt": int(made["num_loss_counted_tokens"])})
    return {"shares": shares, "micro_batches": micro_batches, "batches": len(shares) // ranks}


def pack_new(lengths: list[int], batch: int, limit: int, ranks: int, flash: bool) -> dict[str, Any]:
    import torch
    from instructlab.training.sampler import EpochSampler, MaxTokensPerRankCollator

    order = list(EpochSampler(len(lengths), seed=1))
    shares = []
    for start in range(0, len(order), batch):
        rows = [{**row(lengths[i]), "num_loss_counted_tokens": lengths[i]} for i in order[start : start + batch]]
        tensors = [{**one, "input_ids": torch.tensor(one["input_ids"])} for one in rows]
        collators = [MaxTokensPerRankCollator(limit, rank, ranks, flash_enabled=flash) for rank in range(ranks)]
        for micro_batch in zip(*[collate(tensors) for collate in collators], strict=True):
            for made in micro_batch:
                shares.append({"tokens": made["input_ids"].numel(), "learnt": made["num_loss_counted_tokens"]})
    return {"shares": shares, "micro_batches": 1, "batches": len(shares) // ranks}


@dataclass(frozen=True)
class TwoNodes(ProcessLauncher):
    """Two torchruns of one process each, which meet as the pods of a PyTorchJob do."""

    nodes = 2

    def launch(self, arguments: list[str], timeout: int, tick: Callable[[], None]) -> None:
        port, started = str(free_port()), []
        for rank in "01":
            values = {"$(RANK)": rank, "$(MASTER_ADDR)": "127.0.0.1", "$(MASTER_PORT)": port}
            command = list(arguments)
            for name, value in values.items():
                command = [argument.replace(name, value) for argument in command]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
            with Path(self.output, f"log_{rank}").open("w") as log:
                program = [sys.executable, "-m", "torch.distributed.run", *command]
                started.append(subprocess.Popen(program, stdout=log, stderr=log, env=environment))
        codes = [process.wait(timeout) for process in started]
        if any(codes):
            raise SystemExit("".join(Path(self.output, f"log_{rank}").read_text()[-4000:] for rank in "01"))


def prepare_volume(data_dir: Path, rows: list[int]) -> Processed:
    """A volume after data processing, without knowledge, and with skills of these lengths."""
    make_volume(data_dir)
    return leave_skills(data_dir, map(row, rows))


def train_phase(data_dir: Path, lengths: str, changes: str) -> dict[str, Any]:
    counts = prepare_volume(data_dir, json.loads(lengths))
    given = TrainingPhase(**options(data_dir) | json.loads(changes))
    result = train(given, TwoNodes(given.output, 600), str(data_dir / "manifest.json"))
    assert result_of(str(data_dir), "data_processing", Processed) == counts
    return vars(result)


def attention(cards: str) -> list[str]:
    """Why each card trains without flash attention, as the library itself decides.

    Args:
        cards: name, major and minor capability, and AMD's name of the architecture of each, as JSON.
    """
    import torch.cuda

    os.environ["LOCAL_RANK"] = "0"
    torch.cuda.set_device = lambda device: None
    found = []
    for name, major, minor, architecture in json.loads(cards):
        torch.cuda.get_device_name = lambda device, name=name: name
        torch.cuda.get_device_capability = lambda device, found=(major, minor): found
        torch.cuda.get_device_properties = lambda device, name=architecture: SimpleNamespace(gcnArchName=name)
        found.append(without_flash_attention())
    return found


def shard(arguments: str) -> dict[str, Any]:
    """The weights' sums of both ranks after a step on different data."""
    with get_context("spawn").Pool(2) as pool:
        port = free_port()
        return {"weights": pool.starmap(shard_rank, [(rank, port, json.loads(arguments)) for rank in range(2)])}


def shard_rank(rank: int, port: int, arguments: list[str]) -> float:
    """torch's own FSDP with the library's own configuration; torch.cpu, like a node with one GPU, has one device."""
    import torch
    from torch.distributed.fsdp import FullyShardedDataParallel
    from transformers import LlamaConfig, LlamaForCausalLM

    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.distributed.init_process_group("gloo")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes))
    plugin = fsdp_plugin(model, strategy_of(arguments))
    sharded = FullyShardedDataParallel(
        model,
        sharding_strategy=plugin.sharding_strategy,
        auto_wrap_policy=plugin.auto_wrap_policy,
        device_id=torch.device("cpu"),
    )
    optimizer = torch.optim.SGD(sharded.parameters(), lr=0.1)
    tokens = torch.randint(0, 64, (2, 16), generator=torch.Generator().manual_seed(rank))
    sharded(input_ids=tokens, labels=tokens).loss.backward()
    optimizer.step()
    with FullyShardedDataParallel.summon_full_params(sharded):
        total = sum(float(weight.double().abs().sum()) for weight in sharded.parameters())
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    return total


def strategy_of(arguments: list[str]) -> str:
    """The sharding strategy that main_ds takes from its arguments: its own default is read from its source."""
    import re

    spec = find_spec("instructlab.training.main_ds")
    assert spec and spec.origin
    default = re.search(r'"--fsdp_sharding_strategy".*?default="(\w+)"', Path(spec.origin).read_text(), re.DOTALL)
    given = [one.partition("=")[2] for one in arguments if one.startswith("--fsdp_sharding_strategy=")]
    return (given or [default.group(1) if default else ""])[-1]


def fsdp_plugin(model: Any, strategy: str) -> Any:
    if OLD:
        from instructlab.training.setup_accelerator import get_fsdp_config

        return get_fsdp_config(
            SimpleNamespace(lora_r=0, fsdp_sharding_strategy=strategy, cpu_offload_params_fsdp=False), model
        )
    from instructlab.training.accelerator import Accelerator

    model.lora_config = None
    options = {"fsdp_sharding_strategy": strategy, "fsdp_cpu_offload_params": False, "fsdp_use_orig_params": False}
    return Accelerator.get_fsdp_config(SimpleNamespace(model=model, **options))


if __name__ == "__main__":
    commands: dict[str, Callable[..., object]] = {"pack": pack, "shard": shard, "attention": attention}
    name, *given = sys.argv[1:]
    print(json.dumps(train_phase(Path(given[0]), *given[1:]) if name == "train" else commands[name](*given)))

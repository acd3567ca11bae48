"""Runs in the stages' interpreter: `run_dtype.py saved|ranks|killed|scores WORK_DIR` prints JSON."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.kills import in_child
from utils.demo.base_model import make_base_model
from utils.stages.data_processing.held_out import HeldOut
from utils.stages.evaluation.likelihood import model_likelihood
from utils.stages.evaluation.serving import free_port
from utils.stages.train.folder import model_tensors
from utils.stages.train.trainer import save_in_type

NORM = "model.norm.weight"
"""A weight that stays float32."""
QUESTIONS = {
    "What is the capital of France?": "The capital of France is Paris.",
    "How many days has a week?": "A week has seven days.",
    "Why is the sky blue?": "Because air scatters blue light more than red light.",
    "Name a prime number above ten.": "Eleven is a prime number.",
    "What do bees make?": "Bees make honey from the nectar of flowers.",
    "Translate 'good morning' into Spanish.": "Buenos días.",
    "What is two plus two?": "Two plus two is four.",
    "Who wrote Hamlet?": "William Shakespeare wrote Hamlet around the year 1600.",
}


def tiny_model() -> Any:
    """As it is while it is trained: in float32, with an output layer that is tied to the embeddings."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=128, tie_word_embeddings=True, **sizes)).float()


def save(accelerator: Any, model: Any, folder: Path) -> None:
    """As the library's save_hf_format_accelerate does, in parts of 20 kB."""
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        config = getattr(model, "module", model).config
        config.to_json_file(folder / "config.json")
    accelerator.save_model(model, save_directory=folder, max_shard_size="20KB", safe_serialization=True)


def types_of(folder: Path) -> dict[str, str]:
    return {name: tensor["dtype"] for name, tensor in model_tensors(str(folder)).items()}


def saved(work_dir: Path) -> dict[str, Any]:
    """A checkpoint and a full state of a model on one CPU; before and after it, what the model answers."""
    import accelerate
    import torch
    from transformers import AutoModelForCausalLM

    save_in_type("bfloat16", {NORM: "float32"})
    accelerator, model = accelerate.Accelerator(cpu=True), tiny_model()
    model = accelerator.prepare(model)
    save(accelerator, model, work_dir / "samples_1")
    accelerator.save_state(str(work_dir / "state"), safe_serialization=False)
    state = torch.load(work_dir / "state" / "pytorch_model.bin", weights_only=True)
    loaded = AutoModelForCausalLM.from_pretrained(work_dir / "samples_1", torch_dtype=torch.float32)
    tokens = torch.arange(16)[None]
    with torch.inference_mode():
        differs = float((loaded(tokens).logits - model(tokens).logits).abs().max())
    config = json.loads((work_dir / "samples_1" / "config.json").read_text())
    return {
        "types": types_of(work_dir / "samples_1"),
        "files": sorted(path.name for path in (work_dir / "samples_1").iterdir()),
        "config": config.get("dtype") or config.get("torch_dtype"),
        "state": sorted({str(weight.dtype) for weight in state.values()}),
        "trained": sorted({str(weight.dtype) for weight in model.parameters()}),
        "differs": differs,
    }


def ranks(work_dir: Path) -> dict[str, Any]:
    """The same of two ranks of FSDP, gathered as accelerate does it on GPUs."""
    with get_context("spawn").Pool(2) as pool:
        port = free_port()
        pool.starmap(save_sharded, [(rank, port, str(work_dir / "samples_1")) for rank in range(2)])
    return {"types": types_of(work_dir / "samples_1")}


def save_sharded(rank: int, port: int, folder: str) -> None:
    import accelerate
    import torch
    from accelerate.utils import DistributedType
    from torch.distributed.fsdp import FullyShardedDataParallel

    class Sharded(accelerate.Accelerator):
        """On the CPU accelerate itself knows no FSDP."""

        distributed_type = DistributedType.FSDP
        is_fsdp2 = False

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    torch.distributed.init_process_group("gloo")
    save_in_type("bfloat16", {NORM: "float32"})
    model = FullyShardedDataParallel(tiny_model(), device_id=torch.device("cpu"))
    save(Sharded(cpu=True), model, Path(folder))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def killed(work_dir: Path) -> dict[str, Any]:
    """What a kill at each point of saving leaves: nothing that counts as a checkpoint, or a whole one."""
    import accelerate

    save_in_type("bfloat16", {})
    folder, accelerator, model = work_dir / "samples_1", accelerate.Accelerator(cpu=True), tiny_model()

    def left() -> list[str]:
        config = folder / "config.json"
        texts = [json.loads(config.read_text())] if config.exists() and types_of(folder) else []
        named = [text.get("dtype") or text.get("torch_dtype") for text in texts]
        return sorted({*types_of(folder).values(), *map(str, named)})

    def work() -> None:
        save(accelerator, model, folder)

    status, points, raised = in_child(work, work_dir)
    assert status == 0, raised
    whole, found = left(), []
    for at in range(1, len(points) + 1):
        shutil.rmtree(folder)
        in_child(work, work_dir, at)
        found.append(left() if folder.exists() else [])
        folder.mkdir(exist_ok=True)
    return {"points": len(points), "whole": whole, "left": [list(one) for one in {tuple(one) for one in found}]}


def scores(work_dir: Path) -> dict[str, Any]:
    """Likelihood per token of a trained model, saved in float32 and in bfloat16."""
    import accelerate
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folders = {dtype: work_dir / dtype for dtype in ("float32", "bfloat16")}
    make_base_model(folders["float32"])
    model = AutoModelForCausalLM.from_pretrained(folders["float32"], torch_dtype=torch.float32)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():  # a few steps of training
            weight += 1e-3 * weight.abs().mean() * torch.randn_like(weight)
    model.save_pretrained(folders["float32"])
    save_in_type("bfloat16", {})
    save(accelerate.Accelerator(cpu=True), model, folders["bfloat16"])
    AutoTokenizer.from_pretrained(folders["float32"]).save_pretrained(folders["bfloat16"])
    rows = [
        HeldOut(question, answer, [{"role": "user", "content": question}], "leaf", "skills")
        for question, answer in QUESTIONS.items()
    ]
    found = {}
    for dtype, folder in folders.items():
        seen = model_likelihood(str(folder), rows, [], "")
        found[dtype] = {
            "nll": [one / number for one, number in zip(seen.nll, seen.tokens, strict=True)],
            "bytes": sum(path.stat().st_size for path in folder.glob("*.safetensors")),
        }
    return found


if __name__ == "__main__":
    commands: dict[str, Callable[[Path], object]] = {
        "saved": saved,
        "ranks": ranks,
        "killed": killed,
        "scores": scores,
    }
    print(json.dumps(commands[sys.argv[1]](Path(sys.argv[2]))))

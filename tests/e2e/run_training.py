"""Runs in the stages' interpreter: `run_training.py volume|data|train DATA_DIR [PHASE EPOCHS [STRATEGY [DTYPE]]]`.

It prints JSON last."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from components.data_processing import data_processing
from components.train import train
from tests.fakes.metrics import Metrics
from utils.demo.base_model import packaged_gguf

DOCUMENT = "The tide of Pell rises twice a day over the long grey stones of the old harbour."


def make_volume(data_dir: Path) -> dict[str, Any]:
    """A volume as SDG leaves it, with a model of two small layers and the packaged model's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    gguf = packaged_gguf()
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=True, **sizes, **special)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(data_dir / "model")
    tokenizer.save_pretrained(data_dir / "model")
    knowledge, skills = [], []
    for i in range(8):
        question, answer = f"How high is tide number {i} of Pell?", f"It is {i} cubits high on that day."
        facts = {"sdg_document": DOCUMENT, "dataset": "document_knowledge_qa"}
        knowledge.append(sample(f"{DOCUMENT}\n\n{question}", answer, True, facts))
        documents = f"Document:\n{DOCUMENT}\n\n\n\n{question}"
        skills.append(sample(documents, answer, False, {**facts, "dataset": "document_knowledge_qa_raft_p0.4"}))
        leaf = {"leaf_node_path": "compositional_skills_rhyme"}
        skills += [sample(f"Rhyme the word w{i}.", f"Word {i} rhymes with bird {i}.", False, leaf)] * 3
    asked = {"role": "user", "content": "What colour is the tide of Pell at the end of a long day by the harbour?"}
    skills.append({"id": "asked", "messages": [asked], "metadata": "{}"})  # nothing to learn
    (data_dir / "sdg").mkdir()
    for name, rows in (("knowledge", knowledge), ("skills", skills)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (data_dir / "sdg" / f"{name}_train_msgs_1.jsonl").write_text(text)
    (data_dir / "done").mkdir()
    result = {f"{name}_file": f"sdg/{name}_train_msgs_1.jsonl" for name in ("knowledge", "skills")}
    (data_dir / "done" / "sdg.json").write_text(json.dumps({"inputs_hash": "sdg", "result": result}))
    return {}


def sample(user: str, answer: str, unmask: bool, metadata: dict[str, str]) -> dict[str, Any]:
    turns = (("system", "You help."), ("user", user), ("assistant", answer))
    messages = [{"role": role, "content": text} for role, text in turns]
    return {"id": user, "messages": messages, "unmask": unmask, "metadata": json.dumps(metadata)}


def process(data_dir: Path) -> dict[str, Any]:
    metrics = Metrics()
    limits = {"max_seq_len": 512, "max_batch_len": 512, "held_out_fraction": 0.2, "checks": {}, "mmlu_tasks": []}
    review = {"eval_tasks": [], "review": "off", "run_id": "", "store_secret_dir": "", "ca_file": ""}
    data_processing.python_func(data_dir=str(data_dir), seed=42, force=False, metrics=metrics, **limits, **review)
    return metrics


def train_phase(
    data_dir: Path, phase: str, epochs: str, strategy: str = "phased", dtype: str = "auto"
) -> dict[str, Any]:
    metrics = Metrics()
    started = time.monotonic()
    options = {
        "data_dir": str(data_dir), "run_id": "e2e", "phase": int(phase), "launcher": "process", "image": "",
        "model": "", "num_epochs": int(epochs), "effective_batch_size": 4, "learning_rate": 1e-2, "num_warmup_steps": 0,
        "save_samples": 0, "max_batch_len": 1000, "max_seq_len": 512, "seed": 42, "keep_checkpoints": 0,
        "cpu_offload": True, "num_workers": 1, "gpu_per_worker": 0, "gpu_identifier": "nvidia.com/gpu",
        "cpu_per_worker": "2", "memory_per_worker": "4Gi", "tolerations": [], "node_selectors": {},
        "queue": "", "queue_timeout": "24h",
        "volume_claim": "", "pending_timeout": "1m", "timeout": "30m", "force": False,
        "progress": True, "grace_period": "300s",
        "flash_attention": True, "strategy": strategy,
        "checkpoint_dtype": dtype, "algorithm": "sft", "algorithm_options": {}, "store_secret_dir": "",
    }  # fmt: skip
    manifest = SimpleNamespace(path=str(data_dir / f"manifest_{phase}.json"))
    train.python_func(manifest=manifest, metrics=metrics, **options)
    return {**metrics, "seconds": time.monotonic() - started}


if __name__ == "__main__":
    commands: dict[str, Callable[..., object]] = {"volume": make_volume, "data": process, "train": train_phase}
    print(json.dumps(commands[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])))

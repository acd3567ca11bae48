"""Runs in the stages' interpreter: `run_chat_template.py WORK_DIR` prints what each family of models did, as JSON.

Each family goes through data import, data processing, two training steps and likelihood, in one process: only the
trainer, which is torchrun's elsewhere, is forked from it, so that the libraries are imported once.
"""

import importlib.util
import json
import os
import runpy
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# Before the libraries are imported: a fork has none of its parent's threads.
os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", NUMBA_DISABLE_JIT="1")

import httpx
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
)

from components.data_import import data_import
from components.data_processing import data_processing
from components.train import train
from tests.e2e.run_training import sample
from tests.fakes.metrics import Metrics
from utils.cpu import PROGRAMS
from utils.demo.taxonomy import make_taxonomy
from utils.names import CPU_PROGRAMS
from utils.stages.chat_template.files import chat_template_choice, chat_template_file
from utils.stages.data_processing.tokenizing import try_tokenizing
from utils.stages.evaluation.likelihood import Likelihoods, likelihood
from utils.stages.evaluation.scores import Pair
from utils.stages.evaluation.serving import free_port, serve
from utils.stages.marker import read_marker, write_marker
from utils.stages.results import Generated
from utils.stages.train import stage
from utils.stages.train.process import ProcessLauncher

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
ROWS = [(f"How high is tide number {i} of Pell?", f"It is {i} cubits high on that long day.") for i in range(8)]
# In the form of instructlab/training/chat_templates/*.py.
FILE = """
SPECIAL_TOKENS = SpecialTokens(
    user=TokenInfo("<|ask|>", add_to_tokenizer=True), assistant=TokenInfo("<|say|>", add_to_tokenizer=True),
    bos=TokenInfo("<|endoftext|>"), eos=TokenInfo("<|endoftext|>"),
)
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|ask|>' if m.role == 'user' else '<|say|>' if m.role == 'assistant' else '' }}"
    "{{ m.content }}{{ eos_token if m.role == 'assistant' }}{% endfor %}"
    "{% if add_generation_prompt %}<|say|>{% endif %}"
)
"""


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """As Llama 2's and Mistral's tokenizer.json: BPE with byte fallback, ▁ for spaces, no pre-tokenizer."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    tokenizer.train_from_iterator(map(" ".join, ROWS), trainers.BpeTrainer(vocab_size=600, special_tokens=special))
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def byte_level(*special: str) -> PreTrainedTokenizerFast:
    """As Granite's, SmolLM's and GPT-NeoX's tokenizer.json: byte-level BPE."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=list(special), initial_alphabet=alphabet)
    tokenizer.train_from_iterator(map(" ".join, ROWS), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=special[0], eos_token=special[0])


def families() -> dict[str, tuple[Any, PreTrainedTokenizerFast, str]]:
    """Name to the configuration's class, the tokenizer, and train_chat_template."""
    granite = byte_level("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>")
    return {
        "granite-7b": (LlamaConfig, sentencepiece_like(), ""),
        "granite-3": (GraniteConfig, granite, ""),
        "mistral": (MistralConfig, sentencepiece_like(), ""),
        "other": (GPTNeoXConfig, byte_level("<|endoftext|>"), ""),
        "file": (LlamaConfig, byte_level("<|endoftext|>"), "model/chat.py"),
    }


def write_model(folder: Path, kind: Callable[..., PretrainedConfig], tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(0)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None}
    config = kind(vocab_size=len(tokenizer), **SIZES, **ids)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "chat.py").write_text(FILE)


def write_samples(data_dir: Path) -> None:
    """What SDG leaves: eight rows of skills."""
    folder = data_dir / "sdg"
    folder.mkdir()
    leaf = {"leaf_node_path": "compositional_skills_tides"}
    rows = "".join(json.dumps(sample(question, answer, False, leaf)) + "\n" for question, answer in ROWS)
    (folder / "skills_train_msgs_1.jsonl").write_text(rows)
    files = Generated(skills_file="sdg/skills_train_msgs_1.jsonl")
    upstream = {"upstream": read_marker(str(data_dir), "data_import")["inputs_hash"]}
    write_marker(str(data_dir), "sdg", upstream, ["sdg"], files, 0)


class ForkedLauncher(ProcessLauncher):
    """The same program with the same arguments, forked instead of torchrun's, with torchrun's variables."""

    def launch(self, arguments: list[str], timeout: int, tick: Callable[[], None]) -> None:
        program = next(i for i, argument in enumerate(arguments) if argument.endswith("cpu_main_ds.py"))
        child = os.fork()
        if not child:
            log = os.open(self.output + "/log", os.O_CREAT | os.O_WRONLY)
            os.dup2(log, 1)
            os.dup2(log, 2)
            world = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
            os.environ.update(world, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()))
            sys.argv = arguments[program:]
            sys.path.insert(0, str(Path(arguments[program]).parent))  # as Python does for a program
            code = 1
            try:
                runpy.run_path(arguments[program], run_name="__main__")
                code = 0
            finally:
                if code:
                    traceback.print_exc()
                    sys.stderr.flush()
                os._exit(code)
        status = os.waitpid(child, 0)[1]
        if status:
            raise SystemExit(Path(self.output, "log").read_text()[-3000:])


def train_steps(data_dir: Path, phase: int) -> dict[str, Any]:
    options = {
        "data_dir": str(data_dir), "run_id": "e2e", "phase": phase, "launcher": "process", "image": "", "model": "",
        "num_epochs": 1, "effective_batch_size": 4, "learning_rate": 1e-2, "num_warmup_steps": 0, "save_samples": 0,
        "max_batch_len": 2000, "max_seq_len": 1000, "seed": 42, "keep_checkpoints": 0, "cpu_offload": False,
        "num_workers": 1, "gpu_per_worker": 0, "gpu_identifier": "nvidia.com/gpu", "cpu_per_worker": "2",
        "memory_per_worker": "4Gi", "tolerations": [], "node_selectors": {}, "volume_claim": "",
        "queue": "", "queue_timeout": "24h", "pending_timeout": "1m", "timeout": "30m", "force": False,
        "progress": True, "grace_period": "300s",
        "flash_attention": True, "strategy": "phased",
        "checkpoint_dtype": "auto", "algorithm": "sft", "algorithm_options": {}, "store_secret_dir": "",
    }  # fmt: skip
    manifest = SimpleNamespace(path=str(data_dir / f"manifest_{phase}.json"))
    train.python_func(manifest=manifest, metrics=Metrics(), **options)
    return dict(read_marker(str(data_dir), f"train_phase_{phase}")["result"])


def run_family(work: Path, name: str, taxonomy: Path) -> dict[str, Any]:
    kind, tokenizer, wanted = families()[name]
    data_dir, base = work / name, work / f"{name}-base"
    data_dir.mkdir()
    write_model(base, kind, tokenizer)
    data_import.python_func(
        data_dir=str(data_dir), store_secret_dir="", data_key="", ca_file="", base_model=str(base),
        taxonomy_url=str(taxonomy), taxonomy_branch="", taxonomy_pr=0, taxonomy_commit="", taxonomy_secret_dir="",
        chat_template=wanted, force=False, checkpoint_dtype="auto", metrics=Metrics(),
    )  # fmt: skip
    try_tokenizing(str(data_dir))
    write_samples(data_dir)
    limits = {"held_out_fraction": 0.25, "max_seq_len": 1000, "max_batch_len": 2000, "checks": {}, "mmlu_tasks": []}
    review = {"eval_tasks": [], "review": "off", "run_id": "", "store_secret_dir": "", "ca_file": ""}
    data_processing.python_func(data_dir=str(data_dir), seed=42, force=False, metrics=Metrics(), **limits, **review)
    train_steps(data_dir, 1)
    result = train_steps(data_dir, 2)
    template = chat_template_file(str(data_dir), "template.jinja")
    folders = {"base": str(data_dir / "model"), "candidate": str(data_dir / result["checkpoint"])}
    pair = Pair(folders["candidate"], folders["base"], str(data_dir / "scores"))
    scores = likelihood(pair, str(data_dir / "processed/held_out.jsonl"), template)
    assert isinstance(scores, Likelihoods), scores
    trained = AutoTokenizer.from_pretrained(folders["candidate"])
    first = json.loads((data_dir / "processed/skills/data.jsonl").read_text().splitlines()[0])
    rows = AutoModelForCausalLM.from_pretrained(folders["candidate"]).get_input_embeddings().weight.shape[0]
    return {
        "choice": vars(chat_template_choice(str(data_dir))),
        "steps": result["steps"],
        "template": trained.chat_template == Path(template).read_text(),
        "tokens": [len(tokenizer), len(trained), rows],
        "sample": trained.decode(first["input_ids"]),
        "learnt": trained.decode([token for token in first["labels"] if token != -100]),
        "unknown": max(first["input_ids"]) >= rows,
        "nll": [scores.nll, scores.base_nll],
        "eos": trained.eos_token,
        "folders": folders,
        "template_file": template,
    }


def served_prompt(folder: str, work: Path, template: str) -> dict[str, str]:
    """The prompt that llama.cpp makes of a question, and an answer."""
    messages = [{"role": "user", "content": ROWS[0][0]}]
    with serve(folder, "model", "llama.cpp", str(work), 1, template) as server:
        root = server.url.removesuffix("/v1")
        prompt = httpx.post(root + "/apply-template", json={"messages": messages}, timeout=60).json()["prompt"]
        body = {"model": "model", "messages": messages, "max_tokens": 4}
        answer = httpx.post(server.url + "/chat/completions", json=body, timeout=60)
    return {"prompt": prompt, "status": str(answer.status_code)}


def main(work: Path) -> None:
    torch.set_num_threads(1)
    os.environ[CPU_PROGRAMS] = str(PROGRAMS)
    stage.launcher_of = lambda given: ForkedLauncher(given.output, timeout=1800)
    taxonomy = make_taxonomy(work)
    seen = {name: run_family(work, name, taxonomy) for name in families()}
    file = seen["file"]
    for kind, folder in file["folders"].items() if importlib.util.find_spec("xllamacpp") else ():
        file[f"served_{kind}"] = served_prompt(folder, work / f"served-{kind}", file["template_file"])
    print(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""A run's volume as training leaves it, with random models: base and two checkpoints, and questions about them."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from utils.files import ROOT
from utils.stages.results import Generated, Trained

MIDDLE = {
    **{"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 8},
    **{"num_attention_heads": 16, "num_key_value_heads": 8},
}
"""0.4 billion parameters, with heads of 128 as the models have that are really trained."""
SMALL = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2}
WORDS = 8192
"""Tokens of the vocabulary."""
LONGEST = 32768
"""Tokens that the models' configurations allow: the stages ask vLLM for less."""
CHECKPOINTS = [f"phase_2/hf_format/samples_{number}" for number in (10, 20)]
MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SKILLS = {"tea": "Write line {} about tea.", "rain": "Write line {} about rain."}


def make_volume(data_dir: Path, small: bool) -> None:
    """Write all that the evaluation and SDG read.

    Args:
        small: models of two small layers, to try this program with a vLLM for CPUs.
    """
    tokenizer = make_tokenizer()
    for seed, name in enumerate(("model", *CHECKPOINTS)):
        make_model(data_dir / name, tokenizer, seed, SMALL if small else MIDDLE)
    phase_2 = Trained(2, "process", skipped=False, checkpoint=CHECKPOINTS[-1], checkpoints=CHECKPOINTS)
    results: dict[str, Trained | Generated] = {
        "train_phase_1": Trained(1, "process", skipped=True),
        "train_phase_2": phase_2,
        "sdg": Generated(True, "", "", "", "sdg/node_datasets_1", 16, {}, 2, 0),
    }
    for stage, result in results.items():
        write(data_dir / f"done/{stage}.json", {"stage": stage, "inputs_hash": stage, "result": asdict(result)})
    for leaf, question in SKILLS.items():
        examples = [{"question": question.format(i), "answer": f"Line {i}."} for i in range(5)]
        path = data_dir / f"taxonomy/compositional_skills/{leaf}/qna.yaml"
        path.parent.mkdir(parents=True)
        content = {"version": 3, "created_by": "gpu", "task_description": f"Lines on {leaf}."}
        path.write_text(yaml.safe_dump({**content, "seed_examples": examples}))
    for leaf in ("sums", "rivers"):
        choices = [{"question": f"{leaf} {i}?", "choices": list("1234"), "answer": i % 4} for i in range(8)]
        write(data_dir / f"sdg/node_datasets_1/mmlubench_knowledge_{leaf}.jsonl", *choices)
    write(data_dir / "processed/held_out.jsonl", *held_out())


def held_out() -> Iterable[dict[str, Any]]:
    """Questions with answers, of two leaves."""
    for i in range(8):
        question, answer = f"How high is tide {i}?", f"It is {i} cubits high on that day."
        turns = (("user", question), ("assistant", answer))
        messages = [{"role": role, "content": content} for role, content in turns]
        row = {"question": question, "answer": answer, "messages": messages}
        yield {**row, "leaf": f"knowledge/{'sums' if i % 2 else 'rivers'}", "kind": "knowledge"}


def write(path: Path, *values: object) -> None:
    """Write values as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


def make_tokenizer() -> Any:
    """A tokenizer of its own, learned from the documentation, with a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=WORDS, special_tokens=MARKS, initial_alphabet=alphabet)
    tokenizer.train_from_iterator((path.read_text() for path in sorted(ROOT.glob("docs/*.md"))), trainer)
    special = {"bos_token": MARKS[0], "eos_token": MARKS[2], "pad_token": MARKS[0]}
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    wrapped.chat_template = TEMPLATE
    return wrapped


def make_model(folder: Path, tokenizer: Any, seed: int, sizes: dict[str, int]) -> None:
    """A random Llama model in bfloat16 with the tokenizer's files."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    config = LlamaConfig(
        vocab_size=WORDS, max_position_embeddings=LONGEST, tie_word_embeddings=True, **sizes, **special
    )
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlamaForCausalLM(config)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)

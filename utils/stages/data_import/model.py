"""Whether the files of a base model can be read, and fit together. Their tensors are not read, only their headers."""

import json
from pathlib import Path
from typing import Any

from utils.messages import failure

READ = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
INDEX = "model.safetensors.index.json"
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
"""How the names of input embeddings end: Llama, Mistral, Granite and Qwen; GPT-2; GPT-NeoX; Bloom."""


def check_base_model(base_model: str) -> None:
    """End the stage when `base_model` is set to something no model can be had from."""
    path = Path(base_model.removeprefix("file://"))
    if not base_model or base_model.startswith("s3://") or (path.is_absolute() and path.is_dir()):
        return
    raise failure(
        f"sdg_base_model is {base_model!r}",
        "it is neither s3://bucket/prefix nor the absolute path of a folder",
        "correct it (aws s3 cp --recursive DIR s3://bucket/prefix), or leave it blank for the archive's model/",
    )


def model_faults(model: Path) -> list[str]:
    """What is wrong with the files of a model's folder that are there: one text per file, [] if nothing is."""
    faults: list[str] = []
    found = {name: json_object(model / name, faults) for name in (*READ, INDEX) if (model / name).is_file()}
    weights = [path.name for path in model.glob("*.safetensors")]
    shards = found.get(INDEX, {}).get("weight_map")
    missing = {*map(str, shards.values())}.difference(weights) if isinstance(shards, dict) else set[str]()
    if missing:
        faults.append(f"model/{INDEX} (names {', '.join(sorted(missing)[:5])}, which is not there)")
    # transformers looks for these names alone
    if weights and INDEX not in found and "model.safetensors" not in weights:
        faults.append(f"model/{weights[0]} (neither model.safetensors nor {INDEX} is there)")
    config, tokenizer = (found.get(name, {}) for name in ("config.json", "tokenizer.json"))
    quantization = config.get("quantization_config")
    method = quantization.get("quant_method") if isinstance(quantization, dict) else None
    if method not in (None, "mxfp4"):  # the training library turns that one into plain weights
        faults.append(f"model/config.json (weights quantized by {method} can't be trained)")
    size, rows, last = config.get("vocab_size"), embedding_rows(model, weights), last_token(tokenizer)
    if isinstance(size, int):
        if rows not in (None, size):
            faults.append(f"model/config.json (vocab_size {size}, but the weights have {rows} embeddings)")
        if last >= size:
            faults.append(f"model/tokenizer.json (tokens up to {last}, but config.json has vocab_size {size})")
    return faults


def json_object(path: Path, faults: list[str]) -> dict[str, Any]:
    """The JSON object in a file; {} and a fault when it holds something else."""
    content = path.read_bytes()
    try:
        value = json.loads(content)
        if isinstance(value, dict):
            return value
        problem = "not a JSON object"
    except (ValueError, RecursionError) as error:
        problem = "a Git LFS pointer" if content.startswith(b"version ") else f"not JSON: {error}"
    faults.append(f"{path.parent.name}/{path.name} ({problem})")
    return {}


def embedding_rows(model: Path, weights: list[str]) -> int | None:
    """Rows of the input embeddings, as the headers of the weights say; None when no header names them."""
    for name in weights:
        with (model / name).open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = file.read(length) if length < (model / name).stat().st_size else b""
        try:
            shapes = {key: one["shape"] for key, one in json.loads(header).items() if key.endswith(EMBEDDINGS)}
            return next(int(shape[0]) for shape in shapes.values() if len(shape) == 2)
        except (ValueError, TypeError, KeyError, AttributeError, StopIteration):
            continue  # `torn_weights` says what is wrong
    return None


def last_token(tokenizer: dict[str, Any]) -> int:
    """The highest id in a tokenizer's vocabulary, without the tokens that were added to it; -1 when it has none."""
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):  # BPE, WordPiece
        return max((number for number in vocabulary.values() if isinstance(number, int)), default=-1)
    return len(vocabulary) - 1 if isinstance(vocabulary, list) else -1  # Unigram

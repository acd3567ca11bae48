"""The files of a base model can be read and fit together, before anything is paid for."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.archives import MODEL, write_files
from utils.stages.data_import.model import model_faults

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"


def header(**shapes: list[int]) -> bytes:
    """The head of a safetensors file; no data is read of it."""
    text = json.dumps({name: {"dtype": "F32", "shape": shape} for name, shape in shapes.items()}).encode()
    return len(text).to_bytes(8, "little") + text + b"data"


def faults(tmp_path: Path, **changes: Any) -> str:
    """What is told of a model whose files `config_json` and so on are these, bytes or JSON."""
    places = {"index": "model.safetensors.index.json", "weights": "model.safetensors"}
    files = {f"model/{places.get(name, name.replace('_json', '.json'))}": content for name, content in changes.items()}
    texts = {name: c if isinstance(c, bytes) else json.dumps(c).encode() for name, c in files.items()}
    return "; ".join(model_faults(write_files(tmp_path, {**MODEL, **texts}) / "model"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"config_json": {"vocab_size": 8}, "weights": header(**{"model.embed_tokens.weight": [8, 4]})},
        {"config_json": {"vocab_size": 8}, "weights": header(**{"lm_head.weight": [9, 4]})},
        {"config_json": {"vocab_size": 8}, "tokenizer_json": {"model": {"vocab": {"a": 7}}}},
        # Tokens that are added get embeddings when training begins.
        {"config_json": {"vocab_size": 8}, "tokenizer_json": {"model": {}, "added_tokens": [{"id": 9}]}},
        {"config_json": {"vocab_size": 2}, "tokenizer_json": {"model": {"vocab": [["a", 0.1], ["b", 0.2]]}}},
        {"index": {"weight_map": {"w": "model.safetensors"}}},
        {"config_json": {"quantization_config": None}},
        {"config_json": {"quantization_config": {"quant_method": "mxfp4"}}},
    ],
)
def test_model_whose_files_fit_is_accepted(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert faults(tmp_path, **changes) == ""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"config_json": b"{"}, "model/config.json (not JSON"),
        ({"config_json": b"\xff\xfe{\x00"}, "model/config.json (not JSON"),
        ({"config_json": b"[1]"}, "model/config.json (not a JSON object)"),
        ({"config_json": b"[" * 100_000}, "model/config.json (not JSON: maximum recursion"),
        ({"tokenizer_json": LFS}, "model/tokenizer.json (a Git LFS pointer)"),
        ({"tokenizer_config_json": b"<html>"}, "model/tokenizer_config.json (not JSON"),
        ({"special_tokens_map_json": b""}, "model/special_tokens_map.json (not JSON"),
        ({"generation_config_json": b"null"}, "model/generation_config.json (not a JSON object)"),
        ({"index": {"weight_map": {"a": "model-2.safetensors"}}}, "names model-2.safetensors, which is not there"),
        (
            {"config_json": {"vocab_size": 8}, "weights": header(**{"model.embed_tokens.weight": [9, 4]})},
            "model/config.json (vocab_size 8, but the weights have 9 embeddings)",
        ),
        (
            {"config_json": {"vocab_size": 8}, "tokenizer_json": {"model": {"vocab": {"a": 1, "b": 8}}}},
            "model/tokenizer.json (tokens up to 8, but config.json has vocab_size 8)",
        ),
        (
            {"config_json": {"vocab_size": 1}, "tokenizer_json": {"model": {"vocab": [["a", 0], ["b", 0]]}}},
            "tokens up to 1",
        ),
        ({"config_json": {"quantization_config": {"quant_method": "gptq"}}}, "quantized by gptq can't be trained"),
    ],
)
def test_file_that_cannot_be_read_or_belongs_to_another_model_is_named(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    assert told in faults(tmp_path, **changes)


@pytest.mark.parametrize("name", ["adapter_model", "model-00001-of-00002", "consolidated"])
def test_weights_that_no_library_loads_are_named(tmp_path: Path, name: str) -> None:
    files = {f"model/{name}.safetensors" if "safe" in key else key: content for key, content in MODEL.items()}
    (fault,) = model_faults(write_files(tmp_path, files) / "model")
    assert fault.startswith(f"model/{name}.safetensors (neither model.safetensors nor")

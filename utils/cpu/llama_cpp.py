"""llama.cpp's OpenAI server on loopback: `llama_cpp.py MODEL NAME PORT SLOTS CONVERTED TEMPLATE`.

A model in Hugging Face layout becomes the GGUF file that llama.cpp serves (llama architecture, byte-level BPE).
"""

import glob
import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any


def main(model: str, name: str, port: str, slots: str, converted: str, template: str = "") -> None:
    """Serve until a signal ends the process.

    Args:
        model: a GGUF file, or a folder in Hugging Face layout, which is converted first.
        name: the model's name in requests.
        slots: number of parallel requests, each of at most 4096 tokens.
        converted: the file that gets the converted model.
        template: Jinja file of its chat template; blank for the tokenizer's own.
    """
    import xllamacpp

    if os.path.isdir(model):
        to_gguf(model, converted, template)
        model = converted
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {name}
    params.hostnames = ["127.0.0.1"]
    params.port = int(port)
    params.n_parallel = int(slots)
    params.n_ctx = 4096 * int(slots)
    # Half of the cores: the judge may run on the others, and llama.cpp's threads spin while they wait for each other;
    # on busy cores, two threads were ten times slower than one.
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)
    print("listening on", server.listening_address, flush=True)
    signal.pause()


def to_gguf(model_dir: str, target: str, template: str) -> None:
    """Write model_dir as GGUF with Q8_0 weights; target appears only when it is complete.

    Needs numpy and gguf, no torch: a 135M model takes a few seconds.

    Raises:
        SystemExit: another architecture or tokenizer than llama with byte-level BPE.
    """
    import gguf

    def read(name: str) -> dict[str, Any]:
        with open(os.path.join(model_dir, name), encoding="utf-8") as file:
            return json.load(file)

    config, tokenizer = read("config.json"), read("tokenizer.json")
    if config["model_type"] != "llama":
        raise SystemExit(
            f"the llama.cpp engine cannot serve {model_dir}: it is a {config['model_type']} model, and only llama "
            "models can be converted; use -p eval_engine=vllm"
        )
    rope = config.get("rope_parameters") or {}
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(target + ".part", "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(config.get("head_dim") or config["hidden_size"] // heads)
    writer.add_rope_freq_base(rope.get("rope_theta") or config.get("rope_theta", 10000.0))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer_name(tokenizer))
    tokens, types = vocabulary(tokenizer, config["vocab_size"])
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    special = gguf.SpecialVocab(model_dir, load_merges=True, n_vocab=config["vocab_size"])
    special.add_special_token.setdefault("bos", False)
    if template:
        with open(template, encoding="utf-8") as file:
            special.chat_template = file.read()
    special.add_to_gguf(writer, quiet=True)
    add_weights(writer, model_dir, config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(target + ".part", target)


def add_weights(writer: Any, model_dir: str, config: dict[str, Any]) -> None:
    """Add the tensors of a llama model to a gguf.GGUFWriter under llama.cpp's names, matrices in Q8_0."""
    import gguf

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    q8 = gguf.GGMLQuantizationType.Q8_0
    for name, array in float32_tensors(model_dir):
        if name.endswith("rotary_emb.inv_freq") or (name == "lm_head.weight" and config.get("tie_word_embeddings")):
            continue
        count = heads.get(name.split(".")[-2])
        if count:  # llama.cpp rotates neighbouring pairs, transformers the two halves of a head
            array = array.reshape(count, 2, -1, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
        new_name = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if array.ndim == 1 or array.shape[-1] % 32:  # Q8_0 packs 32 values into a block
            writer.add_tensor(new_name, array)
        else:
            writer.add_tensor(new_name, gguf.quants.quantize(array, q8), raw_dtype=q8)


def pre_tokenizer_name(tokenizer: dict[str, Any]) -> str:
    """llama.cpp's name (`tokenizer.ggml.pre`) for the way a tokenizer.json splits text before BPE.

    Raises:
        SystemExit: a tokenizer that is not known here; served under a wrong name it would answer nonsense.
    """
    pre = tokenizer.get("pre_tokenizer") or {}
    steps = pre.get("pretokenizers", [pre])
    kinds = [s.get("type") for s in steps]
    if tokenizer["model"]["type"] == "BPE" and kinds == ["ByteLevel"] and steps[0].get("use_regex", True):
        return "gpt-2"
    if tokenizer["model"]["type"] == "BPE" and kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
        return "smollm"
    raise SystemExit(
        f"the llama.cpp engine cannot serve this model: its tokenizer ({tokenizer['model']['type']} after {kinds}) is "
        "not known to the converter; use -p eval_engine=vllm"
    )


def vocabulary(tokenizer: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Tokens by id and their GGUF types (1 normal, 3 control, 4 user-defined, 5 unused), both of length size."""
    tokens = [f"[PAD{i}]" for i in range(size)]
    types = [5] * size
    for token, i in tokenizer["model"]["vocab"].items():
        tokens[i], types[i] = token, 1
    for added in tokenizer.get("added_tokens", []):
        tokens[added["id"]], types[added["id"]] = added["content"], 3 if added["special"] else 4
    return tokens, types


def float32_tensors(model_dir: str) -> Iterator[tuple[str, Any]]:
    """Name and float32 array of each tensor in a directory's safetensors files (numpy alone reads no bfloat16)."""
    import numpy

    for path in sorted(glob.glob(os.path.join(model_dir, "*.safetensors"))):
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        data = numpy.memmap(path, dtype="u1", mode="r", offset=8 + size)
        for name, tensor in header.items():
            if name == "__metadata__":
                continue
            start, end = tensor["data_offsets"]
            if end > len(data):
                raise SystemExit(f"{path} is damaged, it ends inside {name}: train again, or import the model again")
            raw = data[start:end]
            if tensor["dtype"] == "BF16":  # the upper half of a float32
                array = (raw.view("<u2").astype("<u4") << 16).view("<f4")
            else:
                array = raw.view({"F32": "<f4", "F16": "<f2"}[tensor["dtype"]]).astype("<f4")
            yield name, array.reshape(tensor["shape"])


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Arguments that a run adds to the command line of vLLM's server."""

from collections.abc import Iterator, Sequence
from functools import partial

OURS = (
    *("model", "served-model-name", "host", "port", "uds", "root-path", "api-key", "ssl-", "chat-template"),
    *("config", "generation-config", "trust-remote-code", "data-parallel-", "pipeline-parallel-", "headless"),
)
"""Flags, or with a hyphen at the end families of them, that may not be added.

The stage decides them, or could not reach the server with them, or a model would bring code. Others may replace those
of the stage: the last one counts.
"""
SHORT = ("-tp", "-pp", "-dp")
"""Short forms of such flags, and of the one below."""
TENSOR = "tensor-parallel-size"
HINT = 'a list of words for vllm, like ["--max-model-len", "8192"]'


def arguments_fault(engine: str, words: Sequence[object]) -> str:
    """What these arguments must be that they are not, "" if they are right.

    Args:
        engine: `vllm`, or `llama.cpp`, which takes none.
        words: as a program gets them: no shell reads them.
    """
    if words and engine != "vllm":
        return f"nothing for {engine}"
    if not all(isinstance(word, str) and word and "\0" not in word for word in words):
        return HINT
    texts = [str(word) for word in words]
    if texts and not texts[0].startswith("-"):
        return HINT
    for word, (name, value) in zip(texts, flags(texts), strict=True):
        if word.startswith(SHORT) or (name and any(map(partial(_means, name), OURS))):
            return f"no {word}: evaluation sets it"
        if word == "--" or (name and TENSOR.startswith(name) and not (value.isdecimal() and int(value))):
            return HINT
    return ""


def _means(name: str, flag: str) -> bool:
    """Whether argparse may take this name for a flag: it accepts the beginning of one."""
    return flag.startswith(name) or (flag.endswith("-") and name.startswith(flag))


def flags(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Of each word the long flag's name, with - for _ as vLLM reads it, and its value; ("", "") for another word."""
    for word, following in zip(words, [*words[1:], ""], strict=False):
        name, given, value = word.removeprefix("--").partition("=")
        yield (name.replace("_", "-"), value if given else following) if word.startswith("--") else ("", "")


def tensor_parallel(words: Sequence[str]) -> int:
    """The GPUs of each server that these arguments ask for; 0 for none."""
    asked = [int(value) for name, value in flags(words) if name and TENSOR.startswith(name)]
    return asked[-1] if asked else 0

"""Which chat template a run uses: decided, and tried on a conversation, before anything is paid for.

Unless it is the tokenizer's own, chat_template/template.py and template.jinja hold it (see files.py).
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.stages.chat_template.python_file import read_template_file, read_text, write_template
from utils.stages.chat_template.template import (
    ASKED,
    GENERATED,
    LIBRARY_TEMPLATES,
    Template,
    TokenInfo,
    render_examples,
    usable,
)
from utils.stages.results import ChatTemplate


def choose_chat_template(data_dir: str, wanted: str, orders: Sequence[Sequence[str]] = ()) -> ChatTemplate:
    """The chat template of a run: what `wanted` says, or else the tokenizer's own, or else its family's.

    Args:
        data_dir: the run's volume, with model/.
        wanted: "", one of LIBRARY_TEMPLATES, or the path of a Python file, relative to data_dir or absolute.
        orders: of roles in data that was generated elsewhere; none: SDG generates it, each with a system message.

    Raises:
        SystemExit: there is no such template, or no conversation can be written in it.
    """
    model, named = Path(data_dir, "model"), "train_chat_template names it"
    if wanted in LIBRARY_TEMPLATES:
        return ChatTemplate(wanted, named)
    what = f"the chat template {wanted or 'of ' + str(model)}"
    with usable(what):
        template = read_template_file(data_dir, wanted) if wanted else own_chat_template(model)
    if not template.text:
        return family_template(model)
    if not wanted:  # with a tokenizer's own template, the library takes a text of pretraining apart
        orders = [ASKED[0] if "pretraining" in roles else roles for roles in orders]
    example = render_examples(what, template, [*(orders or GENERATED), *ASKED])
    # Volumes have this hash among the inputs of data processing: it must stay the same for the same template.
    tokens = {role: [*info] for role, info in template.tokens.items()} if wanted else template.variables
    sha256 = hashlib.sha256(str({"template": template.text, "tokens": tokens}).encode()).hexdigest()
    if not wanted:
        return ChatTemplate("tokenizer", "the base model's tokenizer brings it", sha256, example)
    write_template(data_dir, template)
    return ChatTemplate(wanted, named, sha256, example)


def family_template(model: Path) -> ChatTemplate:
    """The library's template for a model whose tokenizer has none.

    Granite 7B has the architecture of Llama 2 and a vocabulary of that size; later Llamas have four times as many.
    """
    config = read_json(model / "config.json")
    kind, vocabulary = config.get("model_type", ""), config.get("vocab_size", 0)
    name = "mistral_tmpl" if kind in ("mistral", "mixtral") else "ibm_generic_tmpl"
    if kind == "llama" and vocabulary <= 32064:
        name = "ibm_legacy_tmpl"
    return ChatTemplate(name, f"the base model's tokenizer has none; type {kind}, vocabulary {vocabulary}")


def own_chat_template(model: Path) -> Template:
    """The template that transformers finds with a tokenizer; its text is "" when there is none.

    That of chat_template.jinja counts before the one in tokenizer_config.json; of several there, `default`. The file
    chat_template.json belongs to processors of images and sound; tokenizers do not read it.

    Raises:
        ValueError: there are several, and no default.
    """
    config = read_json(model / "special_tokens_map.json") | read_json(model / "tokenizer_config.json")
    found, file = config.get("chat_template"), model / "chat_template.jinja"
    if file.exists():
        found = read_text(file)
    elif isinstance(found, list):
        named = {one["name"]: one["template"] for one in found}
        found = named.get("default")
        if not found:
            raise ValueError(f"none is called default in tokenizer_config.json: {', '.join(named)}")
    tokens: dict[str, TokenInfo] = {}
    for name, token in config.items():
        text = token.get("content") if isinstance(token, dict) else token
        if name.endswith("_token") and isinstance(text, str):
            tokens[name.removesuffix("_token")] = TokenInfo(text)
    return Template(found or "", tokens)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model's folder, {} when the file is not there.

    Raises:
        SystemExit: it holds something else.
    """
    with usable(str(path)):
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

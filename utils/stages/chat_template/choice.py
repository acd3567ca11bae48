"""Which chat template a run uses: decided, and tried on a conversation, before anything is paid for.

Unless it is the tokenizer's own, chat_template/template.py and template.jinja hold it (see files.py).
"""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from utils.messages import failure
from utils.stages.chat_template.python_file import read_template_file, read_text, write_template
from utils.stages.chat_template.template import LIBRARY_TEMPLATES, Template, TokenInfo, render_example
from utils.stages.results import ChatTemplate


def choose_chat_template(data_dir: str, wanted: str) -> ChatTemplate:
    """The chat template of a run: what `wanted` says, or else the tokenizer's own, or else its family's.

    Args:
        data_dir: the run's volume, with model/.
        wanted: "", one of LIBRARY_TEMPLATES, or the path of a Python file, relative to data_dir or absolute.

    Raises:
        SystemExit: there is no such template, or no conversation can be written in it.
    """
    model, named = Path(data_dir, "model"), "train_chat_template names it"
    if wanted in LIBRARY_TEMPLATES:
        return ChatTemplate(wanted, named)
    template = read_template_file(data_dir, wanted) if wanted else own_chat_template(model)
    if not template.text:
        return family_template(model)
    example = render_example(template, wanted or f"{model}: its tokenizer's chat template")
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
    kind, vocabulary = str(config.get("model_type", "")), config.get("vocab_size", 0)
    name = "ibm_generic_tmpl"
    if kind == "llama" and isinstance(vocabulary, int) and vocabulary <= 32064:
        name = "ibm_legacy_tmpl"
    elif kind in ("mistral", "mixtral"):
        name = "mistral_tmpl"
    size = f" with {vocabulary} tokens" if kind == "llama" else ""
    why = f"the base model's tokenizer has none, and it is a model of type {kind or 'unknown'}{size}"
    return ChatTemplate(name, why)


def own_chat_template(model: Path) -> Template:
    """The template that transformers finds with a tokenizer; its text is "" when there is none.

    That of chat_template.jinja counts before the one in tokenizer_config.json; of several there, `default`. The file
    chat_template.json belongs to processors of images and sound; tokenizers do not read it.

    Raises:
        SystemExit: there are several, and no default.
    """
    config = read_json(model / "special_tokens_map.json") | read_json(model / "tokenizer_config.json")
    texts = {k: v.get("content") if isinstance(v, dict) else v for k, v in config.items() if k.endswith("_token")}
    found, file = config.get("chat_template"), model / "chat_template.jinja"
    if file.exists():
        found = read_text(file)
    elif isinstance(found, list):
        named = {t.get("name"): t.get("template") for t in found if isinstance(t, dict)}
        found = named.get("default")
        if not found:
            raise failure(
                f"{model} has several chat templates: {', '.join(map(str, named))}",
                "none is called default",
                "call one default in tokenizer_config.json, or set train_chat_template",
            )
    tokens = {name.removesuffix("_token"): TokenInfo(text) for name, text in texts.items() if isinstance(text, str)}
    return Template(found if isinstance(found, str) else "", tokens)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model's folder, {} when the file is not there.

    Raises:
        SystemExit: it holds something else.
    """
    if not path.exists():
        return {}
    found = None
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise failure(f"{path} can't be read", "it does not hold a JSON object", "import the model again")
    return found

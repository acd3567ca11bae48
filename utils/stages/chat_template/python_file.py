"""Chat templates as Python files, the form that instructlab.training takes with --chat-tmpl-path.

The library executes the file that it is given. So it is never given the user's: texts are read out of that one, and a
new file is written from them. The form is that of the library's own, of literals alone:
`SPECIAL_TOKENS = SpecialTokens(eos=TokenInfo("…", add_to_tokenizer=True), …)` and `CHAT_TEMPLATE = "…"`. Roles may
also be plain texts, as in the library's first versions.
"""

import ast
import os
from pathlib import Path

from utils.messages import failure
from utils.stages.chat_template.template import LIBRARY_TEMPLATES, Template, TokenInfo

ROLES = {"system", "user", "assistant", "eos", "pad", "bos", "start_role", "end_role", "tool"}
"""The fields of the library's SpecialTokens."""
LARGEST = 1 << 20
"""Bytes; no template is larger."""


def read_template_file(data_dir: str, wanted: str) -> Template:
    """What the user's Python file says, without running it.

    Raises:
        SystemExit: there is no such file on the volume, or it has another form.
    """
    root = os.path.realpath(data_dir)
    path = Path(os.path.realpath(os.path.join(root, wanted)))
    remedy = f"give one of {', '.join(LIBRARY_TEMPLATES)}, or a Python file like these on the run's volume"
    if not (os.path.isabs(wanted) or path.is_relative_to(root)) or not path.is_file():
        raise failure(f"there is no chat template {wanted!r}", f"{path} is not a file on the run's volume", remedy)
    text = ""
    tokens: dict[str, TokenInfo] = {}
    try:
        for node in (node for node in ast.parse(read_text(path)).body if isinstance(node, ast.Assign)):
            names = [ast.unparse(target) for target in node.targets]
            if "CHAT_TEMPLATE" in names:
                text = _joined_text(node.value)
            elif "SPECIAL_TOKENS" in names:
                tokens = {str(k.arg): _token(k.value) for k in getattr(node.value, "keywords", [])}
        cause = _what_is_wrong(text, tokens)
    except (SyntaxError, ValueError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        cause = f"it is not of literals alone: {error}"
    if cause:
        raise failure(f"the chat template {wanted} can't be used", cause, remedy)
    return Template(text, tokens)


def _what_is_wrong(text: str, tokens: dict[str, TokenInfo]) -> str:
    """Why the library could not use these, "" when it can."""
    given = {"CHAT_TEMPLATE": text} | {role: info.token for role, info in tokens.items()}
    needed = ["eos", "bos", "assistant", "CHAT_TEMPLATE"]
    if {"start_role", "end_role"} <= given.keys():
        needed.remove("assistant")
    lacks = ", ".join(name for name in needed if not given.get(name))
    unknown = ", ".join(sorted(tokens.keys() - ROLES))
    return f"it lacks {lacks}" if lacks else f"the library knows no token {unknown}" if unknown else ""


def _joined_text(node: ast.expr) -> str:
    """The text of an expression of literals, with + between them.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _joined_text(node.left) + _joined_text(node.right)
    value = ast.literal_eval(node)
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    return value


def _token(node: ast.expr) -> TokenInfo:
    """What `TokenInfo("…", add_to_tokenizer=True)` or a plain text says."""
    if not isinstance(node, ast.Call):
        return TokenInfo(_joined_text(node), True)
    named = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
    token, add = TokenInfo(*map(ast.literal_eval, node.args), **named)
    if not isinstance(token, str):
        raise ValueError("a TokenInfo without a text")
    return TokenInfo(token, add is True)


def read_text(path: Path) -> str:
    """The text of a template's file.

    Raises:
        SystemExit: it is larger than any template, or not text.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("it is larger than 1 MiB")
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        remedy = "correct train_chat_template, or the file"
        raise failure(f"the chat template {path} can't be read", str(error), remedy) from error


def write_template(data_dir: str, template: Template) -> None:
    """Put a template on the volume: as the library's Python file, which is made of literals alone, and as Jinja."""
    folder = Path(data_dir, "chat_template")
    tokens = "".join(f"    {role}=TokenInfo({text!r}, {add}),\n" for role, (text, add) in template.tokens.items())
    program = (
        "from instructlab.training.chat_templates.utils import SpecialTokens, TokenInfo\n\n"
        f"SPECIAL_TOKENS = SpecialTokens(\n{tokens})\n\nCHAT_TEMPLATE = {template.text!r}\n"
    )
    folder.mkdir(exist_ok=True)
    for name, text in (("template.jinja", template.text), ("template.py", program)):
        part = folder / f"{name}.part"
        part.write_text(text, encoding="utf-8", newline="")
        part.replace(folder / name)

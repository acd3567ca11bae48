"""Chat templates as Python files, the form that instructlab.training takes with --chat-tmpl-path.

The library executes the file that it is given. So it is never given the user's: texts are read out of that one, and a
new file is written from them. The form is that of the library's own, of literals alone:
`SPECIAL_TOKENS = SpecialTokens(eos=TokenInfo("…", add_to_tokenizer=True), …)` and `CHAT_TEMPLATE = "…"`. Roles may
also be plain texts, as in the library's first versions.
"""

import ast
from pathlib import Path
from typing import Any

from utils.stages.chat_template.template import Template, TokenInfo

ROLES = {"CHAT_TEMPLATE", "system", "user", "assistant", "eos", "pad", "bos", "start_role", "end_role", "tool"}
"""The fields of the library's SpecialTokens, and its template."""


def read_template_file(data_dir: str, wanted: str) -> Template:
    """What the user's Python file says, without running it. Call it in `usable`.

    Raises:
        Exception: there is no such file on the volume, or it has another form.
    """
    root = Path(data_dir).resolve()
    path = (root / wanted).resolve()
    if not path.is_file() or not (Path(wanted).is_absolute() or path.is_relative_to(root)):
        raise ValueError(f"{path} is not a file on the run's volume")
    assigned = [node for node in ast.parse(read_text(path)).body if isinstance(node, ast.Assign)]
    values = {ast.unparse(node.targets[0]): node.value for node in assigned}
    text = _value(values.get("CHAT_TEMPLATE", ast.Constant("")))
    tokens: dict[str, TokenInfo] = {}
    for keyword in getattr(values.get("SPECIAL_TOKENS"), "keywords", []):
        token = _value(keyword.value)
        tokens[keyword.arg] = token if isinstance(token, TokenInfo) else TokenInfo(token, True)
    given = {"CHAT_TEMPLATE": text} | {role: info.token for role, info in tokens.items()}
    needed = {"CHAT_TEMPLATE", "eos", "bos"}
    if not {"start_role", "end_role"} <= given.keys():
        needed.add("assistant")
    wrong = [f"it lacks {name}" for name in sorted(needed) if not given.get(name)]
    wrong += [
        f"{name} is unknown or no text" for name in given if name not in ROLES or not isinstance(given[name], str)
    ]
    if wrong:
        raise ValueError(", ".join(wrong))
    return Template(text, tokens)


def _value(node: ast.expr) -> Any:
    """The value of an expression of literals with + between them, or of `TokenInfo("…", add_to_tokenizer=True)`.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _value(node.left) + _value(node.right)
    if isinstance(node, ast.Call) and "TokenInfo" in ast.unparse(node.func):
        return TokenInfo(*map(_value, node.args), **{str(k.arg): _value(k.value) for k in node.keywords})
    return ast.literal_eval(node)


def read_text(path: Path) -> str:
    """The text of a template's file. Call it in `usable`.

    Raises:
        ValueError: it is larger than any template, or not text.
    """
    if path.stat().st_size > 1 << 20:
        raise ValueError(f"{path} is larger than 1 MiB")
    return path.read_text(encoding="utf-8")


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

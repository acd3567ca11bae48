"""Which chat template a run uses: decided, and tried on a conversation, before anything is paid for.

Templates are foreign input. The library executes the Python file that it is given by --chat-tmpl-path, so it is never
given the user's: texts are read out of that one, and a new file is written from them. Jinja is rendered in a sandbox.

The choice is a dict, in data import's marker under `chat_template`:
    name: tokenizer (the model's own), one of `library_templates`, or the user's path; why: the reason, in words;
    sha256: of the template's text, "" where the library has it; example: a conversation in it, "" the same.
Unless it is the tokenizer's own, chat_template/template.py and template.jinja hold it (see files.py).
"""

import ast
import datetime
import hashlib
import json
import os
import signal
from typing import Any

from utils.messages import failure


def library_templates() -> list:
    """The modules of instructlab.training.chat_templates, alike in 0.10.3 to 0.16.2."""
    return ["ibm_generic_tmpl", "ibm_legacy_tmpl", "mistral_tmpl"]


def choose_chat_template(data_dir: str, wanted: str) -> dict:
    """The chat template of a run: what `wanted` says, or else the tokenizer's own, or else its family's.

    Args:
        data_dir: the run's volume, with model/.
        wanted: "", one of `library_templates`, or the path of a Python file, relative to data_dir or absolute.

    Raises:
        SystemExit: there is no such template, or no conversation can be written in it.
    """
    model = os.path.join(data_dir, "model")
    if wanted in library_templates():
        return {"name": wanted, "why": "train_chat_template names it", "sha256": "", "example": ""}
    if wanted:
        found, name, why = read_template_file(data_dir, wanted), wanted, "train_chat_template names it"
        variables = {role + "_token": text for role, (text, _) in found["tokens"].items()}
    else:
        found, name, why = own_chat_template(model), "tokenizer", "the base model's tokenizer brings it"
        if not found["template"]:
            name, why = family_template(model)
            return {"name": name, "why": why, "sha256": "", "example": ""}
        variables = found["tokens"]
    example = render_example(found["template"], variables, wanted or f"{model}: its tokenizer's chat template")
    if wanted:
        write_template(data_dir, found)
    sha256 = hashlib.sha256(str(found).encode()).hexdigest()
    return {"name": name, "why": why, "sha256": sha256, "example": example}


def family_template(model: str) -> tuple:
    """(name, reason) of the library's template for a model whose tokenizer has none.

    Granite 7B has the architecture of Llama 2 and a vocabulary of that size; later Llamas have four times as many.
    """
    config = read_json(model, "config.json")
    kind, vocabulary = str(config.get("model_type", "")), config.get("vocab_size", 0)
    name = "ibm_generic_tmpl"
    if kind == "llama" and isinstance(vocabulary, int) and vocabulary <= 32064:
        name = "ibm_legacy_tmpl"
    elif kind in ("mistral", "mixtral"):
        name = "mistral_tmpl"
    size = f" with {vocabulary} tokens" if kind == "llama" else ""
    return name, f"the base model's tokenizer has none, and it is a model of type {kind or 'unknown'}{size}"


def read_json(folder: str, name: str) -> dict:
    """A JSON object of a model's folder, {} when the file is not there.

    Raises:
        SystemExit: it holds something else.
    """
    path, found = os.path.join(folder, name), None
    if not os.path.exists(path):
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (ValueError, RecursionError):
        pass
    if not isinstance(found, dict):
        raise failure(f"{path} can't be read", "it holds no JSON object", "import the model again")
    return found


def own_chat_template(model: str) -> dict:
    """{"template", "tokens"}: the template that transformers finds with a tokenizer, "" for none.

    That of chat_template.jinja counts before the one in tokenizer_config.json; of several there, `default`. The file
    chat_template.json belongs to processors of images and sound; tokenizers do not read it. tokens are the special
    ones that the configuration names, bos_token and so on.

    Raises:
        SystemExit: there are several, and no default.
    """
    config = {**read_json(model, "special_tokens_map.json"), **read_json(model, "tokenizer_config.json")}
    texts = {k: v.get("content") if isinstance(v, dict) else v for k, v in config.items() if k.endswith("_token")}
    found, path = config.get("chat_template"), os.path.join(model, "chat_template.jinja")
    if os.path.exists(path):
        found = read_text(path)
    elif isinstance(found, list):
        named = {t.get("name"): t.get("template") for t in found if isinstance(t, dict)}
        found = named.get("default")
        if not found:
            raise failure(
                f"{model} has several chat templates, and none is called default: {', '.join(map(str, named))}",
                "no program would know which one to use",
                "call one default in tokenizer_config.json, or set train_chat_template",
            )
    tokens = {name: text for name, text in texts.items() if isinstance(text, str)}
    return {"template": found if isinstance(found, str) else "", "tokens": tokens}


def read_text(path: str) -> str:
    """The text of a template's file.

    Raises:
        SystemExit: it is larger than any template (1 MiB), or no text.
    """
    problem = "it is larger than 1 MiB" if os.path.getsize(path) > 1 << 20 else ""
    if not problem:
        try:
            with open(path, encoding="utf-8") as file:
                return file.read()
        except (OSError, UnicodeDecodeError) as error:
            problem = str(error)
    raise failure(f"the chat template {path} can't be read", problem, "correct train_chat_template, or the file")


def read_template_file(data_dir: str, wanted: str) -> dict:
    """What the user's Python file says, without running it: template, and tokens by role, [text, whether to add it].

    Its form is the library's: `SPECIAL_TOKENS = SpecialTokens(eos=TokenInfo("…", add_to_tokenizer=True), …)` and
    `CHAT_TEMPLATE = "…"`, of literals alone. Roles may also be plain texts, as in the library's first versions.

    Raises:
        SystemExit: there is no such file on the volume, or it has another form.
    """
    path = os.path.realpath(os.path.join(data_dir, wanted))
    remedy = f"give one of {', '.join(library_templates())}, or a Python file of this form on the run's volume"
    inside = os.path.isabs(wanted) or path.startswith(os.path.realpath(data_dir) + os.sep)
    if not inside or not os.path.isfile(path):
        raise failure(f"there is no chat template {wanted!r}", f"{path} is no file on the run's volume", remedy)
    found: dict = {"template": "", "tokens": {}}
    try:
        for node in (n for n in ast.parse(read_text(path)).body if isinstance(n, ast.Assign)):
            names = [ast.unparse(target) for target in node.targets]
            if "CHAT_TEMPLATE" in names:
                found["template"] = joined_text(node.value)
            elif "SPECIAL_TOKENS" in names:
                found["tokens"] = {k.arg: token_of(k.value) for k in getattr(node.value, "keywords", [])}
    except (SyntaxError, ValueError, AttributeError, RecursionError, MemoryError) as error:
        raise failure(
            f"the chat template {wanted} can't be used", f"it is not of literals alone: {error}", remedy
        ) from None
    unknown = sorted(set(map(str, found["tokens"])) - set(template_roles()))
    missing = [role for role in ("eos", "bos", "assistant") if not found["tokens"].get(role, [""])[0]]
    if "start_role" in found["tokens"] and "end_role" in found["tokens"]:
        missing = [role for role in missing if role != "assistant"]
    if unknown or missing or not found["template"]:
        lacks = [*missing, *([] if found["template"] else ["CHAT_TEMPLATE"])]
        cause = f"it lacks {', '.join(lacks)}" if lacks else f"the library knows no token {', '.join(unknown)}"
        raise failure(f"the chat template {wanted} can't be used", cause, remedy)
    return found


def template_roles() -> list:
    """The fields of the library's SpecialTokens."""
    return ["system", "user", "assistant", "eos", "pad", "bos", "start_role", "end_role", "tool"]


def joined_text(node: Any) -> str:
    """The text of an expression of literals, with + between them.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return joined_text(node.left) + joined_text(node.right)
    value = ast.literal_eval(node)
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    return value


def token_of(node: Any) -> list:
    """[text, whether it is added to the tokenizer] of `TokenInfo("…", add_to_tokenizer=True)` or of a plain text."""
    if not isinstance(node, ast.Call):
        return [joined_text(node), True]
    given = {name: ast.literal_eval(v) for name, v in zip(("token", "add_to_tokenizer"), node.args, strict=False)}
    given |= {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
    if not isinstance(given.get("token"), str):
        raise ValueError("a TokenInfo without a text")
    return [given["token"], given.get("add_to_tokenizer") is True]


def template_environment() -> Any:
    """Jinja as transformers has it for chat templates.

    An immutable sandbox with raise_exception, strftime_now, tojson, loop controls and generation blocks. The filter
    `attr` is left out: it led out of the sandbox before Jinja 3.1.6.
    """
    import jinja2
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    extensions: list = [Generation, "jinja2.ext.loopcontrols"]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    del environment.filters["attr"]
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return environment


def render_example(template: str, variables: dict, where: str, seconds: float = 10.0) -> str:
    """A conversation of system, user and assistant in a chat template. Call it in the main thread.

    Args:
        variables: the special tokens, bos_token and so on.
        where: what messages call the template.
        seconds: how long it may take.

    Raises:
        SystemExit: the template fails, never ends, or leaves out what was said.
    """
    import jinja2

    def too_late(*_: object) -> None:
        raise TimeoutError(f"it takes longer than {seconds:g} s")

    wrong = (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
    said = {"system": "You answer in one sentence.", "user": "What colour is a clear sky?", "assistant": "It is blue."}
    messages = [{"role": role, "content": text} for role, text in said.items()]
    text = problem = ""
    before = signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        compiled = template_environment().from_string(template)
        for asked in (True, False):
            text, turns = "", messages[:2] if asked else messages
            given = {"messages": turns, "add_generation_prompt": asked, "tools": None, "documents": None, **variables}
            for part in compiled.generate(**given):
                text += part
                if len(text) > 1 << 16:
                    raise OverflowError(f"it makes more than {1 << 16} characters of three short sentences")
    except (*wrong, TimeoutError, RecursionError, MemoryError) as error:
        problem = f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    lost = [role for role, words in said.items() if words not in text]
    if problem or lost:
        raise failure(
            f"no conversation can be written in the chat template ({where})",
            problem or f"it leaves out what {' and '.join(lost)} said",
            f"correct it, or set train_chat_template to one of {', '.join(library_templates())}",
        )
    return text


def write_template(data_dir: str, found: dict) -> None:
    """Put a template on the volume: as the library's Python file, which is made of literals alone, and as Jinja.

    Args:
        found: template, and tokens by role.
    """
    folder = os.path.join(data_dir, "chat_template")
    tokens = "".join(
        f"    {role}=TokenInfo({text!r}, {add is True}),\n" for role, (text, add) in found["tokens"].items()
    )
    program = (
        "from instructlab.training.chat_templates.utils import SpecialTokens, TokenInfo\n\n"
        f"SPECIAL_TOKENS = SpecialTokens(\n{tokens})\n\nCHAT_TEMPLATE = {found['template']!r}\n"
    )
    os.makedirs(folder, exist_ok=True)
    for name, text in (("template.jinja", found["template"]), ("template.py", program)):
        path = os.path.join(folder, name)
        with open(path + ".part", "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.replace(path + ".part", path)

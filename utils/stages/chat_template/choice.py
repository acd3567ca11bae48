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
    if not wanted:
        why = "the base model's tokenizer brings it"
        return ChatTemplate("tokenizer", why, _sha256(template.text, template.variables), example)
    write_template(data_dir, template)
    tokens = {role: [*token] for role, token in template.tokens.items()}
    return ChatTemplate(wanted, named, _sha256(template.text, tokens), example)


def _sha256(text: str, tokens: object) -> str:
    """As volumes have it among the inputs of data processing: it must stay the same for the same template."""
    return hashlib.sha256(str({"template": text, "tokens": tokens}).encode()).hexdigest()


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
                f"{model} has several chat templates, and none is called default: {', '.join(map(str, named))}",
                "no program would know which one to use",
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
<<<<<<< HEAD


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
=======
>>>>>>> 564af54 (A chat template has types: the choice, the template, its tokens)

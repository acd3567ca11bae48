"""A chat template, and a conversation written in it, before anything is paid for.

Templates are foreign input: Jinja is rendered in a sandbox.
"""

import contextlib
import functools
import json
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from utils.messages import failure

LIBRARY_TEMPLATES = ("ibm_generic_tmpl", "ibm_legacy_tmpl", "mistral_tmpl")
"""The modules of instructlab.training.chat_templates, the same in 0.10.3 to 0.16.2."""
SAID = {
    "system": "You answer in one sentence.",
    "user": "What colour is a clear sky?",
    "assistant": "It is blue.",
}
"""What each role says in an example; one that is not here says what the user says."""
GENERATED = [["system", "user", "assistant"]]
"""The roles of what SDG generates, in their order."""
ASKED = [["user", "assistant"], ["user", "assistant", "user"]]
"""The roles of what evaluation asks: MT-Bench has two turns, and no system message."""
CHARACTERS = 1 << 16
"""How much a template may make of it."""


class TokenInfo(NamedTuple):
    """A special token as instructlab.training has it: its text, and whether it is added to the tokenizer."""

    token: str
    add_to_tokenizer: bool = False


@dataclass(frozen=True)
class Template:
    """A chat template.

    Attributes:
        text: Jinja; "" where a model has none.
        tokens: the special tokens by their roles: eos, bos and so on.
    """

    text: str
    tokens: dict[str, TokenInfo]

    @property
    def variables(self) -> dict[str, str]:
        """The special tokens as the template names them: eos_token, bos_token and so on."""
        return {role + "_token": info.token for role, info in self.tokens.items()}


@contextlib.contextmanager
def usable(what: str) -> Iterator[None]:
    """A context in which any error is one of a template or of its file: they are foreign, and may raise anything.

    Args:
        what: that which can't be used, for the message.

    Raises:
        SystemExit: there was an error.
    """
    try:
        yield
    except Exception as error:
        raise failure(
            f"{what} can't be used",
            f"{type(error).__name__}: {error}",
            f"correct it, or set train_chat_template to one of {', '.join(LIBRARY_TEMPLATES)}, "
            "or to a Python file like these on the run's volume",
        ) from error


def example(roles: Sequence[str]) -> list[dict[str, str]]:
    """A conversation of these roles in this order."""
    return [{"role": role, "content": SAID.get(role, SAID["user"])} for role in roles]


def render_examples(what: str, template: Template, orders: Sequence[Sequence[str]], seconds: float = 10) -> str:
    """Write a conversation in a chat template for each order of roles, and the prompt before its answer.

    Call it in the main thread.

    Args:
        what: the template, for the message.
        seconds: how long all may take.

    Returns:
        the first conversation, for people.

    Raises:
        SystemExit: the template fails, never ends, or leaves out what was said.
    """

    def too_late(*_: object) -> None:
        raise TimeoutError(f"it takes longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        texts = []
        with usable(what):
            compiled = template_environment().from_string(template.text)
        for roles in orders:
            with usable(f"{what}, for {', '.join(roles)},"):
                texts.append(render_example(compiled, template, roles))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return texts[0]


def render_example(compiled: Any, template: Template, roles: Sequence[str]) -> str:
    """A conversation of these roles in a compiled template.

    Raises:
        Exception: the template fails, or leaves out what was said.
    """
    turns = example(roles)
    text = ""
    for said in [turns[:-1], turns] if roles[-1] == "assistant" else [turns]:
        given = {"messages": said, "add_generation_prompt": said[-1]["role"] != "assistant"}
        text = ""
        for part in compiled.generate(given, tools=None, documents=None, **template.variables):
            text += part
            if len(text) > CHARACTERS:
                raise ValueError(f"it makes more than {CHARACTERS} characters of three sentences")
    if lost := [turn["role"] for turn in turns if turn["content"] not in text]:
        raise ValueError(f"it leaves out what {' and '.join(lost)} said")
    return text


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

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    del environment.filters["attr"]
    environment.filters["tojson"] = functools.partial(json.dumps, ensure_ascii=False)
    environment.globals.update(raise_exception=raise_exception, strftime_now=time.strftime)
    return environment

"""A chat template, and a conversation written in it, before anything is paid for.

Templates are foreign input: Jinja is rendered in a sandbox.
"""

import contextlib
import functools
import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from utils.messages import failure

LIBRARY_TEMPLATES = ("ibm_generic_tmpl", "ibm_legacy_tmpl", "mistral_tmpl")
"""The modules of instructlab.training.chat_templates, the same in 0.10.3 to 0.16.2."""
EXAMPLE = [
    {"role": "system", "content": "You answer in one sentence."},
    {"role": "user", "content": "What colour is a clear sky?"},
    {"role": "assistant", "content": "It is blue."},
]
"""A conversation in which a template is tried."""
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


def render_example(template: Template, seconds: float = 10) -> str:
    """A conversation of system, user and assistant in a chat template. Call it in the main thread, in `usable`.

    Args:
        seconds: how long it may take, with and without the answer.

    Raises:
        Exception: the template fails, never ends, or leaves out what was said.
    """

    def too_late(*_: object) -> None:
        raise TimeoutError(f"it takes longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        compiled = template_environment().from_string(template.text)
        for turns in (EXAMPLE[:2], EXAMPLE):
            given = {"messages": turns, "add_generation_prompt": turns is not EXAMPLE, "tools": None, "documents": None}
            text = ""
            for part in compiled.generate(given, **template.variables):
                text += part
                if len(text) > CHARACTERS:
                    raise ValueError(f"it makes more than {CHARACTERS} characters of three sentences")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if lost := [turn["role"] for turn in EXAMPLE if turn["content"] not in text]:
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

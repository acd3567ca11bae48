"""The library's blocks, but each model is asked in its own format, and what a block names counts.

To instructlab-sdg (0.8.3) a run's model and family count more than those of a block, and a family that it does not know
is merlinite. Its ConditionalLLMBlock uses no format at all.
"""

import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from utils.stages.reasoning import without_reasoning
from utils.stages.sdg.formats import CHAT, Formats
from utils.stages.sdg.teacher import Pool

PARALLEL = 32
"""Chats of one batch that wait for their answers: a chat has one prompt, plain completions take a whole batch."""


class ChatClient:
    """What LLM blocks take for their client: each prompt of their plain completions becomes a chat."""

    server_supports_batched = True

    def __init__(self, client: Any) -> None:
        """Client is an openai.OpenAI."""
        self.chat, self.completions, self.one_by_one = client.chat, self, False

    def create(self, prompt: list[str], n: int = 1, **options: Any) -> SimpleNamespace:
        """The answers, n to each prompt, in the form and order of plain completions."""
        with Pool(min(len(prompt), PARALLEL)) as pool:
            answers = [*pool.map(lambda text: self.answers(text, n, options), prompt)]
        return SimpleNamespace(choices=[SimpleNamespace(text=text) for texts in answers for text in texts])

    def answers(self, prompt: str, n: int, options: dict[str, Any]) -> list[str]:
        """N answers without their reasoning; a server that gives fewer at once is asked again."""
        import openai

        texts: list[str] = []
        alone = self.one_by_one
        while len(texts) < n:
            several = {} if alone or n - len(texts) == 1 else {"n": n - len(texts)}
            try:
                messages = [{"role": "user", "content": prompt}]
                choices = self.chat.completions.create(messages=messages, **several, **options).choices
            except (openai.BadRequestError, openai.UnprocessableEntityError):
                if not several:
                    raise  # of this prompt: it says nothing about others
                alone = True
                continue
            if alone:
                self.one_by_one = True
            if not choices:
                raise ValueError("a chat without choices")
            texts += [without_reasoning(choice.message.content or "") for choice in choices]
        return texts[:n]


class Asked:
    """Comes before an LLM block of the library in a class made by `ask_in_formats`."""

    making = threading.Lock()
    """Of several blocks made at a time, the first one tries whether the server takes several prompts."""
    formats: Formats
    chats: ChatClient
    ctx: Any
    model_prompt: str | None

    def __init__(
        self, ctx: Any, *place: Any, model_id: str | None = None, model_family: str | None = None, **config: Any
    ) -> None:
        """Args are those of the block; ctx is its pipeline's PipelineContext."""
        model = (config.get("gen_kwargs") or {}).get("model") or model_id or ctx.model_id
        family = model_family or self.formats.of(model)[0]
        client = self.chats if family == CHAT and config.get("model_prompt") is None else ctx.client
        with self.making:
            super().__init__(replace(ctx, client=client, model_id=model, model_family=family), *place, **config)  # type: ignore[call-arg]

    def _format_prompt(self, sample: dict[str, Any]) -> str:
        from instructlab.sdg.registry import PromptRegistry

        text: str = super()._format_prompt(sample)  # type: ignore[misc]
        if not hasattr(self, "selector_column_name"):
            return text
        # A ConditionalLLMBlock: the library leaves its prompts without a format.
        own, messages = self.model_prompt, [{"role": "user", "content": text}]
        template: Any = PromptRegistry.get_template(self.ctx.model_family)
        if own is not None:
            template = PromptRegistry.template_from_string(own or "{{ prompt }}")
        return str(template.render(messages=messages, prompt=text, add_generation_prompt=True)).strip()


def ask_in_formats(client: Any, formats: Formats) -> None:
    """From now on, blocks of this process ask an openai.OpenAI in these formats.

    The library's own threads, which ask in batches, become those of their leaf.

    What an SDG pipeline gives as prompts is rendered in a sandbox: the library would let it call anything in Python.
    """
    from instructlab.sdg import pipeline
    from instructlab.sdg.blocks.llmblock import LLMBlock, LLMMessagesBlock
    from instructlab.sdg.registry import BlockRegistry, PromptRegistry
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    vars(pipeline).update(ThreadPoolExecutor=Pool)
    PromptRegistry._template_env = SandboxedEnvironment(undefined=StrictUndefined)
    PromptRegistry.register(CHAT)(lambda: "{{ prompt }}")
    chats = ChatClient(client)
    for name, block in [*BlockRegistry.get_registry().items()]:
        library = getattr(block, "library", block)
        if issubclass(library, (LLMBlock, LLMMessagesBlock)):
            members = {"library": library, "formats": formats, "chats": chats}
            BlockRegistry.register(name)(type(library.__name__, (Asked, library), members))

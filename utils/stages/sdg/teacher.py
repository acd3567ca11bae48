"""The teacher as instructlab-sdg sees it: a client that remembers the last answers, and failures put in words."""

import contextlib
import json
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any

from utils.messages import failure
from utils.stages.credentials import ModelServer
from utils.stages.model_client import PatientClient
from utils.stages.patience import OUTAGE, Patience
from utils.stages.sdg.formats import path_of
from utils.stages.service_errors import told

NO_TEXT = "; it answered without text:"
HEARD = ContextVar[dict[bool, str]]("heard")
"""In a block of `Teacher.errors`: the end of a message that shows the last answers to the block's own requests, since
other leaves ask at the same time; True: with texts, False: without. In one block, too, requests run side by side."""


class Pool(ThreadPoolExecutor):
    """Threads of a block of `Teacher.errors` belong to the block."""

    def submit(self, *given: Any) -> Any:  # type: ignore[override]
        """See ThreadPoolExecutor."""
        run: Any = copy_context().run
        return super().submit(run, *given)


def texts_of(body: str) -> list[str]:
    """The texts of a completion or a chat; none if one is missing, or it is something else."""
    try:
        choices = json.loads(body)["choices"]
        texts = [choice["message"]["content"] if "message" in choice else choice["text"] for choice in choices]
    except (ValueError, LookupError, TypeError):
        return []
    return texts if all(isinstance(text, str) for text in texts) else []


class Teacher:
    """A teacher.

    Attributes:
        server: where it is.
        client: an openai.OpenAI.
        answers: the end of a message that shows people the last raw answers, to whichever request.
        tokens: what it wrote so far.
        requests: those in flight.
    """

    def __init__(
        self, server: ModelServer, model: Path, timeout: float = 1200, patience: Patience = OUTAGE, most: int = 64
    ) -> None:
        """Args: server, base model, seconds per request, how long the server may be away, and requests at a time.

        The base model's tokenizer counts what the teacher writes: some servers report the tokens of one completion of
        a batch alone.
        """
        import openai
        from transformers import AutoTokenizer

        self.server, self.answers, self.tokens, self.counting = server, "", 0, threading.Lock()
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        client = PatientClient(server, patience, most, event_hooks={"response": [self.observe]})
        self.requests = client.requests
        self.client = openai.OpenAI(
            base_url=server.endpoint,
            api_key=server.api_token or "none",
            timeout=timeout,
            max_retries=0,
            http_client=client,
        )

    def observe(self, response: Any) -> None:
        """Remember any httpx.Response to a prompt, and count it.

        The client would tell an error in here as a lost connection. Requests that fail are not remembered, nor what the
        library looks for at other paths: a block that fails next would pass for a teacher without text.
        """
        if response.request.method != "POST" or not response.is_success:
            return
        body = response.read().decode(errors="replace")
        texts = texts_of(body)
        with contextlib.suppress(ValueError, TypeError), self.counting:
            self.tokens += sum(map(len, self.tokenizer(texts)["input_ids"])) if texts else 0
        shown = [self.server.masked(text).strip()[:300].replace("\n", "\n      ") for text in texts[-3:] or [body]]
        said = "\n    ".join(["; its last answers:" if texts else NO_TEXT, *shown])
        self.answers = HEARD.get({})[bool(texts)] = said

    def models(self) -> Any:
        """What it answers to /v1/models, None where that is not JSON: some servers have none."""
        import httpx
        import openai

        try:
            return self.client.get("/models", cast_to=httpx.Response).json()
        except (openai.APIStatusError, ValueError):
            return None

    def ask_each(self, requests: Iterable[tuple[str, str]]) -> None:
        """A request to each model but the teacher's own: the SDG pipeline may come to it after hours.

        Args:
            requests: (model, format) as Formats.requests gives them.
        """
        for model, path in dict.fromkeys((model, path_of(family)) for model, family in requests):
            if model != self.server.model_name:
                with self.errors(f"the model {model}, which the SDG pipeline names"):
                    if "chat" in path:
                        messages: Any = [{"role": "user", "content": "Hello"}]
                        self.client.chat.completions.create(model=model, messages=messages, max_tokens=1)
                    else:
                        self.client.completions.create(model=model, prompt="Hello", max_tokens=1)

    @contextlib.contextmanager
    def errors(self, leaf: str) -> Iterator[None]:
        """A context in which the library's errors about the teacher become failures that say what to do."""
        import openai
        from instructlab.sdg.pipeline import PipelineBlockError

        heard = dict[bool, str]()
        HEARD.set(heard)
        try:
            yield
        except (PipelineBlockError, openai.OpenAIError) as error:
            reason, said = getattr(error, "exception", error), heard.get(False) or heard.get(True, "")
            what = f"the teacher {self.server.model_name} at {self.server.place} failed on {leaf}"
            text = told(reason)
            if not isinstance(reason, openai.OpenAIError):
                if NO_TEXT not in said:
                    cause = self.server.masked(text) + said
                    raise failure(what, cause, "correct the SDG pipeline or this leaf, and start a new run") from error
                text, said = f"HTTP 200: {said.removeprefix(NO_TEXT).strip()} ({text})", ""
            cause, remedy = self.server.explained(text)
            raise failure(what, cause + said, remedy) from error

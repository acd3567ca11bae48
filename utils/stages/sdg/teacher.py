"""The teacher as instructlab-sdg sees it: a client that remembers the last answers, and failures put in words."""

import contextlib
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from utils.messages import failure
from utils.stages.credentials import ModelServer

TIMEOUT = 1200.0
"""Seconds that one request may take."""


class Teacher:
    """A teacher.

    Attributes:
        server: where it is.
        client: an openai.OpenAI.
        answers: the last raw answers, for people.
        tokens: what it wrote so far.
    """

    def __init__(self, server: ModelServer, ca: str, model: Path, timeout: float = TIMEOUT) -> None:
        """Args are the server, a CA bundle for TLS, "" for the public roots, the base model, and seconds per request.

        The base model's tokenizer counts what the teacher writes: some servers report the tokens of one completion of
        a batch alone.
        """
        import httpx
        import openai
        from transformers import AutoTokenizer

        self.server, self.answers, self.tokens = server, list[str](), 0
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.client = openai.OpenAI(
            base_url=server.endpoint,
            api_key=server.api_token or "none",
            timeout=timeout,
            max_retries=2,
            http_client=httpx.Client(
                verify=ssl.create_default_context(cafile=ca) if ca else True,
                timeout=timeout,
                event_hooks={"response": [self.remember]},
            ),
        )

    def remember(self, response: Any) -> None:
        """Keep what an httpx.Response says, and count it."""
        text = response.read().decode(errors="replace")
        texts = [text]
        if response.is_success:
            if response.request.method == "POST":
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    texts = [choice["text"] for choice in json.loads(text)["choices"]]
            self.tokens += sum(len(ids) for ids in self.tokenizer(texts)["input_ids"])
        shown = [t.strip()[:300].replace("\n", "\n      ") for t in texts[-3:]]
        self.answers = [f"    {number}. {t}" for number, t in enumerate(shown, 1)]

    @contextlib.contextmanager
    def errors(self, leaf: str) -> Iterator[None]:
        """A context in which the library's errors about the teacher become failures that say what to do."""
        import openai
        from instructlab.sdg.pipeline import PipelineBlockError

        try:
            yield
        except (PipelineBlockError, openai.OpenAIError) as error:
            raise failure(
                f"the teacher {self.server.model_name} at {self.server.endpoint} failed on {leaf}",
                self.server.masked(self.cause(getattr(error, "exception", error))),
                "check endpoint, model_name and api_token in the teacher's Secret, then resume: samples are kept",
            ) from error

    def cause(self, error: Exception) -> str:
        """What an exception of the client or of a pipeline's block means."""
        import openai

        if isinstance(error, openai.APITimeoutError):
            return "it took longer than a request may take, three times"
        if isinstance(error, openai.APIConnectionError):
            return f"no connection: {error.__cause__ or error}"
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return f"it refused the api_token (HTTP {error.status_code})"
        if isinstance(error, openai.APIStatusError):
            return f"HTTP {error.status_code}: {error.message}"
        return f"its answer is not what an OpenAI-compatible server sends ({error})\n" + "\n".join(self.answers)

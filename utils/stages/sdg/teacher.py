"""The teacher as instructlab-sdg sees it: a client that remembers the last answers, and failures put in words."""

import contextlib
import json
import ssl
from collections.abc import Iterator
from typing import Any

from utils.messages import failure
from utils.stages.credentials import ModelServer


def teacher_client(server: ModelServer, ca: str, model_dir: str, seen: dict, timeout: float = 1200.0) -> Any:
    """An openai.OpenAI for the teacher.

    Args:
        server: the teacher.
        ca: a CA bundle for TLS, "" for the public roots.
        model_dir: the base model; its tokenizer counts what the teacher writes, since some servers report the tokens
            of one completion of a batch alone.
        seen: gets `answers`, the last raw answers (text), and `tokens`, their sum so far.
        timeout: seconds that one request may take.
    """
    import httpx
    import openai
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    seen.update(answers=[], tokens=0)

    def remember(response: Any) -> None:
        text = response.read().decode(errors="replace")
        texts = [text]
        if response.is_success and response.request.method == "POST":
            try:
                texts = [choice["text"] for choice in json.loads(text)["choices"]]
            except (ValueError, KeyError, TypeError):
                texts = [text]
        seen["tokens"] += sum(len(ids) for ids in tokenizer(texts)["input_ids"]) if response.is_success else 0
        shown = [t.strip()[:300].replace("\n", "\n      ") for t in texts[-3:]]
        seen["answers"] = [f"    {number}. {t}" for number, t in enumerate(shown, 1)]

    return openai.OpenAI(
        base_url=server.endpoint,
        api_key=server.api_token or "none",
        timeout=timeout,
        max_retries=2,
        http_client=httpx.Client(
            verify=ssl.create_default_context(cafile=ca) if ca else True,
            timeout=timeout,
            event_hooks={"response": [remember]},
        ),
    )


def teacher_errors(server: ModelServer, seen: dict, leaf: str) -> Any:
    """A context manager in which the library's errors about the teacher become failures that say what to do."""
    import openai
    from instructlab.sdg.pipeline import PipelineBlockError

    def cause_of(error: Any) -> str:
        if isinstance(error, openai.APITimeoutError):
            return "it took longer than a request may take, three times"
        if isinstance(error, openai.APIConnectionError):
            return f"no connection: {error.__cause__ or error}"
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return f"it refused the api_token (HTTP {error.status_code})"
        if isinstance(error, openai.APIStatusError):
            return f"HTTP {error.status_code}: {error.message}"
        return f"its answer is not what an OpenAI-compatible server sends ({error})\n" + "\n".join(seen["answers"])

    @contextlib.contextmanager
    def watching() -> Iterator[None]:
        try:
            yield
        except (PipelineBlockError, openai.OpenAIError) as error:
            cause = cause_of(getattr(error, "exception", error))
            raise failure(
                f"the teacher {server.model_name} at {server.endpoint} failed on {leaf}",
                server.masked(cause),
                "check endpoint, model_name and api_token of the teacher's Secret and that it is up, then resume the "
                "run: samples generated so far are kept",
            ) from error

    return watching()

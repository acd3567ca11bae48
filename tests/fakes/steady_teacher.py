"""A teacher that answers every prompt after the same time, and the same prompt always the same.

Its answers have the form that each block of instructlab-sdg's pipelines `simple` and `full` (0.8.2, 0.8.3) parses, and
pass their filters. Like vLLM it takes several prompts and `n`, as plain completions and chats.
"""

import hashlib
import threading
import time
from http.server import ThreadingHTTPServer
from typing import Any

from tests.fakes.json_server import JsonHandler


class SteadyTeacher(ThreadingHTTPServer):
    """The server, on loopback.

    Attributes:
        latency: seconds per request; a function of the number of the request, from 1. A request for a single token,
            with which instructlab-sdg asks what a server can do, is answered at once.
        takes: requests at a time; more are answered with 429.
        prompts: all that it has answered.
        highest: requests at a time, the most so far.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, latency: Any = lambda number: 0.0, takes: int = 10**9) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.latency, self.takes, self.lock = latency, takes, threading.Lock()
        self.prompts: list[str] = []
        self.number, self.now, self.highest, self.refused = 0, 0, 0, 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(JsonHandler):
    """One request."""

    server: SteadyTeacher

    def do_GET(self) -> None:
        self.reply(200, {"object": "list", "data": [{"id": "teacher"}]})

    def do_POST(self) -> None:
        body, server = self.read(), self.server
        with server.lock:
            if refused := server.now >= server.takes:
                server.refused += 1
            else:
                server.now += 1
                server.number += 1
            number, server.highest = server.number, max(server.highest, server.now)
        if refused:
            return self.reply(429, {"error": {"message": "slow down"}})
        if body.get("max_tokens") != 1:
            time.sleep(server.latency(number))
        chat = "messages" in body
        prompts = [body["messages"][-1]["content"]] if chat else body["prompt"]
        prompts = [prompts] if isinstance(prompts, str) else prompts
        texts = [text_for(prompt, i) for prompt in prompts for i in range(body.get("n") or 1)]
        forms = [{"message": {"role": "assistant", "content": text}} if chat else {"text": text} for text in texts]
        with server.lock:
            server.now -= 1
            server.prompts += prompts
        return self.reply(200, {"choices": [{**f, "index": i, "finish_reason": "stop"} for i, f in enumerate(forms)]})


def text_for(prompt: str, number: int) -> str:
    """What any block of a pipeline parses, about something that the prompt and the number decide."""
    thing = hashlib.sha256(f"{prompt} {number}".encode()).hexdigest()[:8]
    first, second = f"What is {thing}?", f"Why is {thing}?"
    score = 1 if "binary" in prompt or "0/1" in prompt else 2
    options = "A) one\nB) two\nC) three\nD) four"
    if "multiple choice" in prompt or "multiple-choice" in prompt:
        return f"[Start of Question]\n{first}\n{options}\n[End of Question]\n[Start of Answer]\nB) two\n[End of Answer]"
    tagged = {
        **{"Explanation": "It says so.", "Evaluation": "Good.", "Feedback": "Good."},
        **{"Score": score, "Rating": 1, "Answer": "YES", "Response": f"It is {thing}.", "Context": f"On {thing}."},
    }
    parts = [f"[Start of {name}] {value} [End of {name}]" for name, value in tagged.items()]
    parts += [f"[Start of Question] {question} [End of Question]" for question in (first, second)]
    # The form of `simple` and of the knowledge pipeline comes first: the library splits at the first question mark.
    return f"[Question] {first}\n[Answer] It is {thing}.\n[End]\n" + "\n".join(parts)

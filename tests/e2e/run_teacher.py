"""Runs in the stages' interpreter: `run_teacher.py WORK_DIR` prints what a teacher was asked, and how, as JSON."""

import json
import logging
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.run_sdg import make_volume, run, tiny_model
from tests.fakes.json_server import JsonHandler
from utils.stages.sdg.formats import ADAPTERS

ROOTS = {"mixtral": "/mnt/models", ADAPTERS[0]: "/mnt/models/skills", ADAPTERS[1]: "/mnt/models/knowledge"}
PROMPT = {"system": "", "introduction": "Say", "principles": "", "examples": "", "generation": "{{task_description}}"}


class Recorder(JsonHandler):
    """An OpenAI-compatible server, as vLLM 0.8.5 and newer are, that records what it is asked."""

    cards: Sequence[Mapping[str, Any]] = []
    served: tuple[str, ...] = ()
    most = 100
    """Completions per request: some servers ignore `n`, and some refuse it."""
    refuses = False
    requests: list[dict[str, Any]] = []

    def do_GET(self) -> None:
        self.reply(200, {"object": "list", "data": Recorder.cards} if self.path == "/v1/models" else {})

    def do_POST(self) -> None:
        body = self.read()
        Recorder.requests.append({"path": self.path, **body})
        if Recorder.served and body["model"] not in Recorder.served:
            return self.reply(404, {"error": {"message": f"The model `{body['model']}` does not exist."}})
        if Recorder.refuses and "n" in body:
            return self.reply(400, {"error": {"message": "n must be 1"}})
        several = min(body.get("n", 1), Recorder.most)
        if self.path == "/v1/chat/completions":
            prompt = body["messages"][0]["content"]
            texts = [f"<think>It says {prompt}</think>\n\nWhat? chat {number} of {prompt}" for number in range(several)]
            choices: list[Any] = [{"message": {"role": "assistant", "content": text}} for text in texts]
        else:
            prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
            choices = [{"text": f"What? text {number} of {prompt}"} for prompt in prompts for number in range(several)]
        return self.reply(200, {"choices": [{"index": i, **choice} for i, choice in enumerate(choices)]})


def block(name: str, kind: str = "LLMBlock", **config: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "config": {"config_path": "prompt.yaml", "output_cols": ["output"], **config}}


def pipeline(folder: Path, *blocks: dict[str, Any]) -> str:
    """An SDG pipeline of these blocks for freeform skills; each replaces what the one before it said."""
    folder.mkdir()
    prompt = {**PROMPT, "start_tags": [""], "end_tags": [""]}
    (folder / "prompt.yaml").write_text(yaml.safe_dump(prompt))
    for name in ("knowledge", "grounded_skills", "freeform_skills"):
        content = {"version": "1.0", "blocks": list(blocks)}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return str(folder)


class Teacher:
    """One recording server, and runs of the stage against it."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.model = tiny_model(work / "model")
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def asked(self, case: str, model_name: str, cards: Sequence[Mapping[str, Any]], **changes: Any) -> dict[str, Any]:
        """Run the stage on one skill leaf; gives its result and what was asked, without the library's own tests."""
        secret = self.work / f"{case}.secret"
        secret.mkdir()
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        for key, value in (("endpoint", url), ("model_name", model_name)):
            (secret / key).write_text(value)
        Recorder.cards, Recorder.requests = cards, []
        volume = make_volume(self.work / case, self.model, ("compositional_skills",), leaves=1)
        seen = run(volume, secret, **{"sdg_pipeline": "simple", "scale_factor": 3, "batch_size": 4, **changes})
        rows = [json.loads(line) for file in (volume / "sdg").glob("generated/*.jsonl") for line in file.open()]
        # The library tries whether the server takes several prompts.
        asked = [one for one in Recorder.requests if one.get("prompt") != ["test1", "test2"]]
        return {**seen, "asked": asked, "outputs": [row["output"] for row in rows], "tries": len(Recorder.requests)}


def main(work: Path) -> dict[str, Any]:
    teacher = Teacher(work)
    seen: dict[str, Any] = {}
    for family in ("chat", "mixtral", "mistral", "llama", "granite", "merlinite", "blank"):
        seen[family] = teacher.asked(family, "teacher", [], teacher_family=family)
    for case, name, root in (
        ("certain name", "mixtral-8x7b-instruct-v0-1", ""),
        ("certain root", "teacher", "/models/Mixtral-8x7B-Instruct-v0.1"),
        ("other root", "mixtral", "/models/Qwen3-32B"),
        ("unknown", "teacher", "/mnt/models"),
    ):
        seen[case] = teacher.asked(case, name, [{"id": name, "root": root}])
    for Recorder.most, Recorder.refuses in ((1, False), (100, True)):
        seen["refuses n" if Recorder.refuses else "ignores n"] = teacher.asked(f"n {Recorder.most}", "teacher", [])
    Recorder.refuses = False
    several = pipeline(
        work / "several",
        block("router", gen_kwargs={"model": ADAPTERS[0], "max_tokens": 1, "extra_body": {"allowed_token_ids": [5]}}),
        block("of_adapter", model_id=ADAPTERS[1]),
        block("of_family", model_id=ADAPTERS[1], model_family="merlinite"),
        block(
            "own", model_prompt="<|im_start|>user\n{{ prompt }}<|im_end|>\n<|im_start|>assistant\n", gen_kwargs={"n": 2}
        ),
        block("bare", model_prompt=""),
        block("iterated", "IterBlock", num_iters=2, block_type="LLMBlock"),
    )
    cards = [
        {"id": name, "root": root, "parent": None if name == "mixtral" else "mixtral"} for name, root in ROOTS.items()
    ]
    for family in ("auto", "chat"):
        seen[f"several {family}"] = teacher.asked(
            f"several {family}", "mixtral", cards, sdg_pipeline=several, teacher_family=family
        )
    conditional = block("conditional", "ConditionalLLMBlock", selector_column_name="task_description")
    conditional["config"] |= {"config_paths": [["prompt.yaml", "All"]]}
    del conditional["config"]["config_path"]
    chosen = pipeline(work / "chosen", conditional)
    for family in ("chat", "mixtral"):
        seen[f"conditional {family}"] = teacher.asked(
            f"conditional {family}", "teacher", [], sdg_pipeline=chosen, teacher_family=family
        )
    Recorder.served = ("mixtral", ADAPTERS[0])
    seen["not served"] = teacher.asked("not served", "mixtral", cards, sdg_pipeline=several)
    teacher.server.shutdown()
    return seen


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    logging.disable(logging.WARNING)
    print(json.dumps(main(Path(sys.argv[1]))))

"""Runs in the stages' interpreter: `run_sdg_data.py WORK_DIR` prints what SDG made of odd leaves and answers."""

import itertools
import json
import os
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from components.sdg import sdg
from tests.fakes.json_server import JsonHandler
from tests.fakes.metrics import Metrics
from utils.demo.base_model import packaged_gguf
from utils.stages.json_lines import read_lines, write_lines
from utils.stages.marker import read_marker

BASE = Path(sys.argv[1])
QNA = """version: 3
created_by: someone
task_description: to tell {what}
seed_examples:
"""


class Teacher(JsonHandler):
    """An OpenAI-compatible server: `answer` makes a text of a prompt and a number, `refuses` says which prompts fail.

    vLLM takes a list of prompts and n, llama.cpp one conversation: both ways of asking are served.
    """

    count = itertools.count(1)
    requests: list[str] = []
    lock = threading.Lock()

    def do_GET(self) -> None:
        self.reply(200, {"data": [{"id": "teacher"}]})

    def do_POST(self) -> None:
        body = self.read()
        chat = "messages" in body
        prompts = [body["messages"][-1]["content"]] if chat else body["prompt"]
        prompts = [prompts] if isinstance(prompts, str) else prompts
        probe = prompts[0].startswith("test")  # the library tries whether the server takes several prompts
        with Teacher.lock:
            if not probe:
                Teacher.requests.append(" ".join(prompts))
        if not probe and Teacher.refuses(prompts):
            return self.reply(400, {"error": {"message": "out of credit"}})
        texts = [Teacher.answer(prompt, next(Teacher.count)) for prompt in prompts for _ in range(body.get("n") or 1)]
        forms = [{"message": {"role": "assistant", "content": text}} if chat else {"text": text} for text in texts]
        return self.reply(200, {"choices": [{**f, "index": i, "finish_reason": "stop"} for i, f in enumerate(forms)]})

    @staticmethod
    def answer(prompt: str, number: int) -> str:
        # U+2028 is the end of a line to str.splitlines, not to JSON lines.
        return f"What is the meaning of number {number} here?\nIt is\u2028the number of the old clock, {number}."

    @staticmethod
    def refuses(prompts: list[str]) -> bool:
        return False


def skill(what: str, seeds: int = 5) -> str:
    return QNA.format(what=what) + "".join(
        f"  - question: What {what} is number {i}?\n    answer: It is {what} {i}.\n" for i in range(seeds)
    )


def run(work: Path, leaves: dict[str, str], again: bool = False, **changes: Any) -> dict[str, Any]:
    """Run the stage on a taxonomy of these leaves; what it said, and the rows of its files."""
    volume = work / "volume"
    if not again:
        volume.mkdir(parents=True)
        (volume / "model").symlink_to(BASE / "model")
        for leaf, text in leaves.items():
            qna = volume / "taxonomy" / leaf / "qna.yaml"
            qna.parent.mkdir(parents=True)
            qna.write_text(text)
    arguments: dict[str, Any] = {
        **{"data_dir": str(volume), "teacher_secret_dir": str(BASE / "secret"), "ca_file": "", "force": False},
        **{"sdg_pipeline": "simple", "teacher_family": "merlinite", "scale_factor": 2, "sample_size": 1.0},
        **{"batch_size": 1, "num_workers": 2},
        **{"system_prompt": "", "samples_per_skill": 0, "held_out_seeds": 0},
        **changes,
    }
    Teacher.requests = []
    try:
        sdg.python_func(**arguments, metrics=Metrics())
    except SystemExit as error:
        return {"failure": str(error), "requests": Teacher.requests}
    result = read_marker(str(volume), "sdg")["result"]
    files = [*volume.glob("sdg/node_datasets_*/*.jsonl"), *volume.glob("sdg/*_train_msgs_*.jsonl")]
    rows = {file.name.split("_msgs_")[0]: [*read_lines(file)] for file in files}
    return {"result": result, "rows": rows, "requests": Teacher.requests}


def precomputed(work: Path, rows: int, **recipe: Any) -> None:
    """Let the library find a recipe of precomputed skills, as the image has one."""
    folder = work / "instructlab" / "sdg" / "default_data_recipes"
    folder.mkdir(parents=True)
    turns = [{"content": "Old?", "role": "user"}, {"content": "Yes.", "role": "assistant"}]
    write_lines(work / "skills.jsonl", [{"id": str(i), "messages": turns, "metadata": "{}"} for i in range(rows)])
    data = {"path": str(work / "skills.jsonl"), "sampling_size": 1.0, **recipe}
    (folder / "skills.yaml").write_text(yaml.safe_dump({"datasets": [data]}))
    os.environ["XDG_DATA_HOME"] = str(work)


def mixed(work: Path) -> dict[str, Any]:
    """Training files with precomputed samples, and with more or fewer rows per skill leaf."""
    leaf = {"compositional_skills/x": skill("colours")}
    seen: dict[str, Any] = {}
    precomputed(work / "shared", 3000)
    cases: dict[str, dict[str, Any]] = {
        "small": {"sample_size": 0.0002},
        "one": {"sample_size": 0.0005},
        "all": {"scale_factor": 30},
        "thirty": {"scale_factor": 30, "samples_per_skill": 30, "sample_size": 0.0, "system_prompt": "Be brief."},
    }
    for name, changes in cases.items():
        made = run(work / name, leaf, batch_size=5, **changes)
        rows = made["rows"]["skills_train"]
        texts = [[message["content"] for message in row["messages"]] for row in rows]
        seen[name] = {
            "leaf": made["result"]["samples_by_leaf"]["compositional_skills/x"],
            "old": sum(text[1] == "Old?" for text in texts),
            "new": sum(text[1] != "Old?" for text in texts),
            "different": len({text[1] for text in texts}),
            "prompts": sorted({text[0] for text in texts}),
        }
    precomputed(work / "broken", 3, path=str(work / "missing.jsonl"))
    seen["broken"] = run(work / "none", leaf)
    return seen


def shown(seen: dict[str, Any]) -> dict[str, Any]:
    """Numbers of rows in place of rows."""
    return seen | {"rows": {name: len(rows) for name, rows in seen.get("rows", {}).items()}}


def main(work: Path) -> dict[str, Any]:
    from transformers import AutoTokenizer

    gguf = packaged_gguf()
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(work / "model")
    (work / "model" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Teacher)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (work / "secret").mkdir()
    secret = {"endpoint": f"http://127.0.0.1:{server.server_address[1]}", "model_name": "teacher"}
    for key, value in secret.items():
        (work / "secret" / key).write_text(value)
    kind = "compositional_skills"
    odd = {
        f"{kind}/writing/short_forms": skill("colours"),
        f"{kind}/writing_short/forms": skill("shapes"),
        f"{kind}/{'/'.join(['a_folder_with_a_rather_long_name' * 3] * 4)}": skill("sizes"),
        f"{kind}/signs[*]/what?": skill("signs"),
        f"{kind}/ends/on_p10": skill("ends"),
    }
    seen = {"odd": shown(run(work / "odd", odd))}
    seen["odd"]["leaves"] = list(odd)
    good = Teacher.answer
    Teacher.answer = staticmethod(lambda prompt, number: "blue")  # type: ignore[method-assign]
    seen["all_dropped"] = shown(run(work / "all_dropped", {f"{kind}/x": skill("colours")}))
    Teacher.answer = staticmethod(  # type: ignore[method-assign]
        lambda prompt, number: ["", "blue", "  ?  ", good(prompt, number)][number % 4]
    )
    seen["some_dropped"] = shown(run(work / "some_dropped", {f"{kind}/x": skill("colours"), f"{kind}/y": skill("y")}))
    Teacher.answer = staticmethod(good)  # type: ignore[method-assign]
    Teacher.refuses = staticmethod(lambda prompts: "number 2" in prompts[0])  # type: ignore[method-assign]
    leaf = {f"{kind}/x": skill("colours", 10)}
    seen["broken_off"] = shown(run(work / "broken_off", leaf))
    Teacher.refuses = staticmethod(lambda prompts: False)  # type: ignore[method-assign]
    seen["resumed"] = shown(run(work / "broken_off", leaf, again=True, batch_size=4))
    both = "".join(
        f"  - question: What is {i}?\n    answer: It is {i}.\n" + f"    context: A text on {i}.\n" * (i % 2)
        for i in range(5)
    )
    seen["both_kinds"] = shown(run(work / "both", {f"{kind}/x": QNA.format(what="both") + both}, batch_size=5))
    seen["kept_out"] = shown(run(work / "kept_out", leaf, held_out_seeds=3))
    asked = [*read_lines(work / "kept_out/volume/sdg/held_out_seeds.jsonl")]
    seen["kept_out"]["asked"] = [question["question"] for question in asked]
    seen["mixed"] = mixed(work / "mixed")
    server.shutdown()
    return seen


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    print(json.dumps(main(BASE)))

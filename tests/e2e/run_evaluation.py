"""Runs in the stages' interpreter: `run_evaluation.py tokens|stages|begins|tasks MODEL_DIR WORK_DIR` prints JSON."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from components.final_eval import final_eval
from components.mt_bench import mt_bench
from tests.fakes.metrics import Metrics
from utils.demo.base_model import packaged_gguf
from utils.stages.data_processing.evaluation_questions import task_questions
from utils.stages.data_processing.held_out import HeldOut
from utils.stages.evaluation.harness import load_tasks
from utils.stages.evaluation.likelihood import model_likelihood
from utils.stages.evaluation.serving import free_port, llama_cpp_command, running, serve

# A letter is at most one token: the rating comes before max_tokens.
GRAMMAR = 'root ::= [A-Za-z ,.]{20,40} "\\nRating: [[" ([1-9] | "10") "]]"'
TEXT = "In 2024, Zoë paid 1234.50 for 7 naïve\n\n  sentences."


def tokens(model_dir: str, work_dir: str) -> dict[str, Any]:
    """Tokens of a text, and a greedy answer, by llama.cpp and by transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    messages = [{"role": "user", "content": "Why is the sky blue?"}]
    with serve(model_dir, "model", "llama.cpp", work_dir, 1) as server:
        root = server.url.removesuffix("/v1")
        served = httpx.post(root + "/tokenize", json={"content": TEXT}, timeout=60).json()["tokens"]
        body = {"model": "model", "messages": messages, "temperature": 0, "max_tokens": 12}
        answer = httpx.post(server.url + "/chat/completions", json=body, timeout=300).json()["choices"][0]["message"]
        started = time.monotonic()
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    model = AutoModelForCausalLM.from_pretrained(model_dir, torch_dtype=torch.float32)
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    return {
        "seconds_to_stop": time.monotonic() - started,
        "served": {"tokens": served, "answer": answer["content"]},
        "original": {
            "tokens": tokenizer(TEXT, add_special_tokens=False)["input_ids"],
            "answer": tokenizer.decode(output, skip_special_tokens=True),
        },
        "left": sorted(p.name for p in Path(work_dir).iterdir()),
    }


def stages(data_dir: str, work_dir: str) -> dict[str, Any]:
    """Both stages on a volume as training leaves it: first without, then with a grammar for the judge."""
    secret = Path(work_dir, "judge")
    secret.mkdir(parents=True)
    port = free_port()
    for key, value in (("endpoint", f"http://127.0.0.1:{port}"), ("model_name", "judge"), ("api_token", "canary")):
        Path(secret, key).write_text(value)
    common: dict[str, Any] = {
        **{"data_dir": data_dir, "judge_secret_dir": str(secret), "ca_file": "", "engine": "llama.cpp"},
        **{"max_workers": "2", "merge_system_user_message": False, "max_questions": 1, "force": False},
        **{"answer_options": {"max_tokens": 24}, "max_error_rate": 0.25, "server_arguments": []},
    }
    seen: dict[str, Any] = {}
    metrics = Metrics()

    def bench(judge_options: dict[str, Any]) -> None:
        mt_bench.python_func(**common, judge_options=judge_options, audit=0, metrics=metrics)

    rating = {"max_tokens": 60, "grammar": GRAMMAR}
    with running(llama_cpp_command(str(packaged_gguf()), "judge", port, 2), work_dir + "/judge.log", port, 60):
        try:
            bench({"max_tokens": 8})
        except SystemExit as error:
            seen["without_ratings"] = str(error)
        bench(rating)
        arguments = {
            **{**common, "few_shots": 1, "batch_size": "auto", "mmlu_tasks": [], "judge_options": rating},
            "eval_tasks": [f"eval_tasks/{name}" for name in ("tea", "writing", "text")],
            **{"store_secret_dir": work_dir + "/store", "data_key": "", "reuse_base": True},
        }
        final_eval.python_func(**arguments, metrics=metrics)
        seen["first"] = read_scores(data_dir)
        Path(data_dir, "done/final_eval.json").unlink()  # as on the volume of a later run
        final_eval.python_func(**arguments, metrics=metrics)
    started = time.monotonic()
    bench(rating)  # nothing to do, and the judge is gone
    final_eval.python_func(**arguments, metrics=metrics)
    seen["seconds_again"] = time.monotonic() - started
    seen["scores"] = read_scores(data_dir)
    seen["left"] = sorted(p.name for p in Path(data_dir, "scores").iterdir() if p.is_dir())
    return {**seen, "metrics": metrics}


def read_scores(data_dir: str) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in Path(data_dir, "scores").glob("*.json")}


def tasks(data_dir: str, work_dir: str) -> dict[str, Any]:
    """What is said of entries of eval_tasks that can't be run, and the questions of one that can."""
    said = {}
    for entry in ("arc_esy", "eval_tasks/escape"):
        try:
            load_tasks(entry, data_dir)
        except SystemExit as error:
            said[entry] = str(error)
    return {**said, "questions": [*task_questions("eval_tasks/tea", data_dir)]}


def begins(model_dir: str, work_dir: str) -> dict[str, Any]:
    """Likelihoods of an answer by a model whose tokenizer begins each text with a token and that has no template."""
    import torch
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_dir, torch_dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    begin = (tokenizer.bos_token, tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{begin[0]} $A", special_tokens=[begin])
    tokenizer.chat_template = None
    model.save_pretrained(work_dir)
    tokenizer.save_pretrained(work_dir)
    row = HeldOut("knowledge/zib", "knowledge", [], "What is a zib?", "A zib is a boat.")
    asked = tokenizer(row.question + "\n")["input_ids"]
    answer = tokenizer(row.answer, add_special_tokens=False)["input_ids"]

    def nll(before: list[int]) -> float:
        labels = torch.tensor([[-100] * len(before) + answer])
        return float(model(torch.tensor([before + answer]), labels=labels).loss) * len(answer)

    plain = model_likelihood(work_dir, [row], [0], "")
    defaults = Path(work_dir, "generation_config.json")
    defaults.write_text(json.dumps(json.loads(defaults.read_text()) | {"repetition_penalty": 9.0}))
    answers = plain.answers + model_likelihood(work_dir, [row], [0], "").answers
    likelihoods = {"with": nll(asked), "without": nll(asked[1:]), "measured": plain.nll[0]}
    return {"first": asked[0] == begin[1], **likelihoods, "answers": answers}


if __name__ == "__main__":
    print(
        json.dumps({"tokens": tokens, "stages": stages, "begins": begins, "tasks": tasks}[sys.argv[1]](*sys.argv[2:]))
    )

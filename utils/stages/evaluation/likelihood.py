"""Likelihood on held-out questions: how well a model foresees the reference answers. No judge, no sampling."""

import json
import os

from utils.messages import progress
from utils.stages.evaluation.judging import kept
from utils.stages.evaluation.scores import skipped


def likelihood(held_out: str, models: dict, work_dir: str, template: str = "") -> dict:
    """Mean negative log-likelihood per answer token of both models (lower is better), in all and by leaf.

    Args:
        held_out: JSON lines of question, answer, messages and leaf, none of which was trained on.
        models: folder of each model: {"base": …, "candidate": …}.
        work_dir: keeps what is finished for a restart.
        template: Jinja file of the chat template, "" for the tokenizer's own.
    """
    rows = []
    if os.path.exists(held_out):
        with open(held_out, encoding="utf-8") as file:
            rows = [row for row in map(json.loads, file) if row["answer"].strip()]
    if not rows:
        return skipped("no generated sample was held out (sdg_held_out_fraction, or too few samples)")
    shown = sample_indices([row["leaf"] for row in rows], 6)
    new, base = (
        kept(
            os.path.join(work_dir, name, "likelihood.json"),
            lambda path=models[name]: model_likelihood(path, rows, shown, template),
        )
        for name in ("candidate", "base")
    )
    leaves = sorted({row["leaf"] for row in rows})
    by_leaf = []
    for leaf in leaves:
        at = [i for i, row in enumerate(rows) if row["leaf"] == leaf]
        by_leaf.append({"leaf": leaf, "questions": len(at), "nll": mean_nll(new, at), "base_nll": mean_nll(base, at)})
    every = list(range(len(rows)))
    return {
        "questions": len(rows),
        "tokens": sum(new["tokens"]),
        "nll": mean_nll(new, every),
        "base_nll": mean_nll(base, every),
        "by_leaf": by_leaf,
        "samples": [
            {
                "question": rows[i]["question"],
                "leaf": rows[i]["leaf"],
                "reference": rows[i]["answer"],
                "answer": new["answers"][n],
                "base_answer": base["answers"][n],
                "nll": mean_nll(new, [i]),
                "base_nll": mean_nll(base, [i]),
            }
            for n, i in enumerate(shown)
        ],
    }


def mean_nll(measured: dict, at: list) -> float:
    """Negative log-likelihood per token over the questions at these positions."""
    return sum(measured["nll"][i] for i in at) / sum(measured["tokens"][i] for i in at)


def sample_indices(leaves: list, limit: int) -> list:
    """At most limit positions, spread over the leaves: the first of each, then the second of each, …"""
    seen: dict = {}
    turns = []
    for i, leaf in enumerate(leaves):
        seen[leaf] = seen.get(leaf, 0) + 1
        turns.append((seen[leaf], i))
    return sorted(i for _, i in sorted(turns)[:limit])


def model_likelihood(model_dir: str, rows: list, shown: list, template: str) -> dict:
    """Summed negative log-likelihood and number of tokens of each reference answer, and greedy answers to some.

    The prompt is the conversation before the answer in the run's chat template (the bare question when there is none),
    in the model's own tokens: to a base that was never trained on the template's marks they are text. What is measured
    are the tokens of the answer alone, without the template's end-of-turn.

    Args:
        shown: positions of the rows to answer, with at most 60 tokens.
        template: Jinja file of the chat template, "" for the tokenizer's own.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    cuda = torch.cuda.is_available()
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    if template:
        with open(template, encoding="utf-8") as file:
            tokenizer.chat_template = file.read()
    placement = {"device_map": "auto"} if cuda else {}
    model = AutoModelForCausalLM.from_pretrained(
        model_dir, torch_dtype=torch.bfloat16 if cuda else torch.float32, **placement
    ).eval()

    def prompt(row: dict) -> str:
        if not tokenizer.chat_template:
            return row["question"] + "\n"
        before = [m for m in row["messages"] if m["role"] != "assistant"]
        return tokenizer.apply_chat_template(before, tokenize=False, add_generation_prompt=True)

    def ids(text: str) -> list:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    measured: dict = {"nll": [], "tokens": []}
    with torch.inference_mode():
        for number, row in enumerate(rows, 1):
            start, answer = ids(prompt(row)), ids(row["answer"])
            inputs = torch.tensor([start + answer], device=model.device)
            logits = model(inputs).logits[0, len(start) - 1 : -1].float()
            loss = torch.nn.functional.cross_entropy(logits, inputs[0, len(start) :], reduction="sum")
            measured["nll"].append(loss.item())
            measured["tokens"].append(len(answer))
            progress(number, len(rows), "held-out questions")
        # All at once, padded on the left so that every answer starts at the end.
        tokenizer.padding_side, tokenizer.pad_token = "left", tokenizer.pad_token or tokenizer.eos_token
        prompts = [prompt(rows[i]) for i in shown]
        options = {
            "add_special_tokens": False,
            "return_token_type_ids": False,
            "padding": True,
        }  # transformers 4 gives them
        batch = tokenizer(prompts, **options, return_tensors="pt").to(model.device)
        # A checkpoint's generation_config.json may still name the end that the base had.
        ends = model.generation_config.eos_token_id
        ends = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}
        output = model.generate(**batch, max_new_tokens=60, do_sample=False, eos_token_id=sorted(ends) or None)
        texts = tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        measured["answers"] = [text.strip() for text in texts]
    return measured

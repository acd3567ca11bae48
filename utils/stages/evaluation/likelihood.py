"""Likelihood on held-out questions: how well a model foresees the reference answers. No judge, no sampling."""

import collections
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.messages import progress
from utils.stages.data_processing.held_out import HeldOut, short_hash
from utils.stages.evaluation.scores import Pair, Skipped
from utils.stages.evaluation.statistics import Answered
from utils.stages.json_lines import read_lines
from utils.stages.marker import from_record


@dataclass(frozen=True)
class ModelLikelihood:
    """What a model makes of the held-out questions.

    Attributes:
        nll: summed negative log-likelihood of each reference answer.
        tokens: number of tokens of each reference answer.
        answers: the model's own answers to the questions that are shown.
    """

    nll: list[float]
    tokens: list[int]
    answers: list[str]

    def mean(self, at: Iterable[int]) -> float:
        """Negative log-likelihood per token over the questions at these positions."""
        return sum(self.nll[i] for i in at) / sum(self.tokens[i] for i in at)


@dataclass(frozen=True)
class LeafLikelihood:
    """Both models on the questions of a taxonomy leaf."""

    leaf: str
    questions: int
    nll: float
    base_nll: float


@dataclass(frozen=True)
class ShownAnswer:
    """Both models' answers to a question."""

    question: str
    leaf: str
    reference: str
    answer: str
    base_answer: str
    nll: float
    base_nll: float


@dataclass(frozen=True)
class Likelihoods:
    """Mean negative log-likelihood per answer token of both models (lower is better): scores/likelihood.json."""

    questions: int
    tokens: int
    nll: float
    base_nll: float
    by_leaf: list[LeafLikelihood]
    samples: list[ShownAnswer]
    answers: list[Answered] = field(default_factory=list)


def likelihood(pair: Pair, held_out: str, template: str = "") -> Likelihoods | Skipped:
    """Likelihood of both models, in all and by leaf.

    Args:
        held_out: JSON lines of HeldOut.
        template: Jinja file of the chat template, "" for the tokenizer's own.
    """
    rows = [from_record(HeldOut, line) for line in read_lines(Path(held_out))] if os.path.exists(held_out) else []
    if not rows:
        return Skipped("no sample was held out (sdg_held_out_fraction)")
    shown = sample_indices([row.leaf for row in rows], 6)  # answers for the report
    new, base = pair.scored(
        "likelihood.json", ModelLikelihood, lambda folder: model_likelihood(folder, rows, shown, template)
    )
    every = range(len(rows))
    leaves = collections.defaultdict(list)
    for i in every:
        leaves[rows[i].leaf].append(i)
    return Likelihoods(
        len(rows),
        sum(new.tokens),
        new.mean(every),
        base.mean(every),
        [LeafLikelihood(leaf, len(at), new.mean(at), base.mean(at)) for leaf, at in sorted(leaves.items())],
        [
            ShownAnswer(
                rows[i].question, rows[i].leaf, rows[i].answer, answer, base_answer, new.mean([i]), base.mean([i])
            )
            for i, answer, base_answer in zip(shown, new.answers, base.answers, strict=True)
        ],
        [
            Answered(short_hash(row.question), row.leaf, base.nll[i], new.nll[i], new.tokens[i], row.document)
            for i, row in enumerate(rows)
        ],
    )


def sample_indices(leaves: Sequence[str], limit: int) -> list[int]:
    """At most limit positions, spread over the leaves: the first of each, then the second of each, …"""
    seen = collections.Counter[str]()
    turns = []
    for i, leaf in enumerate(leaves):
        seen[leaf] += 1
        turns.append((seen[leaf], i))
    return sorted(i for _, i in sorted(turns)[:limit])


def plain_generation(model: Any, tokenizer: Any) -> Any:
    """How a model generates: to an end token, without its other defaults, such as a penalty for repetition.

    So both models answer in the same way.
    """
    from transformers import GenerationConfig

    # A checkpoint's generation_config.json may still name the end that the base had.
    ends = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}
    return GenerationConfig(eos_token_id=sorted(ends) or None)


def model_likelihood(model_dir: str, rows: Sequence[HeldOut], shown: Sequence[int], template: str) -> ModelLikelihood:
    """Likelihood of each reference answer, and greedy answers, of at most 60 tokens, to some questions.

    The prompt is the conversation before the answer in the run's chat template (the bare question when there is none),
    in the model's own tokens: to a base that was never trained on the template's marks they are text. A bare question
    begins with the token that begins every text of such a model (BOS), where its tokenizer has one. What is measured
    are the tokens of the answer alone, without the template's end-of-turn.

    Args:
        shown: positions of the rows to answer.
        template: Jinja file of the chat template, "" for the tokenizer's own.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    cuda = torch.cuda.is_available()
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    if template:
        tokenizer.chat_template = Path(template).read_text("utf-8")
    model = AutoModelForCausalLM.from_pretrained(
        model_dir, torch_dtype="bfloat16" if cuda else "float32", device_map="auto" if cuda else None
    ).eval()

    def prompt(row: HeldOut) -> str:
        if not tokenizer.chat_template:
            return row.question + "\n"
        before = [m for m in row.messages if m["role"] != "assistant"]
        return str(tokenizer.apply_chat_template(before, tokenize=False, add_generation_prompt=True))

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    # A template writes the token that begins a text itself, where the model wants one.
    begin = [] if tokenizer.chat_template else tokenizer("")["input_ids"][:1]
    begin = [token for token in begin if token == tokenizer.bos_token_id]

    model.generation_config = plain_generation(model, tokenizer)
    seen = ModelLikelihood([], [], [])
    with torch.inference_mode():
        for i, row in enumerate(rows):
            asked, answer = begin + ids(prompt(row)), ids(row.answer)
            inputs = torch.tensor([asked + answer], device=model.device)
            labels = inputs.clone()
            labels[0, : len(asked)] = -100  # not measured
            seen.nll.append(model(inputs, labels=labels).loss.item() * len(answer))
            seen.tokens.append(len(answer))
            if i in shown:
                start = inputs[:, : len(asked)]
                mask = torch.ones_like(start)
                output = model.generate(start, attention_mask=mask, max_new_tokens=60, do_sample=False)
                seen.answers.append(tokenizer.decode(output[0, len(asked) :], skip_special_tokens=True).strip())
            progress(i + 1, len(rows), "held-out questions")
    return seen

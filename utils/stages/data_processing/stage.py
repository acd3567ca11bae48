"""Generated samples become token ids; some questions are set aside first, and no copy of them is trained on.

Facts about instructlab-sdg's output that this relies on (0.8): a knowledge question stands in the knowledge file once
and in the skills file twice, with its document or with several ("Document:\\n…") before it; skill samples are copied
until a leaf has 30 rows; copies keep their id; `node_datasets_<date>/<leaf>[_p07|_p10].jsonl` holds each leaf's rows.
"""

import glob
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

from utils.messages import failure
from utils.stages.chat_template.files import chat_template_choice, prepare_chat_template
from utils.stages.marker import finished_result, read_marker, write_marker


def read_samples(path: str) -> Iterator[dict]:
    """The rows of a training file, taken apart.

    Yields:
        id; leaf (as the row itself names it, "" if not); document (whether it is about one); messages and unmask (what
        tokenizing needs); system, question (without its document) and answer: texts; whole: every turn has text.
        question is "" when the row is not one question with one answer, or when it asks for something else than an
        answer (rows that summarise a document).
    """
    with open(path) as file:
        for line in filter(str.strip, file):
            row = json.loads(line)
            metadata = row.get("metadata") or {}
            metadata = json.loads(metadata) if isinstance(metadata, str) else metadata
            messages = [m for m in row["messages"] if m.get("content") or m["role"] != "system"]
            texts: dict = {"system": [], "user": [], "assistant": []}
            for message in messages:
                texts.setdefault(message["role"], []).append(message.get("content") or "")
            if "pretraining" in texts:  # sdg before 0.8: a whole conversation in one message
                marks = r"<\|(?:user|assistant|end_?of_?text|start_of_role)\|>(?:\w+<\|end_of_role\|>)?"
                turns = [t.strip() for t in re.split(marks, texts["pretraining"][0]) if t.strip()]
                texts["user"], texts["assistant"] = turns[:1], turns[1:]
            question = answer = ""
            kind = metadata.get("dataset") or ""
            if len(texts["user"]) == len(texts["assistant"]) == 1 and (
                kind.startswith("document_knowledge_qa") or not kind.startswith("document_")
            ):
                question, answer = texts["user"][0], texts["assistant"][0].strip()
                if question.startswith("Document:\n"):
                    question = question.rpartition("\n\n\n\n")[2]
                question = question.removeprefix(metadata.get("sdg_document") or "").strip()
            yield {
                "id": row.get("id", ""),
                "leaf": metadata.get("leaf_node_path", ""),
                "document": bool(metadata.get("sdg_document")),
                "messages": messages,
                "unmask": bool(row.get("unmask")),
                "system": "".join(texts["system"][:1]),
                "question": question,
                "answer": answer,
                "whole": bool(messages) and all(m.get("content") for m in messages),
            }


def question_key(question: str) -> str:
    """The same for questions that differ in case and white space alone."""
    return " ".join(question.lower().split())


def leaves_by_id(data_dir: str, files: list) -> dict:
    """Sample id to leaf file name (`knowledge_a_b`), from the node datasets written beside the training files."""
    leaves = {}
    for file in filter(None, files):
        folder = re.sub(r"(knowledge|skills)_train_msgs(.*)\.jsonl$", r"node_datasets\2", os.path.join(data_dir, file))
        for path in glob.glob(os.path.join(folder, "*.jsonl")):
            name = re.sub(r"(_p07|_p10)?\.jsonl$", "", os.path.basename(path))
            if not name.startswith("mmlubench_"):
                with open(path) as rows:
                    leaves.update({json.loads(row).get("id"): name for row in rows if row.strip()})
    return leaves


def leaf_paths(taxonomy: str) -> dict:
    """Leaf file name (`knowledge_a_b`) to the leaf's path in the taxonomy (`knowledge/a/b`)."""
    paths = [os.path.relpath(d, taxonomy) for d, _, files in os.walk(taxonomy) if "qna.yaml" in files]
    return {path.replace("/", "_"): path for path in paths}


def find_questions(data_dir: str, files: list) -> dict:
    """All questions that may be held out, by question_key: question, answer, messages (no document), leaf, kind.

    A row that has neither a leaf nor a document counts only where all are so: else it is one of the precomputed samples
    that are mixed in.

    Args:
        files: the knowledge and the skills file relative to data_dir, "" for none.
    """
    ids, paths = leaves_by_id(data_dir, files), leaf_paths(os.path.join(data_dir, "taxonomy"))
    found: dict = {}
    generated = set()
    for kind, file in zip(("knowledge", "skills"), files, strict=True):
        for sample in read_samples(os.path.join(data_dir, file)) if file else ():
            name = ids.get(sample["id"]) or sample["leaf"]
            leaf, key = paths.get(name, name), question_key(sample["question"])
            if key and sample["answer"] and key not in found:
                if leaf or sample["document"]:
                    generated.add(key)
                turns = [("system", sample["system"]), ("user", sample["question"]), ("assistant", sample["answer"])]
                found[key] = {
                    "question": sample["question"],
                    "answer": sample["answer"],
                    "messages": [{"role": role, "content": text} for role, text in turns if text],
                    "leaf": leaf,
                    "kind": "knowledge" if sample["document"] or leaf.startswith("knowledge") else kind,
                }
    return {key: entry for key, entry in found.items() if key in generated or not generated}


def choose_held_out(questions: dict, fraction: float, seed: int) -> dict:
    """Part of the questions, the same for the same seed in any order of rows.

    Of each leaf with 4 questions or more the fraction, at least 1 and at most 50 (the evaluation asks every one).

    Args:
        questions: as find_questions gives them.
        fraction: 0 to 0.5; 0 sets nothing aside.
    """
    leaves: dict = {}
    for key in sorted(questions, key=lambda key: hashlib.sha256(f"{seed} {key}".encode()).digest()):
        leaves.setdefault(questions[key]["leaf"], []).append(key)
    chosen = {}
    for leaf in sorted(leaves):
        keys = leaves[leaf]
        count = min(50, max(1, round(len(keys) * fraction))) if fraction > 0 and len(keys) >= 4 else 0
        chosen.update({key: questions[key] for key in keys[:count]})
    return chosen


def write_training_rows(source: str, target: str, held_out: dict) -> int:
    """Copy the rows that are trained on: none whose question is held out, none with an empty turn.

    Returns:
        the rows that were left out because a turn has no text.
    """
    broken = 0
    with open(target, "w") as file:
        for sample in read_samples(source):
            if question_key(sample["question"]) in held_out:
                continue
            if sample["whole"]:
                file.write(json.dumps({"messages": sample["messages"], "unmask": sample["unmask"]}) + "\n")
            else:
                broken += 1
    return broken


def tokenize_rows(source: str, folder: str, model: str, template: str, max_len: int) -> dict:
    """Write folder/data.jsonl (input_ids, labels, len) with instructlab.training, and count.

    Args:
        source: rows with messages and unmask.
        template: Python file of the chat template, "" for the tokenizer's own.
        max_len: rows of as many tokens or more are dropped, as the library drops those under 20.

    Returns:
        rows, tokens, longest (tokens), dropped (rows).

    Raises:
        SystemExit: the library refuses the rows or the tokenizer, no row is left, or none has a token to learn.
    """
    with open(source) as file:
        given = sum(1 for _ in file)
    lengths, learnt = [], 0
    if given:
        without_deepspeed()
        from instructlab.training import data_process
        from instructlab.training.config import DataProcessArgs

        processes = min(16, os.cpu_count() or 1) if given > 5000 else 1
        arguments = {"data_path": source, "data_output_path": folder, "model_path": model, "max_seq_len": max_len}
        arguments["chat_tmpl_path"] = template or None
        try:
            data_process.main(DataProcessArgs(**arguments, num_cpu_procs=processes))
        except (ValueError, RuntimeError, AssertionError) as error:
            raise failure(
                f"the {given} samples of {os.path.basename(folder)} data could not be tokenized",
                str(error),
                "the model needs a tokenizer with an end-of-text token and a chat template (train_chat_template), and "
                "samples shorter than the longest sequence",
            ) from error
        with open(os.path.join(folder, "data.jsonl")) as file:
            for row in map(json.loads, file):
                lengths.append(row["len"])
                learnt += any(label != -100 for label in row["labels"])
    if given and not lengths:
        raise failure(
            f"none of the {given} samples of {os.path.basename(folder)} data can be trained on",
            f"each is shorter than 20 or longer than {max_len} tokens",
            "look at the samples in sdg/, or raise sdg_max_batch_len and train_max_seq_len",
        )
    if given and not learnt:
        raise failure(
            f"no sample of {os.path.basename(folder)} data has a token to learn",
            "the library did not find the chat template's marks of the assistant among the token ids",
            "set train_chat_template to another template of the library, or to the model's own",
        )
    return {
        "rows": len(lengths),
        "tokens": sum(lengths),
        "longest": max(lengths, default=0),
        "dropped": given - len(lengths),
    }


def without_deepspeed() -> None:
    """Let no library import DeepSpeed in this process; call it before they are imported.

    transformers imports it where it is installed, and with Triton 3.2 DeepSpeed 0.16.3 can't be imported without a GPU
    ("0 active drivers", https://github.com/deepspeedai/DeepSpeed/issues/7028). Data need neither.
    """
    sys.modules.setdefault("deepspeed", None)  # type: ignore[arg-type]


def try_tokenizing(data_dir: str) -> None:
    """Take one conversation through data processing: call it before the teacher is asked for thousands.

    Raises:
        SystemExit: the model's tokenizer or the chat template will not do.
    """
    texts = {"system": "You answer in one sentence.", "user": "What colour is a clear sky by day?"}
    texts |= {"assistant": "A clear sky is blue by day, and that is because air scatters blue light the most."}
    messages = [{"role": role, "content": text} for role, text in texts.items()]
    with tempfile.TemporaryDirectory() as folder:
        rows = os.path.join(folder, "rows.jsonl")
        with open(rows, "w") as file:
            file.write(json.dumps({"messages": messages, "unmask": False}) + "\n")
        tokenize_rows(
            rows,
            os.path.join(folder, "trial"),
            os.path.join(data_dir, "model"),
            prepare_chat_template(data_dir),
            1 << 20,
        )


def process_samples(data_dir: str, files: list, fraction: float, seed: int, max_len: int) -> dict:
    """Make processed/ of the knowledge and the skills file; it appears when it is whole.

    Returns:
        for knowledge and skills: rows, tokens, longest, dropped (rows), held_out (questions).
    """
    held_out = choose_held_out(find_questions(data_dir, files), fraction, seed)
    template = prepare_chat_template(data_dir)
    target = os.path.join(data_dir, "processed")
    part = target + ".part"
    shutil.rmtree(part, ignore_errors=True)
    result = {}
    for kind, file in zip(("knowledge", "skills"), files, strict=True):
        folder = os.path.join(part, kind)
        os.makedirs(folder)
        rows = os.path.join(folder, "rows.jsonl")
        broken = write_training_rows(os.path.join(data_dir, file) if file else os.devnull, rows, held_out)
        counts = tokenize_rows(rows, folder, os.path.join(data_dir, "model"), template, max_len)
        counts["dropped"] += broken
        counts["held_out"] = sum(1 for entry in held_out.values() if entry["kind"] == kind)
        os.remove(rows)
        print(f"{kind}: " + ", ".join(f"{name} {value}" for name, value in counts.items()), flush=True)
        result[kind] = counts
    with open(os.path.join(part, "held_out.jsonl"), "w") as lines:
        lines.writelines(json.dumps(entry) + "\n" for entry in held_out.values())
    if not any(counts["rows"] for counts in result.values()):
        raise failure("there is nothing to train on", "synthetic data has no sample", "look at the log of that stage")
    shutil.rmtree(target, ignore_errors=True)
    os.replace(part, target)
    return result


@dataclass(frozen=True)
class Processing:
    """What the stage is given: the parameters of the component `data_processing`."""

    data_dir: str
    held_out_fraction: float
    max_seq_len: int
    max_batch_len: int
    seed: int
    force: bool


def process(given: Processing) -> dict[str, float]:
    """Turn both data sets into token ids, unless that is done; returns the stage's metrics."""
    started, measured = time.time(), dict[str, float]()
    sdg = read_marker(given.data_dir, "sdg")
    inputs = {
        "held_out_fraction": given.held_out_fraction,
        "max_len": min(given.max_seq_len, given.max_batch_len),
        "seed": given.seed,
        "upstream": sdg.get("inputs_hash", ""),
    }
    template = chat_template_choice(given.data_dir)
    if template["name"] != "tokenizer":
        inputs["chat_template"] = [template["name"], template["sha256"]]
    result = finished_result(given.data_dir, "data_processing", inputs, given.force)
    if result is None:
        files = [sdg["result"]["knowledge_file"], sdg["result"]["skills_file"]]
        result = process_samples(given.data_dir, files, given.held_out_fraction, given.seed, inputs["max_len"])
        write_marker(given.data_dir, "data_processing", inputs, ["processed"], result, started)
    for kind in ("knowledge", "skills"):
        measured[f"{kind}_samples"] = result[kind]["rows"]
        measured[f"{kind}_tokens"] = result[kind]["tokens"]
        measured[f"{kind}_longest_sample_tokens"] = result[kind]["longest"]
        measured[f"{kind}_dropped_samples"] = result[kind]["dropped"]
        measured[f"{kind}_held_out_questions"] = result[kind]["held_out"]
    return measured

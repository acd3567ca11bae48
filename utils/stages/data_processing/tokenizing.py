"""Conversations become token ids and labels with instructlab.training."""

import json
import os
import sys
import tempfile
from pathlib import Path

from utils.messages import failure
from utils.stages.chat_template.files import prepare_chat_template
from utils.stages.chat_template.template import ASKED, GENERATED, example
from utils.stages.data_processing.similar import normal
from utils.stages.json_lines import count_lines, read_lines, write_lines
from utils.stages.results import DataCounts


def tokenize_rows(source: Path, folder: Path, data_dir: str, max_len: int) -> DataCounts:
    """Write folder/data.jsonl (input_ids, labels, len) with instructlab.training, and count.

    Args:
        source: rows with messages and unmask.
        data_dir: the volume, with model/ and the choice of a chat template.
        max_len: rows of as many tokens or more are dropped, as the library drops those under 20.

    Raises:
        SystemExit: the library refuses the rows or the tokenizer, or there is nothing to learn.
    """
    given = count_lines(source)
    if not given:
        return DataCounts()
    without_deepspeed()
    from instructlab.training import data_process
    from instructlab.training.config import DataProcessArgs

    model, template = f"{data_dir}/model", prepare_chat_template(data_dir) or None
    require_trainable(model, template)
    arguments = DataProcessArgs(
        data_path=str(source),
        data_output_path=str(folder),
        model_path=model,
        max_seq_len=max_len,
        chat_tmpl_path=template,
        num_cpu_procs=min(16, os.cpu_count() or 1) if given > 5000 else 1,
    )
    try:
        data_process.main(arguments)
        return kept_rows(folder, given, max_len)
    except Exception as error:  # the library, and the templates of Jinja in it, raise anything
        if isinstance(error, OSError) and error.errno:
            raise  # the disk's
        raise failure(
            f"the {folder.name} data can't be trained on",
            f"{type(error).__name__}: {error}",
            "set another train_chat_template, or raise train_max_seq_len and sdg_max_batch_len",
        ) from error


def require_trainable(model: str, template: str | None) -> None:
    """Load the configuration and the tokenizer as training will: data processing itself does with less.

    Args:
        template: the file of the chat template, None for the tokenizer's own.

    Raises:
        SystemExit: the library does not know the model's type, or the tokenizer lacks an end-of-text token.
    """
    from instructlab.training.tokenizer_utils import setup_tokenizer
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(model)
        setup_tokenizer(model, template)
    except Exception as error:
        raise failure(
            f"the model in {model} can't be trained",
            f"{type(error).__name__}: {error}",
            "correct its config.json and its tokenizer (an end-of-text token?), or set another train_chat_template",
        ) from error


def kept_rows(folder: Path, given: int, max_len: int) -> DataCounts:
    """Keep the rows of folder/data.jsonl that have a token to learn, and count.

    A batch of rows without any gives the loss nan. The first token's label does not count: nothing predicts it.

    Args:
        given: rows that the library was given.

    Raises:
        ValueError: no row is left.
    """
    path, lengths, dull = folder / "data.jsonl", list[int](), 0
    part = path.with_suffix(".part")
    with path.open() as rows, part.open("w") as kept:
        for line in rows:
            row = json.loads(line)
            if any(label != -100 for label in row["labels"][1:]):
                lengths.append(row["len"])
                kept.write(line)
            else:
                dull += 1
    part.replace(path)
    if dull:
        print(f"{folder.name}: {dull} rows dropped that have no token to learn", flush=True)
    if lengths:
        return DataCounts(len(lengths), sum(lengths), max(lengths), given - len(lengths))
    if dull:
        raise ValueError("no token to learn: no assistant turn, or the chat template's marks of it are not found")
    raise ValueError(f"all samples have fewer than 20 or more than {max_len} tokens, or no end-of-text token")


def left_out_rows(source: Path, folder: Path, data_dir: str) -> list[int]:
    """Numbers of the rows of source, from 0, that are not in folder/data.jsonl.

    The library keeps the order of rows, but does not say which it drops: those that are there hold the row's texts,
    in the letters that a tokenizer makes of them (Qwen's composes them, others make them small). Where a template
    changes texts, more rows seem to be missing than are.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(f"{data_dir}/model")
    texts = (tokenizer.decode(row["input_ids"]) for row in read_lines(folder / "data.jsonl"))
    text, missing = letters_alone(next(texts, "")), []
    for number, row in enumerate(read_lines(source)):
        turns = [letters_alone(turn["content"]) for turn in row["messages"] if turn["role"] != "system"]
        if text and all(turn in text for turn in turns):
            text = letters_alone(next(texts, ""))
        else:
            missing.append(number)
    return missing


def letters_alone(text: str) -> str:
    """A text without white space, case, and the forms of a letter."""
    return "".join(normal(text).split())


def without_deepspeed() -> None:
    """Let no library import DeepSpeed in this process; call it before they are imported.

    transformers imports it where it is installed, and with Triton 3.2 DeepSpeed 0.16.3 can't be imported without a GPU
    ("0 active drivers", https://github.com/deepspeedai/DeepSpeed/issues/7028). Data need neither.
    """
    sys.modules.setdefault("deepspeed", None)  # type: ignore[arg-type]


def try_tokenizing(data_dir: str) -> None:
    """Take two conversations, with and without a system message, through data processing: call it before the teacher
    is asked for thousands.

    Raises:
        SystemExit: the model's tokenizer or the chat template will not do.
    """
    # The library drops samples of fewer than 20 tokens.
    orders = [*GENERATED, *ASKED[:1]]
    texts = [[{**turn, "content": turn["content"] * 5} for turn in example(roles)] for roles in orders]
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder, "rows.jsonl")
        write_lines(rows, [{"messages": messages, "unmask": False} for messages in texts])
        tokenize_rows(rows, Path(folder, "trial"), data_dir, 1 << 20)

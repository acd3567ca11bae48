"""Stage 9: compares candidate and base model on the content of the taxonomy."""

from kfp import dsl

from components.stage import stage
from utils.images import INSTRUCTLAB


@stage(image=INSTRUCTLAB)
def final_eval(
    data_dir: str,
    judge_secret_dir: str,
    ca_file: str,
    engine: str,
    max_workers: str,
    merge_system_user_message: bool,
    max_questions: int,
    answer_options: dict,
    judge_options: dict,
    force: bool,
    max_error_rate: float,
    server_arguments: list,
    few_shots: int,
    batch_size: str,
    mmlu_tasks: list,
    eval_tasks: list,
    store_secret_dir: str,
    data_key: str,
    reuse_base: bool,
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Compare the candidate with the base model: MT-Bench-branch, MMLU-branch, likelihood; optionally MMLU and others.

    A benchmark for which the taxonomy provides no data is recorded as skipped, with the reason.

    Args:
        data_dir: the run's volume; writes scores/{mt_bench_branch,mmlu_branch,likelihood,mmlu,eval_*}.json.
        judge_secret_dir: folder of the judge's Secret: endpoint, model_name, api_token.
        ca_file: PEM file with additional certificate authorities; may be missing.
        engine: server for the models: vllm (GPU) or llama.cpp (CPU).
        max_workers: parallel requests, a positive integer or auto.
        merge_system_user_message: for judges that do not accept a system message.
        max_questions: taxonomy questions to ask in MT-Bench-branch, spread over the leaves; 0 = all.
        answer_options: fields to add to each request to the models, such as max_tokens; {} = none.
        judge_options: fields to add to each request to the judge, such as a grammar; {} = none.
        force: compare again if the inputs have changed.
        max_error_rate: share of answers that are missing or have no rating, 0 to 1, above which MT-Bench-branch does
            not count.
        server_arguments: words to add to vLLM's command line; [] = none.
        few_shots: examples before each multiple-choice question, 0 or more.
        batch_size: multiple-choice questions per batch, a positive integer or auto.
        mmlu_tasks: tasks of the lm-evaluation-harness, such as mmlu_anatomy; their data are downloaded from a hub. [] =
            none.
        eval_tasks: other tasks of the harness to ask both models: names, or folders of task files on the volume.
        store_secret_dir: folder of the object store's Secret.
        data_key: key of the archive, beside which the base model's scores are kept; empty = the Secret's.
        reuse_base: take the base model's scores from the object store if a run has left them there, else leave them.
        metrics: questions asked, share of answers without a rating. The report logs the scores.
    """
    from utils.stages.evaluation.final_eval import Comparison, compare

    given = Comparison(
        data_dir,
        judge_secret_dir,
        ca_file,
        engine,
        max_workers,
        merge_system_user_message,
        max_questions,
        answer_options,
        judge_options,
        force,
        max_error_rate,
        server_arguments,
        few_shots,
        batch_size,
        mmlu_tasks,
        eval_tasks,
        store_secret_dir,
        data_key,
        reuse_base,
    )
    for metric, value in compare(given).items():
        metrics.log_metric(metric, value)

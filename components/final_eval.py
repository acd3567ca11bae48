"""Stage 9: candidate against base on what the taxonomy asks."""

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
    few_shots: int,
    batch_size: str,
    merge_system_user_message: bool,
    mmlu_tasks: list,
    max_questions: int,
    answer_options: dict,
    judge_options: dict,
    force: bool,
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Compare the candidate with the base model: MT-Bench-branch, MMLU-branch, likelihood, and MMLU as an option.

    A kind that the taxonomy gives nothing for is recorded as skipped, with the reason.

    Args:
        data_dir: the run's volume; writes scores/{mt_bench_branch,mmlu_branch,likelihood,mmlu}.json.
        judge_secret_dir: the mounted Secret of the judge: endpoint, model_name, api_token.
        ca_file: PEM file of the CA that signed the judge's certificate; may be absent.
        engine: what serves the models: vllm (GPU) or llama.cpp (CPU).
        max_workers: requests at a time, a positive integer or auto.
        few_shots: examples before each multiple-choice question, 0 or more.
        batch_size: multiple-choice questions at a time, a positive integer or auto.
        merge_system_user_message: for judges that take no system message.
        mmlu_tasks: tasks of the lm-evaluation-harness, such as mmlu_anatomy; their data come from a hub. [] = none.
        max_questions: taxonomy questions asked in MT-Bench-branch, spread over the leaves; 0 = all.
        answer_options: fields added to each request to the models, such as max_tokens; {} = none.
        judge_options: fields added to each request to the judge, such as a grammar; {} = none.
        force: compare again although the stage finished with other inputs.
        metrics: questions asked, share of answers without a rating. The scores: see the report's.
    """
    from utils.stages.evaluation.comparison import Comparison, compare

    given = Comparison(
        data_dir,
        judge_secret_dir,
        ca_file,
        engine,
        max_workers,
        few_shots,
        batch_size,
        merge_system_user_message,
        mmlu_tasks,
        max_questions,
        answer_options,
        judge_options,
        force,
    )
    for metric, value in compare(given).items():
        metrics.log_metric(metric, value)

"""Stage 8: scores the trained checkpoints with MT-Bench; the best one becomes the candidate."""

from kfp import dsl

from components.stage import stage
from utils.images import INSTRUCTLAB


@stage(image=INSTRUCTLAB)
def mt_bench(
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
    audit: int,
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Score every checkpoint of the last training phase with MT-Bench and choose the candidate.

    While the judge rates one checkpoint's answers, the next checkpoint's answers are generated.

    Args:
        data_dir: the run's volume; writes scores/mt_bench.json.
        judge_secret_dir: folder of the judge's Secret: endpoint, model_name, api_token.
        ca_file: PEM file with additional certificate authorities; may be missing.
        engine: server for the checkpoints: vllm (GPU) or llama.cpp (CPU).
        max_workers: parallel requests, a positive integer or auto.
        merge_system_user_message: for judges that do not accept a system message.
        max_questions: number of the 80 questions to ask, spread over the categories; 0 = all.
        answer_options: fields to add to each request to the checkpoint, such as max_tokens; {} = none.
        judge_options: fields to add to each request to the judge, such as a grammar; {} = none.
        force: score again if the inputs have changed.
        max_error_rate: share of answers that are missing or have no rating, 0 to 1, above which a score does not count.
        server_arguments: words to add to vLLM's command line; [] = none.
        audit: judgments to ask the judge for twice, over all checkpoints; 0 = none.
        metrics: questions asked, share of the candidate's answers without a rating. The report logs the scores.
    """
    from utils.stages.evaluation.mt_bench import CheckpointScoring, score_checkpoints

    given = CheckpointScoring(
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
        audit,
    )
    for metric, value in score_checkpoints(given).items():
        metrics.log_metric(metric, value)

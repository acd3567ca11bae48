"""Stage 9: candidate against base on what the taxonomy asks."""

from kfp import dsl

from components.stage import stage
from utils.images import INSTRUCTLAB
from utils.stages.chat_template_files import chat_template_file
from utils.stages.credentials import model_server
from utils.stages.evaluation.branch_eval import mmlu, mmlu_branch, mt_bench_branch
from utils.stages.evaluation.likelihood import likelihood
from utils.stages.evaluation.mt_bench import bench_settings, kept, write_json
from utils.stages.marker import finished_result, inputs_hash, read_marker, write_marker


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
    import os
    import shutil
    import time

    started = time.time()
    judge = model_server(judge_secret_dir, "judge")
    scored = read_marker(data_dir, "mt_bench")
    inputs = {
        "upstream": scored.get("inputs_hash", ""),
        "engine": engine,
        "judge": judge["model_name"],
        "few_shots": few_shots,
        "merge_system_user_message": merge_system_user_message,
        "mmlu_tasks": mmlu_tasks,
        "max_questions": max_questions,
        "answer_options": answer_options,
        "judge_options": judge_options,
    }
    result = finished_result(data_dir, "final_eval", inputs, force)
    if result is None:
        scores_dir = os.path.join(data_dir, "scores")
        work_dir = os.path.join(scores_dir, "final_eval.part", inputs_hash(inputs))
        names = {"model": scored["result"]["candidate"], "base_model": "model"}
        models = {
            kind: os.path.join(data_dir, names[n]) for kind, n in (("candidate", "model"), ("base", "base_model"))
        }
        template = chat_template_file(data_dir, "template.jinja")
        bench = bench_settings(
            engine, max_workers, judge, ca_file, answer_options, judge_options, merge_system_user_message, template
        )
        tasks_dir = read_marker(data_dir, "sdg").get("result", {}).get("mmlu_tasks_dir", "")
        # The served models first: later evaluations keep GPU memory in this process.
        parts = {
            "mt_bench_branch": lambda: mt_bench_branch(
                os.path.join(data_dir, "taxonomy"), models, work_dir, bench, max_questions
            ),
            "mmlu_branch": lambda: mmlu_branch(
                tasks_dir and os.path.join(data_dir, tasks_dir), models, work_dir, few_shots, batch_size
            ),
            "likelihood": lambda: likelihood(
                os.path.join(data_dir, "processed", "held_out.jsonl"), models, work_dir, template
            ),
        }
        if mmlu_tasks:
            parts["mmlu"] = lambda: mmlu(models, work_dir, mmlu_tasks, "", few_shots, batch_size)
        result = {}
        for part, evaluate in parts.items():
            print(f"{part} of candidate and base", flush=True)
            scores = kept(os.path.join(work_dir, f"{part}.json"), evaluate)
            write_json(os.path.join(scores_dir, f"{part}.json"), {**names, **scores})
            result[part] = {k: v for k, v in scores.items() if isinstance(v, int | float | bool | str)}
        write_marker(data_dir, "final_eval", inputs, [f"scores/{part}.json" for part in parts], result, started)
        shutil.rmtree(os.path.dirname(work_dir))
    # The scores themselves are the headline scores of the report.
    for part in ("mt_bench_branch", "likelihood"):
        if "questions" in result[part]:
            metrics.log_metric(f"{part}_questions", result[part]["questions"])
    if "error_rate" in result["mt_bench_branch"]:
        metrics.log_metric("mt_bench_branch_error_rate", result["mt_bench_branch"]["error_rate"])

"""Stage 8: MT-Bench over the trained checkpoints; the best one becomes the candidate."""

from kfp import dsl

from components.stage import stage
from utils.images import INSTRUCTLAB
from utils.stages.chat_template_files import chat_template_file
from utils.stages.credentials import model_server
from utils.stages.evaluation.mt_bench import (
    bench_settings,
    check_judge,
    choose_candidate,
    scored_checkpoints,
    trained_checkpoints,
    write_json,
)
from utils.stages.marker import finished_result, inputs_hash, read_marker, write_marker


@stage(image=INSTRUCTLAB)
def mt_bench(
    data_dir: str,
    judge_secret_dir: str,
    ca_file: str,
    engine: str,
    max_workers: str,
    merge_system_user_message: bool,
    max_questions: int,
    max_error_rate: float,
    answer_options: dict,
    judge_options: dict,
    force: bool,
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Score every checkpoint of the last training phase by MT-Bench and choose the candidate.

    While the judge rates one checkpoint's answers, the next checkpoint's answers are generated.

    Args:
        data_dir: the run's volume; writes scores/mt_bench.json.
        judge_secret_dir: the mounted Secret of the judge: endpoint, model_name, api_token.
        ca_file: PEM file of the CA that signed the judge's certificate; may be absent.
        engine: what serves the checkpoints: vllm (GPU) or llama.cpp (CPU).
        max_workers: requests at a time, a positive integer or auto.
        merge_system_user_message: for judges that take no system message.
        max_questions: the first so many of the 80 questions; 0 = all.
        max_error_rate: 0 to 1, share of judgments without a rating above which a score does not count.
        answer_options: fields added to each request to the checkpoint, such as max_tokens; {} = none.
        judge_options: fields added to each request to the judge, such as a grammar; {} = none.
        force: score again although the stage finished with other inputs.
        metrics: questions asked, share of the candidate's answers without a rating. The scores: see the report's.
    """
    import os
    import shutil
    import time

    started = time.time()
    judge = model_server(judge_secret_dir, "judge")
    answers = {
        "upstream": read_marker(data_dir, "train_phase_2").get("inputs_hash", ""),
        "engine": engine,
        "max_questions": max_questions,
        "answer_options": answer_options,
    }
    inputs = {
        **answers,
        "judge": judge["model_name"],
        "merge_system_user_message": merge_system_user_message,
        "judge_options": judge_options,
        "max_error_rate": max_error_rate,
    }
    result = finished_result(data_dir, "mt_bench", inputs, force)
    if result is None:
        phases = [read_marker(data_dir, f"train_phase_{n}").get("result", {}) for n in (1, 2)]
        checkpoints = trained_checkpoints(phases[0], phases[1])
        template = chat_template_file(data_dir, "template.jinja")
        bench = bench_settings(
            engine, max_workers, judge, ca_file, answer_options, judge_options, merge_system_user_message, template
        )
        check_judge(judge, bench["ca"])
        # Answers serve again with another judge.
        work_dir = os.path.join(data_dir, "scores", "mt_bench.part", inputs_hash(answers))
        questions = min(max_questions or 80, 80)
        scores = scored_checkpoints(data_dir, checkpoints, work_dir, bench, questions, max_error_rate)
        best, reason = choose_candidate(scores, max_error_rate)
        result = {
            "candidate": best["model"],
            "overall_score": best["overall_score"],
            "error_rate": best["error_rate"],
            "judge_model": judge["model_name"],
            "max_error_rate": max_error_rate,
            "reason": reason,
            "questions": questions,
        }
        write_json(os.path.join(data_dir, "scores", "mt_bench.json"), {**result, "checkpoints": scores})
        write_marker(data_dir, "mt_bench", inputs, ["scores/mt_bench.json"], result, started)
        shutil.rmtree(os.path.dirname(work_dir))
    print(f"candidate: {result['candidate']} ({result['reason']}), MT-Bench {result['overall_score']:.2f}", flush=True)
    # The score itself stands among the headline scores of the report.
    metrics.log_metric("mt_bench_questions", result["questions"])
    if "error_rate" in result:  # an earlier version's marker has none
        metrics.log_metric("mt_bench_error_rate", result["error_rate"])

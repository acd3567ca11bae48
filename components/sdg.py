"""Stage 5, synthetic data."""

from kfp import dsl

from components.stage import stage
from utils.images import INSTRUCTLAB


@stage(image=INSTRUCTLAB)
def sdg(
    data_dir: str,
    teacher_secret_dir: str,
    ca_file: str,
    sdg_pipeline: str,
    teacher_family: str,
    scale_factor: int,
    sample_size: float,
    batch_size: int,
    num_workers: int,
    system_prompt: str,
    samples_per_skill: int,
    force: bool,
    held_out_seeds: int,
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Generate training samples and multiple-choice questions from the taxonomy with the teacher.

    Skipped if the archive contained generated data. Leaves are worked on side by side; when restarted, it resumes
    with the batches that are missing. Before any request to the teacher, it tries the chat template and the tokenizer
    on a conversation, and looks for the tasks of eval_tasks and mmlu_tasks.

    Args:
        data_dir: The run's volume; reads model/ and taxonomy/, writes sdg/.
        teacher_secret_dir: Folder of the teacher's Secret: endpoint, model_name, api_token.
        ca_file: PEM file with additional certificate authorities; may be missing.
        sdg_pipeline: simple, full, or a folder with knowledge.yaml, freeform_skills.yaml, grounded_skills.yaml and
            optionally mmlu_bench.yaml.
        teacher_family: Format of prompts, as sdg_teacher_family of the pipeline.
        scale_factor: Completions per seed record in blocks of the SDG pipeline that have `n: scaled`; others ignore it.
        sample_size: Fraction of the precomputed skills data to mix in, if the image has any.
        batch_size: Completions per request to the teacher, 1 to 4096.
        num_workers: Batches that the teacher is sent at a time, of one leaf or several; fewer while it answers 429.
        system_prompt: System message of all training samples; empty for the base model's own, or a neutral one.
        samples_per_skill: Samples of each skill leaf to train on; 0 for all that are generated.
        held_out_seeds: Seed examples of each leaf that the teacher does not see; they become held-out questions.
        force: Generate again if the volume holds data from other inputs.
        metrics: Samples, multiple-choice questions, and tokens that the teacher generated.
    """
    from utils.stages.sdg.stage import Generation, generate

    given = Generation(
        data_dir,
        teacher_secret_dir,
        ca_file,
        sdg_pipeline,
        teacher_family,
        scale_factor,
        sample_size,
        batch_size,
        num_workers,
        system_prompt,
        samples_per_skill,
        force,
        held_out_seeds,
    )
    for metric, value in generate(given).items():
        metrics.log_metric(metric, value)

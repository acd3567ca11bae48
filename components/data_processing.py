"""Stage 6: checks the samples, holds out some questions, and converts both data sets to token ids."""

from kfp import dsl

from components.stage import stage
from utils.images import INSTRUCTLAB


@stage(image=INSTRUCTLAB)
def data_processing(
    data_dir: str,
    held_out_fraction: float,
    max_seq_len: int,
    max_batch_len: int,
    seed: int,
    force: bool,
    checks: dict,
    mmlu_tasks: list,
    eval_tasks: list,
    review: str,
    run_id: str,
    store_secret_dir: str,
    ca_file: str,
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Check the generated samples, and convert them to token ids with the model's chat template.

    Some samples are dropped: duplicates and near duplicates, samples with words of an MT-Bench or MMLU question,
    refusals, leftovers of templates, answers without a letter or in another script than the leaf's seed examples, and
    samples that are too long. The log and processed/checks.json say how many of each taxonomy leaf, and why. If a leaf
    loses nearly all, this task fails.

    Some questions are held out for evaluation. Neither they nor near duplicates of them are used for training.

    With sdg_review stop, this task ends with "waiting for review" until someone has decided on the samples. Its message
    says where the page with the samples is, and where the decisions go. Then Retry, or resume the run: nothing is
    generated again.

    Args:
        data_dir: the run's volume; reads model/, sdg/ and the chat template, writes processed/.
        held_out_fraction: fraction of each taxonomy leaf's questions to hold out, 0 to 0.5; none from leaves with fewer
            than 4 questions, at least 1 and at most 50 from the others.
        max_seq_len: tokens; longer samples are dropped.
        max_batch_len: tokens; longer samples are dropped, because training can't process them.
        seed: selects which questions are held out.
        checks: limits that differ from the defaults: near_duplicates (0.9), overlap_words (13), min_answer (1),
            max_foreign_letters (0.5), drop_refusals (true), max_dropped (0.9).
        mmlu_tasks: MMLU tasks whose questions the samples are compared with, if their data can be downloaded.
        eval_tasks: tasks of the final evaluation, which must be known and have their data; samples are compared with
            their questions, too.
        review: off, or stop: wait until someone has accepted, rejected or edited the samples.
        run_id: the run's id, in the keys of page and decisions: reviews/ID/ beside the archive.
        store_secret_dir: folder of the object store's Secret; may be empty. Only for the review.
        ca_file: PEM file with additional certificate authorities; may be missing.
        force: process again if the inputs have changed.
        metrics: samples, tokens, longest sample, dropped samples, held-out questions of each data set; dropped samples
            by reason.
    """
    from utils.stages.data_processing.stage import Processing, process

    given = Processing(
        data_dir,
        held_out_fraction,
        max_seq_len,
        max_batch_len,
        seed,
        force,
        checks,
        mmlu_tasks,
        eval_tasks,
        review,
        run_id,
        store_secret_dir,
        ca_file,
    )
    for metric, value in process(given).items():
        metrics.log_metric(metric, value)

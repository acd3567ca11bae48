"""Stage 6: converts both data sets to token ids, after holding out some questions."""

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
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Convert the generated samples to token ids with the model's chat template.

    Some questions are first held out for evaluation. No copy of them is used for training.

    Args:
        data_dir: the run's volume; reads model/, sdg/ and the chat template, writes processed/.
        held_out_fraction: fraction of each taxonomy leaf's questions to hold out, 0 to 0.5; none from leaves with fewer
            than 4 questions, at least 1 and at most 50 from the others.
        max_seq_len: tokens; longer samples are dropped.
        max_batch_len: tokens; longer samples are dropped, because training can't process them.
        seed: selects which questions are held out.
        force: process again if the inputs have changed.
        metrics: samples, tokens, longest sample, dropped samples, held-out questions of each data set.
    """
    from utils.stages.data_processing.stage import Processing, process

    given = Processing(data_dir, held_out_fraction, max_seq_len, max_batch_len, seed, force)
    for metric, value in process(given).items():
        metrics.log_metric(metric, value)

"""Stage 6: both data sets to token ids, after some questions have been set aside."""

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
    """Turn the generated samples into token ids with the model's chat template.

    Before that, a part of the questions is set aside for evaluation. No copy of them is trained on.

    Args:
        data_dir: the run's volume; reads model/, sdg/ and the chat template, writes processed/.
        held_out_fraction: part of each taxonomy leaf's questions to set aside, 0 to 0.5; leaves with fewer than
            4 questions give none, the others at least 1 and at most 50.
        max_seq_len: tokens; longer samples are dropped.
        max_batch_len: tokens; longer samples are dropped, for training can't hold them.
        seed: another seed sets other questions aside.
        force: do it again although the inputs have changed.
        metrics: samples, tokens, longest sample, dropped samples, held-out questions of each data set.
    """
    from utils.stages.data_processing import Processing, process

    given = Processing(data_dir, held_out_fraction, max_seq_len, max_batch_len, seed, force)
    for metric, value in process(given).items():
        metrics.log_metric(metric, value)

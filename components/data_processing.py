"""Stage 6: both data sets to token ids, after some questions have been set aside."""

from kfp import dsl

from components.stage import stage
from utils.images import INSTRUCTLAB
from utils.stages.chat_template_files import chat_template_choice
from utils.stages.data_processing import process_samples
from utils.stages.marker import finished_result, read_marker, write_marker


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
    import time

    started = time.time()
    sdg = read_marker(data_dir, "sdg")
    inputs = {
        "held_out_fraction": held_out_fraction,
        "max_len": min(max_seq_len, max_batch_len),
        "seed": seed,
        "upstream": sdg.get("inputs_hash", ""),
    }
    template = chat_template_choice(data_dir)
    if template["name"] != "tokenizer":
        inputs["chat_template"] = [template["name"], template["sha256"]]
    result = finished_result(data_dir, "data_processing", inputs, force)
    if result is None:
        files = [sdg["result"]["knowledge_file"], sdg["result"]["skills_file"]]
        result = process_samples(data_dir, files, held_out_fraction, seed, inputs["max_len"])
        write_marker(data_dir, "data_processing", inputs, ["processed"], result, started)
    for kind in ("knowledge", "skills"):
        metrics.log_metric(f"{kind}_samples", result[kind]["rows"])
        metrics.log_metric(f"{kind}_tokens", result[kind]["tokens"])
        metrics.log_metric(f"{kind}_longest_sample_tokens", result[kind]["longest"])
        metrics.log_metric(f"{kind}_dropped_samples", result[kind]["dropped"])
        metrics.log_metric(f"{kind}_held_out_questions", result[kind]["held_out"])

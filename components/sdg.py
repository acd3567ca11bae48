"""Stage 5, synthetic data."""

from kfp import dsl

from components.stage import stage
from utils.images import INSTRUCTLAB
from utils.stages.authorities import ca_bundle
from utils.stages.credentials import model_server
from utils.stages.data_processing import try_tokenizing, without_deepspeed
from utils.stages.marker import finished_result, read_marker, write_marker
from utils.stages.sdg.generation import generate_samples, imported_samples, pipeline_hash
from utils.stages.sdg.taxonomy import check_taxonomy, sdg_environment
from utils.stages.sdg.teacher import teacher_client


@stage(image=INSTRUCTLAB)
def sdg(
    data_dir: str,
    teacher_secret_dir: str,
    ca_file: str,
    sdg_pipeline: str,
    scale_factor: int,
    sample_size: float,
    batch_size: int,
    num_workers: int,
    force: bool,
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Generates training samples and multiple-choice questions from the taxonomy with the teacher.

    Skipped when the archive brought generated data. Started again, it goes on at the leaf, and inside a leaf at the
    batch, where it stopped. Before the teacher is asked, a conversation goes through chat template and tokenizer.

    Args:
        data_dir: The run's volume; reads model/ and taxonomy/, writes sdg/.
        teacher_secret_dir: Folder of the teacher's Secret: endpoint, model_name, api_token.
        ca_file: PEM file of additional certificate authorities; may be missing.
        sdg_pipeline: simple, full, or a folder with knowledge.yaml, freeform_skills.yaml, grounded_skills.yaml and
            optionally mmlu_bench.yaml.
        scale_factor: Samples to generate for each seed example, 1 or more.
        sample_size: Fraction of the precomputed skills data mixed in where the image has some.
        batch_size: Seed examples in one request to the teacher, 1 to 4096.
        num_workers: Requests to the teacher in parallel.
        force: Generate again although this volume holds data of other inputs.
        metrics: Samples, multiple-choice questions, and tokens the teacher wrote.
    """
    import os
    import tempfile
    import time

    started = time.time()
    imported = read_marker(data_dir, "data_import")
    inputs = {"upstream": imported.get("inputs_hash", "")}
    brought = imported.get("result", {}).get("data_generated_elsewhere", False)
    server: dict = {}
    if not brought:
        server = model_server(teacher_secret_dir, "teacher")
        inputs |= {"sdg_pipeline": sdg_pipeline, "pipeline_hash": pipeline_hash(sdg_pipeline)}
        inputs |= {"scale_factor": scale_factor, "sample_size": sample_size, "teacher": server["model_name"]}
    result = finished_result(data_dir, "sdg", inputs, force)
    without_deepspeed()
    if result is None and brought:
        result = imported_samples(data_dir)
        print(f"not generated: {result['reason']} ({result['samples']} samples)", flush=True)
        write_marker(data_dir, "sdg", inputs, ["sdg"], result, started)
    elif result is None:
        with tempfile.TemporaryDirectory() as scratch:
            ca = ca_bundle(ca_file)
            seen: dict = {}
            sdg_environment(scratch, sample_size, ca)
            try_tokenizing(data_dir)
            leaves = check_taxonomy(os.path.join(data_dir, "taxonomy"))
            client = teacher_client(server, ca, os.path.join(data_dir, "model"), seen)
            result = generate_samples(data_dir, leaves, client, server, seen, inputs, batch_size, num_workers)
        write_marker(data_dir, "sdg", inputs, ["sdg"], result, started)
    for name in ("samples", "mmlu_questions", "tokens"):
        metrics.log_metric(f"generated_{name}", result[name])

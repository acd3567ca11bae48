"""Stage 3: synthetic data from the taxonomy with the teacher."""

import os
import tempfile
import time
from dataclasses import dataclass

from utils.stages.authorities import ca_bundle
from utils.stages.credentials import model_server
from utils.stages.data_processing.tokenizing import try_tokenizing, without_deepspeed
from utils.stages.marker import finished_result, read_marker, write_marker
from utils.stages.sdg.generation import generate_samples, imported_samples, pipeline_hash
from utils.stages.sdg.taxonomy import check_taxonomy, sdg_environment
from utils.stages.sdg.teacher import teacher_client


@dataclass(frozen=True)
class Generation:
    """What the stage is given: the parameters of the component `sdg`."""

    data_dir: str
    teacher_secret_dir: str
    ca_file: str
    sdg_pipeline: str
    scale_factor: int
    sample_size: float
    batch_size: int
    num_workers: int
    force: bool


def generate(given: Generation) -> dict[str, float]:
    """Generate samples and questions, unless that is done or they were imported; returns the stage's metrics."""
    started, measured = time.time(), dict[str, float]()
    imported = read_marker(given.data_dir, "data_import")
    inputs = {"upstream": imported.get("inputs_hash", "")}
    brought = imported.get("result", {}).get("data_generated_elsewhere", False)
    server = None if brought else model_server(given.teacher_secret_dir, "teacher")
    if server:
        inputs |= {"sdg_pipeline": given.sdg_pipeline, "pipeline_hash": pipeline_hash(given.sdg_pipeline)}
        inputs |= {
            "scale_factor": given.scale_factor,
            "sample_size": given.sample_size,
            "teacher": server.model_name,
        }
    result = finished_result(given.data_dir, "sdg", inputs, given.force)
    without_deepspeed()
    if result is None:
        if server:
            with tempfile.TemporaryDirectory() as scratch:
                ca = ca_bundle(given.ca_file)
                seen: dict = {}
                sdg_environment(scratch, given.sample_size, ca)
                try_tokenizing(given.data_dir)
                leaves = check_taxonomy(os.path.join(given.data_dir, "taxonomy"))
                client = teacher_client(server, ca, os.path.join(given.data_dir, "model"), seen)
                result = generate_samples(
                    given.data_dir, leaves, client, server, seen, inputs, given.batch_size, given.num_workers
                )
        else:
            result = imported_samples(given.data_dir)
            print(f"not generated: {result['reason']} ({result['samples']} samples)", flush=True)
        write_marker(given.data_dir, "sdg", inputs, ["sdg"], result, started)
    for name in ("samples", "mmlu_questions", "tokens"):
        measured[f"generated_{name}"] = result[name]
    return measured

"""Measure SDG in the stages' interpreter: `python -m tests.bench.sdg`. Exit code 1 when a promise is broken.

Ours, the whole stage with its checks, against the library's own `generate_data` on the same taxonomy, with a teacher
that needs the same time for each request, whatever is asked. Both mix the training files, too. The library gets our
batch size, and as many workers.
"""

import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.e2e.run_sdg import tiny_model
from tests.fakes.steady_teacher import SteadyTeacher
from utils.stages.sdg.stage import Generation, generate

LEAVES = 8
SECONDS = {"simple": 10.0, "full": 2.0}
"""Per request of each SDG pipeline: `simple` asks for all samples of a leaf at once, `full` in many small requests."""
BATCH, WORKERS, SCALE = 32, 8, 30
"""The pipeline's defaults of sdg_batch_size, sdg_num_workers and sdg_scale_factor."""
LIMIT = 0.2
QNA = "version: 3\ncreated_by: someone\ntask_description: to know the rules\nseed_examples:\n"


def taxonomy(folder: Path, leaves: int) -> Path:
    """Leaves of five seed examples each."""
    for number in range(leaves):
        qna = folder / "compositional_skills" / f"leaf_{number}" / "qna.yaml"
        qna.parent.mkdir(parents=True)
        lines = [f"  - question: What is rule {number}.{i}?\n    answer: It is {number} times {i}.\n" for i in range(5)]
        qna.write_text(QNA + "".join(lines))
    return folder


def ours(folder: Path, url: str, leaves: int, pipeline: str, family: str) -> None:
    taxonomy(folder / "taxonomy", leaves)
    (folder / "model").symlink_to(folder.parents[1] / "model")
    (folder / "secret").mkdir()
    for key, value in (("endpoint", url), ("model_name", "teacher")):
        (folder / "secret" / key).write_text(value)
    given = Generation(
        str(folder), str(folder / "secret"), "", pipeline, family, SCALE, 1.0, BATCH, WORKERS, "", 0, False
    )
    generate(given)


def theirs(folder: Path, url: str, leaves: int, pipeline: str) -> None:
    import openai
    from instructlab.sdg.generate_data import generate_data

    tree = taxonomy(folder / "taxonomy", leaves)
    generate_data(
        openai.OpenAI(base_url=url + "/v1", api_key="none"),
        model_family="merlinite",
        model_name="teacher",
        num_cpus=WORKERS,
        num_instructions_to_generate=SCALE,
        taxonomy=str(tree),
        taxonomy_base="empty",
        output_dir=str(folder / "out"),
        chunk_word_count=1000,
        server_ctx_size=4096,
        pipeline=pipeline,
        batch_size=BATCH,
        use_legacy_pretraining_format=False,
    )


def timed(work: Callable[..., None], folder: Path, quick: str, url: str, *rest: str) -> float:
    """Seconds for all leaves. A leaf for a quick server comes first: imports do not count."""
    work(folder / "warm", quick, 1, *rest)
    started = time.perf_counter()
    work(folder / "all", url, LEAVES, *rest)
    return time.perf_counter() - started


def measured(folder: Path, latency: float, work: Callable[..., None], *rest: str) -> tuple[float, int]:
    """Seconds, and the most requests at a time. In a process of its own: ours replaces parts of the library."""
    quick, teacher = SteadyTeacher(), SteadyTeacher(lambda _: latency)
    folder = folder / "-".join((work.__name__, *rest))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        took = pool.submit(timed, work, folder, quick.url, teacher.url, *rest).result()
    return took, teacher.highest


def main(folder: Path) -> int:
    tiny_model(folder / "model")
    holds = True
    print(f"{LEAVES} leaves of 5 seed examples\n{'':<32} {'s':>6}  in flight  ratio")
    for pipeline, latency in SECONDS.items():
        print(f"{pipeline}, {latency:g} s per request")
        base, flying = measured(folder, latency, theirs, pipeline)
        print(f"{'  generate_data':<32} {base:>6.1f} {flying:>10}", flush=True)
        for family in ("merlinite", "chat"):
            took, flying = measured(folder, latency, ours, pipeline, family)
            verdict = f"at most {LIMIT:g} {'ok' if took / base <= LIMIT else 'BROKEN'}"
            holds = holds and took / base <= LIMIT
            print(f"{'  ours, ' + family:<32} {took:>6.1f} {flying:>10} {took / base:>6.2f}  {verdict}", flush=True)
    return 0 if holds else 1


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # yamllint
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as made:
        sys.exit(main(Path(made)))

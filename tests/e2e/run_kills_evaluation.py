"""Runs in the stages' interpreter: `run_kills_evaluation.py WORK_DIR` kills both evaluations at their points.

instructlab-eval, the harness and transformers are the real ones; the model server, which has points too, and the judge
answer at once. Prints JSON.
"""

import importlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.e2e.run_training import make_volume
from tests.fakes.models import Models
from tests.kills import POINTS, kill_faults, tree, unshare_progress_bars
from utils.names import CPU_PROGRAMS
from utils.stages.evaluation.final_eval import Comparison, compare
from utils.stages.evaluation.mt_bench import CheckpointScoring, score_checkpoints
from utils.stages.marker import read_marker

WORK = Path(sys.argv[1])
SERVER = """
import sys
from pathlib import Path
from tests.fakes.model_program import serve
from tests.kills import join

join()
_, model, name, port, slots, converted, template = sys.argv
Path(converted).write_bytes(bytes(20000))
serve(int(port))
"""
COMMON: dict[str, Any] = {
    **{"data_dir": str(WORK / "volume"), "judge_secret_dir": str(WORK / "judge"), "ca_file": "", "engine": "llama.cpp"},
    **{"max_workers": "1", "merge_system_user_message": False, "max_questions": 2, "answer_options": {}},
    **{"judge_options": {}, "force": False, "max_error_rate": 0.25},
    "server_arguments": [],
}

NO_STORE: dict[str, Any] = {"store_secret_dir": "", "data_key": "", "reuse_base": False}


def prepare() -> None:
    """A volume as training leaves it, with two checkpoints, a skill leaf, multiple-choice and held-out questions."""
    volume = WORK / "volume"
    names = [f"phase_2/hf_format/samples_{number}" for number in (10, 20)]
    for name in ("model", *names):
        shutil.copytree(WORK / "made/model", volume / name)
    seed = [{"question": f"How high is tide {i}?", "answer": f"{i} cubits"} for i in range(2)]
    held_out = {
        "leaf": "a",
        "kind": "skills",
        "messages": [{"role": "user", "content": "Why?"}],
        "question": "Why?",
        "answer": "So.",
    }
    question = {"question": "Which?", "choices": ["a", "b", "c", "d"], "answer": 1}
    files = {
        "taxonomy/compositional_skills/x/qna.yaml": {"seed_examples": seed},
        "processed/held_out.jsonl": held_out,
        "sdg/node_datasets_1/mmlubench_knowledge_a.jsonl": question,
    }
    for stage, result in {
        "data_import": {},
        "sdg": {"mmlu_tasks_dir": "sdg/node_datasets_1"},
        "train_phase_1": {"phase": 1, "launcher": "process", "skipped": True},
        "train_phase_2": {"phase": 2, "launcher": "process", "skipped": False, "checkpoints": names},
    }.items():
        files[f"done/{stage}.json"] = {"stage": stage, "inputs_hash": stage, "result": result}
    for name, content in files.items():
        (volume / name).parent.mkdir(parents=True, exist_ok=True)
        (volume / name).write_text(json.dumps(content) + "\n")


def seen() -> object:
    """What came of a stage."""
    results = [read_marker(COMMON["data_dir"], stage).get("result") for stage in ("mt_bench", "final_eval")]
    return tree(Path(COMMON["data_dir"], "scores")), results


def faults(full: bool) -> dict[str, Any]:
    """What went wrong in each evaluation."""
    volume = WORK / "volume"
    checkpoints, comparison = (
        CheckpointScoring(**COMMON, audit=2),
        Comparison(**COMMON, few_shots=0, batch_size="4", mmlu_tasks=[], eval_tasks=[], **NO_STORE),
    )
    first = kill_faults(volume, prepare, lambda: score_checkpoints(checkpoints), seen, full)

    def scored() -> None:
        prepare()
        result = {"candidate": "phase_2/hf_format/samples_20", "overall_score": 7.0, "judge_model": "judge"}
        marker = {"inputs_hash": "a", "result": {**result, "reason": "", "questions": 2}}
        (volume / "done/mt_bench.json").write_text(json.dumps(marker))

    return {"mt_bench": first, "final_eval": kill_faults(volume, scored, lambda: compare(comparison), seen, full)}


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", CPU_PROGRAMS: str(WORK / "programs")}
    for library in ("mt_bench_answers", "mt_bench_judgment", "mt_bench_branch_generator", "mmlu"):
        importlib.import_module(f"instructlab.eval.{library}")
    unshare_progress_bars()
    for folder in ("made", "judge", "programs"):
        (WORK / folder).mkdir()
    make_volume(WORK / "made")
    (WORK / "programs/llama_cpp.py").write_text(SERVER)
    judge = Models(lambda body: "Rating: [[7]]")
    for key, value in {"endpoint": judge.url, "model_name": "judge"}.items():
        (WORK / "judge" / key).write_text(value)
    print(json.dumps({"points": POINTS, "killed": faults(False), "full": faults(True)}))
    judge.stop()

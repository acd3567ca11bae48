"""Runs in the stages' interpreter: `run_kills.py WORK_DIR` kills SDG and data processing at their points, prints JSON.

The library is the real one. Each start is a fork of this process: the libraries are imported once.
"""

import importlib
import json
import os
import shutil
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.e2e.run_sdg_data import Teacher, skill
from tests.e2e.run_training import make_volume
from tests.kills import kill_faults, tree, unshare_progress_bars
from utils.stages.data_processing.stage import Processing, process
from utils.stages.marker import read_marker
from utils.stages.sdg.stage import Generation, generate

WORK = Path(sys.argv[1])


def generated(full: bool) -> dict[str, Any]:
    """SDG with two leaves: what went wrong, and how many requests the teacher got, at most."""
    volume, server = WORK / "generated", ThreadingHTTPServer(("127.0.0.1", 0), Teacher)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (WORK / "secret").mkdir(exist_ok=True)
    secret = {"endpoint": f"http://127.0.0.1:{server.server_address[1]}", "model_name": "teacher"}
    for key, value in secret.items():
        (WORK / "secret" / key).write_text(value)
    most = [0]

    def prepare() -> None:
        Teacher.requests = []
        volume.mkdir()
        (volume / "model").symlink_to(WORK / "processed/model")
        for leaf in ("x", "y"):
            qna = volume / "taxonomy/compositional_skills" / leaf / "qna.yaml"
            qna.parent.mkdir(parents=True)
            qna.write_text(skill(leaf))

    def seen() -> object:
        most[0] = max(most[0], len(Teacher.requests))
        result = read_marker(str(volume), "sdg")["result"]
        left = sorted(path.name for path in volume.iterdir())
        files = [*volume.glob("sdg/*.jsonl"), *volume.glob("sdg/node_datasets_*/*.jsonl")]
        rows = {path.name.partition("_2")[0]: len(path.read_text().split("\n")) for path in files}
        return result["samples_by_leaf"], left, rows, (volume / "sdg/run.json").exists()

    given = Generation(str(volume), str(WORK / "secret"), "", "simple", "auto", 2, 0.0, 1, 2, "", 0, False)
    tried, faults = kill_faults(volume, prepare, lambda: generate(given), seen, full)
    server.shutdown()
    return {"tried": tried, "faults": faults, "requests": most[0]}


def processed() -> dict[str, Any]:
    """Data processing."""
    volume = WORK / "processed"

    def prepare() -> None:
        shutil.copytree(WORK / "made", volume)

    def seen() -> object:
        return tree(volume, "done/"), read_marker(str(volume), "data_processing")["result"]

    given = Processing(str(volume), 0.2, 512, 512, 42, False)
    tried, faults = kill_faults(volume, prepare, lambda: process(given), seen)
    return {"tried": tried, "faults": faults}


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    for library in ("instructlab.sdg.generate_data", "instructlab.training.data_process"):
        importlib.import_module(library)
    unshare_progress_bars()
    (WORK / "made").mkdir()
    make_volume(WORK / "made")
    print(json.dumps({"processed": processed(), "generated": generated(False), "full": generated(True)}))

"""Runs in the stages' interpreter: `run_sdg_workers.py WORK_DIR` prints what numbers of workers change, as JSON."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from tests.e2e.run_sdg import make_volume, run, tiny_model
from tests.fakes.steady_teacher import SteadyTeacher
from tests.kills import tree
from utils.stages.sdg.files import run_suffixes

WORK = Path(sys.argv[1])
BOTH = ("knowledge", "compositional_skills")


def made(volume: Path) -> dict[str, str]:
    """The files of a run by name, without its date, its place, and the ids that the library makes by chance."""
    (suffix,) = run_suffixes(volume / "sdg")
    chance = re.compile(rf"{suffix}|{re.escape(str(volume))}|[0-9a-f]{{8}}-(?:[0-9a-f]{{4}}-){{3}}[0-9a-f]{{12}}")
    files = tree(volume / "sdg", "documents")
    return {name.replace(suffix, ""): chance.sub("", content.decode()) for name, content in files.items()}


def case(name: str, pipeline: str, family: str, workers: int, **teacher: Any) -> dict[str, Any]:
    """The stage on the example taxonomy: what it made, and what the teacher saw."""
    server = SteadyTeacher(**teacher)
    secret = WORK / "secret"
    secret.mkdir(exist_ok=True)
    (secret / "endpoint").write_text(server.url)
    (secret / "model_name").write_text("teacher")
    volume = make_volume(WORK / name, WORK / "model", BOTH)
    choices = {"sdg_pipeline": pipeline, "teacher_family": family, "num_workers": workers, "batch_size": 3}
    seen = run(volume, secret, **choices)
    server.shutdown()
    result = seen.get("result") or seen
    prompts = sorted(server.prompts)
    assert "failure" not in seen, seen
    return {
        "files": made(volume),
        "result": result,
        "highest": server.highest,
        "prompts": prompts,
        "refused": server.refused,
    }


def uneven(number: int) -> float:
    """Answers overtake each other."""
    return (number * 7919 % 13) / 200


def main() -> dict[str, Any]:
    tiny_model(WORK / "model")
    seen: dict[str, Any] = {}
    for pipeline, family in (("simple", "merlinite"), ("full", "chat")):
        one, many, few = (
            case(f"{pipeline}-1", pipeline, family, 1),
            case(f"{pipeline}-10", pipeline, family, 10, latency=uneven),
            case(f"{pipeline}-429", pipeline, family, 10, latency=uneven, takes=2),
        )
        seen[pipeline] = {
            "files": len(one["files"]),
            "samples": one["result"]["samples"],
            "questions": one["result"]["mmlu_questions"],
            "differing": {
                name: sorted(f for f in one["files"] if one["files"][f] != other["files"].get(f))
                for name, other in (("many", many), ("few", few))
            },
            "same names": one["files"].keys() == many["files"].keys() == few["files"].keys(),
            "same result": one["result"]["samples_by_leaf"]
            == many["result"]["samples_by_leaf"]
            == few["result"]["samples_by_leaf"],
            "same prompts": one["prompts"] == many["prompts"] == few["prompts"],
            "highest": [one["highest"], many["highest"], few["highest"]],
            "refused": few["refused"],
            "requests": len(one["prompts"]),
        }
    return seen


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # yamllint
    print(json.dumps(main()))

"""What a run was made with and how long its GPUs were held, from the markers of its stages."""

from collections.abc import Mapping
from typing import Any

from utils.stages.report.text import plain


def made_with(done: Mapping[str, Any], scores: Mapping[str, Any]) -> dict[str, str]:
    """Base model, teacher, judge, hardware, and algorithms but sft, in words; what is not known is left out."""
    result = {stage: marker.get("result") or {} for stage, marker in done.items()}
    inputs = {stage: marker.get("inputs") or {} for stage, marker in done.items()}
    source = result.get("data_import", {}).get("model_source")
    key = result.get("data_import", {}).get("archive", "")
    trained = {
        stage: result[stage] for stage in ("train_phase_1", "train_phase_2") if result.get(stage, {}).get("steps")
    }
    hardware = {
        stage: ", ".join([hardware_of(inputs[stage], one), *map(plain, inputs[stage].get("algorithm", ()))])
        for stage, one in trained.items()
    }
    served = {"vllm": "vLLM, on GPU", "llama.cpp": "llama.cpp, on CPU"}
    facts = {
        "base model": f"model of {key}" if source == "archive" else source,
        "teacher": inputs.get("sdg", {}).get("teacher"),
        "judge": scores.get("mt_bench", {}).get("judge_model") or inputs.get("mt_bench", {}).get("judge"),
        **{f"training, phase {stage[-1]}": text for stage, text in hardware.items()},
        "served in the evaluation by": served.get(inputs.get("mt_bench", {}).get("engine", "")),
    }
    return {name: value for name, value in facts.items() if value}


def hardware_of(inputs: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """Where a phase was trained: `2 pods with 2 GPUs each (trainjob)`."""
    launcher, device = result.get("launcher", ""), "GPU" if result.get("device") == "cuda" else "CPU"
    pods, each = inputs.get("num_workers"), inputs.get("gpu_per_worker")
    if pods is None:
        return f"the task's own process, on {device} ({launcher})"
    gpus = f"{each} GPU{'' if each == 1 else 's'} each" if each else "no GPU"
    return f"{pods} pod{'' if pods == 1 else 's'} with {gpus} ({launcher})"


def gpu_hours(done: Mapping[str, Any]) -> dict[str, float]:
    """Stage to its GPUs times the hours from its start to its end; only stages whose number of GPUs is known.

    The time that training pods waited for their GPUs counts, too.
    """
    hours = {}
    for stage, marker in done.items():
        inputs, result = marker.get("inputs") or {}, marker.get("result") or {}
        gpus = 0
        if stage.startswith("train") and result.get("steps"):
            gpus = (inputs.get("num_workers") or 0) * (inputs.get("gpu_per_worker") or 0)
        elif inputs.get("engine") == "vllm":
            gpus = marker.get("gpus", 1)  # markers of earlier versions do not tell: their tasks had one
        if gpus:
            hours[stage] = round(gpus * marker["seconds"] / 3600, 3)
    return hours


def estimated_gpu_hours(done: Mapping[str, Any]) -> dict[str, float]:
    """The stages of `gpu_hours` for which there was an estimate, to its hours on H100."""
    results = {stage: done[stage].get("result") or {} for stage in gpu_hours(done)}
    return {stage: hours for stage, result in results.items() if (hours := result.get("estimated_gpu_hours"))}

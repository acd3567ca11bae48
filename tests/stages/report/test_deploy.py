"""How to deploy a published model: the same objects as manifests/judge, and commands that work on any key."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.settings import objects_of
from tests.stages.report.example_run import CANDIDATE, full_run
from utils.stages.marker import write_json
from utils.stages.report.deploy import deployment
from utils.stages.report.facts import report_facts
from utils.stages.report.page import render
from utils.stages.run_parameters import FILE

IMAGES = {"instructlab": "registry.example.com/ilab@sha256:0", "notebook": "registry.example.com/light@sha256:1"}


def published(key: str, store: list[str], size: int = 14 << 30) -> dict[str, Any]:
    return {"result": {"key": key, "size": size}, "inputs": {"store": store}}


@pytest.mark.parametrize(("gpu", "dtype"), [("nvidia.com/gpu", "bfloat16"), ("amd.com/gpu", "float16")])
def test_objects_are_those_of_the_manifests_with_another_model_image_gpu_and_type(gpu: str, dtype: str) -> None:
    told = deployment("run-20260101-000000-x4k2", published("a.tar.gz", ["", "lab", ""]), IMAGES, gpu, dtype)
    runtime, service = yaml.safe_load_all(told["manifests"])
    text = json.dumps({one["kind"]: one for one in objects_of("judge")})
    theirs = json.loads(text.replace("nvidia.com/gpu", gpu).replace("bfloat16", dtype))
    name = runtime["metadata"]["name"]
    for kind in ("ServingRuntime", "InferenceService"):
        del theirs[kind]["metadata"]["labels"]["ilab-pipeline/role"]
        theirs[kind]["metadata"] |= {"name": name}
        theirs[kind]["metadata"].pop("namespace", None)
        theirs[kind]["metadata"]["annotations"]["openshift.io/display-name"] = name
    container = theirs["ServingRuntime"]["spec"]["containers"][0]
    container |= {"image": IMAGES["instructlab"], "command": ["python3", *container["command"][1:]]}
    model = theirs["InferenceService"]["spec"]["predictor"]["model"]
    amounts = {"cpu": "4", "memory": "30Gi", gpu: "1"}
    model |= {"runtime": name, "args": ["--tensor-parallel-size=1", *model["args"][1:]]}
    model |= {"resources": {"requests": amounts, "limits": amounts}}
    model["storage"]["path"] = f"models/{name}"
    assert [runtime, service] == [theirs["ServingRuntime"], theirs["InferenceService"]]


@pytest.mark.parametrize(
    ("key", "store", "images", "commands"),
    [
        (
            "a/b.tar.gz",
            ["https://s3.example.com", "lab", ""],
            IMAGES,
            "aws --endpoint-url https://s3.example.com s3 cp s3://lab/a/b.tar.gz - | tar xz model\n"
            "aws --endpoint-url https://s3.example.com s3 sync model s3://lab/models/ilab-000-x4k2\n"
            "kubectl apply -f deploy.yaml",
        ),
        (
            "a b.tar",
            ["", "lab", ""],
            {},
            "aws s3 cp 's3://lab/a b.tar' - | tar x model\nvllm serve ./model --served-model-name ilab-000-x4k2",
        ),
        ("/home/me/out", ["/home/me/out"], {}, "vllm serve /home/me/out/model --served-model-name ilab-000-x4k2"),
        ("", ["", "lab", ""], IMAGES, None),
    ],
)
def test_commands_fit_the_place_of_the_model(
    key: str, store: list[str], images: dict[str, str], commands: str | None
) -> None:
    told = deployment("run-000000-x4k2", published(key, store), images, "nvidia.com/gpu", "bfloat16")
    assert told.get("commands") == commands


def test_run_that_published_nothing_has_nothing_to_deploy() -> None:
    assert deployment("r", {}, IMAGES, "nvidia.com/gpu", "bfloat16") == {}


@pytest.mark.parametrize(
    ("noted", "config", "gpu", "dtype"),
    [
        ({"eval_gpu_identifier": "amd.com/gpu"}, {"torch_dtype": "float16"}, "amd.com/gpu", "float16"),
        ({"eval_gpu_identifier": "nvidia.com/mig-3g.40gb"}, {"dtype": "float32"}, "nvidia.com/mig-3g.40gb", "float32"),
        ({}, {"text_config": {"dtype": "bfloat16"}}, "nvidia.com/gpu", "bfloat16"),
        ({}, {}, "nvidia.com/gpu", "auto"),
    ],
)
def test_objects_ask_for_the_runs_gpu_and_serve_in_the_models_own_type(
    tmp_path: Path, noted: dict[str, str], config: dict[str, Any], gpu: str, dtype: str
) -> None:
    full_run(tmp_path)
    publish = json.loads((tmp_path / "done/publish.json").read_text())
    publish["inputs"]["store"] = ["", "lab", "data.tar.gz"]
    publish["result"]["images"] = IMAGES
    (tmp_path / "done/publish.json").write_text(json.dumps(publish))
    write_json(tmp_path / CANDIDATE / "config.json", config)
    write_json(tmp_path / FILE, noted)
    told = report_facts(str(tmp_path), "run-x4k2", [])["deploy"]["manifests"]
    runtime, service = yaml.safe_load_all(told)
    served = service["spec"]["predictor"]
    assert served["model"]["resources"]["limits"][gpu] == "1" and served["tolerations"][0]["key"] == gpu
    assert f"--dtype={dtype}" in served["model"]["args"]
    assert runtime["metadata"]["annotations"]["opendatahub.io/recommended-accelerators"] == f'["{gpu}"]'


def test_page_shows_what_the_model_was_made_with_and_how_to_deploy_it(tmp_path: Path) -> None:
    full_run(tmp_path)
    publish = json.loads((tmp_path / "done/publish.json").read_text())
    publish["inputs"]["store"] = ["", "lab", "data.tar.gz"]
    publish["result"]["images"] = IMAGES
    (tmp_path / "done/publish.json").write_text(json.dumps(publish))
    pods = {"num_workers": 2, "gpu_per_worker": 4, "algorithm": ["lora", {"r": 8, "alpha": 32}]}
    for stage, inputs in (("train_phase_2", pods), ("mt_bench", {"engine": "vllm"})):
        marker = json.loads((tmp_path / f"done/{stage}.json").read_text())
        marker["inputs"] |= inputs
        marker |= {"gpus": 4} if stage == "mt_bench" else {}
        (tmp_path / f"done/{stage}.json").write_text(json.dumps(marker))
    facts = report_facts(str(tmp_path), "run-x4k2", [])
    assert facts["made_with"] == {
        "base model": "model of s3://ilab-runs/archives/lumera.tar.gz",
        "judge": "prometheus-8x7b-v2-0",
        "training, phase 1": "the task's own process, on GPU (pytorchjob)",
        "training, phase 2": "2 pods with 4 GPUs each (pytorchjob), lora, r 8, alpha 32",
        "served in the evaluation by": "vLLM, on GPU",
    }
    assert facts["gpu_hours"] == {"train_phase_2": 62.089, "mt_bench": 10.056}
    assert facts["estimated_gpu_hours"] == {"train_phase_2": 49.5}
    page = render(facts)
    shown = (
        "kind: InferenceService",
        "tar x model",
        IMAGES["notebook"],
        "2 pods with 4 GPUs each (pytorchjob), lora, r 8, alpha 32",
        "62.09",
        "72.14",
        "49.50",
    )
    assert [text for text in shown if text not in page] == []
    assert "How to deploy it" not in render(report_facts(str(tmp_path / "none"), "r", []))

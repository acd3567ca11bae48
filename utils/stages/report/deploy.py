"""How to serve a published model: commands and KServe objects, of the form of manifests/judge (tests compare)."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.stages.marker import read_json

MODELS = "models"
"""Prefix in the bucket where the model's files go: KServe copies a folder of files."""


def dtype_of(model: Path) -> str:
    """The type of a model's weights, as its config.json and vLLM name it; auto where that says nothing."""
    config = read_json(model / "config.json")
    config |= config.get("text_config") or {}
    return str(config.get("dtype") or config.get("torch_dtype") or "auto")


def deployment(
    run_id: str, publish: Mapping[str, Any], images: Mapping[str, str], gpu: str, dtype: str
) -> dict[str, str]:
    """Commands and manifests that serve the model of a run.

    Args:
        publish: marker of the publish stage, {} when it has not run.
        images: the pipeline's images by name, {} on one machine.
        gpu: resource name of the GPUs that served the model in the evaluation.
        dtype: of the model, see `dtype_of`.

    Returns:
        commands, and manifests (YAML) where the archive is in an object store of a cluster; {} if nothing was
        published.
    """
    key, store = publish.get("result", {}).get("key", ""), publish.get("inputs", {}).get("store") or []
    name = f"ilab-{run_id[-8:].strip('-').lower()}"
    if not key:
        return {}
    if len(store) != 3:  # a folder of the machine
        return {"commands": f"vllm serve {shlex.quote(f'{key}/model')} --served-model-name {name}"}
    endpoint, bucket, _ = store
    aws = f"aws --endpoint-url {shlex.quote(endpoint)} s3" if endpoint else "aws s3"
    flags, target = "x" if key.endswith(".tar") else "xz", f"s3://{bucket}/{MODELS}/{name}"
    commands = [f"{aws} cp {shlex.quote(f's3://{bucket}/{key}')} - | tar {flags} model"]
    if not images:
        return {"commands": "\n".join([*commands, f"vllm serve ./model --served-model-name {name}"])}
    commands += [f"{aws} sync model {shlex.quote(target)}", "kubectl apply -f deploy.yaml"]
    import yaml

    size = publish.get("result", {}).get("size", 0)
    objects = [
        runtime(name, images["instructlab"], gpu),
        service(name, f"{MODELS}/{name}", 16 + (size >> 30), gpu, dtype),
    ]
    return {"commands": "\n".join(commands), "manifests": yaml.safe_dump_all(objects, sort_keys=False, width=1000)}


def runtime(name: str, image: str, gpu: str) -> dict[str, Any]:
    """The ServingRuntime: vLLM in the image that served the model in the evaluation."""
    container = {
        "name": "kserve-container",
        "image": image,
        "command": ["python3", "-m", "vllm.entrypoints.openai.api_server"],
        "args": [
            "--port=8080",
            "--model=/mnt/models",
            "--served-model-name={{.Name}}",
            "--distributed-executor-backend=mp",
        ],
        "env": [{"name": "HF_HOME", "value": "/tmp/hf_home"}],
        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
        "securityContext": {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
    }
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {
            "name": name,
            "annotations": {
                "opendatahub.io/apiProtocol": "REST",
                "opendatahub.io/recommended-accelerators": f'["{gpu}"]',
                "opendatahub.io/template-display-name": "vLLM",
                "opendatahub.io/template-name": "vllm-runtime",
                "openshift.io/display-name": name,
            },
            "labels": {"opendatahub.io/dashboard": "true"},
        },
        "spec": {
            "annotations": {"prometheus.io/path": "/metrics", "prometheus.io/port": "8080"},
            "multiModel": False,
            "storageHelper": {"disabled": True},
            "supportedModelFormats": [{"name": "vLLM", "autoSelect": True}],
            "containers": [container],
            "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}}],
        },
    }


def service(name: str, path: str, gibibytes: int, gpu: str, dtype: str) -> dict[str, Any]:
    """The InferenceService: one replica on one GPU; requests need a token of an account that may view it."""
    amounts = {"cpu": "4", "memory": f"{gibibytes}Gi", gpu: "1"}
    model = {
        "modelFormat": {"name": "vLLM"},
        "runtime": name,
        "args": ["--tensor-parallel-size=1", f"--dtype={dtype}"],
        "resources": {"requests": dict(amounts), "limits": dict(amounts)},
        "storage": {"key": "aws-connection-my-bucket", "path": path},
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            "annotations": {
                "openshift.io/display-name": name,
                "security.opendatahub.io/enable-auth": "true",
                "serving.kserve.io/deploymentMode": "RawDeployment",
                "haproxy.router.openshift.io/timeout": "600s",
            },
            "labels": {"opendatahub.io/dashboard": "true", "networking.kserve.io/visibility": "exposed"},
        },
        "spec": {
            "predictor": {
                "minReplicas": 1,
                "maxReplicas": 1,
                "timeout": 600,
                "model": model,
                "tolerations": [{"key": gpu, "operator": "Exists", "effect": "NoSchedule"}],
            }
        },
    }

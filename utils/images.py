"""Every image that the pipeline names, by digest, in this one file."""

# Stages that need the InstructLab libraries, torch or vLLM (RHEL AI 1.5).
INSTRUCTLAB = (
    "registry.redhat.io/rhelai1/instructlab-nvidia-rhel9"
    "@sha256:3e6eb035c69b204746a44b3a58b2751c20050cfb6af2ba7989ba327809f87c0b"
)
# All other stages: kfp, kubernetes, boto3, requests, jinja2, matplotlib, git (data-science notebook, v3-20250116).
NOTEBOOK = (
    "quay.io/modh/odh-generic-data-science-notebook"
    "@sha256:72c1d095adbda216a1f1b4b6935e3e2c717cbc58964009464ccd36c0b98312b2"
)

# Below: what manifests/ deploys. The pipeline itself names none of these.

# Teacher and judge: vLLM, behind KServe.
SERVING = "quay.io/modh/vllm@sha256:3c56d4c2a5a9565e8b07ba17a6624290c4fb39ac9097b99b946326c09a8b40c8"
# The pod that runs standalone.py: Python 3.11, kubernetes, click, PyYAML, boto3 (data-science notebook).
WORKBENCH = (
    "quay.io/modh/odh-generic-data-science-notebook"
    "@sha256:7c1a4ca213b71d342a2d1366171304e469da06d5f15710fab5dd3ce013aa1b73"
)
# The NFS server of manifests/nfs (version 12). For tests only.
NFS_SERVER = (
    "docker.io/itsthenetwork/nfs-server-alpine@sha256:7fa99ae65c23c5af87dd4300e543a86b119ed15ba61422444207efc7abd0ba20"
)

# Below: what images/Containerfile is built from. Nothing is deployed from them.

# The CUDA compiler, for flash attention (12.4.1-devel-ubuntu22.04).
CUDA_BUILD = "docker.io/nvidia/cuda@sha256:da6791294b0b04d7e65d87b7451d6f2390b4d36225ab0701ee7dfec5769829f5"
# The CUDA libraries that the image runs with (12.4.1-runtime-ubuntu22.04).
CUDA_RUN = "docker.io/nvidia/cuda@sha256:517da2300c184c9999ec203c2665244bdebd3578d12fcc7065e83667932643d9"

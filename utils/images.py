"""Every image the pipeline names, by digest, in this one file."""

# Stages that need the InstructLab libraries, torch or vLLM (RHEL AI 1.5).
INSTRUCTLAB = (
    "registry.redhat.io/rhelai1/instructlab-nvidia-rhel9"
    "@sha256:3e6eb035c69b204746a44b3a58b2751c20050cfb6af2ba7989ba327809f87c0b"
)
# Checks, volumes, import and upload: kfp, kubernetes, boto3.
RUNTIME = (
    "quay.io/opendatahub/ds-pipelines-runtime-generic"
    "@sha256:02445dbd6919b4a7954c34cd4625220b58985b347103454ffe3c820795a91779"
)
# Reports and the training launcher: kfp, kubernetes, boto3, matplotlib (data-science notebook, v3-20250116).
NOTEBOOK = (
    "quay.io/modh/odh-generic-data-science-notebook"
    "@sha256:72c1d095adbda216a1f1b4b6935e3e2c717cbc58964009464ccd36c0b98312b2"
)

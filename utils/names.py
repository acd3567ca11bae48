"""Names that several parts of the project share: labels, annotations, objects, environment variables.

Pods carry this module with the code of their stage: it stays small, and needs nothing but the standard library.
"""

import re

LABEL_PREFIX = "ilab-pipeline/"
"""What our own labels and annotations start with."""
RUN_LABEL = "ilab-pipeline/run"
"""Id of the run that an object belongs to."""
TASK_LABEL = "ilab-pipeline/task"
ATTEMPT_LABEL = "ilab-pipeline/attempt"
HASH_LABEL = "ilab-pipeline/hash"
"""Hash of everything that determines what an object does: objects with the same hash are the same."""
INPUTS_LABEL = "ilab-pipeline/inputs"
"""The same for a training job, which a stage creates."""
OBJECT_LABEL = "ilab-pipeline/object"
"""`run` for the ConfigMap that records a run on a cluster."""
API_LABEL = "ilab-pipeline/api-access"
"""Set to true on a task by the pipeline's author: its pod sends requests to the API server."""
SHM_LABEL = "ilab-pipeline/shared-memory"
"""Set to true on a task by the pipeline's author: its pod needs /dev/shm in memory."""
OUTCOME_ANNOTATION = "ilab-pipeline/outcome"
"""On the run's volume claim: how the run ended."""

KFP_RUN_LABEL = "pipeline/runid"
"""Kubeflow Pipelines' label for the run that a pod belongs to."""
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
SIDECAR_LABEL = "sidecar.istio.io/inject"

CLAIMS_DIR = "ILAB_CLAIMS_DIR"
"""Environment variable: the folder of all volume claims on one machine; unset in a pod."""
CODE = "ILAB_CODE"
"""Environment variable of tasks that read the stages' code from their run's Workflow. Runners without Workflows give
them its parts in ILAB_CODE_PART_000 and so on."""
PARAMETERS = "ILAB_PARAMETERS"
"""Environment variable of the same tasks: the values of the pipeline's parameters as JSON, from runners without
Workflows."""
CPU_PROGRAMS = "ILAB_CPU_PROGRAMS"
"""Environment variable: the folder with programs that replace those that need a GPU."""
POD_OVERLAY = "ILAB_POD_OVERLAY"
"""Environment variable: the user's patch for every pod, as JSON."""
RUN_OWNER = "ILAB_RUN_OWNER"
"""Environment variable: ownerReferences for objects that a stage creates, as JSON."""


DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
"""Pattern of a DNS label, whatever its length."""


def is_object_name(name: object, label: bool = False) -> bool:
    """Whether Kubernetes takes it as the name of an object: a DNS subdomain (RFC 1123). It is never empty or a path.

    Args:
        label: only a DNS label, which a pod's volume and a run have: no dot, at most 63 characters.
    """
    most, pattern = (63, DNS_LABEL) if label else (253, rf"{DNS_LABEL}(\.{DNS_LABEL})*")
    return isinstance(name, str) and len(name) <= most and bool(re.fullmatch(pattern, name))


def claim_name(run_id: str) -> str:
    """The run's volume claim."""
    return f"ilab-{run_id}"


def run_object_name(run_id: str) -> str:
    """The ConfigMap that records a run on a cluster."""
    return f"ilab-{run_id}"

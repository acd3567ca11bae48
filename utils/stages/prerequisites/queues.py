"""Whether the queue (Kueue) that GPUs are asked of is there, and whether evaluation's pods wait in it as well."""

import os

from utils.stages.prerequisites.findings import WARNING, Finding
from utils.stages.prerequisites.rights import account_name, grant_command
from utils.stages.volume.claims import kube_call, kube_namespace


def check_queue(queue: str, labelled: str) -> list[Finding]:
    """Findings about the queue; none where none is wanted.

    Args:
        queue: the parameter k8s_queue.
        labelled: the queue that the labels of the pipeline's file name. Kubeflow Pipelines takes labels from the file
            alone, so the parameter reaches training, whose pods the run makes itself, and not evaluation.
    """
    if not queue or not os.environ.get("KUBERNETES_SERVICE_HOST"):
        return []
    found = queue_findings(queue)
    if labelled != queue and "KFP_POD_NAME" in os.environ:
        problem = f"k8s_queue is {queue!r}, and evaluation's pods carry "
        problem += f"the label of the queue {labelled!r}" if labelled else "no label of a queue"
        remedy = f"ilab-pipeline compile --queue {queue}, and upload that file; or start it with ilab-pipeline run"
        found.append(Finding(problem, remedy, WARNING))
    return found


def queue_findings(queue: str) -> list[Finding]:
    """Whether the namespace has the queue; a right that is missing leaves it unknown."""
    from kubernetes import client

    group, namespace = "kueue.x-k8s.io", kube_namespace()
    look = f"kubectl -n {namespace} get localqueues; an empty k8s_queue is none"
    try:
        served = kube_call(client.ApisApi().get_api_versions).groups
        version = next((one.preferred_version.version for one in served if one.name == group), "")
        if not version:
            problem = f"k8s_queue is {queue!r}, and the cluster has no queues ({group})"
            return [Finding(problem, "have Kueue installed, or leave k8s_queue empty")]
        read = client.CustomObjectsApi().get_namespaced_custom_object
        kube_call(read, group, version, namespace, "localqueues", queue)
    except client.ApiException as error:
        if error.status == 404:
            return [Finding(f"there is no LocalQueue {queue!r} in {namespace}", look)]
        problem = f"whether {namespace} has a LocalQueue {queue!r} can't be seen ({error.status} {error.reason})"
        if error.status == 403:
            look += "; " + grant_command(namespace, account_name() or "ACCOUNT", group, "localqueues", ["get"])
        return [Finding(problem, look, WARNING)]
    return []

"""Whether the queue (Kueue) that GPUs are asked of is there, and whether evaluation's pods wait in it as well."""

import os
from dataclasses import replace

from utils.cluster.errors import ClusterError
from utils.cluster.kinds import Kind
from utils.cluster.objects import get
from utils.stages.cluster import stage_cluster
from utils.stages.prerequisites.findings import WARNING, Finding
from utils.stages.prerequisites.rights import Right, grant_command

GROUP = "kueue.x-k8s.io"


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
    """Whether the namespace has the queue; a right that is missing leaves it unknown.

    Raises:
        SystemExit: there is no cluster to ask, or it stayed away.
    """
    with stage_cluster() as cluster:
        namespace, queues = cluster.namespace, Kind("LocalQueue", "localqueues")
        look = f"kubectl -n {namespace} get localqueues; an empty k8s_queue is none"
        try:
            served = get(cluster, Kind("APIGroup", GROUP, "/apis", False), "")
            if not served:
                problem = f"k8s_queue is {queue!r}, and the cluster has no queues ({GROUP})"
                return [Finding(problem, "have Kueue installed, or leave k8s_queue empty")]
            queues = replace(queues, base=f"/apis/{served['preferredVersion']['groupVersion']}")
            if not get(cluster, queues, queue):
                return [Finding(f"there is no LocalQueue {queue!r} in {namespace}", look)]
        except ClusterError as error:
            if not error.status:
                raise
            problem = f"whether {namespace} has a LocalQueue {queue!r} can't be seen: {error.what}"
            if error.status == 403:
                look += "; " + grant_command(cluster, Right(queues, ["get"]))
            return [Finding(problem, look, WARNING)]
    return []

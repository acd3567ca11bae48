"""Why a task failed, which the API of a server does not say: read where the user may read it.

First from the log that the launcher uploads (the artifact `executor-logs`; since KFP 2.16 also for failed tasks), then
from the pod, through the pipeline server or the cluster, and last from the messages of the Argo Workflow: nothing else
knows about a pod that never ran.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import urllib3

from utils.cluster.cluster import Cluster
from utils.cluster.connection import connect
from utils.cluster.kinds import POD, WORKFLOW
from utils.cluster.logs import tail_log
from utils.cluster.objects import list_objects
from utils.errors import IlabError
from utils.names import KFP_RUN_LABEL
from utils.runners.kfp.connection import CLUSTER_PATIENCE, Connection
from utils.runners.kfp.report import TaskReport
from utils.runners.output import failure_of, findings_of

_NODE_NAME = "workflows.argoproj.io/node-name"
_LOG_ARTIFACT = "executor-logs"
_CONTAINER = "main"
_PAGES = 3
_LOG_BYTES = 512 << 10
_LOG_LINES = 2000
# What the launcher of KFP and the emissary of Argo write into the same log.
_LAUNCHER = re.compile(
    r"^([IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ |time=\S+ level=\w+ msg=.* argo=true|Error: exit status \d+$)"
)
# What Argo writes before the reason of a pod that could not be made.
_WRAPPED = re.compile(r"^task '[^']*' errored: ")
_ENDED = "the task ended with an error that its log does not name"


@dataclass(frozen=True)
class Cause:
    """Why a task failed.

    Attributes:
        text: one line, then indented ones: a stage's own `what / cause / next`, an exception, or the last lines.
        findings: the table of findings, "" where the log has none.
        source: where it was read; "" when nothing could be read.
    """

    text: str
    findings: str = ""
    source: str = ""


class Causes:
    """Reads why tasks of one run failed."""

    def __init__(self, connection: Connection, run_id: str) -> None:
        self._connection, self._run_id = connection, run_id

    def of(self, failed: Iterable[TaskReport]) -> dict[str, Cause]:
        """The cause for each of these tasks, by name."""
        return {task.name: self._cause(task) for task in failed}

    def stopped(self) -> bool:
        """Whether somebody stopped the run: the server then sets the deadline of its Workflow to 0."""
        try:
            return any(one.get("spec", {}).get("activeDeadlineSeconds") == 0 for one in self._workflows)
        except IlabError:
            return False

    def _cause(self, task: TaskReport) -> Cause:
        problems = []
        for read in (self._from_artifact, self._from_server, self._from_pod, self._from_workflow):
            try:
                found = read(task)
            except IlabError as error:
                problems.append(error.what)
            else:
                if found:
                    return self._with_message(found, task)
        why = "".join(f"\n    {line}" for line in dict.fromkeys(problems))
        command = f"oc logs --selector {KFP_RUN_LABEL}={self._run_id} --container {_CONTAINER} --tail 50 --prefix"
        unknown = "neither its log nor its Workflow can be read from here"
        return Cause(f"{unknown}\n  cause: they are gone, or no right to read them{why}\n  next: {command}")

    def _with_message(self, cause: Cause, task: TaskReport) -> Cause:
        """The cause; one that the log does not name, as of a pod that was killed, in the words of the Workflow."""
        if not cause.text.startswith(_ENDED):
            return cause
        try:
            known = self._from_workflow(task)
        except IlabError:
            known = None
        return replace(cause, text=cause.text.replace(_ENDED, known.text, 1)) if known else cause

    def _from_artifact(self, task: TaskReport) -> Cause | None:
        for path, number in self._artifacts.items():
            if f"/{self._run_id}/{task.name}/" in path:
                url = self._json(f"/apis/v2beta1/artifacts/{number}", view="DOWNLOAD").get("download_url", "")
                return read_log(_download(url, self._connection), f"artifact {_LOG_ARTIFACT}")
        return None

    @cached_property
    def _artifacts(self) -> dict[str, str]:
        """Logs in the object store, path to id, the newest first; only OpenShift AI's servers list artifacts."""
        namespace = self._connection.server.namespace or self._cluster.namespace
        query = {"namespace": namespace, "max_result_size": "100", "order_by_field": "CREATE_TIME", "order_by": "desc"}
        found: list[dict[str, Any]] = []
        for _ in range(_PAGES):
            page = self._json("/apis/v2beta1/artifacts", **query)
            found += page.get("artifacts", [])
            if not page.get("next_page_token"):
                break
            query["next_page_token"] = page["next_page_token"]
        paths = {f"/{one.get('storage_path', '')}": one.get("artifact_id", "") for one in found}
        return {path: number for path, number in paths.items() if f"/{_LOG_ARTIFACT}" in path}

    def _from_server(self, task: TaskReport) -> Cause | None:
        """From the pod's log, which a multi-user server reads with its own account."""
        # Other servers look for the pod in the namespace "", and do not find it.
        for pod in task.pods if self._connection.multi_user else ():
            text = self._connection.get_text(f"/apis/v1alpha1/runs/{self._run_id}/nodes/{pod}/log")
            # It answers 200 in any case, and appends what went wrong.
            if text and '{"error_message":' not in text[-4096:]:
                return read_log(text, f"log of the pod {pod}")
        return None

    def _from_pod(self, task: TaskReport) -> Cause | None:
        for pod in self._pods:
            metadata = pod["metadata"]
            if _belongs(metadata.get("annotations", {}).get(_NODE_NAME, ""), task.name) and _failed(pod):
                text = "\n".join(tail_log(self._cluster, metadata["name"], _CONTAINER, _LOG_LINES))
                if text and not text.startswith("(the log can't be read"):
                    return read_log(text, f"log of the pod {metadata['name']}")
        return None

    def _from_workflow(self, task: TaskReport) -> Cause | None:
        """From what Argo says of the nodes: a pod that could not be made or scheduled has no log."""
        if not self._workflows:
            raise IlabError(
                f"no Workflow of the run in the namespace {self._cluster.namespace}; --namespace names another"
            )
        for workflow in self._workflows:
            nodes = workflow.get("status", {}).get("nodes", {}).values()
            # A pod says more than the nodes around it, and of a task that was tried again the last one counts.
            newest = sorted(nodes, key=lambda one: str(one.get("startedAt", "")), reverse=True)
            for node in sorted(newest, key=lambda one: one.get("type") != "Pod"):
                message = node.get("message", "")
                if node.get("phase") in ("Failed", "Error") and _belongs(node["name"], task.name) and message:
                    name = workflow["metadata"]["name"]
                    return Cause(
                        _WRAPPED.sub("", message), source=f"Workflow {name}, node {node['name'].partition('.')[2]}"
                    )
        return None

    @cached_property
    def _cluster(self) -> Cluster:
        return connect(self._connection.server.namespace, patience=CLUSTER_PATIENCE)

    @cached_property
    def _pods(self) -> list[dict[str, Any]]:
        """The run's pods, the newest first: a task that was tried again has several."""
        pods = list_objects(self._cluster, POD, f"{KFP_RUN_LABEL}={self._run_id}")
        return sorted(pods, key=lambda one: str(one["metadata"].get("creationTimestamp", "")), reverse=True)

    @cached_property
    def _workflows(self) -> list[dict[str, Any]]:
        return list_objects(self._cluster, WORKFLOW, f"{KFP_RUN_LABEL}={self._run_id}")

    def _json(self, path: str, **query: str) -> dict[str, Any]:
        text = self._connection.get_text(path, **query)
        try:
            return dict(json.loads(text))
        except (ValueError, TypeError):
            raise IlabError(f"{self._connection.host}{path} does not answer with JSON") from None


def read_log(text: str, source: str) -> Cause:
    """What a task's log says of its end, without the launcher's own lines."""
    own = "\n".join(line for line in text.splitlines() if not _LAUNCHER.match(line))
    return Cause(failure_of(own, _ENDED), findings_of(own), source)


def _belongs(node: str, task: str) -> bool:
    """Whether a node of the Workflow, like `ilab-x7k2p.root.exit-handler-1.train.executor`, is one of the task's."""
    parts = node.split(".")
    return task in parts or f"{task}-driver" in parts


def _failed(pod: dict[str, Any]) -> bool:
    return pod.get("status", {}).get("phase") == "Failed"


def _download(url: str, connection: Connection) -> str:
    """The end of what lies at a signed URL, which needs no token.

    Raises:
        IlabError: the object store can't be reached from here, or refuses.
    """
    host = urllib3.util.parse_url(url).host
    pool = urllib3.PoolManager(ca_certs=connection.server.ca_cert or None)
    try:
        answer = pool.request(
            "GET", url, headers={"Range": f"bytes=-{_LOG_BYTES}"}, redirect=False, retries=False, timeout=10
        )
    except urllib3.exceptions.HTTPError as error:
        raise IlabError(f"the object store {host} can't be reached from here", type(error).__name__) from None
    if answer.status not in (200, 206):
        raise IlabError(f"the object store {host} answered {answer.status}")
    return answer.data[-_LOG_BYTES:].decode(errors="replace")

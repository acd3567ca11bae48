"""Find the pipeline server of a project on OpenShift AI, and the dashboard that shows its runs."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from utils.cluster.cluster import Cluster
from utils.cluster.connection import connect
from utils.cluster.errors import ClusterError
from utils.cluster.kinds import CONSOLE_LINK, PIPELINE_SERVERS
from utils.cluster.objects import get, list_objects
from utils.errors import PrerequisiteError, UsageError
from utils.runners.kfp.connection import CLUSTER_PATIENCE, Server

# Its Service and Route are named so; they serve the API and no pages.
_API_HOST = "ds-pipeline-"
# The link to the dashboard in the console of OpenShift, of OpenShift AI and of Open Data Hub. Every user may read it,
# while the dashboard's Route lies in a namespace that few may look into.
_CONSOLE_LINKS = ("rhodslink", "odhlink")


def find_server(namespace: str = "", ca_cert: str = "") -> Server:
    """The pipeline server of a project on OpenShift AI, with the user's own token, from kubeconfig or the pod.

    Args:
        namespace: the project; "" for the current one.

    Raises:
        PrerequisiteError: no cluster, or no server in the project.
        UsageError: it has more than one.
    """
    try:
        cluster = connect(namespace, patience=CLUSTER_PATIENCE)
    except PrerequisiteError as error:
        raise PrerequisiteError(
            "no pipeline server is named, and there is no cluster to find one in",
            str(error),
            "give --host URL (and --token-file), or log in to the cluster: oc login",
        ) from None
    project = cluster.namespace
    found = _pipeline_servers(cluster)
    remedy = "name one with --host URL, or another project with --namespace"
    if not found:
        cause = "no DataSciencePipelinesApplication there is ready"
        raise PrerequisiteError(f"the project {project} has no pipeline server", cause, remedy)
    if len(found) > 1:
        raise UsageError(f"the project {project} has several pipeline servers: {', '.join(sorted(found))}", "", remedy)
    ((name, host),) = found.items()
    if not host:
        what = f"the pipeline server {name} in {project} has no address yet"
        raise PrerequisiteError(what, "", "wait until it is ready")
    # "Bearer TOKEN", or "bearer TOKEN" in a pod.
    token = cluster.api.configuration.api_key.get("authorization", "").rpartition(" ")[2]
    return Server(host, token, ca_cert, project, project=True, account=f"pipeline-runner-{name}")


def _pipeline_servers(cluster: Cluster) -> dict[str, str]:
    """Name to URL of the pipeline servers in a project."""
    for kind in PIPELINE_SERVERS:
        try:
            listed = list_objects(cluster, kind)
        except ClusterError as error:
            if error.status == 404:
                continue
            raise PrerequisiteError(
                f"can't look for a pipeline server in {cluster.namespace}",
                f"{error}; the login may have expired, or may not read DataSciencePipelinesApplications",
                "oc login, or give --host URL",
            ) from None
        return {item["metadata"]["name"]: _address(item) for item in listed}
    return {}


def _address(item: Mapping[str, Any]) -> str:
    server = item.get("status", {}).get("components", {}).get("apiServer", {})
    return server.get("externalUrl") or server.get("url") or ""


def find_ui(server: Server) -> str:
    """The address that links to the server's runs start with; "" when none is known."""
    if server.ui:
        return (server.ui if "://" in server.ui else f"http://{server.ui}").rstrip("/")
    if not server.project and not (urlsplit(server.host).hostname or "").startswith(_API_HOST):
        return server.host.rstrip("/")
    dashboard, namespace = _dashboard(server.namespace)
    return f"{dashboard}/external/pipelinesSdk/{namespace}" if dashboard else ""


def _dashboard(namespace: str) -> tuple[str, str]:
    """Address of OpenShift AI's dashboard ("" when it can't be found), and the project."""
    try:
        cluster = connect(namespace, patience=CLUSTER_PATIENCE)
        for name in _CONSOLE_LINKS:
            link = get(cluster, CONSOLE_LINK, name)
            if link and urlsplit(link["spec"].get("href", "")).scheme == "https":
                return link["spec"]["href"].rstrip("/"), cluster.namespace
    except (ClusterError, PrerequisiteError):
        return "", namespace
    return "", namespace

"""Find the pipeline server of a project on OpenShift AI, and the dashboard that shows its runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from urllib3.exceptions import HTTPError

from utils.cluster.connection import connect
from utils.cluster.errors import ClusterError
from utils.cluster.kinds import CONSOLE_LINK
from utils.cluster.objects import get
from utils.errors import PrerequisiteError, UsageError
from utils.runners.kfp.connection import CLUSTER_PATIENCE, REQUEST_SECONDS, Server

# Group and versions of the resource by which OpenShift AI sets up a pipeline server in a project.
_DSPA_GROUP = "datasciencepipelinesapplications.opendatahub.io"
_DSPA_VERSIONS = ("v1", "v1alpha1")
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
    from kubernetes import client, config

    try:
        settings, current = _cluster(config, client)
    except config.ConfigException as error:
        raise PrerequisiteError(
            "no pipeline server is named, and there is no cluster to find one in",
            str(error),
            "give --host URL (and --token-file), or log in to the cluster: oc login",
        ) from None
    project = namespace or current
    found = _pipeline_servers(client, settings, project)
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
    token = settings.api_key.get("authorization", "").rpartition(" ")[2]
    return Server(host, token, ca_cert, project, project=True)


def _cluster(config: Any, client: Any) -> tuple[Any, str]:
    """Client settings for the cluster and the current namespace: the pod's own, else of the kubeconfig's context."""
    settings = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=settings)
        return settings, Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read_text().strip()
    except config.ConfigException:
        config.load_kube_config(client_configuration=settings)
        return settings, config.list_kube_config_contexts()[1]["context"].get("namespace", "default")


def _pipeline_servers(client: Any, settings: Any, project: str) -> dict[str, str]:
    """Name to URL of the pipeline servers in a project."""
    objects = client.CustomObjectsApi(client.ApiClient(settings))
    for version in _DSPA_VERSIONS:
        try:
            listed = objects.list_namespaced_custom_object(
                _DSPA_GROUP,
                version,
                project,
                "datasciencepipelinesapplications",
                _request_timeout=REQUEST_SECONDS,
            )
        except client.ApiException as error:
            if error.status == 404:
                continue
            raise PrerequisiteError(
                f"can't look for a pipeline server in {project} ({error.status} {error.reason})",
                "the login has expired, or may not read DataSciencePipelinesApplications",
                "oc login, or give --host URL",
            ) from None
        except HTTPError as error:
            remedy = "oc login, or give --host URL"
            raise PrerequisiteError("the cluster can't be reached", str(error), remedy) from None
        return {item["metadata"]["name"]: _address(item) for item in listed["items"]}
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

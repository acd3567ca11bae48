"""The real API server takes the pod that Kubeflow Pipelines makes of each task, with the default parameters.

A dry run on the server, in a namespace where `restricted` is enforced: every check that a pod meets, and no pod.
"""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from tests.cluster.cluster import Cluster
from tests.cluster.driver_pods import ACCOUNT, SERVERS, Server, as_on_openshift, driver_pods
from tests.cluster.errors import ClusterError
from utils.files import ROOT
from utils.ir.load import load
from utils.ir.model import Pipeline

BY_VERSION = {server.version: server for server in SERVERS}


@pytest.fixture(scope="module")
def project(cluster: Cluster) -> Iterator[str]:
    """A namespace with the account of runs, whose pods get nothing by admission but what a cluster has."""
    with cluster.namespace(f"test-{uuid.uuid4().hex[:8]}", mounted=False) as name:
        metadata = {"name": ACCOUNT, "namespace": name}
        cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
        yield name


@pytest.fixture(scope="module")
def ours() -> Pipeline:
    """The compiled file of the repository."""
    return load(ROOT / "pipeline.yaml")


def refusal(cluster: Cluster, project: str, pod: Mapping[str, Any]) -> str:
    """What the API server says against a pod; empty when it takes it."""
    try:
        text = yaml.safe_dump(dict(pod))
        cluster.kubectl("create", "--dry-run=server", "-n", project, "-f", "-", text_in=text)
    except ClusterError as error:
        return str(error)
    return ""


def refusals(cluster: Cluster, project: str, pods: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    found = {path: refusal(cluster, project, pod) for path, pod in pods.items()}
    return {path: said for path, said in found.items() if said}


@pytest.mark.parametrize("version", BY_VERSION)
def test_pod_of_every_task_is_accepted_with_the_default_parameters(
    cluster: Cluster, project: str, ours: Pipeline, version: str
) -> None:
    """Trap 46."""
    pods = {path: as_on_openshift(pod) for path, pod in driver_pods(ours, BY_VERSION[version])}
    assert len(pods) >= 10
    assert refusals(cluster, project, pods) == {}


@pytest.mark.parametrize("name", ["kube-root-ca.crt", "a" * 64, "", "Upper", "s3-scratch"])
def test_config_map_whose_name_is_not_a_valid_volume_name_is_refused(
    cluster: Cluster, project: str, ours: Pipeline, name: str
) -> None:
    """What `lint` and prerequisites say of such a name is what the API server says."""
    found = dict(driver_pods(ours, SERVERS[-1], {"k8s_ca_configmap": name}))
    pods = {path: as_on_openshift(pod) for path, pod in found.items() if "/mnt/ca" in _mounted(pod)}
    assert pods
    said = refusals(cluster, project, pods)
    assert said.keys() == pods.keys()
    for text in said.values():
        assert "spec.volumes[" in text
        assert ("may not specify more than 1 volume type" if name == "s3-scratch" else "].name: ") in text


def test_namespace_refuses_pods_that_no_scc_has_changed(cluster: Cluster, project: str, ours: Pipeline) -> None:
    """So that the test above proves something: `restricted` is enforced there."""
    bare = next(pod for _, pod in driver_pods(ours, Server("2.5.0", hardened=False)))
    assert "violates PodSecurity" in refusal(cluster, project, bare)


def _mounted(pod: Mapping[str, Any]) -> set[str]:
    (main,) = [one for one in pod["spec"]["containers"] if one["name"] == "main"]
    return {mount["mountPath"] for mount in main["volumeMounts"]}

"""The types of KServe without KServe: a cluster that knows them checks our manifests as one that serves would."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.cluster.cluster import WAITING, Cluster
from tests.cluster.commands import run
from tests.cluster.errors import ClusterError
from tests.cluster.node import wait_for

MODULE = "github.com/kserve/kserve"
# With the checksum as in a go.sum: what the Go checksum database has for the version. OpenShift AI 2.25 to 3.3 have
# 0.15, whose mode is RawDeployment, 3.4 and 3.5 have 0.17, where it is called Standard.
RELEASES = {
    "v0.15.2": "h1:uph7Umk331fvBMrHHpTJNDt6+lf3IAuyiskaQw8wIAk=",
    "v0.17.0": "h1:IaynaBFzVQz1Xyrw5n3ncqzd5Y7L1RkO+YWvVwwtMQE=",
}
TYPES = ("inferenceservices", "servingruntimes")


@contextmanager
def kserve_types(cluster: Cluster, release: str = "v0.15.2") -> Iterator[None]:
    """The cluster knows InferenceService and ServingRuntime; types that were not there are removed at the end."""
    names = [f"crd/{kind}.serving.kserve.io" for kind in TYPES]
    there = cluster.kubectl("get", "crd", "-o", "name")
    if all(f"{kind}.serving.kserve.io" in there for kind in TYPES):
        yield
        return
    try:
        for kind in TYPES:
            cluster.kubectl("apply", "--server-side", "-f", str(_crds(release) / f"serving.kserve.io_{kind}.yaml"))
        wait_for("KServe's types", lambda: _served(cluster))
        yield
    finally:
        cluster.kubectl("delete", *names, "--ignore-not-found", WAITING)


def _served(cluster: Cluster) -> bool:
    with suppress(ClusterError):
        cluster.kubectl("get", ",".join(TYPES), "-A")
        return True
    return False


def _crds(release: str) -> Path:
    """Folder with the definitions in Go's module cache, downloaded when it is not there yet."""
    found = json.loads(run(["go", "mod", "download", "-json", f"{MODULE}@{release}"], timeout=300))
    if found["Sum"] != RELEASES[release]:
        raise ClusterError(f"{MODULE}@{release} is not what it was", f"its checksum is {found['Sum']}", "find out why")
    return Path(found["Dir"]) / "config/crd/full"

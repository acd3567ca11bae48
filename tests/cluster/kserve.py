"""The types of KServe without KServe: a cluster that knows them checks our manifests as one that serves would."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.cluster.cluster import WAITING, Cluster
from tests.cluster.commands import run
from tests.cluster.errors import ClusterError
from tests.cluster.node import wait_for

MODULE = "github.com/kserve/kserve@v0.15.2"
# As in a go.sum: what the Go checksum database has for this version.
CHECKSUM = "h1:uph7Umk331fvBMrHHpTJNDt6+lf3IAuyiskaQw8wIAk="
TYPES = ("inferenceservices", "servingruntimes")


@contextmanager
def kserve_types(cluster: Cluster) -> Iterator[None]:
    """The cluster knows InferenceService and ServingRuntime; types that were not there are removed at the end."""
    names = [f"crd/{kind}.serving.kserve.io" for kind in TYPES]
    there = cluster.kubectl("get", "crd", "-o", "name")
    if all(f"{kind}.serving.kserve.io" in there for kind in TYPES):
        yield
        return
    try:
        for kind in TYPES:
            cluster.kubectl("apply", "--server-side", "-f", str(_crds() / f"serving.kserve.io_{kind}.yaml"))
        wait_for("KServe's types", lambda: _served(cluster))
        yield
    finally:
        cluster.kubectl("delete", *names, "--ignore-not-found", WAITING)


def _served(cluster: Cluster) -> bool:
    with suppress(ClusterError):
        cluster.kubectl("get", ",".join(TYPES), "-A")
        return True
    return False


def _crds() -> Path:
    """Folder with the definitions in Go's module cache, downloaded when it is not there yet."""
    found = json.loads(run(["go", "mod", "download", "-json", MODULE], timeout=300))
    if found["Sum"] != CHECKSUM:
        raise ClusterError(f"{MODULE} is not what it was", f"its checksum is {found['Sum']}", "find out why")
    return Path(found["Dir"]) / "config/crd/full"

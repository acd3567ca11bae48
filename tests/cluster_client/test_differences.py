"""How an existing object differs from the wanted one."""

import base64
from typing import Any

import pytest

from utils.cluster.kinds import KINDS
from utils.cluster.objects import differences


def manifest(**spec: Any) -> dict[str, Any]:
    return {"kind": "Job", "metadata": {"name": "a", "labels": {"hash": "1"}}, "spec": spec}


@pytest.mark.parametrize(
    ("wanted", "found", "named"),
    [
        ({"a": 1}, {"a": 1, "added": "by the cluster"}, []),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, ["spec.a.b[1]: 3, wanted 2"]),
        ({"a": [1]}, {"a": [1, 2]}, ["spec.a.length: 2, wanted 1"]),
        ({"a": "x"}, {}, ["spec.a: None, wanted x"]),
        ({"a": [], "b": {}, "c": ""}, {}, []),
        ({"resources": {"requests": {"storage": "1024Gi"}}}, {"resources": {"requests": {"storage": "1Ti"}}}, []),
        (
            {"resources": {"limits": {"cpu": "2000m", "memory": "2Gi"}}},
            {"resources": {"limits": {"cpu": "2", "memory": "2G"}}},
            ["spec.resources.limits.memory: 2G, wanted 2Gi"],
        ),
        (
            {"containers": [{"name": "main", "image": "one"}]},
            {"containers": [{"name": "sidecar", "image": "two"}, {"name": "main", "image": "two", "tty": False}]},
            ["spec.containers[main].image: two, wanted one"],
        ),
        ({"args": ["x" * 200]}, {"args": ["y"]}, ["spec.args[0]: another value"]),
        (
            {"env": [{"name": "HTTPS_PROXY", "value": "http://u:p@h"}]},
            {"env": [{"name": "HTTPS_PROXY", "value": "http://h"}]},
            ["spec.env[HTTPS_PROXY].value: another value"],
        ),
    ],
)
def test_differences_are_named_by_path(wanted: Any, found: Any, named: list[str]) -> None:
    assert differences(manifest(**wanted), manifest(**found)) == named


@pytest.mark.parametrize("key", ["stringData", "data"])
def test_secrets_are_compared_by_value_and_named_by_key_only(key: str) -> None:
    def coded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    values = {"same": "one", "changed": "two", "new": "three"}
    wanted = {"kind": "Secret", key: values if key == "stringData" else {k: coded(v) for k, v in values.items()}}
    found = {"data": {"same": coded("one"), "changed": coded("old"), "more": coded("more")}, "kind": "Secret"}
    assert differences(wanted, found) == [f"data.{name}: another value" for name in ("changed", "more", "new")]
    assert differences({"kind": "Secret"}, {"kind": "Secret"}) == []


@pytest.mark.parametrize(
    ("kind", "path", "resource"),
    [
        ("Pod", "/api/v1/namespaces/lab/pods/x", "pods"),
        ("Job", "/apis/batch/v1/namespaces/lab/jobs/x", "jobs.batch"),
        ("StorageClass", "/apis/storage.k8s.io/v1/storageclasses/x", "storageclasses.storage.k8s.io"),
        ("Namespace", "/api/v1/namespaces/x", "namespaces"),
        ("InferenceService", "/apis/serving.kserve.io/v1beta1/namespaces/lab/inferenceservices/x", None),
    ],
)
def test_kinds_know_their_api_paths(kind: str, path: str, resource: str | None) -> None:
    assert KINDS[kind].path("lab", "x") == path
    assert resource in (None, KINDS[kind].resource)

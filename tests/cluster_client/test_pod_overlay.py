"""The overlay that a cluster's pods get."""

import copy
from typing import Any

import pytest

from utils.cluster.pod_overlay import merge_overlay

POD: dict[str, Any] = {
    "metadata": {"labels": {"app": "ilab"}},
    "spec": {
        "containers": [
            {
                "name": "main",
                "image": "i",
                "env": [{"name": "HOME", "value": "/tmp"}],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                "command": ["python"],
            },
            {"name": "other"},
        ],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}],
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
    },
}


@pytest.mark.parametrize(
    ("overlay", "path", "expected"),
    [
        ({}, [], POD),
        ({"metadata": {"labels": {"q": "a"}}}, ["metadata", "labels"], {"app": "ilab", "q": "a"}),
        ({"metadata": {"labels": {"app": "b"}}}, ["metadata", "labels"], {"app": "b"}),
        ({"spec": {"priorityClassName": "low"}}, ["spec", "priorityClassName"], "low"),
        ({"spec": {"imagePullSecrets": [{"name": "p"}]}}, ["spec", "imagePullSecrets"], [{"name": "p"}]),
        # by name
        (
            {"spec": {"containers": [{"name": "main", "image": "j"}]}},
            ["spec", "containers", 0],
            {**POD["spec"]["containers"][0], "image": "j"},
        ),
        (
            {"spec": {"containers": [{"name": "main", "env": [{"name": "HOME", "value": "/h"}, {"name": "A"}]}]}},
            ["spec", "containers", 0, "env"],
            [{"name": "HOME", "value": "/h"}, {"name": "A"}],
        ),
        ({"spec": {"containers": [{"name": "new"}]}}, ["spec", "containers", 2], {"name": "new"}),
        (
            {"spec": {"volumes": [{"name": "cache", "emptyDir": {}}]}},
            ["spec", "volumes"],
            [*POD["spec"]["volumes"], {"name": "cache", "emptyDir": {}}],
        ),
        # by mountPath: one volume may be mounted twice
        (
            {"spec": {"containers": [{"name": "main", "volumeMounts": [{"name": "data", "mountPath": "/d2"}]}]}},
            ["spec", "containers", 0, "volumeMounts"],
            [{"name": "data", "mountPath": "/data"}, {"name": "data", "mountPath": "/d2"}],
        ),
        (
            {"spec": {"containers": [{"name": "main", "volumeMounts": [{"name": "x", "mountPath": "/data"}]}]}},
            ["spec", "containers", 0, "volumeMounts"],
            [{"name": "x", "mountPath": "/data"}],
        ),
        # appended, but not twice
        (
            {"spec": {"tolerations": [{"key": "gpu", "operator": "Exists"}, {"key": "spot"}]}},
            ["spec", "tolerations"],
            [{"key": "gpu", "operator": "Exists"}, {"key": "spot"}],
        ),
        ({"spec": {"containers": [{"name": "*", "tty": True}]}}, ["spec", "containers", 1, "tty"], True),
        ({"spec": {"initContainers": [{"name": "*", "tty": True}]}}, ["spec", "initContainers"], []),
    ],
)  # fmt: skip
def test_overlay_is_merged_by_name_and_by_mount_path(overlay: dict, path: list, expected: object) -> None:
    before = copy.deepcopy(POD)
    found = merge_overlay(POD, overlay)
    for step in path:
        found = found[step]
    assert found == expected
    assert before == POD


def test_an_overlay_goes_into_every_container_and_keeps_their_names() -> None:
    env = [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}]
    main, other = merge_overlay(POD, {"spec": {"containers": [{"name": "*", "env": env}]}})["spec"]["containers"]
    assert (main["name"], other["name"]) == ("main", "other")
    assert main["env"] == [{"name": "HOME", "value": "/tmp"}, *env]
    assert other["env"] == env


def test_merging_twice_changes_nothing() -> None:
    overlay = {"spec": {"tolerations": [{"key": "spot"}], "containers": [{"name": "*", "env": [{"name": "A"}]}]}}
    once = merge_overlay(POD, overlay)
    assert merge_overlay(once, overlay) == once

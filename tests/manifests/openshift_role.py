"""The Role that OpenShift AI's operator gives the account of runs, `pipeline-runner-<name>`, and what it lacks.

Read in data-science-pipelines-operator, config/internal/apiserver/default/role_pipeline-runner.yaml.tmpl, in the newest
branches of OpenShift AI 2.25, 3.3, 3.4 and 3.5.
"""

from typing import Any

_ALL = ["get", "list", "watch", "create", "update", "patch", "delete"]

OPERATOR_RULES: list[dict[str, Any]] = [
    {"apiGroups": groups, "resources": resources, "verbs": verbs}
    for groups, resources, verbs in (
        ([""], ["secrets"], ["get", "list"]),
        ([""], ["configmaps"], ["get", "watch", "list"]),
        ([""], ["persistentvolumes", "persistentvolumeclaims"], _ALL),
        (["snapshot.storage.k8s.io"], ["volumesnapshots"], ["create", "delete", "get"]),
        (["argoproj.io"], ["workflowtaskresults"], ["create", "patch"]),
        (["argoproj.io"], ["workflows"], ["get", "list", "watch", "update", "patch"]),
        ([""], ["pods", "pods/log", "services"], _ALL),
        (["", "apps", "extensions"], ["deployments", "replicasets"], _ALL),
        (["kubeflow.org"], ["scheduledworkflows", "scheduledworkflows/finalizers"], _ALL),
        (["batch"], ["jobs"], _ALL),
        (["ray.io"], ["rayclusters", "rayjobs", "rayservices"], ["create", "get", "list", "patch", "delete"]),
        (
            ["workload.codeflare.dev"],
            ["appwrappers", "appwrappers/finalizers", "appwrappers/status"],
            ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        ),
        (["networking.k8s.io"], ["ingresses"], ["get", "list"]),
        (["route.openshift.io"], ["routes"], ["get", "list"]),
        (["serving.kserve.io"], ["inferenceservices"], ["create", "get", "list", "patch", "delete"]),
    )
]


def granted(rules: list[dict[str, Any]], group: str, resource: str) -> set[str]:
    """The verbs that rules of a Role give for a resource, without those for single names."""
    fitting = [
        rule
        for rule in rules
        if group in rule["apiGroups"] and resource in rule["resources"] and not rule.get("resourceNames")
    ]
    return {verb for rule in fitting for verb in rule["verbs"]}

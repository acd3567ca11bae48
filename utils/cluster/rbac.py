"""The permissions that a run needs: the only place that defines them.

`manifests/` and `show --rbac` contain the same rules; 403 messages name them.
"""

from collections.abc import Sequence
from typing import Any

ROLE = "ilab-pipeline"
"""Name of the ServiceAccount, the Role and the RoleBinding in manifests/."""

_LABELS = {"app.kubernetes.io/name": ROLE}

# API group, resource, verbs; all in the run's namespace.
_RULES = (
    # The run object, which is the journal; CA bundles from flags.
    ("", "configmaps", ("create", "get", "patch", "delete")),
    # One Job per task.
    ("batch", "jobs", ("create", "get", "list", "watch", "delete")),
    # State, logs and events of the tasks' and training pods; ended pods that mount the volume are deleted.
    ("", "pods", ("get", "list", "watch", "delete")),
    ("", "pods/log", ("get",)),
    ("", "events", ("list",)),
    # The run's volume, and on it how the run ended.
    ("", "persistentvolumeclaims", ("create", "get", "patch", "delete")),
    # Training in several pods.
    ("kubeflow.org", "pytorchjobs", ("create", "get", "list", "delete")),
    ("trainer.kubeflow.org", "trainjobs", ("create", "get", "list", "delete")),
    ("trainer.kubeflow.org", "trainingruntimes", ("create", "get", "list", "delete")),
    # Whether the queue for GPUs exists.
    ("kueue.x-k8s.io", "localqueues", ("get",)),
)


def rules(secret_names: Sequence[str] = (), own_secrets: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The Role's rules: exactly what the runner and the components request.

    Args:
        secret_names: Secrets that may be read (`get`), each by name.
        own_secrets: Secrets that the run creates from flags: `create`, and `get` and `delete` of these names.
    """
    # The Secrets come first and in this order: manifests/ replaces the names.
    found = [_rule("", "secrets", ("get",), secret_names)] if secret_names else []
    found += [_rule(group, resource, verbs) for group, resource, verbs in _RULES]
    if own_secrets:
        # A Role can't limit `create` to names: the API server does not know the name yet when it asks.
        found += [_rule("", "secrets", ("create",)), _rule("", "secrets", ("get", "delete"), own_secrets)]
    return found


def _rule(group: str, resource: str, verbs: Sequence[str], names: Sequence[str] = ()) -> dict[str, Any]:
    rule = {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}
    return {**rule, "resourceNames": list(names)} if names else rule


def role(
    namespace: str,
    service_account: str = ROLE,
    secret_names: Sequence[str] = (),
    own_secrets: Sequence[str] = (),
    name: str = ROLE,
) -> list[dict[str, Any]]:
    """Manifests of the ServiceAccount, the Role and the RoleBinding, in the order to apply them.

    Args:
        secret_names, own_secrets: see `rules`.
        name: of the Role and the RoleBinding.
    """
    rbac = "rbac.authorization.k8s.io"

    def metadata(named: str) -> dict[str, Any]:
        return {"name": named, "namespace": namespace, "labels": dict(_LABELS)}

    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(service_account)},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "Role",
            "metadata": metadata(name),
            "rules": rules(secret_names, own_secrets),
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": metadata(name),
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": service_account, "namespace": namespace}],
        },
    ]

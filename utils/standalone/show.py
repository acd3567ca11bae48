"""`standalone.py show`: the Job that runs the script in the cluster, and the permissions it needs."""

from collections.abc import Sequence
from typing import Any

from utils.arguments import holds_credentials
from utils.errors import UsageError
from utils.standalone.flags import FLAGS
from utils.standalone.parts import PART_RUN_ID, PARTS
from utils.standalone.secrets import ROLES, flag_name, own_name

_CONFIG = "/config"
_CONTAINER = "ilab-workflow"
_FINAL_CODES = [1, 2, 3]
"""Exit codes for which a restart would not help: a failed run, wrong usage, failed prerequisites."""
GRACE_SECONDS = 180
"""Shutting down takes at most 60 s for running tasks and 90 s for deletions."""

_ENDED = {
    "action": "FailJob",
    "onExitCodes": {"containerName": _CONTAINER, "operator": "In", "values": _FINAL_CODES},
}
_TAKEN_AWAY = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def job_manifest(
    namespace: str,
    name: str,
    image: str,
    service_account: str,
    script_configmap: str,
    script_name: str,
    args: Sequence[str],
) -> dict[str, Any]:
    """The Job. A pod of it that is restarted or replaced resumes the run, which is named after the Job.

    Args:
        args: of `run`, in order.

    Raises:
        UsageError: args contain a credential, which everybody who can read the Job would see.
    """
    secret = sorted({flag.name for flag in FLAGS.values() if flag.secret and _value(args, flag.name) is not None})
    secret += ["an address with a user, token or password in it"] * any(map(holds_credentials, args))
    if secret:
        raise UsageError(
            f"{', '.join(secret)} would be readable in the Job",
            "",
            "put the credentials into a Secret and name it, as with --judge-serving-model-secret",
        )
    container = {
        "name": _CONTAINER,
        "image": image,
        "command": ["python3", f"{_CONFIG}/{script_name}", "run", *_run_id(name, args)],
        "args": list(args),
        "env": [{"name": "HOME", "value": "/tmp"}],
        "volumeMounts": [{"name": "script-config", "mountPath": _CONFIG, "readOnly": True}],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "script-config", "configMap": {"name": script_configmap}}],
    }
    if service_account:
        pod["serviceAccountName"] = service_account
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        # An evicted pod deletes the tasks' Jobs; if its replacement has already started, also the Jobs of that one.
        "spec": {
            "backoffLimit": 3,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": [_ENDED, _TAKEN_AWAY]},
            "template": {"spec": pod},
        },
    }


def secrets_of(name: str, args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of the Secrets that args name, and of those that a run with these args creates."""
    named = [value for role in ROLES.values() if (value := _value(args, flag_name(role.flag)))]
    run_id = _value(args, "--run-id") or (PART_RUN_ID if _is_part(args) else name)
    made = [
        own_name(run_id, role.name)
        for role in ROLES.values()
        if any(_value(args, flag_name(flag)) is not None for flag in role.keys)
    ]
    return named, made


def _run_id(name: str, args: Sequence[str]) -> list[str]:
    """Parts of a run share a name that the script gives."""
    return [] if _value(args, "--run-id") or _is_part(args) else ["--run-id", name]


def _is_part(args: Sequence[str]) -> bool:
    return any(arg in PARTS for arg in args)


def _value(args: Sequence[str], flag: str) -> str | None:
    """The value of a flag in args; None if the flag is not given."""
    for index, arg in enumerate(args):
        if arg == flag:
            return args[index + 1] if index + 1 < len(args) else ""
        if arg.startswith((f"{flag}=", f"{flag} ")):
            return arg[len(flag) + 1 :]
    return None

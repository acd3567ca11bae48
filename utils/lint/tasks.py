"""Findings that appear only when a task's settings are resolved with the defaults of the parameters."""

from collections.abc import Iterator

from utils.ir.defaults import placed_tasks
from utils.ir.model import Pipeline
from utils.ir.platform import volume_objects
from utils.ir.sources import MISSING
from utils.ir.values import text
from utils.lint.findings import Finding, Severity
from utils.names import is_object_name

_KINDS = {"claim": "claim", "secret": "Secret", "config_map": "ConfigMap"}
# Volumes that Kubeflow Pipelines (v2/compiler/argocompiler/container.go) and Argo (workflowpod.go) add to every pod.
_OWN_VOLUMES = frozenset(
    {
        *("kfp-launcher", "gcs-scratch", "s3-scratch", "minio-scratch", "var-run-argo", "tmp-dir-argo"),
        *("dot-local-scratch", "dot-cache-scratch", "dot-config-scratch"),
    }
)
_IN_PLATFORM = "platform: platforms.kubernetes.deploymentSpec.executors"


def check(pipeline: Pipeline) -> Iterator[Finding]:
    """Findings on the tasks of a pipeline that runs with its defaults."""
    invalid: dict[tuple[str, str, str], list[str]] = {}
    for task in placed_tasks(pipeline):
        if not task.component.container:
            continue
        kinds: dict[str, str] = {}
        for volume in volume_objects(task.component.container.platform, task.find):
            place, kind, name = f"{task.component.executor}.{volume.where}", _KINDS[volume.kind], volume.name
            if name is MISSING:
                continue
            if not is_object_name(name, label=True):
                given = volume.source.name.removeprefix("pipelinechannel--") if volume.source else ""
                invalid.setdefault((kind, text(name), given), []).append(place)
            elif name in _OWN_VOLUMES:
                yield _shared(place, kind, name, "a volume that every pod has")
            elif kinds.setdefault(name, kind) != kind:
                yield _shared(place, kind, name, f"a {kinds[name]} of the same task")
    for (kind, name, given), places in invalid.items():
        yield _volume_name(kind, name, given, list(dict.fromkeys(places)))


def _shared(place: str, kind: str, name: str, other: str) -> Finding:
    return Finding(
        Severity.ERROR,
        f"{_IN_PLATFORM}.{place}",
        f"the {kind} {name} has the name of {other}: volumes get the names of their objects, so both become one volume "
        "of two types, and no pod is created",
        f"give the {kind} another name",
    )


def _volume_name(kind: str, name: str, given: str, places: list[str]) -> Finding:
    """A finding on an object that is mounted in `places`, whose name comes from the parameter `given`."""
    which = f"{kind} {name}" if name else f"{kind} with an empty name"
    more = f" (and in {len(places) - 1} other places)" if len(places) > 1 else ""
    return Finding(
        Severity.ERROR,
        f"{_IN_PLATFORM}.{places[0]}",
        f"the {which}{f', from {given},' if given else ''} makes an invalid pod{more}: its volume gets the name of the "
        f"{kind}, which must be a DNS label (a to z, 0 to 9, -, at most 63 characters, no dots); no pod is created, "
        "and no message says so",
        f"name a {kind} without dots, at most 63 characters long{f', as the default of {given}' if given else ''}",
    )

"""The Kubernetes settings of a task, from the platform document, with every name resolved."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from utils.ir.model import Container, EnvFrom, Mount, Source
from utils.ir.placeholders import resolve_inputs
from utils.ir.sources import MISSING, parse_source
from utils.ir.values import text, whole_numbers

_Spec = Mapping[str, Any]
Find = Callable[[Source], Any]

_NAMES = ("mountPath", "optional")
# Fields of KubernetesExecutorConfig (kfp-kubernetes 2.17), and of the messages in them; None for a plain value.
FIELDS: Mapping[str, tuple[str, ...] | None] = {
    "secretAsVolume": ("secretName", "secretNameParameter", *_NAMES),
    "secretAsEnv": ("secretName", "secretNameParameter", "keyToEnv", "optional"),
    "secretAsEnv.keyToEnv": ("secretKey", "envVar"),
    "configMapAsVolume": ("configMapName", "configMapNameParameter", *_NAMES),
    "configMapAsEnv": ("configMapName", "configMapNameParameter", "keyToEnv", "optional"),
    "configMapAsEnv.keyToEnv": ("configMapKey", "envVar"),
    "fieldPathAsEnv": ("name", "fieldPath"),
    "imagePullSecret": ("secretName", "secretNameParameter"),
    "pvcMount": (
        *("taskOutputParameter", "constant", "componentInputParameter"),
        *("pvcNameParameter", "mountPath", "subPath"),
    ),
    "emptyDirMounts": ("volumeName", "mountPath", "medium", "sizeLimit"),
    "genericEphemeralVolume": (
        *("volumeName", "mountPath", "accessModes", "size"),
        *("defaultStorageClass", "storageClassName", "metadata"),
    ),
    "genericEphemeralVolume.metadata": ("labels", "annotations"),
    "enabledSharedMemory": ("volumeName", "size"),
    "nodeSelector": ("labels", "nodeSelectorJson"),
    "tolerations": ("key", "operator", "value", "effect", "tolerationSeconds", "tolerationJson"),
    "nodeAffinity": ("matchExpressions", "matchFields", "weight", "nodeAffinityJson"),
    "podAffinity": (
        *("matchPodExpressions", "matchPodLabels", "topologyKey", "namespaces"),
        *("matchNamespaceExpressions", "matchNamespaceLabels", "weight", "anti"),
    ),
    "podMetadata": ("labels", "annotations"),
    "securityContext": ("runAsUser", "runAsGroup", "runAsNonRoot"),
    "imagePullPolicy": None,
    "activeDeadlineSeconds": None,
}


def unknown_fields(spec: _Spec) -> list[str]:
    """The fields in a container's part of the platform document that are not known, by path."""
    found = [key for key in spec if key not in FIELDS]
    for path, fields in FIELDS.items():
        if fields is not None:
            parts = [part for part in _parts(spec, path.split(".")) if isinstance(part, dict)]
            found += [f"{path}.{key}" for part in parts for key in part if key not in fields]
    return sorted(set(found))


def _parts(value: Any, path: list[str]) -> list[Any]:
    """Everything at a path, with lists on the way and at its end taken apart."""
    if isinstance(value, list):
        return [part for one in value for part in _parts(one, path)]
    if not path:
        return [value]
    return _parts(value[path[0]], path[1:]) if isinstance(value, dict) and path[0] in value else []


@dataclass(frozen=True)
class PodSettings:
    """The settings as `Task` holds them; see there."""

    mounts: tuple[Mount, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    kubernetes: Mapping[str, Any] = field(default_factory=dict)
    timeout_seconds: float | None = None


def pod_settings(container: Container, find: Find, inputs: Mapping[str, Any]) -> PodSettings:
    """Resolve the settings of a container.

    Args:
        container: the container with its part of the platform document.
        find: returns the value of a source in the task's DAG, or MISSING.
        inputs: the task's own inputs, which resources refer to.

    Raises:
        ValueError: a name is empty or not a string.
    """
    spec = container.platform
    deadline = float(spec.get("activeDeadlineSeconds", 0))
    return PodSettings(
        mounts=tuple(_mounts(spec, find)),
        env_from=tuple(_env_from(spec, find)),
        kubernetes={key: value for key, value in _pod(spec, container, find, inputs).items() if value},
        timeout_seconds=deadline or None,
    )


def sources(spec: _Spec) -> list[Source]:
    """Every source that a container's part of the platform document refers to.

    Raises:
        ValueError: one is of unknown kind.
    """
    found = []
    parts = [part for value in spec.values() for part in (value if isinstance(value, list) else [value])]
    for part in parts:
        if not isinstance(part, dict):
            continue
        if "taskOutputParameter" in part:
            found.append(parse_source(part))
        references = (one for key, one in part.items() if key.endswith(("NameParameter", "Json")))
        found += [parse_source(one) for one in references]
    return found


@dataclass(frozen=True)
class VolumeObject:
    """A claim, Secret or ConfigMap that a task mounts.

    `kind` as in `Mount`; `where` is its place in the container's part of the platform document; `name` is MISSING if it
    is not known; `source` is its origin, None for a constant.
    """

    kind: str
    where: str
    name: Any
    spec: _Spec
    source: Source | None = None


def volume_objects(spec: _Spec, find: Find) -> list[VolumeObject]:
    """The objects that a container's part of the platform document mounts by name, in KFP's order."""
    found = []
    for kind, key, parameter, constant in (
        ("claim", "pvcMount", "pvcNameParameter", "constant"),
        ("secret", "secretAsVolume", "secretNameParameter", "secretName"),
        ("config_map", "configMapAsVolume", "configMapNameParameter", "configMapName"),
    ):
        for index, one in enumerate(spec.get(key, ())):
            source = _source(one, parameter)
            name = find(source) if source else one.get(constant, "")
            found.append(VolumeObject(kind, f"{key}[{index}]", name, one, source))
    return found


def _mounts(spec: _Spec, find: Find) -> list[Mount]:
    mounts: list[Mount | None] = []
    for volume in volume_objects(spec, find):
        one = volume.spec
        name = _checked(volume.name, f"the {volume.kind} mounted at {one['mountPath']}")
        optional = one.get("optional", False)
        mount = Mount(volume.kind, name, one["mountPath"], one.get("subPath", ""), optional)
        mounts.append(mount if name else None)
    for one in spec.get("emptyDirMounts", ()):
        options = {"medium": one.get("medium", ""), "size_limit": one.get("sizeLimit", "")}
        mounts.append(Mount("empty_dir", one["volumeName"], one["mountPath"], options=options))
    for one in spec.get("genericEphemeralVolume", ()):
        metadata = one.get("metadata", {})
        options = {
            "size": one.get("size", ""),
            "access_modes": one.get("accessModes", []),
            "storage_class": None if one.get("defaultStorageClass") else one.get("storageClassName", ""),
            "labels": metadata.get("labels", {}),
            "annotations": metadata.get("annotations", {}),
        }
        mounts.append(Mount("ephemeral", one["volumeName"], one["mountPath"], options=options))
    if "enabledSharedMemory" in spec:
        shared = spec["enabledSharedMemory"]
        options = {"medium": "Memory", "size_limit": shared.get("size", "")}
        mounts.append(Mount("empty_dir", shared.get("volumeName") or "shm", "/dev/shm", options=options))
    return [mount for mount in mounts if mount]


def _env_from(spec: _Spec, find: Find) -> list[EnvFrom]:
    found = []
    for kind, key in (("secret", "secret"), ("config_map", "configMap")):
        for one in spec.get(f"{key}AsEnv", ()):
            name = _name(one, f"{key}NameParameter", f"{key}Name", f"the {key} of an environment variable", find)
            for pair in one.get("keyToEnv", ()) if name else ():
                found.append(EnvFrom(kind, name, pair[f"{key}Key"], pair["envVar"], one.get("optional", False)))
    return found


def _name(spec: _Spec, parameter: str, constant: str, what: str, find: Find) -> str:
    """The name that spec gives: by `parameter`, as files of kfp-kubernetes before 1.4 do, or as a constant.

    Empty if an optional pipeline parameter was left out: then there is no such mount.
    """
    source = _source(spec, parameter)
    return _checked(find(source) if source else spec.get(constant, ""), what)


def _source(spec: _Spec, parameter: str) -> Source | None:
    if parameter in spec:
        return parse_source(spec[parameter])
    return parse_source(spec) if "taskOutputParameter" in spec or "componentInputParameter" in spec else None


def _checked(value: Any, what: str) -> str:
    if value is MISSING:
        return ""
    if not isinstance(value, str) or not value:
        raise ValueError(f"the name of {what} is {text(value) or 'empty'}")
    return value


def _pod(spec: _Spec, container: Container, find: Find, inputs: Mapping[str, Any]) -> dict[str, Any]:
    metadata = spec.get("podMetadata", {})
    pull = [
        _name(one, "secretNameParameter", "secretName", "an image pull Secret", find)
        for one in spec.get("imagePullSecret", ())
    ]
    return {
        "node_selector": _json(spec.get("nodeSelector", {}), "nodeSelectorJson", find, "labels"),
        "tolerations": [one for part in spec.get("tolerations", ()) for one in _tolerations(part, find)],
        "labels": metadata.get("labels", {}),
        "annotations": metadata.get("annotations", {}),
        "image_pull_secrets": [name for name in pull if name],
        "image_pull_policy": spec.get("imagePullPolicy", ""),
        "field_env": {one["name"]: one["fieldPath"] for one in spec.get("fieldPathAsEnv", ())},
        "security_context": whole_numbers(
            {
                key: int(value) if key != "runAsNonRoot" else value
                for key, value in spec.get("securityContext", {}).items()
            }
        ),
        "node_affinity": [
            term for part in spec.get("nodeAffinity", ()) if (term := _json(part, "nodeAffinityJson", find))
        ],
        "pod_affinity": [whole_numbers(part) for part in spec.get("podAffinity", ())],
        "resources": _resources(container.resources, inputs),
    }


def _json(spec: _Spec, parameter: str, find: Find, constant: str = "") -> Any:
    """A part that is given as JSON by a parameter, or else as a constant."""
    if parameter in spec:
        value = find(parse_source(spec[parameter]))
        return {} if value is MISSING else whole_numbers(value)
    return whole_numbers(spec.get(constant, {}) if constant else spec)


def _tolerations(spec: _Spec, find: Find) -> list[dict[str, Any]]:
    value = _json(spec, "tolerationJson", find)
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) for one in found):
        raise ValueError(f"tolerations must be a struct or a list of structs, not {text(value)}")
    return [
        {key: int(part) if key == "tolerationSeconds" else part for key, part in one.items()} for one in found if one
    ]


def _resources(spec: _Spec, inputs: Mapping[str, Any]) -> dict[str, str]:
    """Kubernetes quantities. The first names of each pair are the newer fields, the others numbers (memory in GB)."""
    accelerator = spec.get("accelerator", {})
    found = {
        "cpu_request": spec.get("resourceCpuRequest", spec.get("cpuRequest")),
        "cpu_limit": spec.get("resourceCpuLimit", spec.get("cpuLimit")),
        "memory_request": spec.get("resourceMemoryRequest", _gigabytes(spec.get("memoryRequest"))),
        "memory_limit": spec.get("resourceMemoryLimit", _gigabytes(spec.get("memoryLimit"))),
        "accelerator_type": accelerator.get("resourceType", accelerator.get("type")),
        "accelerator_count": accelerator.get("resourceCount", accelerator.get("count")),
    }
    resolved = {key: resolve_inputs(value, inputs) for key, value in found.items() if value is not None}
    return {key: text(value) for key, value in resolved.items() if value not in ("", None)}


def _gigabytes(number: float | None) -> str | None:
    return None if number is None else f"{text(number)}G"

"""The pods that a Kubeflow Pipelines server makes of the tasks of a compiled pipeline.

Each behaviour was read in kubeflow/pipelines (2.5.0, 2.14.3, 2.16.1; before 2.14 all of `v2/driver` is in driver.go)
and in argoproj/argo-workflows (v3.5.14, v3.7.14):

- The container `main` runs the launcher, which gets the task's command as its own arguments. Env, image, limits and
  requests come from the container spec; an accelerator is a limit (v2/driver/driver.go: initPodSpecPatch).
- A claim, Secret or ConfigMap that is mounted becomes a volume **of the object's name**, unchecked (v2/driver/k8s.go:
  extendPodSpecPatch, makeVolumeMountPatch). Pull policy, node selector, tolerations (a list or a struct, appended),
  Secrets for pulling, deadline and empty directories come from the same function.
- Shared memory (`enabledSharedMemory`) is not read by the driver: backend/src/v2 does not mention it.
- The patch is a strategic merge: volumes and env merge by name, mounts by path (argo workflow/util: ApplyPodSpecPatch).
- It goes onto a template with seven empty directories, mounted in `main`, and the init container `kfp-launcher`
  (v2/compiler/argocompiler/container.go: addContainerExecutorTemplate).
- From 2.16 on the server sets security contexts itself, without runAsNonRoot for `main` (security_context.go there).
- Labels and annotations of a task are its template's metadata (container.go: extendPodMetadata). In 2.5.0 one template
  serves all tasks: all pods have those of the task that was compiled first, which is not shown here.
- Every pod has the label `pipeline/runid`, label and annotation `pipelines.kubeflow.org/v2_component`, and the runner's
  account (argo.go there; apiserver/template/v2_template.go).
- Argo adds the containers `init` and `wait`, two volumes, ARGO_* in each container, and argoexec before the command
  (workflow/controller/workflowpod.go: createWorkflowPod).
- OpenShift's SCC restricted-v2 sets what is not set: a user of the project's range, no escalation, no capabilities,
  the runtime's seccomp profile (OpenShift documentation: Managing security context constraints).
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from utils.ir.defaults import PlacedTask, placed_tasks
from utils.ir.execute import is_claim_task
from utils.ir.model import Container, Mount, Pipeline, RunIds, Source
from utils.ir.placeholders import resolve_inputs
from utils.ir.platform import PodSettings, pod_settings, volume_objects
from utils.ir.sources import MISSING
from utils.ir.values import text

RUN = RunIds("run", "0b6c2c8e-7c1e-4a53-9d0b-6f2c1a7b9e10")
ACCOUNT = "pipeline-runner-dspa"
# An object that a task makes, such as the claim, is named after the run.
MADE = f"ilab-{RUN.id}"
_LAUNCHER, _EXECUTOR = "registry.example/launcher:1", "registry.example/argoexec:1"
_SCRATCH = {
    "kfp-launcher": "/kfp-launcher",
    "gcs-scratch": "/gcs",
    "s3-scratch": "/s3",
    "minio-scratch": "/minio",
    "dot-local-scratch": "/.local",
    "dot-cache-scratch": "/.cache",
    "dot-config-scratch": "/.config",
}
_VAR_ARGO = {"name": "var-run-argo", "mountPath": "/var/run/argo"}
_OBJECTS = {"pvcMount", "secretAsVolume", "configMapAsVolume"}
_Object = dict[str, Any]


@dataclass(frozen=True)
class Server:
    """A version of the server; `hardened`: it sets security contexts itself."""

    version: str
    hardened: bool


SERVERS = (Server("2.5.0", hardened=False), Server("2.14.3", hardened=False), Server("2.16.1", hardened=True))


def driver_pods(
    pipeline: Pipeline, server: Server, arguments: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, _Object]]:
    """Path and pod of each task that has one, with `arguments` and defaults for the rest, as Argo creates it."""
    for task in placed_tasks(pipeline, arguments, ids=RUN):
        container = task.component.container
        if container and not is_claim_task(task.component):
            yield task.path, _pod(pipeline, task, container, server)


def as_on_openshift(pod: _Object, user: int = 1000660000) -> _Object:
    """The pod after the SCC restricted-v2, which sets what is not set."""
    group = {"fsGroup": user, "seLinuxOptions": {"level": "s0:c26,c5"}, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {**pod["spec"], "securityContext": {**group, **pod["spec"].get("securityContext", {})}}
    own = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": user,
    }
    for kind in ("initContainers", "containers"):
        spec[kind] = [{**one, "securityContext": {**own, **one.get("securityContext", {})}} for one in spec[kind]]
    return {**pod, "spec": spec}


def _find(task: PlacedTask, source: Source) -> Any:
    """A value in the task's DAG; what only a task that runs can give is named after the run."""
    value = task.find(source)
    return MADE if value is MISSING and source.kind == "output" else value


def _pod(pipeline: Pipeline, task: PlacedTask, container: Container, server: Server) -> _Object:
    # Volumes of objects are taken as they are, whatever their names: the driver checks none.
    others = {key: value for key, value in container.platform.items() if key not in _OBJECTS}
    found = pod_settings(replace(container, platform=others), lambda source: _find(task, source), task.inputs)
    patch = _patch(pipeline, task, container, found)
    metadata = found.kubernetes
    template = "system-container-impl"
    if "podMetadata" in container.platform:
        counts = "-".join(str(len(metadata.get(kind, {}))) for kind in ("annotations", "labels"))
        template = f"metadata-{counts}-{template}"
    workflow = f"{pipeline.name}-x7k2p"
    labels = {
        "workflows.argoproj.io/workflow": workflow,
        "workflows.argoproj.io/completed": "false",
        "pipelines.kubeflow.org/v2_component": "true",
        "pipeline/runid": RUN.id,
    }
    annotations = {
        "workflows.argoproj.io/node-name": f"{workflow}.{task.path}",
        "kubectl.kubernetes.io/default-container": "main",
        "pipelines.kubeflow.org/v2_component": "true",
        "sidecar.istio.io/inject": "false",
    }
    number = zlib.crc32(task.path.encode())
    name = f"{workflow}-{template}-{number}"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {**labels, **metadata.get("labels", {})},
            "annotations": {**annotations, **metadata.get("annotations", {})},
        },
        "spec": _with_executor(_merged(_template(server), patch), f"{workflow}-{number}", patch),
    }


def _template(server: Server) -> _Object:
    """The pod of the executor's template, before the patch."""
    mounts = [{"name": name, "mountPath": path} for name, path in _SCRATCH.items()]
    launcher: _Object = {
        "name": "kfp-launcher",
        "image": _LAUNCHER,
        "command": ["launcher-v2"],
        "args": ["--copy", "/kfp-launcher/launch"],
        "volumeMounts": mounts[:1],
        "resources": {"limits": {"memory": "256Mi", "cpu": "0.5"}, "requests": {"cpu": "0.1"}},
    }
    fields = {"KFP_POD_NAME": "metadata.name", "KFP_POD_UID": "metadata.uid"}
    main: _Object = {
        "name": "main",
        "volumeMounts": mounts,
        "envFrom": [{"configMapRef": {"name": "metadata-grpc-configmap", "optional": True}}],
        "env": [{"name": key, "valueFrom": {"fieldRef": {"fieldPath": path}}} for key, path in fields.items()],
    }
    spec: _Object = {
        "restartPolicy": "Never",
        "serviceAccountName": ACCOUNT,
        "volumes": [{"name": name, "emptyDir": {}} for name in ("var-run-argo", "tmp-dir-argo", *_SCRATCH)],
    }
    if server.hardened:
        profile = {"seccompProfile": {"type": "RuntimeDefault"}}
        own = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, **profile}
        spec["securityContext"] = profile
        main["securityContext"] = own
        launcher["securityContext"] = {**own, "runAsNonRoot": True}
    return {**spec, "initContainers": [launcher], "containers": [main]}


def _patch(pipeline: Pipeline, task: PlacedTask, container: Container, found: PodSettings) -> _Object:
    """The driver's patch of the pod."""
    settings = found.kubernetes
    objects = volume_objects(container.platform, lambda source: _find(task, source))
    mounts = [
        Mount(one.kind, one.name, one.spec["mountPath"], one.spec.get("subPath", ""), one.spec.get("optional", False))
        for one in objects
        if one.name is not MISSING
    ]
    mounts += [mount for mount in found.mounts if mount.path != "/dev/shm"]
    main: _Object = {
        "name": "main",
        "image": text(resolve_inputs(container.image, task.inputs)),
        "command": _launch(pipeline, task),
        "args": [*container.preamble, *map(_argument, (*container.command, *container.args))],
        "env": [{"name": name, "value": value} for name, value in container.env.items()] + _env(found),
        "resources": _resources(settings.get("resources", {})),
        "volumeMounts": [_volume_mount(mount) for mount in mounts],
    }
    if "image_pull_policy" in settings:
        main["imagePullPolicy"] = settings["image_pull_policy"]
    spec: _Object = {"containers": [main], "volumes": [_volume(mount) for mount in mounts]}
    if found.timeout_seconds:
        spec["activeDeadlineSeconds"] = int(found.timeout_seconds)
    for key, field in (("node_selector", "nodeSelector"), ("tolerations", "tolerations")):
        if key in settings:
            spec[field] = settings[key]
    if "image_pull_secrets" in settings:
        spec["imagePullSecrets"] = [{"name": name} for name in settings["image_pull_secrets"]]
    return spec


def _launch(pipeline: Pipeline, task: PlacedTask) -> list[str]:
    """The launcher's command; its arguments grow with the task's inputs, not with its code."""
    executor_input = {"inputs": {"parameterValues": dict(task.inputs)}}
    words = {
        "pipeline_name": pipeline.name,
        "run_id": RUN.id,
        "execution_id": "1",
        "executor_input": json.dumps(executor_input),
        "component_spec": json.dumps({"executorLabel": task.component.executor}),
        "pod_name": "$(KFP_POD_NAME)",
        "pod_uid": "$(KFP_POD_UID)",
    }
    return ["/kfp-launcher/launch", *(part for key, value in words.items() for part in (f"--{key}", value)), "--"]


def _argument(part: Any) -> str:
    return part if isinstance(part, str) else json.dumps(part)


def _env(found: PodSettings) -> list[_Object]:
    references = {"secret": "secretKeyRef", "config_map": "configMapKeyRef"}
    keys = [
        {"name": one.env, "valueFrom": {references[one.kind]: {"name": one.name, "key": one.key}}}
        for one in found.env_from
    ]
    fields = found.kubernetes.get("field_env", {})
    return keys + [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]


def _resources(given: Mapping[str, str]) -> _Object:
    resources: _Object = {"limits": {}, "requests": {}}
    for key, kind, name in (
        ("cpu_limit", "limits", "cpu"),
        ("cpu_request", "requests", "cpu"),
        ("memory_limit", "limits", "memory"),
        ("memory_request", "requests", "memory"),
        ("accelerator_count", "limits", given.get("accelerator_type")),
    ):
        if key in given and name:
            resources[kind][name] = given[key]
    return resources


def _volume(mount: Mount) -> _Object:
    options = mount.options
    sources: dict[str, _Object] = {
        "claim": {"persistentVolumeClaim": {"claimName": mount.name}},
        "secret": {"secret": {"secretName": mount.name, "optional": mount.optional}},
        "config_map": {"configMap": {"name": mount.name, "optional": mount.optional}},
    }
    if mount.kind == "empty_dir":
        size = {"sizeLimit": options["size_limit"]} if options["size_limit"] else {}
        return {"name": mount.name, "emptyDir": {"medium": options["medium"], **size}}
    if mount.kind == "ephemeral":
        return {"name": mount.name, "ephemeral": {"volumeClaimTemplate": _claim_template(options)}}
    return {"name": mount.name, **sources[mount.kind]}


def _claim_template(options: Mapping[str, Any]) -> _Object:
    spec = {"accessModes": options["access_modes"], "resources": {"requests": {"storage": options["size"]}}}
    if options["storage_class"] is not None:
        spec["storageClassName"] = options["storage_class"]
    return {"metadata": {"labels": options["labels"], "annotations": options["annotations"]}, "spec": spec}


def _volume_mount(mount: Mount) -> _Object:
    found = {"name": mount.name, "mountPath": mount.path}
    return {**found, "subPath": mount.sub_path} if mount.sub_path else found


def _merged(spec: _Object, patch: _Object) -> _Object:
    """`spec` after the strategic merge of a patch whose one container is `main`."""
    (main,), (change,) = spec["containers"], patch["containers"]
    keyed = {"env": "name", "volumeMounts": "mountPath"}
    lists = {field: _merged_list(main[field], change[field], key) for field, key in keyed.items()}
    volumes = _merged_list(spec["volumes"], patch["volumes"], "name")
    return {**spec, **patch, "containers": [{**main, **change, **lists}], "volumes": volumes}


def _merged_list(items: list[_Object], changes: list[_Object], key: str) -> list[_Object]:
    found: dict[str, _Object] = {}
    for one in (*items, *changes):
        found[one[key]] = {**found.get(one[key], {}), **one}
    return list(found.values())


def _with_executor(spec: _Object, node: str, patch: _Object) -> _Object:
    """`spec` with what Argo adds to every pod: its containers, its variables, its mounts.

    Args:
        node: the Workflow's name and a number (argo-workflows, workflow_types.go, NodeID).
    """
    values = {"ARGO_NODE_ID": node, "ARGO_INCLUDE_SCRIPT_OUTPUT": "false", "ARGO_DEADLINE": "0001-01-01T00:00:00Z"}
    template = json.dumps({"name": "system-container-impl", "podSpecPatch": json.dumps(patch)})

    def dressed(container: _Object, mounts: list[_Object], **more: str) -> _Object:
        own = {"ARGO_CONTAINER_NAME": container["name"], **more, **values}
        env = [*container.get("env", []), *({"name": key, "value": value} for key, value in own.items())]
        return {**container, "env": env, "volumeMounts": [*container.get("volumeMounts", []), *mounts]}

    (main,) = spec["containers"]
    main = {**main, "command": ["/var/run/argo/argoexec", "emissary", "--loglevel", "info", "--", *main["command"]]}
    init = {"name": "init", "image": _EXECUTOR, "command": ["argoexec", "init"]}
    wait = {"name": "wait", "image": _EXECUTOR, "command": ["argoexec", "wait"]}
    temporary = {"name": "tmp-dir-argo", "mountPath": "/tmp", "subPath": "0"}
    before = [dressed(one, [_VAR_ARGO], ARGO_TEMPLATE=template) for one in (init, *spec["initContainers"])]
    together = [dressed(wait, [temporary, _VAR_ARGO]), dressed(main, [_VAR_ARGO])]
    return {**spec, "initContainers": before, "containers": together}

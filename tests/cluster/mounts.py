"""What pods find of this machine: the interpreter and the environments, read-only, at the same paths as here.

Which environment a container's `python3` is of depends on its image: one that the light tasks run in gets no more than
what that image has, in its versions; all others get the stages' environment.

`restricted` forbids hostPath volumes in pods, so each namespace gets claims bound to hostPath volumes. Two ways lead
into a pod: the overlay, a patch for every pod that a runner makes, and an admission policy of the cluster, which also
reaches pods made by others, such as those of a PyTorchJob. The policy alone looks at the image; it has the last word.
"""

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

from tests.cluster.settings import CACHE
from tests.images.environments import environment
from utils import images
from utils.files import ROOT

MOUNTS_LABEL = "ilab-pipeline.test/mounts"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
# As a restricted-v2 SCC would set it: no user of the image, and no entry in its passwd.
ANY_UID = 1000680000
USER = "ilab"
POLICY = "ilab-mounts"


def directories() -> dict[str, Path]:
    """Claim name: directory. The stages' environment only where `make stages` made it."""
    found = {"ilab-interpreter": Path(sys.base_prefix)}
    stages = _stages()
    if (stages / "bin/python").exists():
        found["ilab-stages"] = stages
    if sys.prefix != sys.base_prefix:
        found["ilab-light"] = Path(sys.prefix)
    for image, folder in of_images().items():
        name = f"ilab-image-{_digest(image)[:12]}"
        found[name] = folder
        home = Path(_configuration(folder)["home"]).parent
        if home != found["ilab-interpreter"]:
            found[f"{name}-python"] = home
    return found


def of_images() -> dict[str, Path]:
    """Image: its own environment, where `make notebook` made it."""
    folder = environment(images.NOTEBOOK)
    return {images.NOTEBOOK: folder} if (folder / "ready").exists() else {}


def python(image: str = "") -> Path:
    """The interpreter that `python3` means in a container: its image's own, else of the stages' environment."""
    if image in of_images():
        return of_images()[image] / "bin/python3"
    found = directories()
    return found.get("ilab-stages", found.get("ilab-light", found["ilab-interpreter"])) / "bin/python3"


def overlay() -> dict[str, Any]:
    """A patch for every pod; the container named `*` stands for each of the pod's containers."""
    container = {
        "name": "*",
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "PATH", "value": _path()}, {"name": "USER", "value": USER}],
        "volumeMounts": [
            {"name": name, "mountPath": str(path), "readOnly": True} for name, path in directories().items()
        ],
    }
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name, "readOnly": True}} for name in directories()]
    identity = {"runAsUser": ANY_UID, "runAsGroup": 0, "fsGroup": ANY_UID}
    return {"spec": {"securityContext": identity, "volumes": volumes, "containers": [container]}}


def policy() -> list[dict[str, Any]]:
    """The admission policy that does to pods in labelled namespaces what the overlay does."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    version, kind = "admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy"
    admission = {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": POLICY},
        "spec": {
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "matchConstraints": {"resourceRules": [rule]},
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "variables": [
                {"name": "claims", "expression": CLAIMS_EXPRESSION},
                {"name": "paths", "expression": PATHS_EXPRESSION},
            ],
            "mutations": [
                {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": POD_EXPRESSION}},
            ],
        },
    }
    binding = {
        "apiVersion": version,
        "kind": f"{kind}Binding",
        "metadata": {"name": POLICY},
        "spec": {
            "policyName": POLICY,
            # Of the pod's own namespace.
            "paramRef": {"name": POLICY, "parameterNotFoundAction": "Deny"},
            "matchResources": {"namespaceSelector": {"matchLabels": {MOUNTS_LABEL: "true"}}},
        },
    }
    return [admission, binding]


CLAIMS_EXPRESSION = "params.data.filter(key, key.startsWith('ilab-'))"
# Of single images: PATH- and the end of the image, its digest.
PATHS_EXPRESSION = "params.data.filter(key, key.startsWith('PATH-'))"
# Common Expression Language; values come from the ConfigMap.
POD_EXPRESSION = """
Object{spec: Object.spec{
  securityContext: Object.spec.securityContext{
    runAsUser: int(params.data["UID"]), runAsGroup: 0, fsGroup: int(params.data["UID"])
  },
  volumes: variables.claims.map(name, Object.spec.volumes{
    name: name,
    persistentVolumeClaim: Object.spec.volumes.persistentVolumeClaim{claimName: name, readOnly: true}
  }),
  containers: object.spec.containers.map(container, Object.spec.containers{
    name: container.name,
    imagePullPolicy: "IfNotPresent",
    env: [
      Object.spec.containers.env{name: "USER", value: params.data["USER"]},
      Object.spec.containers.env{name: "PATH", value: variables.paths.filter(
        key, container.image.endsWith(key.substring(5))
      ).map(key, params.data[key])[?0].orValue(params.data["PATH"])}
    ],
    volumeMounts: variables.claims.map(name, Object.spec.containers.volumeMounts{
      name: name, mountPath: params.data[name], readOnly: true
    })
  })
}}
"""


def namespace_objects(namespace: str) -> list[dict[str, Any]]:
    """What a namespace needs for either way: volumes, claims, and the values for the policy."""
    values = {"PATH": _path(), "USER": USER, "UID": str(ANY_UID)}
    values |= {f"PATH-{_digest(image)}": _path(image) for image in of_images()}
    settings = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": POLICY, "namespace": namespace},
        "data": values | {name: str(path) for name, path in directories().items()},
    }
    pairs = [_volume_and_claim(namespace, name, path) for name, path in directories().items()]
    return [settings, *(one for pair in pairs for one in pair)]


def _volume_and_claim(namespace: str, name: str, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    volume = f"{namespace}-{name}"
    common = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
    source = {
        **common,
        "capacity": {"storage": "10Gi"},
        "persistentVolumeReclaimPolicy": "Retain",
        "hostPath": {"path": str(path), "type": "Directory"},
        "claimRef": {"namespace": namespace, "name": name},
    }
    wanted = {**common, "volumeName": volume, "resources": {"requests": {"storage": "10Gi"}}}
    metadata = {"name": volume, "labels": {MOUNTS_LABEL: namespace}}
    return (
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": source},
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace},
            "spec": wanted,
        },
    )


def _stages() -> Path:
    """The environment that `make stages` makes, see the Makefile."""
    if given := os.environ.get("ILAB_PYTHON"):
        return Path(given).parents[1]
    lock = ROOT / "requirements/stages.txt"
    return CACHE / f"stages-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"


def _path(image: str = "") -> str:
    return f"{python(image).parent}:{SYSTEM_PATH}"


def _digest(image: str) -> str:
    return image.rpartition("@sha256:")[2]


def _configuration(environment: Path) -> dict[str, str]:
    """What a virtual environment says of itself."""
    lines = (environment / "pyvenv.cfg").read_text().splitlines()
    return {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}

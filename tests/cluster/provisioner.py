"""Gives each claim of the cluster's ReadWriteMany class a directory, and removes it with the claim.

In place of a storage system: one node, so a directory is a volume that every pod can write to.
"""

import logging
import shutil
import time
from typing import Any

import kubernetes
import urllib3

from tests.cluster.settings import CLAIMS, PROVISIONER, STORAGE_CLASS

PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
log = logging.getLogger("provisioner")


def main() -> None:
    """Look twice a second for claims without a volume and for volumes without a claim."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    kubernetes.config.load_kube_config()
    core = kubernetes.client.CoreV1Api()
    while True:
        try:
            for claim in core.list_persistent_volume_claim_for_all_namespaces().items:
                if claim.spec.storage_class_name == STORAGE_CLASS and not claim.spec.volume_name:
                    provide(core, claim)
            for volume in core.list_persistent_volume().items:
                ours = (volume.metadata.annotations or {}).get(PROVISIONED_BY) == PROVISIONER
                if ours and volume.status.phase == "Released":
                    remove(core, volume)
        except (kubernetes.client.ApiException, urllib3.exceptions.HTTPError) as error:
            # The API server may be restarting; the next look will tell.
            log.info("%s", error)
        time.sleep(0.5)


def provide(core: Any, claim: Any) -> None:
    """Make a directory that any UID may write to, and the volume that is bound to the claim."""
    directory = CLAIMS / claim.metadata.uid
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o777)
    meta = claim.metadata
    spec = {
        "accessModes": claim.spec.access_modes,
        "capacity": {"storage": claim.spec.resources.requests["storage"]},
        "claimRef": {"kind": "PersistentVolumeClaim", "namespace": meta.namespace, "name": meta.name, "uid": meta.uid},
        "hostPath": {"path": str(directory), "type": "Directory"},
        "persistentVolumeReclaimPolicy": "Delete",
        "storageClassName": STORAGE_CLASS,
    }
    name = {"name": f"pvc-{meta.uid}", "annotations": {PROVISIONED_BY: PROVISIONER}}
    try:
        core.create_persistent_volume({"metadata": name, "spec": spec})
    except kubernetes.client.ApiException as error:
        # Made by the last look, not yet bound.
        if error.status != 409:
            raise
    else:
        log.info("%s/%s: %s", meta.namespace, meta.name, directory)


def remove(core: Any, volume: Any) -> None:
    """Delete a volume and its directory."""
    shutil.rmtree(volume.spec.host_path.path, ignore_errors=True)
    core.delete_persistent_volume(volume.metadata.name)
    log.info("%s removed", volume.metadata.name)


if __name__ == "__main__":
    main()

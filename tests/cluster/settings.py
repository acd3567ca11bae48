"""Names, addresses and folders of the test cluster."""

import os
from pathlib import Path

STATE = Path("/var/lib/ilab-pipeline-cluster")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ilab-pipeline"

CONFIG = STATE / "config"
LOGS = STATE / "logs"
KUBECONFIG = CONFIG / "admin.kubeconfig"
OVERLAY = STATE / "overlay.yaml"
CONTROL_SOCKET = STATE / "control.sock"
CONTAINERD_SOCKET = STATE / "containerd.sock"
CLAIMS = STATE / "claims"

NODE = "ilab-node"
CGROUP = "ilab-cluster"

# The two ends of the link between this machine and the node's network namespace. Nothing else is reachable on it.
HOST_LINK, NODE_LINK = "ilab-host", "ilab-node"
HOST_ADDRESS, NODE_ADDRESS = "198.18.73.1", "198.18.73.2"
PREFIX_LENGTH = 30
POD_RANGE, SERVICE_RANGE = "10.244.0.0/16", "10.96.0.0/16"
FIRST_SERVICE_ADDRESS = "10.96.0.1"
SERVER = f"https://{NODE_ADDRESS}:6443"

STORAGE_CLASS = "ilab-rwx"
PROVISIONER = "ilab-pipeline.test/directory"
GPU = "nvidia.com/gpu"
GPUS = 8

# How long anything may take, in seconds. Not a measurement: after a few restarts of the API server its clients ask
# it again only every minute (client-go's back-off), and a machine may be busy with other things.
PATIENCE = 240.0

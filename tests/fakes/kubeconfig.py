"""Kubeconfigs of a fake API server."""

from pathlib import Path
from typing import Any

import yaml


def write_kubeconfig(path: Path, url: str, token: str = "") -> Path:
    """Write a kubeconfig of the API server at `url` with the namespace `lab`; returns its path."""
    user: dict[str, Any] = {"token": token} if token else {}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "lab"}}],
        "clusters": [{"name": "k", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(config))
    return path

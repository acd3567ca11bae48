"""The connection to a cluster: who we are, where, and one request with patience."""

import base64
import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from utils.errors import PrerequisiteError

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass
class Health:
    """What is known of the API server, shared by all threads.

    Attributes:
        answered: it has answered at least once.
        trouble: when it was last away or failing, by the cluster's clock.
        away: its absence has been told.
        granted: (verb, resource) of every request that it has let through, for Secrets with the name.
    """

    answered: bool = False
    trouble: float = float("-inf")
    away: bool = False
    granted: set[tuple[str, ...]] = field(default_factory=set)


@dataclass(frozen=True)
class Cluster:
    """One namespace of one cluster, and how patient to be with it.

    Attributes:
        namespace: where all namespaced objects lie.
        api: the `kubernetes` package's ApiClient; it holds address, certificates and credentials.
        user: for messages: `in-cluster` or the kubeconfig's context.
        account: name of the service account of the pod this runs in; "" outside a pod.
        patience: seconds that a request is tried again while the API server is away, overloaded or failing.
        watch_seconds: length of one watch request; `stop` and deadlines are looked at least that often.
        log_seconds: a log without a new line for so long is opened again.
        clock: monotonic seconds.
        sleep: waits so many seconds.
        chance: between 0 and 1, another number each time: clients that lost a server do not come back all at once.
        notify: told once when the API server goes away and once when it is back.
    """

    namespace: str
    api: Any = field(repr=False)
    user: str = ""
    account: str = ""
    patience: float = 300.0
    watch_seconds: int = 5
    log_seconds: float = 30.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    notify: Callable[[str], None] = field(default=lambda text: None, repr=False)
    health: Health = field(default_factory=Health, repr=False)

    @property
    def address(self) -> str:
        """URL of the API server."""
        return self.api.configuration.host


def connect(namespace: str = "", kubeconfig: str = "", context: str = "", **settings: Any) -> Cluster:
    """Connect to the cluster of the pod this runs in, else to that of a kubeconfig. Nothing is asked of it yet.

    Args:
        namespace: "" for the pod's own, or that of the kubeconfig's context, or `default`.
        kubeconfig: a file; "" for the pod's own account, else $KUBECONFIG, else ~/.kube/config.
        context: of the kubeconfig; "" for its current one.
        settings: further fields of Cluster (patience, notify, clock, ...).

    Raises:
        PrerequisiteError: no cluster to connect to, or a kubeconfig that can't be used.
    """
    from kubernetes import client

    configuration = client.Configuration()
    in_cluster = not kubeconfig and not context and (_ACCOUNT / "token").exists()
    user, current = _from_pod(configuration) if in_cluster else _from_file(configuration, kubeconfig, context)
    api = client.ApiClient(configuration)
    account = token_account((_ACCOUNT / "token").read_text()) if in_cluster else ""
    return Cluster(namespace or current or "default", api, user, account, **settings)


def token_account(token: str) -> str:
    """The service account's name in a pod's token (its claim `sub`); "" when the token is not of that kind."""
    parts = token.strip().split(".")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (IndexError, ValueError):
        return ""
    subject = str(claims.get("sub", "")).split(":")
    return subject[3] if subject[:2] == ["system", "serviceaccount"] and len(subject) == 4 else ""


def _from_pod(configuration: Any) -> tuple[str, str]:
    """Fill in the pod's own account; returns who we are and the namespace."""
    from kubernetes import config

    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException as error:
        raise PrerequisiteError(
            "the pod's service account can't be used", str(error), "give --kubeconfig FILE, or mend the pod's account"
        ) from None
    return "in-cluster", (_ACCOUNT / "namespace").read_text().strip()


def _from_file(configuration: Any, kubeconfig: str, context: str) -> tuple[str, str]:
    """Fill in what a kubeconfig says; returns the context and its namespace ("" when it has none)."""
    from kubernetes import config
    from yaml import YAMLError

    file = kubeconfig or os.environ.get("KUBECONFIG") or None
    place = file or "~/.kube/config"
    try:
        config.load_kube_config(config_file=file, context=context or None, client_configuration=configuration)
        contexts, active = config.list_kube_config_contexts(config_file=file)
    except (config.ConfigException, OSError) as error:
        raise PrerequisiteError(
            "there is no cluster to connect to",
            f"{place}: {error}",
            "log in (oc login, or kubectl config use-context NAME), or name a file with --kubeconfig",
        ) from None
    except (YAMLError, KeyError, TypeError, ValueError) as error:
        # Their texts may quote the file, which holds credentials.
        raise PrerequisiteError(
            f"the kubeconfig {place} can't be read", type(error).__name__, "kubectl config view shows what is wrong"
        ) from None
    chosen = next((c for c in contexts if c["name"] == context), active) if context else active
    _set_proxy(configuration)
    return chosen["name"], chosen["context"].get("namespace", "")


def _set_proxy(configuration: Any) -> None:
    """HTTPS_PROXY and NO_PROXY count as they do for kubectl; a kubeconfig's own proxy-url comes first."""
    url = urlsplit(configuration.host)
    if not configuration.proxy and not proxy_bypass(url.hostname or ""):
        configuration.proxy = getproxies().get(url.scheme)

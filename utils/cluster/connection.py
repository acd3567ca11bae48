"""Connect as a command does: with a kubeconfig or a pod's account, and with messages for a terminal."""

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from utils.cluster import client
from utils.cluster.cluster import Cluster
from utils.errors import PrerequisiteError


def connect(
    namespace: str = "",
    kubeconfig: str = "",
    context: str = "",
    notify: Callable[[str], None] = lambda text: None,
    **settings: Any,
) -> Cluster:
    """Connect to the cluster of the pod in which this runs, else to that of a kubeconfig. Sends no request yet.

    Args:
        namespace: "" for the pod's own, or that of the kubeconfig's context, or `default`.
        kubeconfig: a file; "" for the pod's own account, else $KUBECONFIG, else ~/.kube/config.
        context: of the kubeconfig; "" for its current one.
        notify: called once when the API server becomes unreachable and once when it is back.
        settings: further fields of Cluster (patience, clock, ...).

    Raises:
        PrerequisiteError: there is no cluster to connect to, or the kubeconfig can't be used.
    """
    from kubernetes.client import ApiClient, Configuration

    configuration = Configuration()
    in_cluster = not kubeconfig and not context and (client.ACCOUNT / "token").exists()
    user, current = _from_pod(configuration) if in_cluster else _from_file(configuration, kubeconfig, context)
    api = ApiClient(configuration)
    account = token_account((client.ACCOUNT / "token").read_text()) if in_cluster else ""
    place = namespace or current or "default"
    return Cluster(place, api, user=user, account=account, notify=notify, **settings)


def token_account(token: str) -> str:
    """The service account's name in a pod's token (its claim `sub`); "" if the token is not of that kind."""
    parts = token.strip().split(".")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (IndexError, ValueError):
        return ""
    subject = str(claims.get("sub", "")).split(":")
    return subject[3] if subject[:2] == ["system", "serviceaccount"] and len(subject) == 4 else ""


def _from_pod(configuration: Any) -> tuple[str, str]:
    """Fill in the pod's own account; returns our identity and the namespace."""
    from kubernetes import config

    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException as error:
        raise PrerequisiteError(
            "the pod's service account can't be used", str(error), "give --kubeconfig FILE, or correct the account"
        ) from None
    return "in-cluster", (client.ACCOUNT / "namespace").read_text().strip()


def _from_file(configuration: Any, kubeconfig: str, context: str) -> tuple[str, str]:
    """Fill in the settings of a kubeconfig; returns the context and its namespace ("" if it has none)."""
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
    _renew_login(configuration, file, chosen["name"])
    return chosen["name"], chosen["context"].get("namespace", "")


def _renew_login(configuration: Any, file: str | None, context: str) -> None:
    """Take over the token of a login that someone renews while a command runs: the kubeconfig is read when it changes.

    Only that of the same context and server. While the file can't be read, the token stays: the server's answer tells.
    """
    from kubernetes import config
    from kubernetes.client import Configuration
    from yaml import YAMLError

    places = [Path(one).expanduser() for one in (file or config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION).split(":")]
    read, hook = _stamps(places), configuration.refresh_api_key_hook

    def renew(current: Any) -> None:
        nonlocal read, hook
        stamps = _stamps(places)
        if stamps != read:
            renewed = Configuration()
            try:
                config.load_kube_config(config_file=file, context=context, client_configuration=renewed)
            except (config.ConfigException, OSError, YAMLError, KeyError, TypeError, ValueError):
                renewed.host = ""
            if renewed.host == current.host:
                read, hook, current.api_key = stamps, renewed.refresh_api_key_hook, renewed.api_key
        if hook:
            hook(current)
            current.refresh_api_key_hook = renew  # the library's own puts itself there

    configuration.refresh_api_key_hook = renew


def _stamps(places: list[Path]) -> list[tuple[int, int]]:
    """Size and time of each file; none for one that is not there."""
    return [(found.st_size, found.st_mtime_ns) for found in (one.stat() for one in places if one.exists())]


def _set_proxy(configuration: Any) -> None:
    """HTTPS_PROXY and NO_PROXY count as they do for kubectl; a kubeconfig's own proxy-url comes first."""
    url = urlsplit(configuration.host)
    if not configuration.proxy and not proxy_bypass(url.hostname or ""):
        configuration.proxy = getproxies().get(url.scheme)

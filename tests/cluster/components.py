"""The processes of the node: their command lines and configuration files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.image import NAME as BASE_IMAGE
from tests.cluster.programs import DNS, KUBERNETES, program
from tests.cluster.settings import (
    CGROUP,
    CONFIG,
    CONTAINERD_SOCKET,
    NODE,
    NODE_ADDRESS,
    POD_RANGE,
    SERVICE_RANGE,
    STATE,
)

COREFILE = """cluster.local in-addr.arpa {
    bind {$BIND}
    errors
    ready 127.0.0.1:8181
    kubernetes {
        kubeconfig {$KUBECONFIG}
        ttl 5
    }
}
. {
    bind {$BIND}
    errors
    template ANY ANY {
        rcode NXDOMAIN
    }
}
"""


@dataclass(frozen=True)
class Component:
    """A process of the node: its name (also of its log), its command line, what is added to its environment."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]


def components(python: str) -> list[Component]:
    """Every process of the node, in the order of their start; `python` runs the provisioner."""
    kubeconfig = str(CONFIG / "admin.kubeconfig")
    manager = program(KUBERNETES, "kube-controller-manager")
    return [
        Component("etcd", _argv("etcd", _etcd_flags()), {}),
        Component("containerd", ("containerd", "--config", str(CONFIG / "containerd.toml")), {}),
        Component("apiserver", _argv(program(KUBERNETES, "kube-apiserver"), _apiserver_flags()), {}),
        Component("controller-manager", _argv(manager, _controller_manager_flags()), {}),
        Component("scheduler", _argv(program(KUBERNETES, "kube-scheduler"), _scheduler_flags()), {}),
        Component("kubelet", _argv(program(KUBERNETES, "kubelet"), _kubelet_flags()), {}),
        Component("proxy", (str(program(KUBERNETES, "kube-proxy")), f"--config={CONFIG / 'kube-proxy.yaml'}"), {}),
        Component(
            "dns",
            (str(program(DNS, "coredns")), "-conf", str(CONFIG / "Corefile")),
            {"BIND": NODE_ADDRESS, "KUBECONFIG": kubeconfig},
        ),
        Component("provisioner", (python, "-m", "tests.cluster.provisioner"), {"KUBECONFIG": kubeconfig}),
    ]


def write_configuration() -> None:
    """Write the configuration files that the command lines name."""
    cni = CONFIG / "cni"
    cni.mkdir(parents=True, exist_ok=True)
    (cni / "10-ilab.conflist").write_text(json.dumps(_cni()))
    (CONFIG / "containerd.toml").write_text(_toml(_containerd()))
    (CONFIG / "kubelet.yaml").write_text(yaml.safe_dump(_kubelet()))
    (CONFIG / "kube-proxy.yaml").write_text(yaml.safe_dump(_proxy()))
    (CONFIG / "Corefile").write_text(COREFILE)


def _argv(binary: str | Path, flags: Mapping[str, object]) -> tuple[str, ...]:
    return (str(binary), *(f"--{name}={value}" for name, value in flags.items()))


def _etcd_flags() -> dict[str, object]:
    # Loopback is the node's own.
    return {"data-dir": STATE / "etcd", "log-level": "warn", "logger": "zap"}


def _apiserver_flags() -> dict[str, object]:
    return {
        "etcd-servers": "http://127.0.0.1:2379",
        "bind-address": NODE_ADDRESS,
        "advertise-address": NODE_ADDRESS,
        "secure-port": 6443,
        "cert-dir": STATE / "apiserver",
        "tls-cert-file": CONFIG / "apiserver.crt",
        "tls-private-key-file": CONFIG / "apiserver.key",
        "client-ca-file": CONFIG / "ca.crt",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
        "service-cluster-ip-range": SERVICE_RANGE,
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": CONFIG / "service-accounts.pub",
        "service-account-signing-key-file": CONFIG / "service-accounts.key",
        "kubelet-certificate-authority": CONFIG / "ca.crt",
        "kubelet-client-certificate": CONFIG / "admin.crt",
        "kubelet-client-key": CONFIG / "admin.key",
        "kubelet-preferred-address-types": "InternalIP",
    }


def _controller_manager_flags() -> dict[str, object]:
    return {
        "kubeconfig": CONFIG / "kube-controller-manager.kubeconfig",
        "bind-address": "127.0.0.1",
        "cert-dir": STATE / "controller-manager",
        "leader-elect": "false",
        "flex-volume-plugin-dir": STATE / "volume-plugins",
        "root-ca-file": CONFIG / "ca.crt",
        "service-account-private-key-file": CONFIG / "service-accounts.key",
        "use-service-account-credentials": "true",
    }


def _scheduler_flags() -> dict[str, object]:
    return {
        "kubeconfig": CONFIG / "kube-scheduler.kubeconfig",
        "bind-address": "127.0.0.1",
        "cert-dir": STATE / "scheduler",
        "leader-elect": "false",
    }


def _kubelet_flags() -> dict[str, object]:
    return {
        "config": CONFIG / "kubelet.yaml",
        "kubeconfig": CONFIG / "kubelet.kubeconfig",
        "hostname-override": NODE,
        "node-ip": NODE_ADDRESS,
        "root-dir": STATE / "kubelet",
        "cert-dir": STATE / "kubelet" / "pki",
    }


def _kubelet() -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(CONFIG / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(CONFIG / "kubelet.crt"),
        "tlsPrivateKeyFile": str(CONFIG / "kubelet.key"),
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        # Machines with cgroups of both versions, and without CAP_SYS_RESOURCE.
        "failCgroupV1": False,
        "oomScoreAdj": 0,
        "failSwapOn": False,
        "clusterDNS": [NODE_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        # When a changed Secret reaches its pods: the training operator waits for its certificate.
        "syncFrequency": "3s",
        "podLogsDir": str(STATE / "pods"),
        "volumePluginDir": str(STATE / "volume-plugins"),
        # A full disk of the machine is not the tests' concern.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }


def _containerd() -> dict[str, Any]:
    runc = {"runtime_type": "io.containerd.runc.v2", "options": {"BinaryName": "runc", "SystemdCgroup": False}}
    return {
        "version": 2,
        "root": str(STATE / "containerd"),
        "state": "/run/containerd",
        "oom_score": 0,
        "grpc": {"address": str(CONTAINERD_SOCKET)},
        "plugins": {
            "io.containerd.internal.v1.opt": {"path": str(STATE / "opt")},
            "io.containerd.grpc.v1.cri": {
                "sandbox_image": BASE_IMAGE,
                "restrict_oom_score_adj": True,
                "stream_server_address": "127.0.0.1",
                "cni": {"bin_dir": "/usr/lib/cni", "conf_dir": str(CONFIG / "cni")},
                "containerd": {"default_runtime_name": "runc", "runtimes": {"runc": runc}},
            },
        },
    }


def _cni() -> dict[str, Any]:
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": "/var/lib/cni/networks",
            "ranges": [[{"subnet": POD_RANGE}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return {"cniVersion": "1.0.0", "name": "ilab", "plugins": [bridge]}


def _proxy() -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(CONFIG / "kube-proxy.kubeconfig")},
        "hostnameOverride": NODE,
        "mode": "iptables",
        "clusterCIDR": POD_RANGE,
        "detectLocalMode": "ClusterCIDR",
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        # Without br_netfilter, answers between pods of one bridge come back only when the node asks for them.
        "iptables": {"masqueradeAll": True, "minSyncPeriod": "100ms"},
        # These settings belong to the machine, not to a network namespace.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def _toml(tables: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """TOML of nested tables whose values are strings, booleans, numbers: JSON writes those alike."""
    values = [f"{key} = {json.dumps(value)}\n" for key, value in tables.items() if not isinstance(value, dict)]
    header = f"[{'.'.join(json.dumps(part) for part in path)}]\n" if path else ""
    inner = [_toml(value, (*path, key)) for key, value in tables.items() if isinstance(value, dict)]
    return header + "".join(values) + "".join(inner)

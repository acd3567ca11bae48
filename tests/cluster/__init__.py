"""A disposable Kubernetes of one node for the tests: real etcd, API server, kubelet, containerd, training operator.

`make cluster` starts it, `make cluster-down` ends it. With ILAB_TEST_KUBECONFIG set, that cluster is used instead
(it needs the training operator and a ReadWriteMany class: `ilab-rwx`, or the one named in ILAB_TEST_STORAGE_CLASS).

The node is one process tree in PID, network and mount namespaces of its own. When its first process ends, the kernel
ends and unmounts the rest; outside there are only a network link, a cgroup and a folder of state, see settings.py.

    settings.py, packages.py, programs.py, image.py    what it is made of, and where from
    certificates.py, components.py                     configuration of its parts
    node.py, supervisor.py                             the process tree, from outside and from inside
    training_operator.py, mounts.py, provisioner.py    what runs in it: operator, Python for pods, shared volumes
    lifecycle.py                                       up, down, what is wrong
    cluster.py, pods.py, conftest.py                   what tests use
    scenario.py, recorder.py                           servers, Secrets and overlay around a run; what was seen of it
    lab.py, pipelines.py, runs.py, proxy.py            small pipelines, on a cluster that fails on demand

Pods reach this machine at `host_address()`, and a server on its loopback by `forward(port)`. They reach nothing else:
the cluster is as disconnected as one behind a closed door.
"""

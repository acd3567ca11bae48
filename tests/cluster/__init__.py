"""A disposable Kubernetes of one node for the tests: real etcd, API server, kubelet, containerd,
training operator, Kubeflow Trainer; Kueue if it is asked for.

`make cluster` starts it, `make cluster-down` ends it. Another (kind, minikube, OpenShift Local) is used instead with

    ILAB_TEST_KUBECONFIG      its administrator's kubeconfig; it needs the training operator and kubectl beside it,
                              and Kubeflow Trainer for the tests of TrainJobs
    ILAB_TEST_STORAGE_CLASS   its ReadWriteMany class, if that is not called `ilab-rwx`
    ILAB_TEST_POD_OVERLAY     a file for `--pod-overlay`, if its pods need one: pull secrets, a proxy
    ILAB_TEST_HOST_ADDRESS    this machine's address as its pods see it, such as the gateway of kind's network

Two more choose what our own cluster has:

    ILAB_TEST_TRAINER         the version of Kubeflow Trainer: 2.1 (default) or 2.3
    ILAB_TEST_KUEUE           1: Kueue 0.17 too, with Trainer 2.3, and the test of it; it is built once

What it can't do (restart its API server, show a volume's files to this machine) skips the tests that need it.

The node is one process tree in PID, network and mount namespaces of its own. When its first process ends, the kernel
ends and unmounts the rest; outside there are only a network link, a cgroup and a folder of state, see settings.py.

    settings.py, packages.py, programs.py, image.py    what it is made of, and where from
    certificates.py, components.py                     configuration of its parts
    node.py, supervisor.py                             the process tree, from outside and from inside
    training_operator.py, trainer.py, kueue.py         what runs in it: the operators of PyTorchJobs and TrainJobs, a
    mounts.py, provisioner.py                          queue, Python for pods, shared volumes
    lifecycle.py                                       up, down, what is wrong
    cluster.py, pods.py, processes.py, conftest.py     what tests use
    scenario.py, recorder.py                           servers, Secrets and overlay around a run; what was seen of it
    lab.py, pipelines.py, runs.py, proxy.py            small pipelines, on a cluster that fails on demand

Pods reach this machine at `host_address()`, and a server on its loopback by `forward(port)`. They reach nothing else:
the cluster is as disconnected as one behind a closed door.
"""

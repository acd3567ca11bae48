"""utils/cluster against the real API server: what its answers, pods and events look like, and what a restart does."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.node import wait_for
from tests.cluster.pods import claim, pod, pod_spec
from tests.cluster.settings import GPU, PATIENCE
from utils.cluster.cluster import Cluster as Client
from utils.cluster.cluster import Patience
from utils.cluster.connection import connect
from utils.cluster.errors import ClusterError, ConflictError, ForbiddenError, GoneError
from utils.cluster.kinds import CONFIG_MAP, JOB, POD, PYTORCH_JOB, RESOURCE_QUOTA, SECRET
from utils.cluster.logs import follow_log, tail_log
from utils.cluster.objects import create_once, create_or_attach, delete, events_of, get, list_objects, patch, wait_gone
from utils.cluster.pods import PodState, job_pending_reason, pod_state
from utils.cluster.rbac import role
from utils.cluster.watch import _window, watch
from utils.names import HASH_LABEL

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def here(cluster: Cluster, namespace: str) -> Client:
    """The client, as the cluster's administrator."""
    return connect(namespace, str(cluster.kubeconfig))


def job(name: str, *command: str, hash_: str = "h1", **container: Any) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod_spec(*command, **container)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": {**labels, HASH_LABEL: hash_}},
        "spec": {"backoffLimit": 0, "template": template},
    }


def python(script: str) -> tuple[str, str, str]:
    return "python3", "-c", script


def state_of(here: Client, name: str) -> PodState:
    found = get(here, POD, name)
    assert found is not None
    return pod_state(found, events_of(here, POD, name))


def eventually(what: str, found: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """The first true value."""
    seen: list[Any] = []

    def look() -> bool:
        seen.append(found())
        return bool(seen[-1])

    wait_for(what, look, seconds)
    return seen[-1]


def has_ended(here: Client, name: str) -> bool:
    return state_of(here, name).phase in ("Succeeded", "Failed")


def pod_of(here: Client, name: str) -> str:
    """The name of a Job's pod."""
    pods = eventually(f"a pod of {name}", lambda: list_objects(here, POD, f"app={name}"))
    return pods[0]["metadata"]["name"]


@pytest.mark.parametrize(
    ("name", "container", "reason"),
    [
        ("no-gpu", {"resources": {"limits": {GPU: "1000"}}}, "unschedulable: 0/1 nodes are available"),
        ("no-image", {"image": "registry.invalid/none:1"}, "image pull: Failed to pull image"),
        (
            "no-key",
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "half", "key": "missing"}}}]},
            "container: CreateContainerConfigError: couldn't find key missing in Secret",
        ),
    ],
)
def test_reason_of_a_pending_pod_is_reported(here: Client, name: str, container: dict[str, Any], reason: str) -> None:
    if name == "no-key":
        create_once(here, {"kind": "Secret", "metadata": {"name": "half"}, "stringData": {"other": "x"}})
    create_once(here, pod(here.namespace, name, pod_spec("true", **container)))
    eventually(f"the reason of {name}", lambda: state_of(here, name).pending_reason.startswith(reason))
    assert not state_of(here, name).started
    delete(here, POD, name)


def test_missing_volume_of_a_pod_is_reported(here: Client) -> None:
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "no-such-claim"}}
    spec = {**pod_spec("true"), "volumes": [volume]}
    create_once(here, pod(here.namespace, "no-claim", spec))
    eventually("the reason", lambda: "volume: " in state_of(here, "no-claim").pending_reason)
    unbound = claim(here.namespace, "unbound", "no-such-class")
    create_once(here, unbound)
    volume["persistentVolumeClaim"] = {"claimName": "unbound"}
    create_once(here, pod(here.namespace, "unbound", spec))
    eventually("the reason", lambda: "volume: " in state_of(here, "unbound").pending_reason)
    for name in ("no-claim", "unbound"):
        delete(here, POD, name)


def test_reason_why_a_job_has_no_pod_is_reported(here: Client) -> None:
    def reason(name: str) -> str:
        found = get(here, JOB, name)
        assert found is not None
        return job_pending_reason(found, events_of(here, JOB, name))

    quota = {"kind": "ResourceQuota", "metadata": {"name": "gpus"}, "spec": {"hard": {f"requests.{GPU}": "1"}}}
    create_once(here, quota)
    eventually("the quota", lambda: (get(here, RESOURCE_QUOTA, "gpus") or {}).get("status"))
    create_once(here, job("over-quota", "true", resources={"limits": {GPU: "2"}}))
    assert "exceeded quota: gpus" in eventually("the reason", lambda: reason("over-quota"))
    assert reason("over-quota").startswith("quota: ")
    delete(here, RESOURCE_QUOTA, "gpus")
    unsafe = job("unsafe", "true", securityContext={"allowPrivilegeEscalation": True})
    create_once(here, unsafe)
    assert "violates PodSecurity" in eventually("the reason", lambda: reason("unsafe"))
    for name in ("over-quota", "unsafe"):
        delete(here, JOB, name)


def test_message_and_failure_come_from_the_pods_status(here: Client) -> None:
    good = python("open('/dev/termination-log', 'w').write('{\"a\": 1}')")
    bad = python("print('one'); print('two'); raise SystemExit(3)")
    for name, command in (("good", good), ("bad", bad)):
        create_once(here, pod(here.namespace, name, pod_spec(*command)))
    for name in ("good", "bad"):
        eventually(f"the end of {name}", partial(has_ended, here, name))
    assert state_of(here, "good").message == '{"a": 1}'
    failed = state_of(here, "bad")
    assert (failed.container, failed.exit_code) == ("main", 3)
    assert failed.failure == "container main ended with exit code 3"
    assert tail_log(here, "bad", "main", 1) == ["two"]
    assert list(follow_log(here, "bad")) == ["one", "two"]


def test_evicted_pod_counts_as_disrupted(cluster: Cluster, here: Client) -> None:
    made = job("evicted", *python("import time; time.sleep(600)"))
    made["spec"]["podFailurePolicy"] = {
        "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
    }
    made["spec"]["podReplacementPolicy"] = "Failed"
    create_once(here, made)
    name = pod_of(here, "evicted")
    eventually("its start", lambda: state_of(here, name).started)
    eviction = f'{{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {{"name": "{name}"}}}}'
    cluster.kubectl(
        "create", "--raw", f"/api/v1/namespaces/{here.namespace}/pods/{name}/eviction", "-f", "-", text_in=eviction
    )
    seen: list[tuple[bool, bool]] = []
    for change, found in watch(here, POD, "app=evicted", stop=lambda: len(seen) > 1):
        if change != "SYNC" and (found["metadata"]["name"] != name or pod_state(found).disrupted):
            seen.append((found["metadata"]["name"] == name, pod_state(found).disrupted))
    assert seen[0] == (True, True)
    eventually("its replacement", lambda: pod_of(here, "evicted") != name)
    delete(here, JOB, "evicted")
    assert wait_gone(here, JOB, "evicted", PATIENCE)
    assert list_objects(here, POD, "app=evicted") == []


def test_existing_job_with_the_same_hash_is_reattached(here: Client) -> None:
    """The cluster fills in defaults and writes quantities its own way; that makes no other Job."""
    amounts = {"limits": {"cpu": "1000m", "memory": "1024Mi"}}
    made = job("same", "true", resources=amounts)
    assert create_or_attach(here, made)[1]
    found, new = create_or_attach(here, made)
    assert not new
    assert found["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "1"
    with pytest.raises(ConflictError) as caught:
        create_or_attach(here, job("same", "false", hash_="h2"))
    assert "spec.template.spec.containers[main].command[0]: true, wanted false" in caught.value.cause
    delete(here, JOB, "same")
    # Foreground deletion takes a moment: the next one of the name waits for it.
    assert create_or_attach(here, job("same", "false", hash_="h2"))[1]
    delete(here, JOB, "same")


def test_deleting_the_run_object_deletes_what_it_owns(here: Client) -> None:
    owner = create_once(here, {"kind": "ConfigMap", "metadata": {"name": "ilab-r1"}, "data": {"a": "1", "b": "2"}})
    changed = patch(here, CONFIG_MAP, "ilab-r1", {"data": {"a": "3", "b": None}})
    assert changed["data"] == {"a": "3"}
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "ilab-r1", "uid": owner["metadata"]["uid"]}
    owned = job("owned", *python("import time; time.sleep(600)"))
    owned["metadata"]["ownerReferences"] = [reference]
    create_once(here, owned)
    name = pod_of(here, "owned")
    delete(here, CONFIG_MAP, "ilab-r1")
    assert wait_gone(here, JOB, "owned", PATIENCE)
    assert wait_gone(here, POD, name, PATIENCE)


@pytest.fixture(scope="module")
def account(cluster: Cluster, here: Client) -> Client:
    """The client with the rights of the Role, no others."""
    for manifest in role(here.namespace, secret_names=["may-read"]):
        create_once(here, manifest)
    token = cluster.kubectl("create", "token", "ilab-pipeline", "-n", here.namespace).strip()
    as_account = connect(here.namespace, str(cluster.kubeconfig))
    configuration = as_account.api.configuration
    configuration.api_key["authorization"] = f"Bearer {token}"
    configuration.cert_file = configuration.key_file = None
    return replace(as_account, api=type(as_account.api)(configuration), account="ilab-pipeline")


def test_missing_right_names_verb_resource_and_role(account: Client) -> None:
    assert get(account, SECRET, "may-read") is None
    assert list_objects(account, PYTORCH_JOB) == []
    for verb, resource, call in (
        ("get", "secrets", lambda: get(account, SECRET, "may-not-read")),
        ("list", "secrets", lambda: list_objects(account, SECRET)),
        ("create", "secrets", lambda: create_once(account, {"kind": "Secret", "metadata": {"name": "x"}})),
        ("patch", "pods", lambda: patch(account, POD, "x", {})),
        ("patch", "jobs.batch", lambda: patch(account, JOB, "x", {})),
    ):
        with pytest.raises(ForbiddenError, match=f"no right to {verb} {resource} in the namespace"):
            call()


def test_unknown_kind_and_unknown_namespace_are_distinguished(here: Client) -> None:
    assert get(here, JOB, "none") is None
    with pytest.raises(ClusterError, match='namespaces "nowhere" not found') as caught:
        create_once(replace(here, namespace="nowhere"), job("x", "true"))
    assert "kubectl create namespace nowhere" in caught.value.remedy


def test_expired_watch_is_restarted(here: Client) -> None:
    """A version before the oldest that etcd keeps, as after a compaction."""
    with pytest.raises(GoneError):
        list(_window(here, POD, {}, "1", Patience(here, "watch", "pods")))


TICKS = 60
TICKER = f"""
import time
for i in range({TICKS}):
    print('line', i, flush=True)
    time.sleep(0.25)
"""


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_watch_and_log_survive_a_restart_of_the_api_server(cluster: Cluster, account: Client, end: str) -> None:
    """With the Role's rights: a server that has just started denies them for a moment."""
    if not cluster.owned:
        pytest.skip("ILAB_TEST_KUBECONFIG names another cluster")
    name = f"ticker-{end}"
    told: list[str] = []
    account = replace(account, notify=told.append)
    create_once(account, job(name, *python(TICKER)))
    changes: list[tuple[str, str]] = []
    stopped = threading.Event()

    def look() -> None:
        for change, found in watch(account, POD, f"app={name}", stop=stopped.is_set):
            if change != "SYNC":
                changes.append((found["metadata"]["resourceVersion"], found["status"]["phase"]))

    looking = threading.Thread(target=look)
    looking.start()
    lines: list[str] = []
    for line in follow_log(account, pod_of(account, name)):
        lines.append(line)
        if len(lines) == 10:
            {"stop": cluster.stop, "kill": cluster.kill}[end]("apiserver")
            threading.Timer(3, cluster.start, ["apiserver"]).start()
    assert lines == [f"line {i}" for i in range(TICKS)]
    eventually("the end in the watch", lambda: changes and changes[-1][1] == "Succeeded")
    stopped.set()
    looking.join()
    assert len(set(changes)) == len(changes)
    assert told[-1] == "the API server is back"
    cluster.wait_until_ready()


def test_denials_from_a_starting_api_server_are_retried(cluster: Cluster, account: Client) -> None:
    """Requests without pause through a restart: none is refused."""
    if not cluster.owned:
        pytest.skip("ILAB_TEST_KUBECONFIG names another cluster")
    restarted = threading.Event()

    def restart() -> None:
        cluster.restart_apiserver()
        restarted.set()

    list_objects(account, JOB)
    threading.Thread(target=restart).start()
    impatient = replace(account, sleep=lambda seconds: time.sleep(min(seconds, 0.01)))
    while not restarted.is_set():
        assert list_objects(impatient, JOB) is not None
        assert list_objects(impatient, PYTORCH_JOB) == []

"""What a run asks of the Kubernetes API, and whether the account it runs under may do all that."""

from dataclasses import dataclass, replace

from utils.cluster.client import Client, pod_client
from utils.cluster.errors import ClusterError
from utils.cluster.kinds import ACCESS_REVIEW, EVENT, POD, PYTORCH_JOB, SELF_REVIEW, VOLUME_CLAIM, Kind
from utils.stages.cluster import stage_cluster
from utils.stages.prerequisites.findings import WARNING, Finding


@dataclass(frozen=True)
class Right:
    """Verbs on a kind of object.

    Attributes:
        loss: what a run does without when it lacks the verbs; "" when it can't do without them.
        part: a subresource, like log; "" for the object.
    """

    kind: Kind
    verbs: list[str]
    loss: str = ""
    part: str = ""


def rights_of_run(launcher: str) -> list[Right]:
    """All that a run's tasks do in the cluster.

    Storage classes and queues are not here: the checks of these read them, and say so where they may not. Whoever lets
    a task ask for more adds it here, to the Role in utils/cluster/rbac.py and, where OpenShift AI's own Role for runs
    lacks it, to manifests/openshift.
    """
    trains = launcher == "pytorchjob"
    rights = [
        # The run's volume: create volume, report (which notes there how the run ended), clean up.
        Right(VOLUME_CLAIM, ["create", "get", "delete"]),
        Right(VOLUME_CLAIM, ["patch"], "k8s_keep_volume=on_failure keeps the volume after success as well"),
        # Train creates and follows them. Clean up looks for those that are left, also where none was made.
        Right(PYTORCH_JOB, ["create", "get", "list", "delete"] if trains else ["list"]),
        Right(POD, ["get", "list"], "what the run makes has no owner, and waiting training pods are not explained"),
        Right(POD, ["delete"], "a deleted volume stays as long as finished pods that mount it"),
        Right(EVENT, ["list"], "why a volume or a training pod does not start is not shown"),
    ]
    logs = Right(POD, ["get"], "the last lines of a failed training pod are not shown", "log")
    return [*rights, logs] if trains else rights


def missing_rights(launcher: str) -> list[Finding]:
    """Findings for what the pod's account may not do that later tasks do, each with the one command that grants it.

    Raises:
        SystemExit: there is no cluster to ask, or it stayed away.
    """
    found = []
    with stage_cluster() as cluster:
        try:
            for right in rights_of_run(launcher):
                denied = replace(right, verbs=[verb for verb in right.verbs if not may(cluster, right, verb)])
                if denied.verbs:
                    who = f"the pod's ServiceAccount {account_name(cluster)}".strip()
                    what = f"{who} may not {', '.join(denied.verbs)} {resource_of(right)} in {cluster.namespace}"
                    remedy, loss = grant_command(cluster, denied), right.loss
                    found.append(Finding(f"{what}: {loss}", remedy, WARNING) if loss else Finding(what, remedy))
        except ClusterError as error:
            if not error.status:
                raise
            print(f"rights can't be checked: {error.what}", flush=True)
    return found


def resource_of(right: Right) -> str:
    """As in a Role's rule, without the group: pods/log."""
    return f"{right.kind.plural}/{right.part}".rstrip("/")


def may(cluster: Client, right: Right, verb: str) -> bool:
    """Whether the account in use may do this in the namespace."""
    resource, _, group = right.kind.resource.partition(".")
    place = {"namespace": cluster.namespace, "group": group, "resource": resource, "subresource": right.part}
    asked = {**place, "verb": verb}
    review = cluster.request("create", ACCESS_REVIEW, body={"spec": {"resourceAttributes": asked}})
    return bool(review["status"]["allowed"])


def account_name(cluster: Client) -> str:
    """The name of the service account in use, "" for another kind of user or where the cluster does not tell."""
    try:
        user = cluster.request("create", SELF_REVIEW, body={"metadata": {}})["status"]["userInfo"]["username"]
    except ClusterError:
        return ""
    return str(user).rpartition(":")[2] if user.startswith("system:serviceaccount:") else ""


def grant_command(cluster: Client, right: Right) -> str:
    """What someone who may give rights runs: the folder of manifests/ for everything, or one line for these verbs."""
    namespace, account = cluster.namespace, account_name(cluster) or "ACCOUNT"
    openshift = account.startswith("pipeline-runner-")
    tool, folder = ("oc", "openshift") if openshift else ("kubectl", "access")
    name = f"ilab-{resource_of(right).replace('/', '-')}-{'-'.join(right.verbs)}"
    what = f"{right.kind.resource}/{right.part}".rstrip("/")
    role = f"create role {name} --verb={','.join(right.verbs)} --resource={what}"
    binding = f"create rolebinding {name}-{account} --role={name} --serviceaccount={namespace}:{account}"
    line = f"{tool} -n {namespace} {role}; {tool} -n {namespace} {binding}"
    return f"{tool} apply -k manifests/{folder} grants all that runs need; this alone: {line}"


def training_operator() -> list[Finding]:
    """Whether the cluster serves PyTorchJobs. Every account may ask that, also one that may not use them.

    Raises:
        SystemExit: the API server stayed away.
    """
    try:
        pod_client()
    except ClusterError:
        remedy = "-p train_launcher=process trains on this machine"
        return [Finding("train_launcher pytorchjob needs a cluster", remedy)]
    with stage_cluster() as cluster:
        try:
            served = cluster.request("get", Kind("APIResourceList", "kubeflow.org/v1", "/apis", False))
            if any(resource["name"] == "pytorchjobs" for resource in served["resources"]):
                return []
        except ClusterError as error:
            if not error.status:
                raise
            if error.status != 404:
                print(f"whether there are PyTorchJobs is unknown: {error.what}", flush=True)
                return []
    managed = '{"spec":{"components":{"trainingoperator":{"managementState":"Managed"}}}}'
    remedy = f"install the Kubeflow training operator (OpenShift AI up to 3.5: oc patch datasciencecluster default-dsc \
--type=merge -p '{managed}')"
    return [Finding("the cluster has no PyTorchJobs (pytorchjobs.kubeflow.org)", remedy)]

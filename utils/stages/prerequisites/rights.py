"""What a run asks of the Kubernetes API, and whether the account it runs under may do all that."""

from dataclasses import dataclass, replace

from utils.cluster.client import Client, pod_client
from utils.cluster.errors import ClusterError
from utils.cluster.kinds import EVENT, POD, SELF_REVIEW, VOLUME_CLAIM, Kind
from utils.stages.cluster import may, stage_cluster
from utils.stages.prerequisites.findings import WARNING, Finding
from utils.stages.train.choice import KINDS_OF, VERBS, Choice, served


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


def _operator(name: str, releases: str, component: str) -> str:
    """How to install an operator."""
    managed = f'{{"spec":{{"components":{{"{component}":{{"managementState":"Managed"}}}}}}}}'
    patch = f"oc patch datasciencecluster default-dsc --type=merge -p '{managed}'"
    return f"install {name} (OpenShift AI {releases}: {patch})"


OPERATORS = {
    "trainjob": _operator("Kubeflow Trainer", "from 3.2", "trainer"),
    "pytorchjob": _operator("the Kubeflow training operator", "up to 3.5", "trainingoperator"),
}
"""What to do where a launcher's kind is not served."""


def rights_of_run(launcher: str) -> list[Right]:
    """All that a run's tasks do in the cluster.

    Storage classes and queues are not here: the checks of these read them, and say so where they may not. Whoever lets
    a task ask for more adds it here, to the Role in utils/cluster/rbac.py and, where OpenShift AI's own Role for runs
    lacks it, to manifests/openshift.
    """
    own = KINDS_OF.get(launcher, ())
    rights = [
        # The run's volume: create volume, report (which notes there how the run ended), clean up.
        Right(VOLUME_CLAIM, ["create", "get", "delete"]),
        Right(VOLUME_CLAIM, ["patch"], "k8s_keep_volume=on_failure keeps the volume after success as well"),
        # Train creates and follows them, clean up deletes them.
        *(Right(kind, list(VERBS)) for kind in own),
        Right(POD, ["get", "list"], "what the run makes has no owner, and waiting training pods are not explained"),
        Right(POD, ["delete"], "a deleted volume stays as long as finished pods that mount it"),
        Right(EVENT, ["list"], "why a volume or a training pod does not start is not shown"),
    ]
    logs = Right(POD, ["get"], "the last lines of a failed training pod are not shown", "log")
    return [*rights, logs] if own else rights


def missing_rights(launcher: str) -> list[Finding]:
    """Findings for what the pod's account may not do that later tasks do, each with the one command that grants it.

    Raises:
        SystemExit: there is no cluster to ask, or it stayed away.
    """
    found = []
    with stage_cluster() as cluster:
        try:
            for right in rights_of_run(launcher):
                denied = replace(
                    right, verbs=[verb for verb in right.verbs if not may(cluster, right.kind, verb, right.part)]
                )
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


def account_name(cluster: Client) -> str:
    """The name of the service account in use, "" for another kind of user or where the cluster does not tell."""
    try:
        user = cluster.request("create", SELF_REVIEW, body={"metadata": {}})["status"]["userInfo"]["username"]
    except ClusterError:
        return ""
    return str(user).rpartition(":")[2] if user.startswith("system:serviceaccount:") else ""


def grant_command(cluster: Client, right: Right, account: str = "") -> str:
    """What someone who may give rights runs: the folder of manifests/ for everything, or one line for these verbs.

    Args:
        account: the service account; "" for the one in use.
    """
    namespace, account = cluster.namespace, account or account_name(cluster) or "ACCOUNT"
    openshift = account.startswith("pipeline-runner-")
    tool, folder = ("oc", "openshift") if openshift else ("kubectl", "access")
    name = f"ilab-{resource_of(right).replace('/', '-')}-{'-'.join(right.verbs)}"
    what = f"{right.kind.resource}/{right.part}".rstrip("/")
    role = f"create role {name} --verb={','.join(right.verbs)} --resource={what}"
    binding = f"create rolebinding {name}-{account} --role={name} --serviceaccount={namespace}:{account}"
    line = f"{tool} -n {namespace} {role}; {tool} -n {namespace} {binding}"
    return f"{tool} apply -k manifests/{folder} grants all that runs need; this alone: {line}"


def check_launcher(choice: Choice) -> list[Finding]:
    """Whether the cluster serves what the launcher creates.

    Raises:
        SystemExit: the API server stayed away.
    """
    kinds = KINDS_OF.get(choice.launcher, ())
    if not kinds:
        return []
    try:
        pod_client()
    except ClusterError:
        remedy = "-p train_launcher=process trains on this machine"
        return [Finding(f"train_launcher {choice.launcher} needs a cluster", remedy)]
    kind = kinds[0]
    with stage_cluster() as cluster:
        try:
            if served(cluster, kind):
                return []
        except ClusterError as error:
            if not error.status:
                raise
            print(f"whether there are {kind.name}s is unknown: {error.what}", flush=True)
            return []
    return [Finding(f"the cluster has no {kind.name}s ({kind.resource})", OPERATORS[choice.launcher])]

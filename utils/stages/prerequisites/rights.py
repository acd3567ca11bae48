"""What a run asks of the Kubernetes API, and whether the account it runs under may do all that."""

from utils.stages.prerequisites.findings import WARNING, Finding
from utils.stages.volume.claims import kube_call, kube_namespace


def rights_of_run(launcher: str) -> list[tuple[str, str, list[str], str]]:
    """All that a run's tasks do in the cluster: (API group, resource, verbs, loss).

    `loss` is what a run does without when it lacks the verbs; "" when it can't do without them. Storage classes and
    queues are not here: the checks of these read them, and say so where they may not. Whoever lets a task ask for more
    adds it here, to the Role in utils/cluster/rbac.py and, where OpenShift AI's own Role for runs lacks it, to
    manifests/openshift.
    """
    trains = launcher == "pytorchjob"
    rights = [
        # The run's volume: create volume, report (which notes there how the run ended), clean up.
        ("", "persistentvolumeclaims", ["create", "get", "delete"], ""),
        ("", "persistentvolumeclaims", ["patch"], "k8s_keep_volume=on_failure keeps the volume after success as well"),
        # Train creates and follows them. Clean up looks for those that are left, also where none was made.
        ("kubeflow.org", "pytorchjobs", ["create", "get", "list", "delete"] if trains else ["list"], ""),
        ("", "pods", ["get", "list"], "what the run makes has no owner, and waiting training pods are not explained"),
        ("", "pods", ["delete"], "a deleted volume stays as long as finished pods that mount it"),
        ("", "events", ["list"], "why a volume or a training pod does not start is not shown"),
    ]
    logs = ("", "pods/log", ["get"], "the last lines of a failed training pod are not shown")
    return [*rights, logs] if trains else rights


def missing_rights(launcher: str) -> list[Finding]:
    """Findings for what the pod's account may not do that later tasks do, each with the one command that grants it."""
    from kubernetes import client, config

    try:
        namespace = kube_namespace()
    except config.ConfigException:
        return [Finding("the pod has no token for the Kubernetes API", "let it mount its account's token")]
    found = []
    try:
        for group, resource, verbs, loss in rights_of_run(launcher):
            denied = [verb for verb in verbs if not may(namespace, group, resource, verb)]
            if denied:
                account = account_name()
                who = f"the pod's ServiceAccount {account}".strip()
                what = f"{who} may not {', '.join(denied)} {resource} in {namespace}"
                remedy = grant_command(namespace, account or "ACCOUNT", group, resource, denied)
                found.append(Finding(f"{what}: {loss}", remedy, WARNING) if loss else Finding(what, remedy))
    except client.ApiException as error:
        print(f"rights can't be checked ({error.status} {error.reason})", flush=True)
    return found


def may(namespace: str, group: str, resource: str, verb: str) -> bool:
    """Whether the account in use may do this in the namespace."""
    from kubernetes import client

    kind, _, part = resource.partition("/")
    asked = {"namespace": namespace, "group": group, "resource": kind, "subresource": part, "verb": verb}
    review = {"spec": {"resourceAttributes": asked}}
    return kube_call(client.AuthorizationV1Api().create_self_subject_access_review, review).status.allowed


def account_name() -> str:
    """The name of the service account in use, "" for another kind of user or where the cluster does not tell."""
    from kubernetes import client

    try:
        answer = kube_call(client.AuthenticationV1Api().create_self_subject_review, {})
    except client.ApiException:
        return ""
    user = answer.status.user_info.username
    return user.rpartition(":")[2] if user.startswith("system:serviceaccount:") else ""


def grant_command(namespace: str, account: str, group: str, resource: str, verbs: list) -> str:
    """What someone who may give rights runs: the folder of manifests/ for everything, or one line for these verbs."""
    openshift = account.startswith("pipeline-runner-")
    tool, folder = ("oc", "openshift") if openshift else ("kubectl", "access")
    kind, _, part = resource.partition("/")
    kind = f"{kind}.{group}" if group else kind
    name = f"ilab-{resource.replace('/', '-')}-{'-'.join(verbs)}"
    # Storage classes belong to no namespace.
    wide, bound = ("cluster", f"{namespace}-{account}") if resource == "storageclasses" else ("", account)
    role = f"create {wide}role {name} --verb={','.join(verbs)} --resource={kind}{part and '/' + part}"
    binding = f"create {wide}rolebinding {name}-{bound} --{wide}role={name} --serviceaccount={namespace}:{account}"
    if wide:
        return f"a cluster administrator: {tool} {role}; {tool} {binding}"
    line = f"{tool} -n {namespace} {role}; {tool} -n {namespace} {binding}"
    return f"{tool} apply -k manifests/{folder} grants all that runs need; this alone: {line}"


def training_operator() -> list[Finding]:
    """Whether the cluster serves PyTorchJobs. Every account may ask that, also one that may not use them.

    Raises:
        SystemExit: the API server stayed away.
    """
    from kubernetes import client, config

    try:
        kube_namespace()
    except config.ConfigException:
        remedy = "-p train_launcher=process trains on this machine"
        return [Finding("train_launcher pytorchjob needs a cluster", remedy)]
    try:
        served = kube_call(client.CustomObjectsApi().get_api_resources, "kubeflow.org", "v1").resources
        if any(resource.name == "pytorchjobs" for resource in served):
            return []
    except client.ApiException as error:
        if error.status != 404:
            print(f"whether there are PyTorchJobs can't be asked ({error.status} {error.reason})", flush=True)
            return []
    managed = '{"spec":{"components":{"trainingoperator":{"managementState":"Managed"}}}}'
    remedy = f"install the Kubeflow training operator (OpenShift AI up to 3.5: oc patch datasciencecluster default-dsc \
--type=merge -p '{managed}')"
    return [Finding("the cluster has no PyTorchJobs (pytorchjobs.kubeflow.org)", remedy)]

"""The kinds of objects that are used, and their paths in the API."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of object. `group` is "" for the core API; `namespaced` objects are in the cluster's namespace."""

    name: str
    plural: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True

    @property
    def resource(self) -> str:
        """As in a Role's rule and `kubectl auth can-i`: `jobs.batch`, `pods`."""
        return f"{self.plural}.{self.group}".strip(".")

    def path(self, namespace: str, name: str = "") -> str:
        """URL path of one object, or of all of them when `name` is ""."""
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        place = f"/namespaces/{namespace}" if self.namespaced else ""
        return f"{base}{place}/{self.plural}/{name}".rstrip("/")


POD = Kind("Pod", "pods")
CONFIG_MAP = Kind("ConfigMap", "configmaps")
SECRET = Kind("Secret", "secrets")
VOLUME_CLAIM = Kind("PersistentVolumeClaim", "persistentvolumeclaims")
EVENT = Kind("Event", "events")
RESOURCE_QUOTA = Kind("ResourceQuota", "resourcequotas")
SERVICE_ACCOUNT = Kind("ServiceAccount", "serviceaccounts")
NAMESPACE = Kind("Namespace", "namespaces", namespaced=False)
JOB = Kind("Job", "jobs", "batch")
PYTORCH_JOB = Kind("PyTorchJob", "pytorchjobs", "kubeflow.org")
ROLE = Kind("Role", "roles", "rbac.authorization.k8s.io")
ROLE_BINDING = Kind("RoleBinding", "rolebindings", "rbac.authorization.k8s.io")
ACCESS_REVIEW = Kind("SelfSubjectAccessReview", "selfsubjectaccessreviews", "authorization.k8s.io", namespaced=False)
SELF_REVIEW = Kind("SelfSubjectReview", "selfsubjectreviews", "authentication.k8s.io", namespaced=False)
STORAGE_CLASS = Kind("StorageClass", "storageclasses", "storage.k8s.io", namespaced=False)
WORKFLOW = Kind("Workflow", "workflows", "argoproj.io", "v1alpha1")
CONSOLE_LINK = Kind("ConsoleLink", "consolelinks", "console.openshift.io", namespaced=False)
INFERENCE_SERVICE = Kind("InferenceService", "inferenceservices", "serving.kserve.io", "v1beta1")
SERVING_RUNTIME = Kind("ServingRuntime", "servingruntimes", "serving.kserve.io", "v1alpha1")

KINDS = {
    kind.name: kind
    for kind in (
        POD,
        CONFIG_MAP,
        SECRET,
        VOLUME_CLAIM,
        EVENT,
        RESOURCE_QUOTA,
        SERVICE_ACCOUNT,
        NAMESPACE,
        JOB,
        PYTORCH_JOB,
        ROLE,
        ROLE_BINDING,
        ACCESS_REVIEW,
        SELF_REVIEW,
        STORAGE_CLASS,
        WORKFLOW,
        CONSOLE_LINK,
        INFERENCE_SERVICE,
        SERVING_RUNTIME,
    )
}
"""By the kind's name in a manifest."""

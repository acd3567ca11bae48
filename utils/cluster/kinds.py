"""The kinds of objects a run deals with, and where the API keeps them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of object. `group` is "" for the core API; `namespaced` objects lie in the cluster's namespace."""

    name: str
    group: str
    version: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As in a manifest: `batch/v1`, or `v1` for the core API."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """As in a Role's rule and `kubectl auth can-i`: `jobs.batch`, `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str, name: str = "") -> str:
        """URL path of one object, or of all of them when `name` is ""."""
        base = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        parts = [base, *(["namespaces", namespace] if self.namespaced else []), self.plural, *([name] if name else [])]
        return "/".join(parts)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("Pod", "", "v1", "pods"),
        Kind("ConfigMap", "", "v1", "configmaps"),
        Kind("Secret", "", "v1", "secrets"),
        Kind("PersistentVolumeClaim", "", "v1", "persistentvolumeclaims"),
        Kind("Event", "", "v1", "events"),
        Kind("ResourceQuota", "", "v1", "resourcequotas"),
        Kind("ServiceAccount", "", "v1", "serviceaccounts"),
        Kind("Namespace", "", "v1", "namespaces", namespaced=False),
        Kind("Job", "batch", "v1", "jobs"),
        Kind("PyTorchJob", "kubeflow.org", "v1", "pytorchjobs"),
        Kind("Role", "rbac.authorization.k8s.io", "v1", "roles"),
        Kind("RoleBinding", "rbac.authorization.k8s.io", "v1", "rolebindings"),
        Kind("SelfSubjectAccessReview", "authorization.k8s.io", "v1", "selfsubjectaccessreviews", namespaced=False),
        Kind("StorageClass", "storage.k8s.io", "v1", "storageclasses", namespaced=False),
        Kind("Workflow", "argoproj.io", "v1alpha1", "workflows"),
        Kind("ConsoleLink", "console.openshift.io", "v1", "consolelinks", namespaced=False),
        Kind("InferenceService", "serving.kserve.io", "v1beta1", "inferenceservices"),
        Kind("ServingRuntime", "serving.kserve.io", "v1alpha1", "servingruntimes"),
    )
}

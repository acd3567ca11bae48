"""The kinds of objects that are used, and their paths in the API."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of object.

    Attributes:
        name: as in a manifest.
        plural: as in a path.
        base: path of its group and version.
        namespaced: its objects are in a namespace.
    """

    name: str
    plural: str
    base: str = "/api/v1"
    namespaced: bool = True

    @property
    def resource(self) -> str:
        """As in a Role's rule and `kubectl auth can-i`: `jobs.batch`, `pods`."""
        return ".".join([self.plural, *self.base.split("/")[2:-1]])

    def path(self, namespace: str, name: str = "") -> str:
        """URL path of one object, or of all of them when `name` is ""."""
        place = f"/namespaces/{namespace}" * self.namespaced
        return f"{self.base}{place}/{self.plural}/{name}".rstrip("/")


POD = Kind("Pod", "pods")
CONFIG_MAP = Kind("ConfigMap", "configmaps")
SECRET = Kind("Secret", "secrets")
VOLUME_CLAIM = Kind("PersistentVolumeClaim", "persistentvolumeclaims")
EVENT = Kind("Event", "events")
RESOURCE_QUOTA = Kind("ResourceQuota", "resourcequotas")
SERVICE_ACCOUNT = Kind("ServiceAccount", "serviceaccounts")
NAMESPACE = Kind("Namespace", "namespaces", namespaced=False)
JOB = Kind("Job", "jobs", "/apis/batch/v1")
PYTORCH_JOB = Kind("PyTorchJob", "pytorchjobs", "/apis/kubeflow.org/v1")
TRAIN_JOB = Kind("TrainJob", "trainjobs", "/apis/trainer.kubeflow.org/v1alpha1")
TRAINING_RUNTIME = Kind("TrainingRuntime", "trainingruntimes", "/apis/trainer.kubeflow.org/v1alpha1")
ROLE = Kind("Role", "roles", "/apis/rbac.authorization.k8s.io/v1")
ROLE_BINDING = Kind("RoleBinding", "rolebindings", "/apis/rbac.authorization.k8s.io/v1")
ACCESS_REVIEW = Kind("SelfSubjectAccessReview", "selfsubjectaccessreviews", "/apis/authorization.k8s.io/v1", False)
LOCAL_REVIEW = Kind("LocalSubjectAccessReview", "localsubjectaccessreviews", "/apis/authorization.k8s.io/v1")
SELF_REVIEW = Kind("SelfSubjectReview", "selfsubjectreviews", "/apis/authentication.k8s.io/v1", False)
STORAGE_CLASS = Kind("StorageClass", "storageclasses", "/apis/storage.k8s.io/v1", False)
WORKFLOW = Kind("Workflow", "workflows", "/apis/argoproj.io/v1alpha1")
CONSOLE_LINK = Kind("ConsoleLink", "consolelinks", "/apis/console.openshift.io/v1", False)
INFERENCE_SERVICE = Kind("InferenceService", "inferenceservices", "/apis/serving.kserve.io/v1beta1")
SERVING_RUNTIME = Kind("ServingRuntime", "servingruntimes", "/apis/serving.kserve.io/v1alpha1")
PIPELINE_SERVERS = tuple(
    Kind(
        "DataSciencePipelinesApplication",
        "datasciencepipelinesapplications",
        f"/apis/datasciencepipelinesapplications.opendatahub.io/{version}",
    )
    for version in ("v1", "v1alpha1")
)
"""What sets up a pipeline server in a project of OpenShift AI, the newest version first."""

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
        TRAIN_JOB,
        TRAINING_RUNTIME,
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

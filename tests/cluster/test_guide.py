"""All commands of docs/kubernetes.md but the runs themselves, which are in test_chain.py."""

import base64
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.archives import MODEL, TAXONOMY, write_files
from tests.cluster.cluster import WAITING, Cluster
from tests.cluster.guide import Guide, follow
from tests.cluster.kserve import kserve_types
from tests.cluster.node import wait_for
from utils.demo.s3_server import start_s3_server
from utils.names import OBJECT_LABEL, RUN_LABEL

FILL_IN_STORAGE = """
import json, pathlib, sys, yaml
path = pathlib.Path(sys.argv[1])
secret = yaml.safe_load(path.read_text())
connection = json.loads(secret["stringData"]["aws-connection-my-bucket"])
secret["stringData"]["aws-connection-my-bucket"] = json.dumps({**connection, "secret_access_key": "storage-value"})
path.write_text(yaml.safe_dump(secret))
"""
FILL_IN_SECRETS = """
import pathlib, sys
path = pathlib.Path(sys.argv[1])
assert path.stat().st_mode & 0o77 == 0
path.write_text(path.read_text().replace('secret_key: ""', 'secret_key: secrets-value'))
"""


@pytest.fixture(scope="module")
def guide(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guide]:
    """One who has done what stands under Project."""
    guide = follow(cluster, tmp_path_factory.mktemp("checkout"), f"guide-{uuid.uuid4().hex[:8]}")
    guide.run("test_project")
    cluster.make_namespace(guide.namespace)
    yield guide
    cluster.delete_namespace(guide.namespace)


@pytest.fixture(scope="module")
def served(guide: Guide) -> Iterator[Guide]:
    """One who has deployed teacher and judge, as far as that goes without KServe and GPUs."""
    with kserve_types(guide.cluster):
        guide.run("test_teacher_and_judge")
        yield guide


def get(guide: Guide, *words: str) -> dict[str, Any]:
    return guide.cluster.get(*words, "-n", guide.namespace)


def value(guide: Guide, secret: str, key: str) -> str:
    return base64.b64decode(get(guide, "secret", secret)["data"][key]).decode()


def claims(token: str) -> dict[str, Any]:
    """What a JSON web token says."""
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


def apply_templates(guide: Guide) -> None:
    """Empty the Secrets."""
    guide.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(guide.folder / "manifests/secrets"))


def test_cluster_has_what_is_needed(guide: Guide) -> None:
    assert guide.cluster.storage_class in guide.run("test_cluster_has_what_is_needed")


def test_project(guide: Guide) -> None:
    labels = guide.cluster.get("namespace", guide.namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    (subject,) = get(guide, "rolebinding", "ilab-pipeline")["subjects"]
    assert (subject["name"], subject["namespace"]) == ("ilab-pipeline", guide.namespace)


def test_rights(guide: Guide) -> None:
    assert guide.run("test_rights") == "yes\n"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("get secrets=judge-secret", "yes"),
        ("get secrets=other", "no"),
        ("list secrets", "no"),
        ("watch secrets", "no"),
        ("create secrets", "no"),
        ("create pods", "no"),
        ("create pods/exec", "no"),
        ("create rolebindings.rbac.authorization.k8s.io", "no"),
        ("create pytorchjobs.kubeflow.org", "yes"),
        ("create trainjobs.trainer.kubeflow.org", "yes"),
        ("create trainingruntimes.trainer.kubeflow.org", "yes"),
    ],
)
def test_the_account_may_do_what_a_run_needs_and_no_more(guide: Guide, question: str, answer: str) -> None:
    account = f"system:serviceaccount:{guide.namespace}:ilab-pipeline"
    verb, _, what = question.partition(" ")
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "LocalSubjectAccessReview",
        "metadata": {"namespace": guide.namespace},
        "spec": {"user": account, "resourceAttributes": attributes(verb, what, guide.namespace)},
    }
    said = guide.cluster.kubectl("create", "-o", "json", "-f", "-", text_in=yaml.safe_dump(review))
    assert json.loads(said)["status"]["allowed"] is (answer == "yes")


def attributes(verb: str, what: str, namespace: str) -> dict[str, str]:
    """What a review asks: `what` is RESOURCE.GROUP, with /SUBRESOURCE or =NAME behind it."""
    what, _, name = what.partition("=")
    what, _, subresource = what.partition("/")
    resource, _, group = what.partition(".")
    found = {"verb": verb, "resource": resource, "group": group, "subresource": subresource, "name": name}
    return {"namespace": namespace} | {key: value for key, value in found.items() if value}


def test_nfs_is_accepted(guide: Guide) -> None:
    if not guide.cluster.owned:
        pytest.skip("it would change a cluster that is not ours")
    try:
        assert "deployment.apps/nfs-server created" in guide.run("test_nfs_is_accepted")
        (container,) = guide.cluster.get("deployment", "nfs-server", "-n", "nfs")["spec"]["template"]["spec"][
            "containers"
        ]
        assert container["securityContext"] == {"privileged": True}
        assert guide.cluster.get("storageclass", "nfs-csi")["mountOptions"] == ["nfsvers=4.1"]
    finally:
        guide.cluster.kubectl("delete", "-k", str(guide.folder / "manifests/nfs"), WAITING)


def test_upload(guide: Guide) -> None:
    write_files(
        guide.folder / "granite-7b-starter", {name.removeprefix("model/"): text for name, text in MODEL.items()}
    )
    (guide.folder / "taxonomy").mkdir()
    write_files(guide.folder / "taxonomy", {name.removeprefix("taxonomy/"): text for name, text in TAXONOMY.items()})
    server = start_s3_server(guide.folder / "s3", "access", "upload-value", bucket=guide.namespace)
    try:
        keys = {"SDG_OBJECT_STORE_ACCESS_KEY": "access", "SDG_OBJECT_STORE_SECRET_KEY": "upload-value"}
        said = guide.run("test_upload", replace={"https://s3.example.com": server.endpoint}, environment=keys)
    finally:
        server.stop()
    assert f"uploaded s3://{guide.namespace}/data.tar.gz" in said
    assert "upload-value" not in said


def test_storage_secret(guide: Guide) -> None:
    guide.run("test_storage_secret", environment={"EDITOR": guide.editor("fill-in-storage", FILL_IN_STORAGE)})
    connection = json.loads(value(guide, "storage-config", "aws-connection-my-bucket"))
    assert connection["secret_access_key"] == "storage-value"
    assert not (guide.folder / "storage-config.yaml").exists()


def test_teacher_and_judge(served: Guide) -> None:
    model = get(served, "inferenceservice", "mixtral")["spec"]["predictor"]["model"]
    assert model["runtime"] == get(served, "servingruntime", "mixtral")["metadata"]["name"]
    assert get(served, "inferenceservice", "prometheus-8x7b-v2-0")["spec"]["predictor"]["maxReplicas"] == 1


def test_endpoints(served: Guide) -> None:
    """The addresses are those that KServe writes for a RawDeployment with a Route and enable-auth: createRawURLODH
    and OauthProxyPort (8443) in kube_ingress_reconciler.go, the same from OpenShift AI 2.25 to 3.5."""
    expected = []
    for name in ("mixtral", "prometheus-8x7b-v2-0"):
        outside = f"https://{name}-{served.namespace}.apps.example.com"
        inside = f"https://{name}-predictor.{served.namespace}.svc.cluster.local:8443"
        status = json.dumps({"status": {"url": outside, "address": {"url": inside}}})
        words = ("--subresource=status", "--type=merge", "-p", status)
        served.cluster.kubectl("patch", "inferenceservice", name, "-n", served.namespace, *words)
        expected += [f"{outside}/v1", f"{inside}/v1"]
    assert served.run("test_endpoints").split() == expected


def test_a_longer_timeout(served: Guide) -> None:
    served.run("test_a_longer_timeout")
    found = get(served, "inferenceservice", "mixtral")
    assert found["spec"]["predictor"]["timeout"] == 600
    assert found["metadata"]["annotations"]["haproxy.router.openshift.io/timeout"] == "600s"


def test_the_serverless_form(served: Guide) -> None:
    """And back: what the form added is gone again."""
    mode, knative = "serving.kserve.io/deploymentMode", "serving.knative.openshift.io/enablePassthrough"
    for block, expected in (("test_the_serverless_form", "Serverless"), ("test_teacher_and_judge", "RawDeployment")):
        served.run(block)
        for name in ("mixtral", "prometheus-8x7b-v2-0"):
            annotations = get(served, "inferenceservice", name)["metadata"]["annotations"]
            assert annotations[mode] == expected
            assert (knative in annotations) == (expected == "Serverless")


@pytest.mark.parametrize("name", ["mixtral", "judge"])
def test_tokens_with_a_duration(served: Guide, name: str) -> None:
    served.run("test_tokens_with_a_duration")
    found = claims((served.folder / ("teacher.token" if name == "mixtral" else "judge.token")).read_text().strip())
    assert found["sub"] == f"system:serviceaccount:{served.namespace}:{name}-sa"
    assert found["exp"] - time.time() > 719 * 3600


@pytest.mark.parametrize("name", ["mixtral", "judge"])
def test_tokens_in_secrets(served: Guide, name: str) -> None:
    served.run("test_tokens_in_secrets")
    found = claims((served.folder / ("teacher.token" if name == "mixtral" else "judge.token")).read_text().strip())
    assert found["sub"] == f"system:serviceaccount:{served.namespace}:{name}-sa"
    assert "exp" not in found


def test_secrets(guide: Guide) -> None:
    guide.run("test_secrets", environment={"EDITOR": guide.editor("fill-in-secrets", FILL_IN_SECRETS)})
    assert value(guide, "sdg-object-store-credentials", "secret_key") == "secrets-value"
    assert value(guide, "teacher-secret", "model_name") == "mixtral"
    assert "secrets-value" not in json.dumps(get(guide, "secret", "sdg-object-store-credentials")["metadata"])
    assert not (guide.folder / "secrets.yaml").exists()


def test_certificate_authority(guide: Guide) -> None:
    (guide.folder / "ca.pem").write_text("certificate")
    guide.run("test_certificate_authority")
    assert get(guide, "configmap", "our-ca")["data"] == {"ca-bundle.crt": "certificate"}


def test_the_workbench_pod(guide: Guide) -> None:
    """It starts under its account, reads the Secrets, and says what they lack: they are templates here."""
    apply_templates(guide)
    said = [guide.run("test_the_workbench_pod")]

    def lacking() -> bool:
        # Its container ended quickly and is started again and again: what it says may be in the next one's log.
        said.append(guide.cluster.kubectl("logs", "ilab-pod", "-n", guide.namespace))
        return any("sdg-object-store-credentials" in log and "bucket" in log for log in said)

    wait_for("the pod to name what the Secret lacks", lacking)
    guide.cluster.kubectl("delete", "-k", str(guide.folder / "manifests/workbench"), WAITING)


def test_run_from_here(guide: Guide) -> None:
    """It starts its first Job, which names what is wrong: the class is an example that this cluster does not have."""
    apply_templates(guide)
    said = guide.run("test_run_from_here", code=1, environment={"ILAB_HOME": str(guide.folder / "home")})
    assert "volume claim ilab-first" in said and "was not bound within" in said
    assert 'storageclass.storage.k8s.io "nfs-csi" not found' in said and "k8s_storage_class_name" in said
    (run,) = get(guide, "configmaps", "-l", f"{OBJECT_LABEL}=run")["items"]
    assert run["metadata"]["name"] == "ilab-first"
    assert get(guide, "jobs", "-l", f"{RUN_LABEL}=first")["items"] == []


def test_show(guide: Guide) -> None:
    guide.run("test_show")
    kinds = [one["kind"] for one in yaml.safe_load_all((guide.folder / "job.yaml").read_text())]
    assert kinds == ["ServiceAccount", "Role", "RoleBinding", "Job"]


def test_dry_runs(guide: Guide) -> None:
    said = guide.run("test_dry_runs")
    assert "trainingruntime.trainer.kubeflow.org/train-1-first created (server dry run)" in said
    # Kubeflow Trainer looks for the runtime of each run's two phases, which is not there after a dry run.
    assert said.count("must be created before the TrainJob is created") == 4


def test_watch(guide: Guide) -> None:
    guide.run("test_watch")


def test_clean_up(served: Guide) -> None:
    if not get(served, "configmaps", "--field-selector=metadata.name=ilab-first")["items"]:
        served.cluster.kubectl("create", "configmap", "ilab-first", "-n", served.namespace)
    for folder in ("workbench", "tokens"):
        served.cluster.kubectl("apply", "-k", str(served.folder / "manifests" / folder))
    if not get(served, "configmaps", "--field-selector=metadata.name=standalone-script")["items"]:
        served.cluster.kubectl("create", "configmap", "standalone-script", "-n", served.namespace)
    served.run("test_clean_up")
    left = served.cluster.kubectl("get", "pods,inferenceservices,servingruntimes", "-n", served.namespace, "-o", "name")
    assert left == ""

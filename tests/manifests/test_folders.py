"""The folders of manifests/: images by digest, restricted pods, least rights, and every setting in one file."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.openshift_role import OPERATOR_RULES, granted
from tests.manifests.rights import asked_rights
from tests.manifests.settings import objects_of, root, settings, values_at
from utils import images
from utils.cluster.rbac import ROLE, role
from utils.names import RUN_LABEL
from utils.stages.credentials import model_server
from utils.stages.object_store.client import store_of_secret
from utils.stages.train.job_news import POD_LABELS

FOLDERS = sorted(path.parent.name for path in root().glob("*/kustomization.yaml") if path.parent.name != "settings")
OUR_IMAGES = {value for name, value in vars(images).items() if name.isupper()}
RESTRICTED_VOLUMES = {"configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"}


def every_object() -> list[tuple[str, dict[str, Any]]]:
    return [(folder, one) for folder in FOLDERS for one in objects_of(folder)]


def pods(folder: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Object and pod spec of everything in a folder that becomes pods."""
    for one in objects_of(folder):
        if one["kind"] in ("Pod", "ServingRuntime"):
            yield one, one["spec"]
        elif one["kind"] == "Deployment":
            yield one, one["spec"]["template"]["spec"]


def not_restricted(spec: dict[str, Any]) -> list[str]:
    """What the `restricted` Pod Security Standard forbids in a pod spec."""
    own = spec.get("securityContext", {})
    wrong = [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    wrong += [
        kind for volume in spec.get("volumes", []) for kind in volume if kind not in RESTRICTED_VOLUMES | {"name"}
    ]
    for container in spec["containers"]:
        context = {**own, **container.get("securityContext", {})}
        wrong += [
            name
            for name, right in {
                "runAsNonRoot": context.get("runAsNonRoot") is True,
                "allowPrivilegeEscalation": context.get("allowPrivilegeEscalation") is False,
                "capabilities": context.get("capabilities") == {"drop": ["ALL"]},
                "seccompProfile": context.get("seccompProfile") == {"type": "RuntimeDefault"},
                "privileged": not context.get("privileged"),
                # Any user: OpenShift chooses one.
                "runAsUser": "runAsUser" not in context,
            }.items()
            if not right
        ]
    return wrong


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_file_of_a_folder_is_applied(folder: str) -> None:
    files = {path.name for path in (root() / folder).glob("*.yaml")} - {"kustomization.yaml"}
    kustomization = yaml.safe_load((root() / folder / "kustomization.yaml").read_text())
    assert set(kustomization["resources"]) == files
    assert kustomization["components"] == ["../settings"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_pods_except_the_nfs_servers_meet_the_restricted_standard(folder: str) -> None:
    found = {one["metadata"]["name"]: not_restricted(spec) for one, spec in pods(folder)}
    if folder == "nfs":
        assert "privileged" in found["nfs-server"]
    else:
        assert [*filter(None, found.values())] == []


def test_only_the_nfs_server_is_privileged_and_says_why() -> None:
    text = (root() / "nfs/kustomization.yaml").read_text()
    assert text.startswith("# FOR TESTS ONLY")
    assert yaml.safe_load(text)["labels"][0]["pairs"] == {"ilab-pipeline/for-tests-only": "true"}


def test_every_image_is_one_of_ours_by_digest() -> None:
    named = set(re.findall(r"image: (\S+)", "\n".join(path.read_text() for path in root().rglob("*.yaml"))))
    assert len(named) == 3
    assert named <= OUR_IMAGES
    assert all(re.fullmatch(r"[^@\s:]+@sha256:[0-9a-f]{64}", image) for image in named)


def test_no_rights_beyond_a_namespace_no_wildcard_and_secrets_only_by_name() -> None:
    kinds = {one["kind"] for _, one in every_object()}
    assert not kinds & {"ClusterRole", "ClusterRoleBinding"}
    rules = [rule for _, one in every_object() if one["kind"] == "Role" for rule in one["rules"]]
    assert rules
    assert not any("*" in words for rule in rules for words in rule.values())
    for rule in rules:
        if "secrets" in rule["resources"]:
            assert rule["verbs"] == ["get"]
            assert rule["resourceNames"]


def test_the_role_is_what_a_run_needs_and_what_show_prints() -> None:
    """When this fails: write what `role` returns into manifests/access/access.yaml."""
    names = [settings()[f"{which}-secret"] for which in ("object-store", "teacher", "judge")]
    expected = role(settings()["namespace"], ROLE, names)
    for one in expected:
        # Put there by the settings.
        del one["metadata"]["namespace"]
        for subject in one.get("subjects", []):
            del subject["namespace"]
    assert objects_of("access") == expected


@pytest.mark.parametrize("number", range(2), ids=["PyTorchJob", "TrainJob"])
def test_training_pods_reach_each_other_and_dns_only(number: int) -> None:
    """They are selected by a label of every pod of a run, and one that the training operator gives to its pods."""
    policies = objects_of("network")
    assert len(policies) == len(POD_LABELS)
    policy, label = policies[number], list(POD_LABELS.values())[number]
    spec = policy["spec"]
    keys = [RUN_LABEL, label]
    training = {"matchExpressions": [{"key": key, "operator": "Exists"} for key in keys]}
    assert (policy["kind"], spec["podSelector"], spec["policyTypes"]) == (
        "NetworkPolicy",
        training,
        ["Ingress", "Egress"],
    )
    progress = [{"ports": [{"protocol": "TCP", "port": 28080}]}] if number else []
    assert spec["ingress"] == [{"from": [{"podSelector": training}]}, *progress]
    among, dns = spec["egress"]
    assert among == {"to": [{"podSelector": training}]}
    assert set(dns) == {"ports"} and {one["port"] for one in dns["ports"]} == {53, 5353}


def asked_by_any_launcher() -> list[tuple[str, str, list[str], str]]:
    """What runs with PyTorchJobs and with TrainJobs need."""
    first = asked_rights("pytorchjob")
    return first + [right for right in asked_rights("trainjob") if right not in first]


def test_the_role_for_openshift_is_what_a_run_needs_beyond_the_operators_and_no_more() -> None:
    """Storage classes are not in it: on OpenShift the ClusterRole basic-user lets every account read them."""
    # Read by the check of the queue, which reports itself when it may not.
    lacking: dict[tuple[str, str], list[str]] = {("kueue.x-k8s.io", "localqueues"): ["get"]}
    for group, resource, verbs, _ in asked_by_any_launcher():
        missing = [verb for verb in verbs if verb not in granted(OPERATOR_RULES, group, resource)]
        if missing:
            lacking.setdefault((group, resource), []).extend(missing)
    made, binding = objects_of("openshift")
    ours = {(rule["apiGroups"][0], rule["resources"][0]): rule["verbs"] for rule in made["rules"]}
    assert ours == lacking
    assert len(made["rules"]) == len(ours)
    assert binding["roleRef"]["name"] == made["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": settings()["pipeline-runner"]}]


def test_the_role_for_plain_kubernetes_has_every_right_of_the_stages() -> None:
    (rules,) = [one["rules"] for one in objects_of("access") if one["kind"] == "Role"]
    for group, resource, verbs, loss in asked_by_any_launcher():
        assert granted(rules, group, resource) >= set(verbs), (resource, loss)


def test_secrets_for_openshift_come_from_files_that_git_ignores_with_the_keys_of_the_templates() -> None:
    """Applied again, the folder keeps what stands in the Secrets: the values are in the files, not in a template."""
    folder = root() / "openshift"
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    templates = {one["metadata"]["name"]: one["stringData"] for one in objects_of("secrets")}
    assert kustomization["generatorOptions"] == {"disableNameSuffixHash": True}
    assert {one["name"] for one in kustomization["secretGenerator"]} == set(templates)
    for one in kustomization["secretGenerator"]:
        (file,) = one["envs"]
        lines = (folder / f"{file}.example").read_text().splitlines()
        values = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
        assert values == templates[one["name"]]
    assert "/manifests/openshift/*.env\n" in (root().parent / ".gitignore").read_text()


def test_the_workbench_runs_under_the_account_with_that_role() -> None:
    (pod,) = objects_of("workbench")
    assert pod["spec"]["serviceAccountName"] == ROLE
    assert pod["spec"]["restartPolicy"] == "OnFailure"
    assert pod["metadata"]["name"] == "ilab-pod"
    (mount,) = pod["spec"]["containers"][0]["volumeMounts"]
    assert (mount["mountPath"], mount["subPath"]) == ("/home/standalone.py", "standalone.py")


def test_the_teacher_serves_both_adapters_on_four_gpus() -> None:
    objects = {one["kind"]: one for one in objects_of("teacher")}
    labels = [one["metadata"]["labels"]["opendatahub.io/dashboard"] for one in objects.values()]
    assert labels == ["true"] * 6
    runtime, service = objects["ServingRuntime"]["spec"], objects["InferenceService"]["spec"]["predictor"]
    assert runtime["storageHelper"] == {"disabled": True}
    assert runtime["containers"][0]["args"][:2] == ["--port=8080", "--model=/mnt/models"]
    assert "--tensor-parallel-size=4" in service["model"]["args"]
    adapters = service["model"]["args"][service["model"]["args"].index("--lora-modules") + 1 :]
    assert adapters == [
        "skill-classifier-v3-clm=/mnt/models/skills",
        "text-classifier-knowledge-v3-clm=/mnt/models/knowledge",
    ]
    amounts = service["model"]["resources"]
    assert amounts["limits"] == amounts["requests"] == {"cpu": "4", "memory": "60Gi", "nvidia.com/gpu": "4"}


@pytest.mark.parametrize("folder", ["teacher", "judge"])
def test_only_the_servers_own_account_has_access(folder: str) -> None:
    objects = {one["kind"]: one for one in objects_of(folder)}
    service = objects["InferenceService"]["metadata"]
    assert service["annotations"]["security.opendatahub.io/enable-auth"] == "true"
    (rule,) = objects["Role"]["rules"]
    assert (rule["resources"], rule["resourceNames"], rule["verbs"]) == (
        ["inferenceservices"],
        [service["name"]],
        ["get"],
    )
    assert objects["RoleBinding"]["subjects"][0]["name"] == objects["ServiceAccount"]["metadata"]["name"]


def test_the_storage_secret_has_the_key_that_the_servers_ask_for() -> None:
    (secret,) = objects_of("storage")
    (content,) = secret["stringData"].values()
    assert set(secret["stringData"]) == {settings()["storage-key"]}
    keys = {"type", "access_key_id", "secret_access_key", "endpoint_url", "bucket", "default_bucket", "region"}
    assert set(json.loads(content)) == keys


@pytest.mark.parametrize(
    ("secret", "read", "missing"),
    [
        (
            "sdg-object-store-credentials",
            lambda folder: store_of_secret(folder, ""),
            ["bucket", "access_key", "secret_key"],
        ),
        ("teacher-secret", lambda folder: model_server(folder, "teacher"), ["endpoint"]),
        ("judge-secret", lambda folder: model_server(folder, "judge"), ["endpoint"]),
    ],
    ids=["object store", "teacher", "judge"],
)
def test_a_template_that_was_not_filled_in_is_named_key_by_key(
    secret: str, read: Any, missing: list[str], tmp_path: Path
) -> None:
    (template,) = [one for one in objects_of("secrets") if one["metadata"]["name"] == secret]
    for key, value in template["stringData"].items():
        (tmp_path / key).write_text(value)
    with pytest.raises(SystemExit) as error:
        read(str(tmp_path))
    assert all(key in str(error.value) for key in missing)


def test_every_setting_has_its_places_and_they_hold_its_value() -> None:
    """Each folder has the same values without the settings, so that it can be read on its own."""
    values, places = settings(), {key: 0 for key in settings()}
    for path in sorted((root() / "settings").glob("*.yaml")):
        for replacement in yaml.safe_load(path.read_text()) if path.name not in NO_REPLACEMENTS else []:
            key = replacement["source"]["fieldPath"].removeprefix("data.")
            for target in replacement["targets"]:
                found = [value for _, one in every_object() for value in values_at(one, target)]
                # The namespace is put where there is none.
                assert found or target.get("options", {}).get("create"), f"{path.name}: nothing at {target}"
                assert set(found) <= {values[key]}, f"{path.name}: {target}"
                places[key] += 1
    assert [key for key, count in places.items() if not count] == []


NO_REPLACEMENTS = ("kustomization.yaml", "settings.yaml")

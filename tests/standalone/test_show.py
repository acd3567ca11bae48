"""`show` prints a Job in the form that users of the first generation know."""

import pytest
import yaml
from click.testing import CliRunner

from utils.files import ROOT
from utils.standalone.commands import main
from utils.standalone.show import GRACE_SECONDS, secrets_of

NEEDED = ["show", "--image", "img", "--script-configmap", "standalone-script"]


def shown(*args: str) -> list[dict]:
    done = CliRunner().invoke(main, [*NEEDED, *args])
    assert done.exit_code == 0, done.output
    return list(yaml.safe_load_all(done.stdout))


def test_the_job_runs_the_script_of_the_config_map() -> None:
    (job,) = shown("--args", "--namespace", "--args", "ns")
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert job["metadata"] == {"name": "distributed-ilab", "namespace": "default"}
    pod = job["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["image"] == "img"
    assert container["command"][:3] == ["python3", "/config/standalone", "run"]
    assert container["args"] == ["--namespace", "ns"]
    assert pod["volumes"][0]["configMap"]["name"] == "standalone-script"
    assert "serviceAccountName" not in pod


def test_flags_change_the_job() -> None:
    flags = ["--namespace", "lab", "--name", "night", "--service-account", "sa", "--script-name", "standalone.py"]
    (job,) = shown(*flags, "--args", "--force-pull")
    pod = job["spec"]["template"]["spec"]
    assert job["metadata"] == {"name": "night", "namespace": "lab"} and pod["serviceAccountName"] == "sa"
    assert pod["containers"][0]["command"][1] == "/config/standalone.py"


def test_replaced_pod_resumes_the_run_of_its_job() -> None:
    (job,) = shown("--name", "night", "--args", "--force-pull")
    assert job["spec"]["template"]["spec"]["containers"][0]["command"][-2:] == ["--run-id", "night"]
    for own in (["--args", "--run-id=mine"], ["--args", "train"]):
        (job,) = shown("--name", "night", *own)
        assert job["spec"]["template"]["spec"]["containers"][0]["command"][-1] == "run"


def test_pod_is_accepted_by_restricted_namespaces() -> None:
    (job,) = shown("--args", "--force-pull")
    pod = job["spec"]["template"]["spec"]
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("args", [("=hunter2",), (" hunter2",), ("", "--args", "hunter2")])
def test_credentials_are_refused_in_a_job(args: tuple[str, ...]) -> None:
    flag = f"--judge-serving-model-api-key{args[0]}"
    done = CliRunner().invoke(main, [*NEEDED, "--args", flag, *args[1:]])
    assert done.exit_code == 2 and "hunter2" not in done.output
    assert "--judge-serving-model-api-key would be readable in the Job" in done.output


@pytest.mark.parametrize(
    "args", [["--taxonomy-repo-url=https://hunter2@h/t"], ["-p", "sdg_repo_url=https://hunter2@h/t"]]
)
def test_credentials_in_an_address_are_refused_in_a_job(args: list[str]) -> None:
    done = CliRunner().invoke(main, [*NEEDED, *(f"--args={arg}" for arg in args)])
    assert done.exit_code == 2 and "hunter2" not in done.output
    assert "an address with a user, token or password in it would be readable in the Job" in done.output


@pytest.mark.parametrize(
    ("given", "account"), [((), "night"), (("--service-account", "ilab-pipeline"), "ilab-pipeline")]
)
def test_rights_of_a_job_do_not_replace_others(given: tuple[str, ...], account: str) -> None:
    """manifests/access has a Role ilab-pipeline with the same purpose and other rules."""
    *rights, job = shown("--rbac", "--name", "night", *given, "--args", "--sdg-object-store-secret=s")
    names = {one["kind"]: one["metadata"]["name"] for one in rights}
    assert names == {"ServiceAccount": account, "Role": "night", "RoleBinding": "night"}
    binding = rights[-1]
    assert binding["roleRef"]["name"] == "night" and binding["subjects"][0]["name"] == account
    assert job["spec"]["template"]["spec"]["serviceAccountName"] == account


def test_required_flags_are_required() -> None:
    done = CliRunner().invoke(main, ["show", "--image", "i", "--script-configmap", "c"])
    assert done.exit_code == 2 and "--args" in done.output


def test_secrets_are_found_among_the_arguments() -> None:
    args = ["--judge-serving-model-secret", "j", "--sdg-object-store-secret=s", "--sdg-serving-model-endpoint", "u"]
    assert secrets_of("job", args) == (["s", "j"], ["ilab-job-teacher"])
    assert secrets_of("job", ["--sdg-object-store-bucket=b", "--run-id", "r"])[1] == ["ilab-r-object-store"]


def test_part_has_rights_to_the_secret_that_it_creates() -> None:
    """Its run has another name than the Job's."""
    args = ["--judge-serving-model-secret=j", "--judge-serving-model-endpoint=http://j", "evaluation"]
    assert secrets_of("mine", args) == (["j"], ["ilab-standalone-judge"])


def test_evicted_pod_is_gone_before_its_replacement_starts() -> None:
    (job,) = shown("--args", "--force-pull")
    assert job["spec"]["podReplacementPolicy"] == "Failed"


def test_finished_run_is_not_restarted_but_a_killed_pod_is() -> None:
    (job,) = shown("--args", "--force-pull")
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # at its limit such a Job keeps the pod with its log
    ended, taken_away = job["spec"]["podFailurePolicy"]["rules"]
    assert ended["onExitCodes"] == {
        "containerName": pod["containers"][0]["name"],
        "operator": "In",
        "values": [1, 2, 3],
    }
    assert (ended["action"], taken_away["action"]) == ("FailJob", "Ignore")


def test_grace_period_covers_the_end_of_a_run() -> None:
    (job,) = shown("--args", "--force-pull")
    workbench = yaml.safe_load((ROOT / "manifests/workbench/pod.yaml").read_text())
    for pod in (job["spec"]["template"]["spec"], workbench["spec"]):
        assert pod["terminationGracePeriodSeconds"] == GRACE_SECONDS

"""standalone.py on a fake cluster: credentials, parts on one volume, messages."""

import base64
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.fakes.api_server import Fault
from tests.fakes.node import Act, Node, values
from tests.runners.end_fields import END_FIELDS
from utils.ir.walk import Walker
from utils.runners.kubernetes import session
from utils.standalone.commands import main
from utils.standalone.flags import FLAGS

CANARY = "canary-5d1c07"
STORE_FLAGS = ["--sdg-object-store-bucket", "b", "--sdg-object-store-data-key", "k.tar.gz"]
STORE_KEYS = {"SDG_OBJECT_STORE_ACCESS_KEY": CANARY + "-a", "SDG_OBJECT_STORE_SECRET_KEY": CANARY + "-s"}
JUDGE = {"JUDGE_ENDPOINT": "https://judge/v1", "JUDGE_NAME": "prometheus", "JUDGE_API_KEY": CANARY + "-j"}

Run = Callable[..., Result]


@pytest.fixture
def run(node: Node, kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `standalone.py run` to its end, as a command line. There is no pause before a task is tried again."""
    walker = partial(Walker, sleep=lambda seconds: None)
    monkeypatch.setattr(session, "Walker", walker)
    for flag in FLAGS.values():
        monkeypatch.delenv(flag.envvar, raising=False)
    node.play("create-volume", Act(values(Output="ilab-r1")))

    def run(*args: str, **env: str) -> Result:
        where = ["--kubeconfig", str(kubeconfig), "--home", str(tmp_path / "home"), "--run-id", "r1"]
        return CliRunner().invoke(main, ["run", *where, *args], env=env)

    return run


def put_secret(node: Node, name: str, **data: str) -> None:
    node.put("secrets", name, data={key: base64.b64encode(text.encode()).decode() for key, text in data.items()})


def made(node: Node, resource: str) -> dict[str, Any]:
    """Bodies of what was made, by name."""
    bodies = [r.body for r in node.requests if (r.verb, r.resource) == ("create", resource)]
    return {body["metadata"]["name"]: body for body in bodies}


def test_object_store_by_flags_and_judge_by_secret_make_a_whole_run(node: Node, run: Run) -> None:
    """Traps 1 and 2. The new Secret belongs to the run and is deleted with it; its values appear nowhere."""
    put_secret(node, "judge", **JUDGE)
    done = run(*STORE_FLAGS, "--judge-serving-model-secret", "judge", **STORE_KEYS)
    assert done.exit_code == 0, done.output
    (secret,) = made(node, "secrets").values()
    assert secret["metadata"]["name"] == "ilab-r1-object-store"
    assert secret["metadata"]["ownerReferences"][0]["name"] == "ilab-r1"
    assert secret["stringData"] == {
        "bucket": "b", "data_key": "k.tar.gz", "access_key": CANARY + "-a", "secret_key": CANARY + "-s",
        "verify_tls": "true",
    }  # fmt: skip
    assert "ilab-r1-object-store" in json.dumps(node.manifest("data-import"))
    assert '"judge"' in json.dumps(node.manifest("mt-bench"))
    assert sorted(node.objects["secrets"]) == ["judge"]
    assert CANARY not in done.output + json.dumps([made(node, "jobs"), node.objects["configmaps"]])


def test_nothing_starts_without_its_secret(node: Node, run: Run) -> None:
    put_secret(node, "judge", JUDGE_NAME="m")
    done = run("--sdg-object-store-secret", "store", "--judge-serving-model-secret", "judge")
    assert done.exit_code == 3
    assert "there is no Secret store" in done.output and "lacks JUDGE_ENDPOINT" in done.output
    assert not made(node, "configmaps") and not made(node, "jobs")


def test_secret_that_may_not_be_read_is_an_error_that_names_the_right(node: Node, run: Run) -> None:
    """Trap 9: 403 was swallowed, and validation "passed"."""
    node.faults += [Fault("get", "secrets", 403) for _ in range(99)]
    done = run("--sdg-object-store-secret", "store", "--judge-serving-model-secret", "judge")
    assert done.exit_code == 1 and not made(node, "jobs")
    assert "get secrets" in done.output and "ilab-pipeline" in done.output


def test_parts_follow_each_other_on_one_volume(node: Node, run: Run) -> None:
    put_secret(node, "judge", **JUDGE)
    put_secret(node, "store", bucket="b", access_key="a", secret_key="s", data_key="k")
    judge, store = ["--judge-serving-model-secret", "judge"], ["--sdg-object-store-secret", "store"]
    parts = [
        ([*judge, *store, "sdg-data-fetch"], ["prerequisites", "data-import", "sdg", "data-processing"]),
        (["train", "--training-phase", "2"], ["train-skills"]),
        ([*store, "upload-trained-model"], ["publish", "report"]),
    ]
    for args, tasks in parts:
        node.requests.clear()
        done = run(*args)
        assert done.exit_code == 0, done.output
        assert sorted(node.created()) == sorted([*tasks, "create-volume", "clean-up"])
        assert '"keep_volume": "always"' in json.dumps(node.manifest("clean-up")).replace('\\"', '"')
        assert sorted(node.objects["secrets"]) == ["judge", "store"] and not node.objects["jobs"]


ATTEMPTS = 3
"""At a task of training: the first one, and two retries."""


def test_failed_part_can_be_repeated(node: Node, run: Run) -> None:
    node.play("train-knowledge", *[Act(exit_code=1, lines=("out of memory",))] * ATTEMPTS, Act())
    failed = run("train", "--training-phase", "1")
    assert failed.exit_code == 1 and "out of memory" in failed.output
    assert run("train", "--training-phase", "1").exit_code == 0


def test_failed_run_says_how_to_resume_and_resumes(node: Node, run: Run) -> None:
    put_secret(node, "judge", **JUDGE)
    node.play("train-knowledge", *[Act(exit_code=1)] * ATTEMPTS, Act())
    flags = [*STORE_FLAGS, "--judge-serving-model-secret", "judge", "--keep-volume", "on_failure"]
    failed = run(*flags, **STORE_KEYS)
    assert failed.exit_code == 1 and "the same command with --run-id r1 --resume" in failed.output
    node.put("persistentvolumeclaims", "ilab-r1")
    done = run(*flags, "--resume", **STORE_KEYS)
    assert done.exit_code == 0, done.output
    assert node.plays["data-import"].made == 1 and node.plays["train-knowledge"].made == ATTEMPTS + 1
    assert sorted(node.objects["secrets"]) == ["judge"]


def test_output_json_is_one_document(node: Node, run: Run) -> None:
    done = run("--output", "json", "train", "--training-phase", "1")
    found = json.loads(done.stdout)
    assert found["state"] == "SUCCEEDED" and done.exit_code == 0
    assert found.keys() - END_FIELDS == {"folder", "namespace", "object"} and found.keys() >= END_FIELDS


def test_credentials_that_differ_from_an_existing_secret_are_refused(node: Node, run: Run) -> None:
    """Trap 4: on 409 the new credentials were silently not applied."""
    put_secret(node, "judge", **JUDGE)
    put_secret(node, "ilab-r1-object-store", bucket="another")
    done = run(*STORE_FLAGS, "--judge-serving-model-secret", "judge", **STORE_KEYS)
    assert done.exit_code == 1 and "ilab-r1-object-store" in done.output
    assert CANARY not in done.output and not made(node, "jobs")

"""Why a task failed. The server does not say, so it is read from where the user may read."""

import json
from collections.abc import Callable, Iterator

import pytest

from tests.fakes.kfp_server import KfpServer as FakeServer
from tests.fakes.kfp_server import Moment
from utils.cli.submit import submit_run
from utils.ir.load import parse
from utils.ir.model import Pipeline
from utils.runners.settings import KfpSettings

PACKAGE = """\
components: {comp-prerequisites: {executorLabel: exec}, comp-train: {executorLabel: exec}}
deploymentSpec: {executors: {exec: {container: {image: python}}}}
pipelineInfo: {name: small}
root:
  dag:
    tasks:
      prerequisites: {componentRef: {name: comp-prerequisites}}
      train: {componentRef: {name: comp-train}, dependentTasks: [prerequisites]}
schemaVersion: 2.1.0
---
platforms: {kubernetes: {deploymentSpec: {executors: {exec: {podMetadata: {labels: {api-access: 'true'}}}}}}}
"""
TABLE = """\
| check | result | finding | remedy |
|---|---|---|---|
| parameters | passed |  |  |
| teacher | error | the teacher refuses the token (401) | renew api_token |
"""
ERROR = """\
error: 1 prerequisite is not met
  cause: teacher
    - teacher: the teacher refuses the token (401)
  next: correct them and start again
"""
# What the launcher of KFP writes around a task's own lines, seen in 2.16.1.
LOG = f"""\
I1126 04:02:29.123456       1 launcher_v2.go:185] input ComponentSpec:{{}}
[KFP Executor 2026-11-26 04:02:30,001 INFO]: Looking for component `prerequisites` in --component_module_path
{TABLE}
{ERROR}E1126 04:02:31.000001       1 launcher_v2.go:720] Component failed to execute successfully: exit status 1
I1126 04:02:31.123456       1 launcher_v2.go:212] publish success.
F1126 04:02:31.223456       1 main.go:57] failed to execute component: exit status 1
time="2026-11-26T04:02:32.007Z" level=info msg="sub-process exited" argo=true error="<nil>"
Error: exit status 1
"""
EXPECTED = "error: 1 prerequisite is not met\n  cause: teacher\n    - teacher: the teacher refuses the token (401)\n"

Start = Callable[..., FakeServer]
Explain = Callable[..., str]


@pytest.fixture
def start(kubeconfig: Callable[..., None]) -> Iterator[Start]:
    """Starts a server whose run fails; with `cluster`, the user's kubeconfig leads to the cluster of it."""
    servers: list[FakeServer] = []

    def make(
        release: str = "2.16.1",
        tasks: dict[str, str] | None = None,
        drivers: tuple[str, ...] = (),
        cluster: bool = False,
        **settings: object,
    ) -> FakeServer:
        server = FakeServer(release)
        servers.append(server)
        server.moments = [Moment("FAILED", tasks or {"prerequisites": "FAILED"}, drivers)]
        vars(server).update(settings)
        if cluster:
            kubeconfig(server.url)
        return server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def package() -> Pipeline:
    return parse(PACKAGE)


@pytest.fixture
def explain(package: Pipeline, capsys: pytest.CaptureFixture[str]) -> Explain:
    """What a waiting run says of its failure on stderr."""

    def explained(server: FakeServer, code: int = 3) -> str:
        assert submit_run(package, {}, KfpSettings(host=server.url, namespace="lab"), wait=True) == code
        return capsys.readouterr().err

    return explained


@pytest.mark.parametrize(
    ("release", "multi_user", "cluster", "source"),
    [
        ("2.16.1", False, False, "artifact executor-logs"),
        ("2.14.3", True, False, "log of the pod small-x7k2p-metadata-0-1-system-container-impl-"),
        ("2.5.0", True, False, "log of the pod small-x7k2p-system-container-impl-"),
        ("2.14.3", False, True, "log of the pod small-x7k2p-metadata-0-1-system-container-impl-"),
        ("2.5.0", False, True, "log of the pod small-x7k2p-system-container-impl-"),
    ],
)
def test_the_findings_of_prerequisites_are_printed(
    start: Start, explain: Explain, release: str, multi_user: bool, cluster: bool, source: str
) -> None:
    """By the server: the artifact, kept of failed tasks since KFP 2.16, or a multi-user server's log; else the pod."""
    server = start(release, logs={"prerequisites": LOG}, multi_user=multi_user, cluster=cluster)
    told = explain(server)
    assert TABLE.strip() in told
    assert EXPECTED in told
    assert f"read from: {source}" in told
    assert "launcher_v2" not in told
    assert "exit status" not in told


def test_unreachable_object_store_does_not_prevent_an_explanation(start: Start, explain: Explain) -> None:
    server = start(logs={"prerequisites": LOG}, store_away=True, multi_user=True)
    told = explain(server)
    assert EXPECTED in told
    assert "read from: log of the pod" in told


def test_token_is_not_sent_to_signed_urls(start: Start, package: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    server = start(logs={"prerequisites": LOG})
    assert submit_run(package, {}, KfpSettings(host=server.url, namespace="lab", token="canary-31"), wait=True) == 3
    (asked,) = [one for one in server.requests if one["path"].startswith("/store/")]
    assert "authorization" not in asked["headers"]
    assert "canary-31" not in "".join(capsys.readouterr())


def test_server_is_asked_for_a_log_with_the_token(start: Start, package: Pipeline) -> None:
    server = start(logs={"prerequisites": LOG}, store_away=True, multi_user=True)
    submit_run(package, {}, KfpSettings(host=server.url, namespace="lab", token="canary-31"), wait=True)
    logs = [one for one in server.requests if one["path"].startswith("/apis/v1alpha1/runs/")]
    assert {one["headers"].get("authorization") for one in logs} == {"Bearer canary-31"}


def test_pod_log_is_read_from_the_cluster_when_the_server_cannot(
    start: Start, explain: Explain, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start("2.5.0", logs={"prerequisites": LOG}, multi_user=True, cluster=True)
    error = '{"error_message":"Failed to read logs for run: forbidden"}'
    monkeypatch.setattr(server, "_server_log", lambda run_id, pod: (200, error))
    told = explain(server)
    assert EXPECTED in told
    assert TABLE.strip() in told
    assert "read from: log of the pod" in told


REFUSED = 'Pod "small-x7k2p-system-container-impl-1" is invalid: spec.volumes[1].name: must not contain dots'


@pytest.mark.parametrize(
    "settings",
    [
        {"tasks": {"prerequisites": "FAILED"}},
        {"tasks": {"prerequisites": "SKIPPED"}, "drivers": ("prerequisites",)},
        {"tasks": {"prerequisites": "FAILED"}, "denied": {"pods", "pods/log"}},
    ],
    ids=["pod that could not be made", "driver", "without the right to read pods"],
)
def test_reason_why_a_pod_did_not_run_is_read_from_the_workflow(
    start: Start, explain: Explain, settings: dict[str, object]
) -> None:
    message = f"task 'small-x7k2p.root.prerequisites.executor' errored: {REFUSED}"
    server = start(messages={"prerequisites": message}, cluster=True, **settings)
    told = explain(server)
    assert f"error: {REFUSED}" in told
    assert "read from: Workflow small-x7k2p, node root.prerequisites" in told


def test_a_killed_pod_is_explained_by_the_workflow_and_its_last_lines(start: Start, explain: Explain) -> None:
    tasks = {"prerequisites": "SUCCEEDED", "train": "FAILED"}
    message = "OOMKilled (exit code 137)"
    server = start("2.5.0", tasks, logs={"train": "epoch 1\nepoch 2\n"}, messages={"train": message}, cluster=True)
    told = explain(server, code=1)
    assert f"error: {message}\n    epoch 1\n    epoch 2\n" in told


@pytest.mark.parametrize("denied", [set(), {"pods", "pods/log"}], ids=["pods", "Workflow"])
def test_of_a_task_that_was_tried_again_the_last_attempt_is_told(
    start: Start, explain: Explain, denied: set[str]
) -> None:
    tasks = {"prerequisites": "SUCCEEDED", "train": "FAILED"}
    logs = tuple(f"attempt {number}: it broke\n" for number in range(3))
    told = explain(start("2.5.0", tasks, attempts={"train": logs}, cluster=True, denied=denied), code=1)
    assert [number for number in range(3) if f"attempt {number}: " in told] == [2], told


def test_task_that_succeeds_when_it_is_tried_again_has_not_failed(start: Start, explain: Explain) -> None:
    tasks = {"prerequisites": "SUCCEEDED", "train": "SUCCEEDED"}
    server = start("2.16.1", tasks, attempts={"train": ("it broke\n", "done\n")}, cluster=True)
    server.moments = [Moment("SUCCEEDED", tasks)]
    assert "it broke" not in explain(server, code=0)


def test_an_exception_is_named(start: Start, explain: Explain) -> None:
    trace = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\nRuntimeError: CUDA out of memory\n'
    tasks = {"prerequisites": "SUCCEEDED", "train": "FAILED"}
    told = explain(start("2.5.0", tasks, logs={"train": trace}, multi_user=True), code=1)
    assert "error: RuntimeError: CUDA out of memory\n" in told


@pytest.mark.parametrize("cluster", [True, False])
def test_unreadable_logs_are_reported_with_a_command_for_someone_with_the_right(
    start: Start, explain: Explain, cluster: bool
) -> None:
    server = start(denied={"pods", "pods/log", "workflows"}, cluster=cluster)
    told = explain(server)
    assert "neither its log nor its Workflow can be read from here" in told
    assert f"next: oc logs --selector pipeline/runid={server.runs[0].id} --container main" in told
    assert ("no right to list pods in the namespace lab" in told) is cluster


def test_searched_namespace_is_reported(start: Start, explain: Explain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server named by --host may belong to another project than the kubeconfig's."""
    server = start("2.5.0", cluster=True)
    answer = server.answer
    elsewhere: dict[str, list[object]] = {"items": []}
    monkeypatch.setattr(
        server,
        "answer",
        lambda method, path, body: (200, elsewhere) if "workflows" in path else answer(method, path, body),
    )
    told = explain(server)
    assert "no Workflow of the run in the namespace lab; --namespace names another" in told


def test_run_that_started_no_task_is_explained(start: Start, explain: Explain) -> None:
    server = start(cluster=True)
    server.moments = [Moment("FAILED")]
    assert "root failed" in explain(server, code=1)


def test_task_that_waits_for_a_review_has_not_failed(
    start: Start, package: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server has no state for it; the log says so."""
    log = LOG.replace(ERROR, "error: waiting for review of 2 samples: s3://b/page.html\n  cause: a\n  next: b\n")
    server = start(logs={"prerequisites": log})
    settings = KfpSettings(host=server.url, namespace="lab")
    assert submit_run(package, {}, settings, output="json", wait=True) == 5
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["exit_code"]) == ("WAITING", 5)
    assert submit_run(package, {}, settings, wait=True) == 5
    assert "prerequisites is waiting for review of 2 samples" in capsys.readouterr().err

"""The name of a volume claim becomes a path: of a folder here, of a request there. Each door takes only names.

An empty name in a request means every claim of the namespace; `..` in one leads to other objects.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kfp import dsl, kubernetes

from tests.fakes.kubernetes_api import KubernetesApi
from tests.ir.memory_runner import compiled, walk
from utils.cli.main import main
from utils.cluster.client import pod_client
from utils.cluster.errors import ClusterError
from utils.cluster.kinds import VOLUME_CLAIM
from utils.cluster.objects import delete, get, patch
from utils.errors import TaskFailed, UsageError
from utils.ir.claims import checked_name
from utils.ir.model import Mount, Task
from utils.names import CLAIMS_DIR, is_object_name
from utils.runners.kubernetes.manifests import PodSettings, job_manifest
from utils.runners.run_folder import check_run_id
from utils.stages.prerequisites.parameters import OBJECTS, check_object_names
from utils.stages.volume.claims import VolumeClaim, create_claim
from utils.stages.volume.ending import end_run, mark_outcome
from utils.standalone.commands import main as standalone

NO_NAMES = [
    *("", ".", "..", "../ilab-r0", "a/b", "/etc", "ilab-r0/", "a//b", "%2e%2e", "a?x=y", "a#b"),
    *("Upper", "a_b", "-a", "a-", ".a", "a.", "a..b", "a.-b", "a b", " a", "a\n", "ä", "²", "a" * 254),
]
NAMES = ["a", "0", "ilab-run-1", "a.b-c.0", "a" * 253, "7f1c2d3e-0000-4000-8000-00000000000d"]
NO_RUN_IDS = [*filter(None, NO_NAMES), "a.b", "a" * 58]


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_is_refused(name: str) -> None:
    assert not is_object_name(name)
    with pytest.raises(TaskFailed, match="name of a volume claim"):
        checked_name(name)


@pytest.mark.parametrize("name", NAMES)
def test_what_kubernetes_takes_is_a_name(name: str) -> None:
    assert checked_name(name) == name
    assert is_object_name(name, label=True) == (len(name) <= 63 and "." not in name)


@pytest.mark.parametrize("value", [None, 5, True, ["a"], {"a": 1}])
def test_what_is_no_text_is_no_name(value: Any) -> None:
    assert not is_object_name(value)


@pytest.fixture
def claims(api: KubernetesApi) -> Callable[[], object]:
    """The claims of a cluster, among them those of another run."""
    for name in ("ilab-r0", "shared"):
        api.add("persistentvolumeclaims", name)
    return lambda: sorted(api.objects["persistentvolumeclaims"])


@pytest.mark.parametrize("name", NO_NAMES)
def test_no_request_about_one_object_goes_to_all_or_to_others(
    claims: Callable[[], object], api: KubernetesApi, name: str
) -> None:
    cluster = pod_client()
    assert not name or get(cluster, VOLUME_CLAIM, name) is None
    assert not delete(cluster, VOLUME_CLAIM, name)
    with pytest.raises(ClusterError, match="can't patch"):
        patch(cluster, VOLUME_CLAIM, name, {})
    assert (api.requests, claims()) == ([], ["ilab-r0", "shared"])


@pytest.mark.parametrize("name", NO_NAMES)
def test_pod_mounts_no_claim_without_a_name(name: str) -> None:
    with pytest.raises(TaskFailed, match="name of a volume claim"):
        job_manifest(Task("a", "a", "comp-a", "", (), (), mounts=(Mount("claim", name, "/d"),)), [], PodSettings("r1"))


@dsl.pipeline(name="claims")
def deletes(name: str) -> None:
    kubernetes.DeletePVC(pvc_name=name)


@dsl.pipeline(name="claims")
def creates(name: str) -> None:
    kubernetes.CreatePVC(pvc_name=name, access_modes=["ReadWriteMany"], size="1Gi")


@dsl.pipeline(name="claims")
def creates_suffixed(name: str) -> None:
    kubernetes.CreatePVC(pvc_name_suffix=name, access_modes=["ReadWriteMany"], size="1Gi")


@pytest.mark.parametrize("pipeline", [deletes, creates, creates_suffixed])
def test_no_runner_is_asked_for_a_claim_without_a_name(pipeline: Any, tmp_path: Path) -> None:
    spec = compiled(pipeline, tmp_path)
    for name in NO_NAMES:
        if not name and pipeline is not deletes:
            continue  # KFP's way to say that none is given
        if pipeline is creates_suffixed and is_object_name(f"my-run-id-{name.lstrip('-')}"):
            continue
        walked = walk(spec, tmp_path, {"name": name})
        assert "name of a volume claim" in walked.result.error, name
        assert walked.runner.claims == [], name


@pytest.mark.parametrize("run_id", ["", *NO_RUN_IDS])
def test_stages_work_on_no_claim_of_what_is_no_run(
    claims: Callable[[], object], api: KubernetesApi, run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_object_name(run_id, label=True):
        return  # 58 characters: only the claims' names of our own runs are shorter
    (tmp_path / "claims/ilab-r0/model").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    for folder in ("", str(tmp_path / "claims")):
        monkeypatch.setenv(CLAIMS_DIR, folder)
        for work in (
            lambda: create_claim(VolumeClaim(run_id, "1Gi", "", "ReadWriteMany")),
            lambda: end_run(run_id, "never"),
            lambda: mark_outcome(run_id, "succeeded"),
        ):
            with pytest.raises(SystemExit, match="can't be the id of a run"):
                work()
    assert (api.requests, claims(), sorted(tmp_path.rglob("*"))) == ([], ["ilab-r0", "shared"], before)


@pytest.mark.parametrize("run_id", NO_RUN_IDS)
def test_what_can_not_name_a_run_is_refused(run_id: str) -> None:
    with pytest.raises(UsageError, match="can't be the id of a run"):
        check_run_id(run_id)


@pytest.mark.parametrize("run_id", ["..", "../ilab-r0", "a\n", "a" * 58])
@pytest.mark.parametrize("words", ["run --on local", "run --on kubernetes --dry-run", "run --dry-run", "run train"])
def test_commands_refuse_what_can_not_name_a_run(
    words: str, run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ILAB_HOME", str(tmp_path))
    first, *others = words.split()
    done = CliRunner().invoke(main if "--on" in words else standalone, [first, f"--run-id={run_id}", *others])
    assert done.exit_code == 2, done.output
    assert "can't be the id of a run" in done.output
    assert [path.name for path in tmp_path.rglob("*")] == []


@pytest.mark.parametrize("name", NO_NAMES)
@pytest.mark.parametrize("on_kfp", [False, True])
def test_parameters_name_no_object_that_can_not_be(name: str, on_kfp: bool) -> None:
    assert len(check_object_names(dict.fromkeys(OBJECTS, name), on_kfp)) == len(OBJECTS)

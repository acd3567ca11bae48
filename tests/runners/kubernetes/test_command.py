"""`ilab-pipeline run --on kubernetes`, and the commands for past runs, on runs of a cluster."""

import json
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from kfp import dsl

from tests.fakes.node import Act, values
from tests.ir.memory_runner import component, text_of
from tests.runners.kubernetes.conftest import Lab
from utils.cli.foreseen import foresee
from utils.cli.main import main
from utils.files import ROOT
from utils.ir.load import load
from utils.runners.kubernetes.dry_run import planned_manifests
from utils.runners.kubernetes.request import RunRequest


@component
def prerequisites(n: int) -> int:
    return n


@component
def report(metrics: dsl.Output[dsl.Metrics]) -> str:
    return ""


@component
def publish() -> str:
    return ""


@dsl.pipeline(name="small")
def small(n: int = 1) -> None:
    checked = prerequisites(n=n)
    report().after(publish().after(checked))


REPORT = json.dumps(
    {
        "parameterValues": {"Output": "s3://bucket/day/new.tar.report.html"},
        "artifacts": {
            "metrics": {
                "artifacts": [
                    {
                        "metadata": {
                            "likelihood_base": 2.5,
                            "likelihood_candidate": 2.0,
                            "likelihood_change": -0.5,
                            "mt_bench_candidate": 4.0,
                        }
                    }
                ]
            }
        },
    }
)


class Command:
    """The command in a folder with a small pipeline, on the lab's cluster."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.home = lab.folder / "home"
        text_of(small, lab.folder)
        self.package = lab.folder / "pipeline.yaml"

    def __call__(self, *words: str) -> Result:
        return CliRunner().invoke(main, [*words, "--home", str(self.home)], catch_exceptions=False)

    def run(self, *words: str) -> Result:
        place = ["--package", str(self.package), "--kubeconfig", self.lab.settings.kubeconfig]
        return self("run", "--on", "kubernetes", "--run-id", "r1", *place, *words)


@pytest.fixture
def command(lab: Lab) -> Command:
    return Command(lab)


def test_run_ends_with_scores_and_the_places_of_archive_report_and_record(command: Command) -> None:
    command.lab.node.play("prerequisites", Act(values(Output=1), ("looks good",)))
    command.lab.node.play("publish", Act(values(Output="day/new.tar")))
    command.lab.node.play("report", Act(REPORT))
    done = command.run()
    assert done.exit_code == 0
    assert "  likelihood: base 2.5, candidate 2 (-0.5)\n  mt_bench: candidate 4\n" in done.stderr
    assert "archive: s3://bucket/day/new.tar\n" in done.stderr
    assert "report: s3://bucket/day/new.tar.report.html\n" in done.stderr
    assert "configmap/ilab-r1 in namespace lab" in done.stderr
    again = command.run("-o", "json")
    assert again.exit_code == 0
    summary = json.loads(again.stdout)
    likelihood = {"base": 2.5, "candidate": 2, "change": -0.5}
    assert summary["scores"] == {"likelihood": likelihood, "mt_bench": {"candidate": 4}}
    assert (summary["state"], summary["namespace"]) == ("SUCCEEDED", "lab")
    assert "nothing was done now" in again.stderr


def test_past_runs_are_listed_and_removed_with_their_objects(command: Command) -> None:
    command.lab.node.play("prerequisites", Act(values(Output=1), ("looks good",)))
    command.run()
    listed = json.loads(command("status", "-o", "json").stdout)
    assert [(run["run_id"], run["state"], run["place"].split(" of ")[0]) for run in listed] == [
        ("r1", "SUCCEEDED", "kubernetes, namespace lab")
    ]
    assert "configmap/ilab-r1 in namespace lab" in command("status", "r1").stdout
    assert "looks good" in command("logs", "r1", "prerequisites").stdout
    assert "nothing was done now" in command("resume", "r1").stderr
    removed = command("clean", "-y", "r1")
    assert removed.exit_code == 0, removed.output
    assert command.lab.node.objects["configmaps"] == {}
    assert not list((command.home / "runs").iterdir())


def test_failed_check_has_its_own_exit_code_and_can_be_resumed(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ILAB_PYTHON", "/somewhere/python3")  # set for local runs, it says nothing of this one
    table = ("| check | result | finding | remedy |", "|---|---|---|---|", "| judge | error | none | make it |")
    lines = (*table, "error: 2 prerequisites are not met")
    command.lab.node.play("prerequisites", Act(exit_code=1, lines=lines), Act())
    failed = command.run()
    assert failed.exit_code == 3
    assert "\n".join(lines) in failed.stderr
    assert f"resume: ilab-pipeline resume r1 --home {command.home}" in failed.stderr
    assert command.run().exit_code == 3
    assert "--max-parallel: only for runs on this machine" in command("resume", "r1", "--max-parallel", "3").stderr
    assert command("resume", "r1").exit_code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max-parallel", "3"], "--max-parallel: not valid with --on kubernetes"),
        (["--host", "http://x"], "--host: not valid with --on kubernetes"),
        (["--on", "local", "--kubeconfig", "/dev/null"], "--kubeconfig: not valid with --on local"),
        (["--pod-overlay", "/dev/null", "-p", "n=x"], "n"),
        (["--pending-timeout", "soon"], "is not a valid duration"),
        (["--run-id", "No_Id"], "can't be the id"),
    ],
)
def test_wrong_usage_is_refused_before_the_cluster_is_contacted(
    command: Command, words: list[str], message: str
) -> None:
    result = command.run(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert command.lab.node.requests == []


@pytest.mark.parametrize("text", ["[1]", "spec: 3", "kind: Pod", "a: [", "metadata: {}\nstatus: {}"])
def test_file_that_is_not_an_overlay_is_refused(command: Command, text: str) -> None:
    overlay = command.lab.folder / "overlay.yaml"
    overlay.write_text(text)
    result = command.run("--pod-overlay", str(overlay))
    assert result.exit_code == 2
    assert f"--pod-overlay {overlay} is no" in result.stderr


def test_unusable_kubeconfig_exits_like_failed_prerequisites(command: Command) -> None:
    broken = command.lab.folder / "broken"
    broken.write_text("{}")
    result = command.run("--kubeconfig", str(broken))
    assert result.exit_code == 3
    assert "next: " in result.stderr


def test_dry_run_contacts_no_cluster_and_shows_everything_the_run_would_create(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/no/such/file")
    words = ["run", "--on", "kubernetes", "--dry-run", "--run-id", "r1", "--namespace", "lab"]
    result = command(*words, "--package", str(ROOT / "pipeline.yaml"), "-p", "train_num_workers=3")
    assert result.exit_code == 0, result.output
    made = list(yaml.safe_load_all(result.stdout))
    names = [(one["kind"], one["metadata"]["name"].rpartition("-")[0]) for one in made]
    assert names[0] == ("ConfigMap", "ilab")
    jobs = [name for kind, name in names if kind == "Job"]
    assert jobs[:2] == ["r1-create-volume", "r1-prerequisites"] and jobs[-1] == "r1-clean-up" and len(jobs) == 12
    assert ("PersistentVolumeClaim", "ilab") in names
    assert [one["spec"]["trainer"]["numNodes"] for one in made if one["kind"] == "TrainJob"] == [3, 3]
    assert {one["metadata"]["namespace"] for one in made} == {"lab"}
    assert not (command.home / "runs").exists()


def test_a_dry_run_shows_no_value_of_a_secret(lab: Lab) -> None:
    def make(owner: Any) -> list[dict[str, Any]]:
        metadata = {"name": "s"}
        return [{"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"api_token": "hidden"}}]

    text_of(small, lab.folder)
    made = planned_manifests(RunRequest(load(lab.folder / "pipeline.yaml"), {}, "r1", extras=make), foresee)
    assert made[1]["stringData"] == {"api_token": "***"}
    assert "hidden" not in json.dumps(made)


def test_run_that_can_no_longer_be_followed_says_how_to_continue(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*arguments: Any) -> None:
        raise RuntimeError("a defect")

    command.lab.node.play("prerequisites", Act(holds=True))
    monkeypatch.setattr("utils.runners.kubernetes.follow.Following._look", crash)
    result = command.run("-o", "json")
    assert result.exit_code == 4
    told = json.loads(result.stdout)
    assert (told["run_id"], told["state"], told["exit_code"]) == ("r1", "RUNNING", 4)
    assert "RuntimeError: a defect" in result.stderr.partition("error: the run r1 can no longer be followed")[0]
    assert "next: start it again with the same run id, r1: it continues" in result.stderr
    monkeypatch.undo()
    command.lab.node.finish(*command.lab.node.objects["jobs"])
    command.lab.node.play("publish", Act(values(Output="day/new.tar")))
    command.lab.node.play("report", Act(REPORT))
    assert command.run().exit_code == 0
    assert command.lab.node.created().count("prerequisites") == 1

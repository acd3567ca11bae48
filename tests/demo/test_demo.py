"""What the demo prepares, without torch and without servers."""

import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from utils.arguments import load_arguments
from utils.cli.demo import summarise
from utils.demo.run import check_python, demo_arguments, remove_orphans, write_secret
from utils.demo.taxonomy import EXAMPLES, make_document_repo, make_taxonomy
from utils.errors import PrerequisiteError
from utils.files import COMPILED
from utils.ir.load import load
from utils.runners.run_folder import RunFolder
from utils.stages.sdg.stage import pipeline_hash


def leaves(taxonomy: Path) -> dict[str, dict[str, Any]]:
    return {str(q.parent.relative_to(taxonomy)): yaml.safe_load(q.read_text()) for q in taxonomy.rglob("qna.yaml")}


def test_example_taxonomy_has_what_the_demo_promises() -> None:
    found = leaves(EXAMPLES / "taxonomy")
    knowledge = [leaf for path, leaf in found.items() if path.startswith("knowledge/")]
    grounded = [leaf for leaf in found.values() if "context" in leaf["seed_examples"][0] and "document" not in leaf]
    assert (len(knowledge), len(grounded), len(found)) == (2, 1, 5)
    for leaf in knowledge:
        assert [len(seed["questions_and_answers"]) for seed in leaf["seed_examples"]] == [3] * 5
        text = " ".join((EXAMPLES / "documents" / leaf["document"]["patterns"][0]).read_text().split())
        for seed in leaf["seed_examples"]:
            assert all(s in text for s in " ".join(seed["context"].split()).rstrip(".").split(". "))


def test_document_repository_has_the_commit_that_the_taxonomy_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hash depends on nothing of this machine. When the documents change: write the new one into qna.yaml."""
    monkeypatch.setenv("GIT_AUTHOR_DATE", "2001-01-01T00:00:00")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text("[core]\n autocrlf = true\n[user]\n name = Else\n")
    commit = make_document_repo(EXAMPLES / "documents", tmp_path / "documents")
    named = {leaf["document"]["commit"] for leaf in leaves(EXAMPLES / "taxonomy").values() if "document" in leaf}
    assert named == {commit}


def test_generated_taxonomy_points_to_its_documents(tmp_path: Path) -> None:
    taxonomy = make_taxonomy(tmp_path)
    for leaf in leaves(taxonomy).values():
        if source := leaf.get("document"):
            clone = tmp_path / "clones" / source["patterns"][0]
            subprocess.run(["git", "clone", "-q", source["repo"], clone], check=True)
            subprocess.run(["git", "checkout", "-q", source["commit"]], cwd=clone, check=True)
            assert list(clone.glob(source["patterns"][0]))


@pytest.mark.parametrize("quick", [False, True])
def test_demo_parameters_fit_the_pipeline(quick: bool) -> None:
    files, pairs = demo_arguments(quick)
    arguments = load_arguments(load(COMPILED).parameters, files, pairs)
    assert arguments["train_launcher"] == "process"
    assert pipeline_hash(arguments["sdg_pipeline"])
    assert arguments["sdg_max_batch_len"] >= arguments["train_max_seq_len"] <= arguments["train_max_batch_len"]
    assert arguments["train_num_epochs_phase_1"] >= 1
    assert arguments["eval_judge_options"]["grammar"].startswith("root ::=")


def test_secret_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    write_secret(tmp_path / "secrets" / "teacher-secret", {"api_token": "canary"})
    for path in (tmp_path / "secrets").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert (tmp_path / "secrets" / "teacher-secret" / "api_token").read_text() == "canary"


def test_an_interpreter_that_lacks_the_libraries_is_refused() -> None:
    with pytest.raises(PrerequisiteError, match=r"lacks .*instructlab.sdg"):
        check_python(sys.executable)
    with pytest.raises(PrerequisiteError, match="does not run"):
        check_python("/no/such/python")


def test_object_store_of_a_demo_stays_as_long_as_its_run(tmp_path: Path) -> None:
    for name in ("gone", "kept"):
        (tmp_path / "demo" / name / "object-store").mkdir(parents=True)
    (tmp_path / "demo" / "model-0123").mkdir()
    (tmp_path / "runs" / "kept").mkdir(parents=True)
    remove_orphans(tmp_path)
    assert sorted(p.name for p in (tmp_path / "demo").iterdir()) == ["kept", "model-0123"]
    RunFolder(tmp_path, "kept").path.joinpath("journal.jsonl").touch()
    RunFolder(tmp_path, "kept").remove()
    assert [p.name for p in (tmp_path / "demo").iterdir()] == ["model-0123"]


def test_summary_has_scores_report_and_key() -> None:
    measure: dict[str, Any] = {
        "name": "Likelihood",
        "base": 2.0,
        "candidate": 1.5,
        "change": -0.5,
        "better": True,
        "digits": 3,
    }
    measure["verdict"] = {"low": -0.7, "high": -0.3, "said": "better", "word": "better", "p": 0.001}
    skipped: dict[str, Any] = {
        "name": "MMLU",
        "base": None,
        "candidate": None,
        "change": None,
        "better": None,
        "digits": 3,
    }
    skipped["verdict"] = {}
    facts = {
        "headline": "The candidate is better than the base model on Likelihood",
        "comparisons": [{**measure, "reason": ""}, {**skipped, "reason": "not run"}],
        "done": {"publish": {"result": {"published": True, "key": "2025.demo", "sha256": "ab"}}},
        "notes": ["small"],
    }
    summary = summarise("demo-1", Path("/r/report.html"), facts, 61.23)
    assert summary["archive"] == "2025.demo"
    assert summary["report"] == "/r/report.html"
    assert summary["seconds"] == 61.2
    assert [score["reason"] for score in summary["scores"]] == ["", "not run"]
    assert [(score["low"], score["said"]) for score in summary["scores"]] == [(-0.7, "better"), (None, None)]


def test_servers_end_when_the_demo_is_killed(tmp_path: Path) -> None:
    """A resumed demo must not find its old object store on the same files."""
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom utils.demo.s3_server import start_s3_server\n"
        "server = start_s3_server(Path(sys.argv[1]), 'key', 'secret')\n"
        "print(server.process.pid, flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True, cwd=EXAMPLES.parent
    ) as demo:
        assert demo.stdout
        server = psutil.Process(int(demo.stdout.readline()))
        demo.kill()
    server.wait(10)

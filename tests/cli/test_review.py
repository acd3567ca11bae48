"""`ilab-pipeline review`: shows the samples of a run that waits, and hands decisions over."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.fakes.s3 import S3
from tests.stages.data_processing.test_review import decide, page, stop, trained, waits
from tests.stages.data_processing.volumes import GOOD, LEAF, good_rows, make_volume, without_the_library
from utils.cli.main import main
from utils.files import COMPILED
from utils.ir.model import Event, TaskState
from utils.runners.journal import Journal
from utils.runners.run_folder import RunFolder, create_run
from utils.runners.settings import ClusterSettings, LocalSettings


def call(home: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["review", *words, "--home", str(home)])


def make_run(home: Path, settings: LocalSettings | ClusterSettings, message: str = "") -> RunFolder:
    """A run that waits for review."""
    folder = create_run(home, "run-1", COMPILED.read_text(), {}, settings)
    with Journal(folder.journal) as journal:
        journal.append("run")
        journal.on_event(Event(1.0, "exit-handler-1/data-processing", TaskState.WAITING, message))
        journal.append("end", state="WAITING")
    return folder


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a run on this machine, which waits for review."""
    without_the_library(monkeypatch)
    make_run(tmp_path, LocalSettings(python="python3"))
    made = make_volume(tmp_path / "claims" / "ilab-run-1", good_rows())
    waits(made)
    return made


def test_samples_and_the_page_are_shown(tmp_path: Path, volume: Path) -> None:
    shown = call(tmp_path, "run-1")
    assert shown.exit_code == 0, shown.output
    assert [line.split() for line in shown.output.splitlines() if LEAF in line] == [[LEAF, "16", "16"]]
    assert f"page: {volume}/review/page.html\nno decisions are there yet" in shown.output
    told = json.loads(call(tmp_path, "-o", "json").stdout)
    assert (told["run_id"], told["samples"], told["said"]) == ("run-1", 16, "")


def test_accepting_all_lets_the_run_continue(tmp_path: Path, volume: Path) -> None:
    done = call(tmp_path, "run-1", "--accept-all")
    assert done.exit_code == 0, done.output
    assert "Review: 16 accepted, 0 rejected, 0 edited" in done.output
    assert "next: ilab-pipeline resume run-1" in done.output
    stop(volume)
    assert len(trained(volume)) == len(GOOD)


def test_saved_decisions_are_edited_and_handed_over(tmp_path: Path, volume: Path) -> None:
    file = tmp_path / "mine.json"
    assert call(tmp_path, "run-1", "--save", str(file)).exit_code == 0
    decisions = json.loads(file.read_text())
    first, second, *_ = decisions["decisions"].values()
    first["decision"] = "reject"
    second |= {"decision": "edit", "answer": "It is mine."}
    file.write_text(json.dumps(decisions))
    done = call(tmp_path, "run-1", "--decisions", str(file))
    assert "14 accepted, 1 rejected, 1 edited" in done.output
    assert "14 accepted, 1 rejected, 1 edited" in call(tmp_path, "run-1").output
    stop(volume)
    texts = trained(volume)
    assert (second["question"], "It is mine.") in texts and len(texts) == len(GOOD) - 1


def test_decisions_that_can_not_be_used_are_not_handed_over(tmp_path: Path, volume: Path) -> None:
    given = decide(page(volume))
    given["decisions"].popitem()
    (tmp_path / "mine.json").write_text(json.dumps(given))
    done = call(tmp_path, "run-1", "--decisions", str(tmp_path / "mine.json"))
    assert done.exit_code == 2 and "mine.json: the decisions can't be used" in done.stderr
    assert "1 without a decision" in done.stderr
    assert not (volume / "review" / "decisions.json").exists()


def test_decisions_of_a_run_on_a_cluster_go_to_its_object_store(tmp_path: Path, volume: Path, s3_server: S3) -> None:
    key = f"{tmp_path.name}/reviews/run-1/"
    address = f"s3://ilab/{key}page.html"
    client, secret = s3_server.client(), str(s3_server.secret(tmp_path / "secret"))
    client.put_object(Bucket="ilab", Key=key + "page.html", Body=(volume / "review" / "page.html").read_bytes())
    home = tmp_path / "other"
    make_run(home, ClusterSettings("lab"), f"waiting for review of 16 samples: {address}\n  next: decide")
    refused = call(home, "run-1")
    assert refused.exit_code == 2 and "--secret FILE" in refused.stderr

    def stored() -> Any:
        return json.loads(client.get_object(Bucket="ilab", Key=key + "decisions.json")["Body"].read())

    assert "no decisions are there yet" in call(home, "run-1", "--secret", secret).output
    done = call(home, "run-1", "--secret", secret, "--accept-all")
    assert done.exit_code == 0, done.output
    assert len(stored()["decisions"]) == 16 and f"s3://ilab/{key}decisions.json" not in done.output
    rejected = {ask: {"decision": "reject"} for ask, _ in GOOD[:3]}
    (tmp_path / "mine.json").write_text(json.dumps(decide(page(volume), rejected)))
    done = call(home, address, "--secret", secret, "--decisions", str(tmp_path / "mine.json"))
    assert "13 accepted, 3 rejected" in done.output and "Retry" in done.output
    assert sum(one["decision"] == "reject" for one in stored()["decisions"].values()) == 3
    assert "13 accepted, 3 rejected" in call(home, address.removesuffix("page.html"), "--secret", secret).output


@pytest.mark.parametrize(
    "content",
    [b"", b"<p>", b'<script type="application/json">{}</script>', b'<script type="application/json">[</script>'],
)
def test_page_of_something_else_is_named(tmp_path: Path, volume: Path, content: bytes) -> None:
    (volume / "review" / "page.html").write_bytes(content)
    shown = call(tmp_path, "run-1")
    assert shown.exit_code == 1 and "page.html is not the page of a review" in shown.stderr


def test_run_without_a_review_is_named(tmp_path: Path) -> None:
    make_run(tmp_path, LocalSettings(python="python3"))
    shown = call(tmp_path, "run-1")
    assert shown.exit_code == 2 and "has no samples to review" in shown.stderr

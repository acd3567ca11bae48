"""`ilab-pipeline judges --judge`: other judges rate the answers of a run, and it is told how far they agree."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from tests.cli.judged.test_people import SYSTEM, scores
from tests.fakes.models import Models
from utils.cli.main import main


def call(*words: object) -> Result:
    return CliRunner().invoke(main, list(map(str, words)))


@contextlib.contextmanager
def serving(reply: Callable[[dict[str, Any]], Any], port: int = 0) -> Iterator[Models]:
    server = Models(reply, port)
    try:
        yield server
    finally:
        server.stop()


def quality(body: dict[str, Any]) -> int:
    """The quality that the answer at the prompt's end names."""
    (message,) = body["messages"]
    return int(message["content"].rpartition("[The Start of Assistant's Answer]\n")[2].lstrip("=").split()[0])


def strict(body: dict[str, Any]) -> str:
    return "Hello." if body["max_tokens"] == 1 else f"I see. Rating: [[{quality(body)}]]"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    facts = {"run_id": "r1", "headline": "h", "fate": "f", "comparisons": [], "scores": scores()}
    facts["done"] = {"sdg": {"inputs": {"teacher": "mixtral"}, "result": {}}}
    (tmp_path / "report.json").write_text(json.dumps(facts))
    return tmp_path / "report.json"


def secret(folder: Path, url: str, name: str) -> Path:
    values = {"endpoint": f"{url}/v1", "model_name": name, "api_token": "s3cret"}
    folder.mkdir(exist_ok=True)
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "judge"}, "stringData": values}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(manifest))
    return folder / f"{name}.yaml"


def judged(report: Path, judges: list[Path], *words: object) -> Result:
    named = [word for path in judges for word in ("--judge", path)]
    return call("judges", report, "--home", report.parent / "home", *named, *words)


def test_other_judges_rate_all_answers_with_the_same_prompts(report: Path, tmp_path: Path) -> None:
    with serving(strict) as server:
        done = judged(report, [secret(tmp_path / "s", server.url, "granite-judge")], "-o", "json")
        bodies = server.bodies
    assert done.exit_code == 0, done.output
    branch, bench = json.loads(done.stdout)["judges"]
    own, other = branch["rows"]
    assert (own["judge"], other["judge"], other["unrated"]) == ("prometheus", "granite-judge", 0)
    assert other["base"] == pytest.approx(own["base"] - 1) and other["candidate"] == pytest.approx(own["candidate"] - 2)
    assert other["difference"]["change"] == pytest.approx(own["difference"]["change"] - 1)
    assert branch["ordinal"]["units"] == 120 and 0 < branch["interval"]["alpha"] < 0.95
    assert (bench["name"], bench["rows"][0]["difference"]) == ("MT-Bench", None)
    asked = [body for body in bodies if body["max_tokens"] != 1]
    assert len(asked) == 120 + 40 and {body["model"] for body in bodies} == {"granite-judge"}
    assert all(body["temperature"] == 0 and body["messages"][0]["content"].startswith(SYSTEM) for body in asked)


def test_judge_of_another_opinion_and_family_is_told(report: Path, tmp_path: Path) -> None:
    def contrary(body: dict[str, Any]) -> str:
        loves_base = "base_qa_scores" in body["messages"][0]["content"]
        return f"[[{9 if loves_base else 2}]]"

    with serving(contrary) as server:
        done = judged(report, [secret(tmp_path / "s", server.url, "mistral-large")])
    assert done.exit_code == 0, done.output
    assert "warning: the judge mistral-large and the teacher mixtral are both of the family Mistral" in done.output
    assert "the judges do not agree on the verdict" in done.output and "not reliable" in done.output
    assert "MT-Bench-branch: 2 judges" in done.output


def test_interrupted_command_does_not_ask_again(report: Path, tmp_path: Path) -> None:
    left = 50

    def fails(body: dict[str, Any]) -> Any:
        nonlocal left
        left -= body["max_tokens"] != 1
        return strict(body) if left > 0 else (404, {"error": "no such model"})

    folder = tmp_path / "s"
    with serving(fails) as server:
        first = judged(report, [secret(folder, server.url, "j")], "--workers", 1)
        port = server.url.rpartition(":")[2]
    assert first.exit_code == 1 and "404" in first.output and "s3cret" not in first.output
    with serving(strict, port=int(port)) as server:
        second = judged(report, [secret(folder, server.url, "j")])
        again = len([body for body in server.bodies if body["max_tokens"] != 1])
    assert second.exit_code == 0, second.output
    assert again == 160 - 49


@pytest.mark.parametrize(
    ("reply", "unrated"),
    [
        (lambda body: "no rating" if quality(body) == 2 else strict(body), True),
        (lambda body: (400, {"error": "too long"}) if quality(body) == 2 else strict(body), True),
        (lambda body: f"<think>[[1]]</think> [[{quality(body)}]]", False),
    ],
    ids=["unrated", "refused", "reasoning"],
)
def test_answers_without_a_rating_are_counted(
    reply: Callable[[dict[str, Any]], Any], unrated: bool, report: Path, tmp_path: Path
) -> None:
    with serving(lambda body: "hello" if body["max_tokens"] == 1 else reply(body)) as server:
        done = judged(report, [secret(tmp_path / "s", server.url, "j")], "-o", "json")
    assert done.exit_code == 0, done.output
    other = json.loads(done.stdout)["judges"][0]["rows"][1]
    assert (other["unrated"] > 0) == unrated and (other["difference"]["questions"] < 60) == unrated
    assert unrated or other["candidate"] < 7


def test_judge_that_can_not_be_reached_is_an_error(report: Path, tmp_path: Path) -> None:
    done = judged(report, [secret(tmp_path / "s", "http://127.0.0.1:9", "j")])
    assert done.exit_code == 1 and "j at http://127.0.0.1:9/v1 does not answer" in done.output, done.output


def test_options_reach_the_judge(report: Path, tmp_path: Path) -> None:
    with serving(strict) as server:
        done = judged(report, [secret(tmp_path / "s", server.url, "j")], "--judge-options", '{"max_tokens": 9, "x": 1}')
        bodies = [body for body in server.bodies if body["max_tokens"] != 1]
    assert done.exit_code == 0 and {(body["max_tokens"], body["x"]) for body in bodies} == {(9, 1)}


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--judge-options", "5"], "it is not a JSON object"),
        (["--judge-options", "{"], "Invalid value"),
        (["--judge", "nothing.yaml"], "does not exist"),
    ],
)
def test_wrong_flags_are_told(words: list[str], fault: str, report: Path) -> None:
    done = call("judges", report, *words)
    assert done.exit_code == 2 and fault in done.output


def test_secret_that_is_not_a_judges_is_an_error(report: Path, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: Secret\nmetadata: {name: a}\nstringData: {bucket: b}\n")
    done = judged(report, [tmp_path / "a.yaml"])
    assert done.exit_code == 2 and "holds no Secrets of a judge" in done.output


def test_report_without_prompts_can_not_be_judged_again(report: Path, tmp_path: Path) -> None:
    facts = json.loads(report.read_text())
    for one in facts["scores"]["mt_bench_branch"]["qa_scores"]:
        del one["prompt"]
    report.write_text(json.dumps(facts))
    done = judged(report, [secret(tmp_path / "s", "http://127.0.0.1:9", "j")])
    assert done.exit_code == 2 and "of an earlier version" in done.output

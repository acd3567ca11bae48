"""Scores of the base model in a real object store: taken by later runs, and only those that belong to the run."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes.s3 import S3
from utils.stages.evaluation import base_scores

FILES = ["likelihood.json"]


@pytest.fixture
def run(s3_server: S3, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run: evaluates the base model on a new volume unless its scores are taken; the answer, and what was taken."""
    monkeypatch.setattr(base_scores, "device", lambda: "cpu")
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "template.jinja").write_text("{{ messages }}")
    prefix = request.node.name.replace("[", "-").rstrip("]")
    s3_server.secret(tmp_path / "secret", data_key=f"{prefix}/data.tar.gz")
    numbers = iter(range(100))

    def once(
        decides: dict[str, Any] | None = None, evaluate: Callable[[], str] = lambda: "", unfit: bool = False
    ) -> tuple[str, str]:
        work = tmp_path / f"volume-{next(numbers)}"
        template = str(tmp_path / "template.jinja")
        bases = base_scores.base_scores(str(tmp_path / "secret"), "", "", model, template, work)
        path = work / FILES[0]
        with bases.reused({"questions": "q"} if decides is None else decides, FILES) as used:
            if unfit and path.exists():
                path.unlink()
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                path.write_text(evaluate() or json.dumps({"nll": [next(numbers)]}))
        return path.read_text(), used.get("base_scores", "")

    return once


def entries(s3_server: S3, tmp_path: Path) -> list[str]:
    prefix = Path(tmp_path, "secret/data_key").read_text().rpartition("/")[0]
    found = s3_server.client().list_objects_v2(Bucket=s3_server.bucket, Prefix=prefix)
    return [one["Key"] for one in found.get("Contents", [])]


def test_later_run_takes_what_an_earlier_one_kept(run: Any, s3_server: S3, tmp_path: Path) -> None:
    first, taken = run()
    assert taken == ""
    assert run() == (first, entries(s3_server, tmp_path)[0])


@pytest.mark.parametrize("changed", ["model", "file", "template", "device", "library", "questions", "option"])
def test_other_model_question_setting_or_library_is_evaluated_anew(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    first, _ = run()
    decides = {"questions": "other"} if changed == "questions" else {"questions": "q"}
    if changed == "option":
        decides["few_shots"] = "5"
    if changed == "model":
        (tmp_path / "model/model.safetensors").write_bytes(b"Weights")
    if changed == "file":
        (tmp_path / "model/tokenizer.json").write_text("{}")
    if changed == "template":
        (tmp_path / "template.jinja").write_text("{{ other }}")
    if changed == "device":
        monkeypatch.setattr(base_scores, "device", lambda: "NVIDIA H100")
    if changed == "library":
        monkeypatch.setattr(base_scores.metadata, "distributions", lambda: [SimpleNamespace(name="torch", version="9")])
    second, taken = run(decides)
    assert taken == "" and second != first
    assert run(decides)[0] == second


def damaged(entry: dict[str, Any], how: str) -> bytes:
    if how == "half":
        return json.dumps(entry).encode()[:-9]
    if how == "scores":
        entry["files"][FILES[0]] = '{"nll": [0.0]}'
    if how == "another":
        entry["decides"]["questions"] = "of another run"
    if how == "files":
        entry["files"] = []
    return b"[]" if how == "no object" else b"\xff" if how == "bytes" else json.dumps(entry).encode()


@pytest.mark.parametrize("how", ["half", "scores", "another", "files", "no object", "bytes"])
def test_entry_that_is_not_whole_or_of_another_run_is_not_believed_and_is_replaced(
    run: Any, s3_server: S3, tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    (key,) = entries(s3_server, tmp_path)
    client = s3_server.client()
    entry = json.loads(client.get_object(Bucket=s3_server.bucket, Key=key)["Body"].read())
    client.put_object(Bucket=s3_server.bucket, Key=key, Body=damaged(entry, how))
    second, taken = run()
    assert taken == "" and f"{key} is not used: " in capsys.readouterr().out
    assert run() == (second, key)


def test_scores_that_no_longer_hold_are_made_anew_kept_and_not_called_taken(run: Any) -> None:
    """MMLU's questions have changed on their hub since the entry was made."""
    first, _ = run()
    second, taken = run(unfit=True)
    assert second != first and taken == ""
    third, taken = run()
    assert third == second and taken


def test_kill_while_files_are_taken_leaves_no_half_file(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = run()
    write = Path.write_text

    def killed(path: Path, text: str, *encoding: str) -> int:
        if not path.parent.name.startswith("volume-"):
            return write(path, text, *encoding)
        write(path, text[:-3])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "write_text", killed)
        run()
    left = [path for path in tmp_path.glob("volume-*/*") if path.name == FILES[0]]
    assert [path.read_text() for path in left] == [first]


def test_evaluation_that_failed_keeps_nothing(run: Any, s3_server: S3, tmp_path: Path) -> None:
    def fail() -> str:
        raise SystemExit("the judge is away")

    with pytest.raises(SystemExit, match="the judge is away"):
        run(evaluate=fail)
    assert entries(s3_server, tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"endpoint": "http://127.0.0.1:9"}, "scores of the base model can't be looked up: "),
        ({"secret_key": "wrong"}, "scores of the base model can't be kept for later runs: "),
        ({"bucket": None}, "scores of the base model are not kept for later runs: "),
    ],
)
def test_store_that_is_away_or_refuses_does_not_fail_the_evaluation(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str | None], told: str
) -> None:
    for name, value in changes.items():
        (tmp_path / "secret" / name).unlink()
        if value:
            (tmp_path / "secret" / name).write_text(value)
    assert run()[1] == "" and told in capsys.readouterr().out


def test_without_an_object_store_nothing_is_kept(tmp_path: Path) -> None:
    bases = base_scores.base_scores(str(tmp_path / "none"), "", "", tmp_path, "", tmp_path)
    assert bases.store is None
    with bases.reused({}, FILES) as used:
        pass
    assert used == {}


def test_scores_of_a_task_that_was_killed_stay(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / FILES[0]).write_text("mine")
    monkeypatch.setattr(base_scores, "device", lambda: "cpu")
    bases = base_scores.base_scores(str(tmp_path / "secret"), "", "", tmp_path / "model", "", tmp_path / "work")
    with replace(bases).reused({"questions": "q"}, FILES) as used:
        pass
    assert used == {}
    assert (tmp_path / "work" / FILES[0]).read_text() == "mine"

"""Outputs of a task from the files that it wrote."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ir.test_command import TASK
from utils.errors import TaskFailed
from utils.ir.model import Artifact
from utils.ir.outputs import read_outputs

NO_PARAMETERS = replace(TASK, output_parameters={})


def test_outputs_are_typed(tmp_path: Path) -> None:
    report = {"parameterValues": {"score": 1, "count": 3.0, "rows": [1.0], "undeclared": 1}}
    (tmp_path / "executor_output.json").write_text(json.dumps(report))
    (tmp_path / "note").write_text("5")
    outputs = read_outputs(TASK, tmp_path)
    assert repr(dict(sorted(outputs.parameters.items()))) == "{'count': 3, 'note': '5', 'rows': [1], 'score': 1.0}"
    assert outputs.artifacts == {"model": [Artifact("model", "system.Model", f"{tmp_path}/model", {})]}


def test_value_in_the_executor_output_wins_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "executor_output.json").write_text('{"parameterValues": {"count": 3}}')
    (tmp_path / "count").write_text("no number")
    task = replace(TASK, output_parameters={"count": "NUMBER_INTEGER"})
    assert read_outputs(task, tmp_path).parameters == {"count": 3}


def test_output_artifacts_keep_their_own_metadata_and_uri(tmp_path: Path) -> None:
    one = {"name": "best", "uri": "s3://elsewhere", "metadata": {"loss": 0.5, "epoch": 2.0}}
    (tmp_path / "executor_output.json").write_text(json.dumps({"artifacts": {"model": {"artifacts": [one]}}}))
    assert read_outputs(NO_PARAMETERS, tmp_path).artifacts["model"] == [
        Artifact("best", "system.Model", "s3://elsewhere", {"loss": 0.5, "epoch": 2})
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("executor_output.json", "{", "no valid executor_output.json"),
        (
            "executor_output.json",
            '{"parameterValues": {"count": "three"}}',
            "output count: expected an integer, got 'three'",
        ),
        ("count", "three", "no valid value for its output count"),
        ("count", "3.5", "no valid value for its output count"),
    ],
)
def test_invalid_outputs_fail_the_task(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(TaskFailed, match=message):
        read_outputs(TASK, tmp_path)


# What TextToPbValue of KFP's launcher (backend/src/v2/metadata/converter.go) makes of a file; ... where it refuses it.
@pytest.mark.parametrize(
    ("kind", "content", "value"),
    [
        *(("BOOLEAN", word, True) for word in ("True", "true", "TRUE", "t", "T", "1", " true\n")),
        *(("BOOLEAN", word, False) for word in ("False", "false", "FALSE", "f", "F", "0", "False\n")),
        *(("BOOLEAN", word, ...) for word in ("yes", "", "tRUE", "1.0", '"true"')),
        *(("NUMBER_INTEGER", word, 7) for word in ("7", "7\n", " +7 ", "007")),
        *(
            ("NUMBER_INTEGER", word, ...)
            for word in ("7.0", "7.5", "1e3", "", "0x7", "1_000", "٧", "9223372036854775808")
        ),
        *(("NUMBER_DOUBLE", word, 0.5) for word in ("0.5", ".5", "5e-1", "+0.5\n", "5E-01")),
        ("NUMBER_DOUBLE", "3", 3.0),
        *(("NUMBER_DOUBLE", word, ...) for word in ("nan", "inf", "1e999", "0,5", "")),
        ("STRING", " a\nb\n", " a\nb\n"),
        ("STRING", "", ""),
        ("STRING", '{"a": 1}', '{"a": 1}'),
        ("LIST", " [1, 2.0, true]\n", [1, 2, True]),
        *(("LIST", word, ...) for word in ("{}", "[1,]", "[NaN]", "['a']", "")),
        ("STRUCT", '{"a": null}', {"a": None}),
        *(("STRUCT", word, ...) for word in ("[]", "{'a': 1}", "null")),
    ],
)
def test_output_files_are_read_as_kfps_launcher_reads_them(
    tmp_path: Path, kind: str, content: str, value: object
) -> None:
    (tmp_path / "out").write_text(content)
    task = replace(TASK, output_parameters={"out": kind})
    if value is ...:
        with pytest.raises(TaskFailed, match="no valid value for its output out|wrong type for its output out"):
            read_outputs(task, tmp_path)
    else:
        assert repr(read_outputs(task, tmp_path).parameters["out"]) == repr(value)


def test_line_ends_of_a_string_are_kept(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"a\r\nb")
    assert read_outputs(replace(TASK, output_parameters={"out": "STRING"}), tmp_path).parameters["out"] == "a\r\nb"


def test_output_file_that_is_not_text_fails_the_task(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"\xff\xfe")
    with pytest.raises(TaskFailed, match="no UTF-8 text for its output out"):
        read_outputs(replace(TASK, output_parameters={"out": "STRING"}), tmp_path)


def test_output_that_is_not_written_fails_the_task_that_should_have_written_it(tmp_path: Path) -> None:
    (tmp_path / "executor_output.json").write_text('{"parameterValues": {"count": 3, "note": "x"}}')
    with pytest.raises(TaskFailed, match="wrote nothing for its output score, rows"):
        read_outputs(TASK, tmp_path)


def custom_path(root: Path, path: Path, key: str = "custom_path", uri: str = "") -> None:
    root.mkdir()
    one = {"name": "model", "uri": uri or str(root / "model"), "metadata": {}, key: str(path)}
    (root / "executor_output.json").write_text(json.dumps({"artifacts": {"model": {"artifacts": [one]}}}))


@pytest.mark.parametrize("key", ["custom_path", "customPath"])
def test_content_at_a_custom_path_is_the_artifacts(tmp_path: Path, key: str) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    custom_path(root, elsewhere, key)
    (root / "model").write_text("not this")
    elsewhere.write_text("this")
    found = read_outputs(NO_PARAMETERS, root).artifacts["model"][0]
    assert (found.uri, Path(found.uri).read_text(), elsewhere.read_text()) == (str(root / "model"), "this", "this")


def test_folder_at_a_custom_path_replaces_the_one_at_the_artifacts_own(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    custom_path(root, elsewhere)
    for name in (root / "model" / "old", elsewhere / "deep" / "new"):
        name.parent.mkdir(parents=True)
        name.touch()
    uri = read_outputs(NO_PARAMETERS, root).artifacts["model"][0].uri
    assert sorted(str(path.relative_to(uri)) for path in Path(uri).rglob("*")) == ["deep", "deep/new"]


def test_custom_path_is_looked_up_where_the_task_saw_it(tmp_path: Path) -> None:
    root, claim = tmp_path / "root", tmp_path / "claim"
    custom_path(root, Path("/data/model"))
    claim.mkdir()
    (claim / "model").write_text("on the claim")
    outputs = read_outputs(NO_PARAMETERS, root, lambda path: Path(path.replace("/data", str(claim))))
    assert Path(outputs.artifacts["model"][0].uri).read_text() == "on the claim"


def test_nothing_at_a_custom_path_is_an_artifact_without_content(tmp_path: Path) -> None:
    root = tmp_path / "root"
    custom_path(root, tmp_path / "nothing")
    assert not Path(read_outputs(NO_PARAMETERS, root).artifacts["model"][0].uri).exists()


def test_custom_path_with_a_uri_elsewhere_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    custom_path(root, tmp_path / "x", uri="s3://bucket/model")
    with pytest.raises(TaskFailed, match="both a custom path"):
        read_outputs(NO_PARAMETERS, root)

"""Data that was generated elsewhere is read row by row at import: file and line of a fault are named."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.archives import write_files
from utils.stages.data_import.rows import check_rows
from utils.stages.data_processing.held_out import find_questions, read_samples

FILE = "skills_train_msgs_x.jsonl"
USER = {"role": "user", "content": "What colour is it?"}
ANSWER = {"role": "assistant", "content": "It is blue."}
GOOD = {"id": "0", "messages": [USER, ANSWER], "metadata": "{}"}


def data(tmp_path: Path, *rows: Any, **files: bytes) -> Path:
    """A folder data/ with a good row and these: texts as they are, values as JSON."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in (GOOD, *rows)]
    return write_files(tmp_path, {FILE: "\n".join(lines).encode(), **files})


@pytest.mark.parametrize(
    ("row", "told"),
    [
        # Shapes of other tools and by hand.
        ({"id": "1", "text": "hello"}, "messages is not a list of turns; there are id, text"),
        ({"conversations": [{"from": "human", "value": "a"}]}, "messages is not a list of turns"),
        ({"instruction": "a", "output": "b"}, "messages is not a list of turns"),
        ({"messages": [{"from": "human", "value": "a"}]}, "a turn has no role"),
        ({"messages": []}, "messages is not a list of turns"),
        ({"messages": {"role": "user", "content": "a"}}, "messages is not a list of turns"),
        ({"messages": ["a", "b"]}, "role and content are not both texts"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}, ANSWER]}, "not both texts"),
        ({"messages": [{"role": "user", "content": {"a": 1}}, ANSWER]}, "not both texts"),
        ({"messages": [{"role": 1, "content": "a"}, ANSWER]}, "not both texts"),
        (GOOD | {"metadata": "hand-written"}, "metadata is not a JSON object"),
        (GOOD | {"metadata": "null"}, "metadata is not a JSON object"),
        (GOOD | {"metadata": [1]}, "metadata is not a JSON object"),
        (GOOD | {"metadata": {"dataset": 7}}, "metadata is not a JSON object"),
        (GOOD | {"unmask": "false"}, "unmask is 'false', not true or false"),
        (GOOD | {"id": ["a"]}, "id is neither a text nor a number"),
        ([1, 2], "it is not a JSON object"),
        ("7", "it is not a JSON object"),
        ('{"id": 2, "messages": [', "Expecting value"),
        ("[" * 100_000, "recursion"),
        ('{"messages": [{"role": "user", "content": "\\ud83d"}, {"role": "assistant", "content": "a"}]}', "surrogates"),
    ],
)
def test_row_of_another_form_is_named_with_file_and_line(tmp_path: Path, row: Any, told: str) -> None:
    with pytest.raises(SystemExit) as error:
        check_rows(data(tmp_path, row))
    assert f"data/{FILE} line 2: " in str(error.value) and told in str(error.value)
    assert str(error.value).count(" line ") == 1


@pytest.mark.parametrize("content", [json.dumps(GOOD).encode("utf-16"), b"\x1f\x8b\x08\x00", b"PAR1\x15\x04\xff\n"])
def test_file_that_is_not_text_is_named(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SystemExit, match=f"data/{FILE} line 1: .*codec can't decode"):
        check_rows(write_files(tmp_path, {FILE: content}))


def test_several_faults_are_told_at_once_but_not_all_of_thousands(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as error:
        check_rows(data(tmp_path, *["{"] * 3000))
    assert (
        str(error.value).count("jsonl line ") == 5 and "line 2:" in str(error.value) and "line 6:" in str(error.value)
    )


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, ANSWER]},
        {"messages": [USER, ANSWER], "metadata": None, "id": 7, "unmask": None},
        {"messages": [USER, ANSWER], "metadata": {"dataset": None, "leaf_node_path": None}, "unmask": True},
        {"messages": [{"role": "pretraining", "content": "<|user|>\na\n<|assistant|>\nb"}], "metadata": ""},
        {"messages": [{"role": "system", "content": None}, USER, ANSWER, USER, ANSWER]},
    ],
)
def test_row_that_later_stages_can_read_is_accepted(tmp_path: Path, row: Any) -> None:
    folder = data(tmp_path, row, "", json.dumps(GOOD) + "\r")
    check_rows(folder)
    find_questions(tmp_path / "taxonomy", {"skills": folder / FILE})
    assert len(list(read_samples(folder / FILE))) == 3


def test_orders_of_roles_are_given_for_the_chat_template(tmp_path: Path) -> None:
    system = {"role": "system", "content": "You help."}
    rows = [{"messages": [system, USER, ANSWER]}, {"messages": [USER, ANSWER]}, {"messages": [system, USER, ANSWER]}]
    assert check_rows(data(tmp_path, *rows)) == [["system", "user", "assistant"], ["user", "assistant"]]


def test_rows_without_an_answer_are_counted_and_a_file_of_them_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    useless = [{"messages": [USER]}, {"messages": [USER, ANSWER | {"content": ""}]}]
    check_rows(data(tmp_path, *useless))
    assert "2 of 3 rows will be dropped" in capsys.readouterr().out
    write_files(tmp_path, {FILE: "\n".join(map(json.dumps, useless)).encode()})
    with pytest.raises(SystemExit, match="2 rows have an empty turn, or no turn of an assistant"):
        check_rows(tmp_path)


@pytest.mark.parametrize("files", [{}, {FILE: b"\n\n"}, {"skills_train_x.jsonl": b""}])
def test_data_without_a_row_is_refused_at_import(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(SystemExit, match="0 rows"):
        check_rows(write_files(tmp_path, files))


def test_only_the_files_of_the_newest_run_are_read(tmp_path: Path) -> None:
    check_rows(data(tmp_path, **{"skills_train_msgs_w.jsonl": b"{", "node_datasets_w/knowledge_a_p07.jsonl": b"{"}))


QUESTION = b'{"question": "x", "choices": ["a", "b", "c", "d"], "answer": 3}'


def test_questions_are_accepted_and_task_files_are_not_read(tmp_path: Path) -> None:
    """Tasks are written anew (utils/stages/evaluation/mmlu.py)."""
    files = {"mmlubench_knowledge_a.jsonl": QUESTION, "knowledge_a_task.yaml": b"a: !function b.c\n"}
    check_rows(data(tmp_path, **{f"node_datasets_x/{name}": content for name, content in files.items()}))


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"node_datasets_x/knowledge_a_p07.jsonl": b'{"id": "1"}\n[]'}, "knowledge_a_p07.jsonl line 2: it is not"),
        ({"node_datasets_x/mmlubench_knowledge_a.jsonl": b"{"}, "mmlubench_knowledge_a.jsonl line 1: Expecting"),
        ({"node_datasets_x/mmlubench_a.jsonl": b'{"question": "x"}'}, "mmlubench_a.jsonl line 1: it is not a question"),
        ({"node_datasets_x/mmlubench_a.jsonl": QUESTION.replace(b"3}", b"4}")}, "mmlubench_a.jsonl line 1: it is not"),
        ({"node_datasets_x/mmlubench_a.jsonl": QUESTION.replace(b'"d"', b"4")}, "mmlubench_a.jsonl line 1: it is not"),
        ({"node_datasets_x/mmlubench_a.jsonl": QUESTION.replace(b"3}", b"[]}")}, "mmlubench_a.jsonl line 1: it is not"),
    ],
)
def test_leaves_data_and_questions_are_looked_at_too(tmp_path: Path, files: dict[str, bytes], told: str) -> None:
    with pytest.raises(SystemExit) as error:
        check_rows(data(tmp_path, **files))
    assert f"data/node_datasets_x/{told}" in str(error.value)

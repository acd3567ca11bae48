"""Leaves of a taxonomy: valid ones, wrong ones, and what only looks like one.

tests/e2e/test_sdg.py holds the same leaves against instructlab-schema.
"""

from pathlib import Path

import pytest
import yaml

from tests.archives import skill_leaf, write_files
from tests.stages.data_import.taxonomies import BY_KIND, SKILL
from utils.stages.data_import.documents import check_taxonomy
from utils.stages.data_import.leaves import LeafFinding, check_leaf, find_leaves, yaml_line

VALID, WRONG = (
    [pytest.param(kind, text, id=f"{kind}: {name}") for kind in BY_KIND for name, text in BY_KIND[kind][i].items()]
    for i in (0, 1)
)


def findings(folder: Path, kind: str, text: str | bytes) -> list[LeafFinding]:
    leaf = folder / kind / "a" / "qna.yaml"
    leaf.parent.mkdir(parents=True)
    leaf.write_bytes(text.encode() if isinstance(text, str) else text)
    return check_leaf(folder, f"{kind}/a")[2]


@pytest.mark.parametrize(("kind", "text"), VALID)
def test_valid_leaf_has_no_finding(kind: str, text: str, tmp_path: Path) -> None:
    assert findings(tmp_path, kind, text) == []


@pytest.mark.parametrize(("kind", "text"), WRONG)
def test_wrong_leaf_is_found_with_a_remedy(kind: str, text: str | bytes, tmp_path: Path) -> None:
    found = findings(tmp_path, kind, text)
    assert found
    assert all(one.level == "error" and one.remedy and one.cause for one in found)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("What is 1", "[What is 1", "compositional_skills/a/qna.yaml:7: not YAML: expected ',' or ']'"),
        ("version: 3", "version: 99", "qna.yaml:1: version is 99; write 1 or 2 or 3, as a number"),
        ("  - question: What is 1", "  - questoin: What is 1", "qna.yaml:7: .seed_examples[1] lacks question"),
        ("It is 2.", "yes", "qna.yaml:8: .seed_examples[1].answer is bool, not text; put it in quotes"),
        ("It is 2.", "It is 2. ", "qna.yaml:8: spaces at the end of the line"),
    ],
)
def test_a_finding_names_file_line_and_what_is_wrong(old: str, new: str, expected: str, tmp_path: Path) -> None:
    assert any(expected in str(one) for one in findings(tmp_path, "compositional_skills", SKILL.replace(old, new, 1)))


def test_all_errors_of_a_leaf_are_found_at_once(tmp_path: Path) -> None:
    text = SKILL.replace("created_by: me\n", "").replace("It is 0.", "12 ").replace("It is 2.", "''")
    assert len(findings(tmp_path, "compositional_skills", text)) == 4


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 5000,
        "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi")),  # noqa: B905, E501
        "\x00",
        "a: \x07",
    ],
    ids=["nested", "aliases of aliases", "NUL", "control character"],
)  # fmt: skip
def test_hostile_yaml_is_a_finding(text: str, tmp_path: Path) -> None:
    assert findings(tmp_path, "compositional_skills", text)


def test_what_only_looks_like_a_leaf_is_named(tmp_path: Path) -> None:
    names = ["knowledge/a/qna.yml", "knowledge/b/QNA.yaml", "foundational_skills/c/qna.yaml", "skills/d/qna.yaml"]
    files = dict.fromkeys([*names, ".git/qna.yaml", "compositional_skills/e/qna.yaml"], skill_leaf())
    leaves, found = find_leaves(write_files(tmp_path, files))
    assert leaves == ["compositional_skills/e"]
    assert {(one.file, one.level) for one in found} == {(name, "warning") for name in names}


def test_no_symbolic_link_is_followed(tmp_path: Path) -> None:
    """Trap 62: a link to a token file would be read as a leaf, and its text shown in the message."""
    token = tmp_path / "token"
    token.write_text("canary")
    taxonomy = write_files(tmp_path / "taxonomy", {"compositional_skills/a/qna.yaml": skill_leaf()})
    (taxonomy / "knowledge" / "b").mkdir(parents=True)
    (taxonomy / "knowledge" / "b" / "qna.yaml").symlink_to(token)
    (taxonomy / "knowledge" / "c").symlink_to(taxonomy / "compositional_skills" / "a")
    leaves, found = check_taxonomy(taxonomy, tmp_path)
    assert leaves == ["compositional_skills/a"]
    expected = [("knowledge/b/qna.yaml", "error"), ("knowledge/c", "warning")]
    assert sorted((one.file, one.level) for one in found) == expected
    assert "canary" not in repr(found)


def test_a_taxonomy_one_level_down_is_pointed_to(tmp_path: Path) -> None:
    write_files(tmp_path, {"taxonomy/compositional_skills/a/qna.yaml": skill_leaf()})
    assert check_taxonomy(tmp_path, tmp_path)[1][-1].remedy == f"give {tmp_path / 'taxonomy'}"


@pytest.mark.parametrize(
    ("path", "line"),
    [(".", 1), (".seed_examples", 3), (".seed_examples[1].question", 5), (".seed_examples[1].answer", 5), (".no", 1)],
)
def test_schema_errors_point_to_their_line(path: str, line: int) -> None:
    text = "version: 3\nseed_examples:\n  - question: a\n    answer: b\n  - question: c\n"
    assert yaml_line(yaml.compose(text), path) == line


@pytest.mark.parametrize("value", ["!!bool 2", "!!timestamp x", "!!int ''", "!!int x", "2001-99-99", "9" * 5000])
def test_value_that_breaks_the_parser_is_a_finding(value: str, tmp_path: Path) -> None:
    (one,) = findings(tmp_path, "knowledge", f"version: 3\ndomain: {value}\n")
    assert one.file == "knowledge/a/qna.yaml" and "it can't be read" in one.cause

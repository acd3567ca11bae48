"""`ilab-pipeline taxonomy check`, and the same check in `upload`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.archives import MODEL, knowledge_leaf, skill_leaf, write_files
from utils.cli.main import main
from utils.demo.taxonomy import EXAMPLES, make_document_repo


def check(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["taxonomy", "check", *arguments])


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    documents = write_files(
        tmp_path / "files", {"town.md": b"The tower is high.\n", "lfs.md": b"version https://git-lfs"}
    )
    make_document_repo(documents, tmp_path / "repo")
    return tmp_path / "repo"


def test_good_taxonomy_exits_with_0(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "t", {"compositional_skills/a/qna.yaml": skill_leaf()})
    done = check(str(folder))
    assert (done.exit_code, done.stdout) == (0, f"{folder}: 1 leaf, 0 errors, 0 warnings\n")


def test_finding_names_leaf_file_line_cause_and_what_to_do(tmp_path: Path, repo: Path) -> None:
    folder = write_files(tmp_path / "t", {"knowledge/town/qna.yaml": knowledge_leaf(repo, "main", "lfs.md")})
    done = check(str(folder))
    assert done.exit_code == 1
    assert done.stdout.startswith(
        "error: knowledge/town/qna.yaml:50\n  lfs.md is a Git LFS pointer, not the file\n"
        "  next: commit the file itself, without LFS\n"
    )
    assert done.stdout.endswith("1 leaf, 1 error, 1 warning\n")


def test_json_has_every_finding(tmp_path: Path, repo: Path) -> None:
    folder = write_files(tmp_path / "t", {"knowledge/town/qna.yaml": knowledge_leaf(repo, "main", "lfs.md")})
    done = check(str(folder), "-o", "json")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["leaves"]) == (1, ["knowledge/town"])
    assert report["findings"][0] == {
        "leaf": "knowledge/town",
        "file": "knowledge/town/qna.yaml",
        "line": 50,
        "cause": "lfs.md is a Git LFS pointer, not the file",
        "remedy": "commit the file itself, without LFS",
        "level": "error",
    }


def test_documents_on_this_machine_are_a_warning(tmp_path: Path, repo: Path) -> None:
    folder = write_files(tmp_path / "t", {"knowledge/town/qna.yaml": knowledge_leaf(repo, "main", "town.md")})
    done = check(str(folder))
    assert done.exit_code == 0
    assert "can be read by runs on this machine only" in done.stdout


def test_without_documents_nothing_is_cloned(tmp_path: Path) -> None:
    leaf = knowledge_leaf("https://127.0.0.1:9/documents", "main", "town.md")
    folder = write_files(tmp_path / "t", {"knowledge/town/qna.yaml": leaf})
    assert check(str(folder), "--no-documents").exit_code == 0
    assert "can't be cloned" in check(str(folder)).stdout


def test_example_needs_its_repository_first() -> None:
    done = check(str(EXAMPLES / "taxonomy"))
    assert done.exit_code == 1
    assert done.stdout.count("'examples/documents' is not https://") == 2


@pytest.mark.parametrize("folder", ["absent", "file"])
def test_what_is_not_a_folder_is_wrong_usage(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert check(str(tmp_path / folder)).exit_code == 2


def test_upload_sends_no_taxonomy_that_data_import_would_reject(tmp_path: Path) -> None:
    tree = write_files(tmp_path, {**MODEL, "taxonomy/knowledge/README.md": b""})
    write_files(tree, {"taxonomy/compositional_skills/a/qna.yaml": skill_leaf(4)})
    done = CliRunner().invoke(main, ["upload", "--model", f"{tree}/model", "--taxonomy", f"{tree}/taxonomy"])
    assert done.exit_code == 1
    assert "error: compositional_skills/a/qna.yaml:5\n  .seed_examples has 4 items, 5 are needed" in done.stderr
    assert "error: the taxonomy has 1 error" in done.stderr


def test_upload_follows_no_link_out_of_the_taxonomy(tmp_path: Path) -> None:
    """Trap 62: a taxonomy from elsewhere may link to any file of this machine."""
    tree = write_files(
        tmp_path, {**MODEL, "taxonomy/compositional_skills/a/qna.yaml": skill_leaf(), "token": b"canary"}
    )
    (tree / "taxonomy" / "knowledge").mkdir()
    (tree / "taxonomy" / "knowledge" / "README.md").symlink_to(tree / "token")
    arguments = ["upload", "--model", f"{tree}/model", "--taxonomy", f"{tree}/taxonomy", "--dry-run"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert "README.md: the link points out of the taxonomy" in done.stderr

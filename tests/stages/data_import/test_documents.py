"""Documents of knowledge leaves: what instructlab-sdg reads, and everything that it fails on or would learn by mistake.

What the library does with each was seen with instructlab-sdg 0.8.2 and 0.8.3, docling 2.32 and 2.130.
"""

import os
import subprocess
from pathlib import Path

import pytest

from tests.archives import knowledge_leaf, write_files
from tests.fakes.git_http import served
from tests.fakes.waiting import QUARTER, FakeTime
from utils.names import CLAIMS_DIR
from utils.stages.data_import.documents import address_problem, check_taxonomy, require_taxonomy
from utils.stages.data_import.leaves import LeafFinding

LEAF = "knowledge/town"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n"
PDF = b"%PDF-1.4\n1 0 obj\n<< >>\nendobj\ntrailer\n<< >>\nstartxref\n9\n%%EOF\n"
DOCUMENTS = {
    "plain.md": b"# Town\n\nThe tower is 12 metres high.\n",
    "windows.md": b"\xef\xbb\xbf# Town\r\n\r\nThe tower is high.\r\n",
    "good.pdf": PDF,
    "sub/deep/other.md": b"The river is long.\n",
    "sub/link.md": b"",  # becomes a link
    "lfs.md": POINTER,
    "lfs.pdf": POINTER,
    "UPPER.MD": b"# Town\n\nText.\n",
    "UPPER.PDF": PDF,
    "empty.md": b"",
    "heading.md": b"# Town\n\n<!-- to be\nwritten -->\n",
    "front.md": b"---\ntitle: Town\n---\n",
    "latin.md": "Die Tür ist grün.\n".encode("latin-1"),
    "utf16.md": "The tower is high.\n".encode("utf-16"),
    "binary.md": b"\0\1\2text",
    "cut.pdf": PDF[:-20],
    "html.pdf": b"<html>404</html>",
    "notes.txt": b"text",
}


def git(folder: Path, *arguments: str) -> str:
    identity = {f"GIT_{role}_{key}": "a@b" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    environment = {**os.environ, **identity, "GIT_CONFIG_GLOBAL": os.devnull}
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with every kind of document, and with links to a token beside it."""
    folder = tmp_path_factory.mktemp("documents")
    repo = write_files(folder / "repo", DOCUMENTS)
    (folder / "token.md").write_text("hf_canary")
    (repo / "sub" / "link.md").unlink()
    (repo / "sub" / "link.md").symlink_to(folder / "token.md")
    (repo / "linked").symlink_to(folder)
    git(repo, "init", "-q", "-b", "main")
    git(repo, "add", "--all")
    git(repo, "commit", "-qm", "documents")
    git(repo, "branch", "old")
    return repo


def check(folder: Path, repo: Path | str, commit: str, *patterns: str) -> list[LeafFinding]:
    taxonomy = write_files(folder / "taxonomy", {f"{LEAF}/qna.yaml": knowledge_leaf(repo, commit, *patterns)})
    leaves, found = check_taxonomy(taxonomy, folder)
    assert leaves == [LEAF]
    assert "canary" not in repr(found)
    assert {path.name for path in folder.iterdir()} == {"taxonomy"}, "clones are removed"
    assert all((finding.leaf, finding.file) == (LEAF, f"{LEAF}/qna.yaml") for finding in found)
    return found


@pytest.mark.parametrize(
    "patterns", [["plain.md"], ["plain.md", "notes.txt"], ["windows.md"], ["good.pdf"], ["sub/deep/**"], ["su?/d*/*"]]
)
def test_documents_that_the_library_reads_are_accepted(repo: Path, tmp_path: Path, patterns: list[str]) -> None:
    assert check(tmp_path, repo, git(repo, "rev-parse", "HEAD"), *patterns) == []


@pytest.mark.parametrize(
    ("pattern", "cause"),
    [
        ("lfs.md", "lfs.md is a Git LFS pointer"),  # case 09
        ("lfs.pdf", "lfs.pdf is a Git LFS pointer"),
        ("UPPER.MD", "UPPER.MD is not read with the suffix .MD"),  # case 10
        ("UPPER.PDF", "UPPER.PDF is not read with the suffix .PDF"),
        ("empty.md", "empty.md has no text"),
        ("heading.md", "heading.md has no text"),
        ("front.md", "front.md has no text"),
        ("latin.md", "latin.md is not UTF-8 (byte 5)"),
        ("utf16.md", "utf16.md is not UTF-8 (byte 0)"),
        ("binary.md", "binary.md is not text"),
        ("cut.pdf", "cut.pdf is a PDF whose end is missing"),
        ("html.pdf", "html.pdf is not a PDF"),
        ("notes.txt", "'notes.txt' matches no Markdown or PDF, but notes.txt"),
        ("nothing*.md", "'nothing*.md' matches no file"),
        ("sub/*.md", "sub/link.md is a symbolic link"),
        ("linked/token.md", "'linked/token.md' matches no file"),
        ("/etc/*.md", "'/etc/*.md' leads out of the repository"),
        ("sub/../../token.md", "'sub/../../token.md' leads out of the repository"),
    ],
)
def test_a_document_that_can_not_be_used_is_named_with_its_line(
    repo: Path, tmp_path: Path, pattern: str, cause: str
) -> None:
    [finding] = check(tmp_path, repo, git(repo, "rev-parse", "HEAD"), pattern)
    assert cause in finding.cause
    text = (tmp_path / "taxonomy" / finding.file).read_text().splitlines()
    assert pattern in text[finding.line - 1]
    assert (finding.level, bool(finding.remedy)) == ("error", True)


def test_markdown_together_with_pdf_is_refused(repo: Path, tmp_path: Path) -> None:
    [finding] = check(tmp_path, repo, "main", "plain.md", "good.pdf")
    assert finding.cause == "they match .md and .pdf together"


@pytest.mark.parametrize("pattern", ["empty.md", "nothing.md"])
def test_what_the_library_leaves_out_is_a_warning(repo: Path, tmp_path: Path, pattern: str) -> None:
    [finding] = check(tmp_path, repo, "main", "plain.md", pattern)
    assert (finding.level, pattern in finding.cause) == ("warning", True)


@pytest.mark.parametrize("commit", ["main", "old"])
def test_a_branch_is_accepted_as_the_commit(repo: Path, tmp_path: Path, commit: str) -> None:
    """git checkout takes both; the library runs it."""
    assert check(tmp_path, repo, commit, "plain.md") == []


@pytest.mark.parametrize("commit", ["deadbeef" * 5, "plain.md", "--orphan=x", "nobranch"])
def test_a_commit_that_is_not_there_is_named_with_its_line(repo: Path, tmp_path: Path, commit: str) -> None:
    """Case 03. `git checkout plain.md` would succeed: it is a file."""
    [finding] = check(tmp_path, repo, commit, "plain.md")
    assert finding.cause == f"the repository has no commit {commit!r}"
    assert commit in (tmp_path / "taxonomy" / finding.file).read_text().splitlines()[finding.line - 1]


def test_every_leaf_is_looked_at_and_a_repository_is_cloned_once(
    repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    patterns = ["plain.md", "lfs.md", "empty.md", "good.pdf"]
    files = {f"knowledge/{i}/qna.yaml": knowledge_leaf(repo, "main", name) for i, name in enumerate(patterns)}
    files["knowledge/gone/qna.yaml"] = knowledge_leaf(tmp_path / "nowhere", "main", "plain.md")
    taxonomy = write_files(tmp_path / "taxonomy", files)
    with pytest.raises(SystemExit) as error:
        require_taxonomy(taxonomy, tmp_path, "")
    message = str(error.value)
    assert message.startswith("error: the taxonomy has 3 error(s)\n  cause: ")
    for expected in ("knowledge/1/qna.yaml:", "knowledge/2/qna.yaml:", "knowledge/gone/qna.yaml:", "can't be cloned"):
        assert expected in message
    assert capsys.readouterr().out.count(f"documents: {repo}\n") == 1


def test_a_repository_that_can_not_be_cloned_does_not_show_its_token(tmp_path: Path) -> None:
    [finding] = check(tmp_path, "https://me:canary@127.0.0.1:9/documents", "main", "plain.md")
    assert "https://127.0.0.1:9/documents can't be cloned" in finding.cause


def test_documents_whose_server_is_away_for_a_quarter_of_an_hour_are_read(repo: Path, tmp_path: Path) -> None:
    with served(repo) as server:
        server.status, clock = 503, FakeTime().at(QUARTER, lambda: setattr(server, "status", 200))
        leaf = knowledge_leaf(server.url, "main", "plain.md")
        taxonomy = write_files(tmp_path / "t", {f"{LEAF}/qna.yaml": leaf})
        require_taxonomy(taxonomy, tmp_path, "", patience=clock.patience())
    assert QUARTER <= clock.now < QUARTER + 60


ADDRESSES = ["https://example.org/d.git", "ssh://git@example.org/d", "git@example.org:team/d.git"]
FOREIGN = ["http://example.org/d", "git://example.org/d", "ext::sh -c id", "examples/documents", "-oProxyCommand=x:y"]
ON_THIS_MACHINE = ["/srv/documents", "file:///srv/documents"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_documents_are_cloned_by_https_and_ssh(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert address_problem(address) == ""


@pytest.mark.parametrize("address", FOREIGN)
def test_no_other_address_is_used(address: str) -> None:
    assert "is not https://, ssh://, git@host:path" in address_problem(address)


@pytest.mark.parametrize("address", ON_THIS_MACHINE)
def test_paths_are_for_runs_on_one_machine(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert address_problem(address) == ""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert "a pod can't reach paths of another machine" in address_problem(address)
    monkeypatch.setenv(CLAIMS_DIR, "/claims")
    assert address_problem(address) == ""

"""The demo's taxonomy: the example, with its documents in a separate git repository, as in a real one."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from utils.files import ROOT

EXAMPLES = ROOT / "examples"

# What the quick demo leaves out: it keeps one knowledge leaf, a freeform and a grounded skill.
LEFT_OUT_QUICK = ("knowledge/geography", "compositional_skills/writing")

# The document repository that the qna.yaml files of the example name.
PLACEHOLDER = "repo: examples/documents"


def make_document_repo(documents: Path, folder: Path) -> str:
    """Make folder a git repository with the files of documents in one commit; returns the commit's hash.

    Author, dates and message are fixed, so the same documents give the same hash on every machine, and the
    taxonomy can name it.
    """
    folder.mkdir(parents=True)
    for document in sorted(documents.iterdir()):
        target = folder / document.name
        target.write_bytes(document.read_bytes())
        target.chmod(0o644)
    _git(folder, "init", "--quiet", "--object-format=sha1", "--initial-branch=main")
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--no-gpg-sign", "--message", "The documents of the example taxonomy")
    return _git(folder, "rev-parse", "HEAD")


def make_taxonomy(folder: Path, examples: Path = EXAMPLES, left_out: Sequence[str] = ()) -> Path:
    """Write the example taxonomy to folder/taxonomy, with its documents' repository at folder/documents.

    Args:
        left_out: folders of the taxonomy to leave out.

    Returns:
        The taxonomy's folder.
    """
    repo = folder / "documents"
    make_document_repo(examples / "documents", repo)
    taxonomy = folder / "taxonomy"
    shutil.copytree(examples / "taxonomy", taxonomy)
    for name in left_out:
        shutil.rmtree(taxonomy / name)
    for qna in taxonomy.rglob("qna.yaml"):
        qna.write_text(qna.read_text().replace(PLACEHOLDER, f"repo: {repo}"))
    return taxonomy


def _git(folder: Path, *arguments: str) -> str:
    """Run git in folder without the user's settings: a hook, a signature or a line-end rule would change the hash."""
    identity = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (
            ("NAME", "ilab-pipeline"),
            ("EMAIL", "ilab-pipeline@example.com"),
            ("DATE", "2025-01-01T00:00:00+0000"),
        )
    }
    isolation = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-c", "core.autocrlf=false", *arguments],
        cwd=folder,
        env={**inherited, **isolation, **identity},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()

"""Documents of knowledge leaves, fetched and read before anything is paid for, as instructlab-sdg will read them.

The library (0.8.2, 0.8.3) clones `repo`, checks out `commit`, and takes what `patterns` match, if its name ends in .md
or .pdf in any case. It then fails on .MD and .PDF, on Markdown together with PDF, and on documents without any text.
docling (2.32 to 2.130) fails on a damaged PDF; the older one also on Markdown that is not UTF-8.
"""

import glob
import os
import re
import shutil
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from utils.messages import failure
from utils.stages.data_import.git import GitError, ask_server, git_credentials, git_output, in_pod, safe_git
from utils.stages.data_import.leaves import ERROR, WARNING, LeafFinding, check_leaf, find_leaves, yaml_line
from utils.stages.leaves import KINDS
from utils.stages.patience import ONCE, OUTAGE, Patience
from utils.stages.service_errors import Service, explained

_PUBLIC = r"(https://|ssh://|http://(127\.0\.0\.1|localhost)(:\d+)?/|[\w.-]+@[\w.-]+:)[^-\s]\S*"
LOCAL_ADDRESS = re.compile(r"(file://)?/\S+")
"""A repository that only runs on its machine can read."""
_PUBLIC_REPO = "name a repository that git clones without a password"
_PRIVATE = (
    "could not read|denied|not found|not exist|error: 40|Auth|host key",
    "it is private, or not there",
    _PUBLIC_REPO,
)
_MOST = 20
"""Findings in one message."""


@dataclass(frozen=True)
class Source:
    """Where the documents of a leaf come from.

    Attributes:
        root: the YAML nodes of its qna.yaml.
    """

    leaf: str
    repo: str
    commit: str
    patterns: Sequence[str]
    root: Any

    def finding(self, key: str, cause: str, remedy: str, level: str = ERROR) -> LeafFinding:
        """A finding about a key of `document`, such as `.patterns[0]`."""
        return LeafFinding(
            self.leaf, f"{self.leaf}/qna.yaml", yaml_line(self.root, f".document{key}"), cause, remedy, level
        )


def require_taxonomy(
    taxonomy: Path, scratch: Path, ca: str, done: Container[str] = (), patience: Patience = OUTAGE
) -> None:
    """End the stage when the taxonomy, or a document that it names, can't be used.

    Args:
        scratch: folder for clones, which are removed.
        ca: PEM bundle, "" for the public roots.
        done: leaves that need no look.
        patience: how long a repository that is away is waited for.
    """
    leaves, found = check_taxonomy(taxonomy, scratch, ca, done=done, patience=patience)
    for finding in found:
        print(f"{finding.level}: {finding}", flush=True)
    errors = [str(finding) for finding in found if finding.level == ERROR]
    if errors:
        raise failure(
            f"the taxonomy has {len(errors)} error(s)",
            "\n    ".join(errors[:_MOST]),
            "correct them; `ilab-pipeline taxonomy check DIR` finds the same on your machine",
        )
    print(f"taxonomy: {len(leaves)} leaves", flush=True)


def check_taxonomy(
    taxonomy: Path,
    scratch: Path,
    ca: str = "",
    documents: bool = True,
    done: Container[str] = (),
    patience: Patience = ONCE,
) -> tuple[list[str], list[LeafFinding]]:
    """The leaves of a taxonomy, and everything that is wrong with them.

    Args:
        documents: also fetch the repositories of their documents.
    """
    leaves, found = find_leaves(taxonomy)
    if not leaves:
        below = taxonomy / "taxonomy"
        remedy = f"give {below}" if any((below / kind).is_dir() for kind in KINDS) else "add one, see examples/taxonomy"
        found.append(LeafFinding("", ".", 0, f"no qna.yaml under {' or '.join(KINDS)}", remedy))
    sources = []
    for leaf in [leaf for leaf in leaves if leaf not in done]:
        content, root, problems = check_leaf(taxonomy, leaf)
        found += problems
        if content and "document" in content:
            given = content["document"]
            sources.append(Source(leaf, given["repo"], given["commit"], given["patterns"], root))
    return leaves, found + (check_documents(sources, scratch, ca, patience) if documents else [])


def check_documents(sources: Sequence[Source], scratch: Path, ca: str, patience: Patience) -> list[LeafFinding]:
    """What is wrong with documents; each repository is cloned once."""
    found = []
    clone = scratch / "documents"
    for repo in sorted({source.repo for source in sources}):
        shown, problem, remedy = re.sub("//[^/@]*@", "//", repo), address_problem(repo), _PUBLIC_REPO
        shutil.rmtree(clone, ignore_errors=True)
        if not problem:
            print(f"documents: {shown}", flush=True)
            try:
                clone_repository(repo, shown, clone, patience, ca)
            except GitError as error:
                cause, remedy = explained(str(error), Service(shown, "repo", ""), "", [_PRIVATE])
                problem = f"{shown} can't be cloned: {cause}"
        for source in (source for source in sources if source.repo == repo):
            if problem:
                found.append(source.finding(".repo", problem, remedy))
            else:
                found += look_into(source, clone)
    shutil.rmtree(clone, ignore_errors=True)
    return found


def clone_repository(repo: str, shown: str, target: Path, patience: Patience, ca: str) -> None:
    """Clone without a checkout; a server that is away is waited for.

    Args:
        shown: the address as people may see it.
    """
    options, environment = git_credentials(repo, "", "", ca)
    arguments = [*options, "clone", "--quiet", "--no-checkout", "--", repo, str(target)]
    try:
        ask_server(arguments, environment, patience, shown)
    except GitError as error:
        raise GitError(str(error).replace(repo, shown)) from None


def address_problem(repo: str) -> str:
    """Why documents are not cloned from this address, "" if they are."""
    if re.fullmatch(_PUBLIC, repo) or (LOCAL_ADDRESS.fullmatch(repo) and not in_pod()):
        return ""
    local = " (a pod can't reach paths of another machine)" if in_pod() else ", an absolute path"
    return f"{repo!r:.99} is not https://, ssh://, git@host:path{local}"


def look_into(source: Source, clone: Path) -> list[LeafFinding]:
    """What is wrong with the documents of one leaf, in the clone of its repository."""

    def git(*arguments: str) -> str:
        return git_output(["-C", str(clone), *arguments], {"LC_ALL": "C", **safe_git()})

    commit = ""
    for name in (source.commit, f"origin/{source.commit}"):
        try:
            commit = commit or git("rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{commit}").strip()
        except GitError:
            continue
    if not commit or source.commit.startswith("-"):
        remedy = "name a commit of a branch there, by its hash"
        return [source.finding(".commit", f"the repository has no commit {source.commit!r:.50}", remedy)]
    try:
        git("checkout", "--quiet", "--force", "--detach", commit)
        entries = git("ls-tree", "-r", "-z", commit).split("\0")
    except GitError as error:
        return [source.finding(".commit", f"it can't be checked out: {error}", "correct the repository")]
    # Links (120000) are written as text files, submodules (160000) are left empty.
    linked = [entry.partition("\t")[2] for entry in entries if entry.startswith(("120000", "160000"))]
    found: list[LeafFinding] = []
    lines: dict[str, str] = {}
    unmatched = []
    for number, pattern in enumerate(source.patterns):
        key = f".patterns[{number}]"
        if pattern.startswith("/") or ".." in pattern.split("/") or "\0" in pattern:
            found.append(source.finding(key, f"{pattern!r} leads out of the repository", "give a path inside it"))
            continue
        paths = glob.glob(os.path.join(glob.escape(str(clone)), pattern), recursive=True)
        names = sorted(os.path.relpath(path, clone) for path in paths if os.path.isfile(path))
        if not names:
            unmatched.append((key, f"{pattern!r} matches no file"))
        lines |= {name: key for name in names if name.lower().endswith((".md", ".pdf")) and name not in lines}
        if names and not lines:
            unmatched.append((key, f"{pattern!r} matches no Markdown or PDF, but {names[0]}"))
    level = WARNING if lines else ERROR
    found += [source.finding(key, cause, "match Markdown or PDF files there", level) for key, cause in unmatched]
    return found + judge_documents(source, clone, lines, linked)


def judge_documents(source: Source, clone: Path, lines: Mapping[str, str], linked: Sequence[str]) -> list[LeafFinding]:
    """What is wrong with the documents that patterns match.

    Args:
        lines: file to the key of its pattern.
        linked: symbolic links in the repository.
    """
    found, empty = [], []
    for name, key in lines.items():
        problem: tuple[str, str] | None = None
        if name in linked:
            problem = "a symbolic link, which is not followed", "match the file itself"
        else:
            problem = document_problem(name, clone.joinpath(name).read_bytes())
        if problem == EMPTY:
            empty.append(source.finding(key, f"{name} {problem[0]}", problem[1]))
        elif problem:
            found.append(source.finding(key, f"{name} is {problem[0]}", problem[1]))
    if len(kinds := {name[name.rindex(".") :].lower() for name in lines}) > 1:
        remedy = "use one kind, or make two leaves"
        found.append(source.finding(".patterns", f"they match {' and '.join(sorted(kinds))} together", remedy))
    # The library leaves documents without text out, as long as one has some.
    level = ERROR if len(empty) == len(lines) else WARNING
    return found + [replace(one, level=level) for one in empty]


EMPTY = ("has no text", "write some, or leave it out of patterns")


def document_problem(name: str, data: bytes) -> tuple[str, str] | None:
    """What a document is instead of one that the library reads, and a remedy; None if nothing is wrong."""
    suffix = name[name.rindex(".") :]
    if data.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file", "commit the file itself, without LFS"
    if suffix != suffix.lower():
        return f"not read with the suffix {suffix}", f"rename it to {suffix.lower()}"
    if suffix == ".pdf":
        # A PDF may begin after other bytes, and ends in %%EOF.
        if b"%PDF-" not in data[:1024]:
            return "not a PDF", "put the real file there"
        if b"%%EOF" not in data.rstrip(b"\0\r\n\t ")[-1024:]:
            return "a PDF whose end is missing", "put the whole file there"
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return f"not UTF-8 (byte {error.start})", "save it as UTF-8"
    if "\0" in text:
        return "not text", "put Markdown there"
    # Front matter, comments and headings give no chunk of text.
    rest = re.sub(r"\A---\n.*?\n---$|<!--.*?-->|^#.*?$", "", text.replace("\r\n", "\n"), flags=re.S | re.M)
    return None if re.search(r"\w", rest) else EMPTY

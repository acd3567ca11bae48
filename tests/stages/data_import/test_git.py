"""The taxonomy from a git repository: accepted and refused addresses, and handling of credentials."""

import os
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from utils.stages.data_import.git import (
    TaxonomySource,
    clone_taxonomy,
    git_credentials,
    head_commit,
    run_git,
    safe_git,
)
from utils.stages.disk import tells_full_disk
from utils.stages.patience import ONCE

NO_CHOICE = {"branch": "", "pr": 0, "commit": ""}


def git(folder: Path, *arguments: str) -> str:
    identity = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **identity, "GIT_CONFIG_GLOBAL": os.devnull},
    )
    return done.stdout.strip()


def commit(repo: Path, text: str) -> str:
    (repo / "knowledge").mkdir(exist_ok=True)
    (repo / "knowledge" / "qna.yaml").write_text(text)
    git(repo, "add", ".")
    git(repo, "commit", "-m", text)
    return git(repo, "rev-parse", "HEAD")


Repo = tuple[Path, dict[str, str]]


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """A repository with a default branch, a branch with a quote in its name, a tag and a pull request."""
    repo = tmp_path_factory.mktemp("repo")
    git(repo, "init", "-b", "main")
    commits = {"first": commit(repo, "first"), "main": commit(repo, "main")}
    git(repo, "tag", "v1", commits["first"])
    git(repo, "checkout", "-b", "it's-a-branch")
    commits["branch"] = commit(repo, "branch")
    git(repo, "checkout", "--detach", "main")
    commits["pr"] = commit(repo, "pr")
    git(repo, "update-ref", "refs/pull/7/head", commits["pr"])
    git(repo, "checkout", "main")
    return repo, commits


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({}, "main"),
        ({"branch": "it's-a-branch"}, "branch"),
        ({"branch": "v1"}, "first"),
        ({"pr": 7}, "pr"),
        ({"commit": "first"}, "first"),
    ],
)
def test_branch_tag_pull_request_and_commit_are_checked_out_and_the_commit_is_recorded(
    tmp_path: Path, repo: Repo, choice: dict[str, Any], expected: str
) -> None:
    folder, commits = repo
    if "commit" in choice:
        choice = {"commit": commits[choice["commit"]][:12]}
    target = tmp_path / "taxonomy"
    clone_taxonomy(TaxonomySource(folder.as_uri(), **choice), secret_dir="", ca="", target=target)
    assert head_commit(target) == commits[expected]
    assert (target / "knowledge/qna.yaml").read_text() == expected


def test_a_plain_folder_is_copied(tmp_path: Path) -> None:
    source = tmp_path / "plain"
    (source / "knowledge").mkdir(parents=True)
    clone_taxonomy(TaxonomySource(str(source)), "", "", tmp_path / "taxonomy")
    assert (tmp_path / "taxonomy/knowledge").is_dir() and head_commit(tmp_path / "taxonomy") == ""


@pytest.mark.parametrize("choice", [{"branch": "nowhere"}, {"pr": 8}, {"commit": "0123456789"}])
def test_missing_revision_shows_gits_message(tmp_path: Path, repo: Repo, choice: dict[str, Any]) -> None:
    with pytest.raises(SystemExit) as error:
        clone_taxonomy(TaxonomySource(str(repo[0]), **choice), secret_dir="", ca="", target=tmp_path / "t")
    what, cause, remedy = str(error.value).splitlines()
    assert "can't be fetched" in what and ("fatal:" in cause or "pathspec" in cause)
    assert "has no such branch, pull request or commit" in cause and f"sdg_repo_{next(iter(choice))}" in remedy


@pytest.mark.parametrize(
    "choice",
    [
        {"branch": "main", "pr": 3},
        {"branch": "main", "commit": "abcdef0"},
        {"pr": 3, "commit": "abcdef0"},
        {"branch": "main", "pr": 3, "commit": "abcdef0"},
    ],
)
def test_branch_pull_request_and_commit_are_mutually_exclusive(choice: dict[str, Any]) -> None:
    with pytest.raises(SystemExit, match="only one of them can be"):
        TaxonomySource("https://example.com/taxonomy.git", **choice).check()


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/o/taxonomy.git",
        "ssh://git@example.com/o/taxonomy.git",
        "ssh://git@example.com:2222/o/taxonomy.git",
        "git@example.com:o/taxonomy.git",
        "file:///srv/taxonomy",
        "/srv/taxonomy",
        "",
    ],
)
def test_https_ssh_and_absolute_paths_are_accepted(url: str) -> None:
    TaxonomySource(url).check()


@pytest.mark.parametrize(
    ("url", "choice"),
    [
        ("http://example.com/taxonomy.git", {}),
        ("git://example.com/taxonomy.git", {}),
        ("ext::sh -c touch% /tmp/evil", {}),
        ("--upload-pack=touch /tmp/evil", {}),
        ("-oProxyCommand=evil@host:x", {}),
        ("ssh://-oProxyCommand=evil/x", {}),
        ("relative/path", {}),
        ("https://example.com/t.git", {"branch": "--upload-pack=evil"}),
        ("https://example.com/t.git", {"commit": "main; evil"}),
        ("https://example.com/t.git", {"pr": -1}),
        ("", {"branch": "main"}),
    ],
)
def test_other_addresses_and_disguised_options_are_refused(url: str, choice: dict[str, Any]) -> None:
    with pytest.raises(SystemExit, match="the taxonomy repository can't be used"):
        TaxonomySource(url, **choice).check()


def test_a_token_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(SystemExit) as error:
        TaxonomySource("https://me:hunter2@example.com/t.git").check()
    assert "hunter2" not in str(error.value) and "sdg_repo_secret" in str(error.value)


def test_a_branch_name_never_runs_code(tmp_path: Path, repo: Repo) -> None:  # trap 17
    mark = tmp_path / "mark"
    for name in (f"$(touch {mark})", f"'; touch {mark}; '", f"`touch {mark}`"):
        with pytest.raises(SystemExit):
            clone_taxonomy(TaxonomySource(str(repo[0]), name), "", "", tmp_path / "t")
    assert not mark.exists()


def secret(folder: Path, **values: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "..data").mkdir()
    for key, value in values.items():
        (folder / key.replace("ssh_privatekey", "ssh-privatekey")).write_text(value)
    return str(folder)


@pytest.mark.parametrize(
    ("url", "values", "lacks"),
    [
        ("https://example.com/t.git", {"password": "p"}, "username"),
        ("https://example.com/t.git", {"ssh_privatekey": "k"}, "username; password"),
        ("ssh://git@example.com/t.git", {"ssh_privatekey": "k"}, "known_hosts"),
        ("git@example.com:t.git", {"known_hosts": "h"}, "ssh-privatekey"),
    ],
)
def test_secret_without_a_needed_key_is_refused_by_the_keys_name(
    tmp_path: Path, url: str, values: dict[str, str], lacks: str
) -> None:
    with pytest.raises(SystemExit, match=f"lacks: {lacks}"):
        git_credentials(url, secret(tmp_path / "secret", **values), str(tmp_path))


def test_an_optional_secret_that_does_not_exist_means_no_credentials(tmp_path: Path) -> None:
    """Kubernetes mounts an empty folder for it, with its own ..data inside."""
    options, environment = git_credentials("https://example.com/t.git", secret(tmp_path / "empty"), str(tmp_path))
    assert options == [] and environment["GIT_TERMINAL_PROMPT"] == "0"


def test_ssh_urls_use_the_secrets_key_and_known_hosts_and_leave_no_key_behind(
    tmp_path: Path, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program `ssh` is a stand-in that notes how it was called and serves the repository from this disk."""
    bin_dir, log = tmp_path / "bin", tmp_path / "ssh.log"
    bin_dir.mkdir()
    ssh = bin_dir / "ssh"
    ssh.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {log}\n'
        f'while [ "$#" -gt 1 ]; do [ "$1" = -i ] && stat -c "mode %a %n" "$2" >> {log}; shift; done\n'
        'exec sh -c "$1"\n'
    )
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_dir}:{os.environ['PATH']}")
    folder = secret(tmp_path / "secret", ssh_privatekey="KEY-CANARY", known_hosts="example.com ssh-ed25519 AAAA")
    clone_taxonomy(TaxonomySource(f"ssh://git@example.com{repo[0]}"), folder, "", tmp_path / "taxonomy")
    assert head_commit(tmp_path / "taxonomy") == repo[1]["main"]
    calls = log.read_text()
    assert "StrictHostKeyChecking=yes" in calls and f"UserKnownHostsFile={folder}/known_hosts" in calls
    assert "BatchMode=yes" in calls and "mode 600" in calls and "KEY-CANARY" not in calls
    key = Path(calls.split("mode 600 ")[1].splitlines()[0])
    assert not key.exists() and not key.parent.exists()


def test_the_ssh_key_is_removed_after_a_failure_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "tmp").mkdir()
    folder = secret(tmp_path / "secret", ssh_privatekey="KEY-CANARY\n", known_hosts="")
    with pytest.raises(SystemExit) as error:
        clone_taxonomy(TaxonomySource("ssh://git@127.0.0.1:1/t.git"), folder, "", tmp_path / "taxonomy", ONCE)
    assert "KEY-CANARY" not in str(error.value)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_missing_git_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="git is not installed"):
        clone_taxonomy(TaxonomySource("https://example.com/t.git"), "", "", tmp_path / "t")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("fatal: write error: No space left on device", "the disk is full: .*\n  next: make room"),
        (
            "error: unable to write file qna.yaml\nfatal: x: Disk quota exceeded",
            "the disk is full: .*\n  next: make room",
        ),
        ("remote: fatal: No space left on device\nfatal: early EOF", "the connection broke off"),
    ],
)
def test_full_disk_here_is_told_apart_from_one_of_the_git_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, told: str
) -> None:
    git_program = tmp_path / "git"
    git_program.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 128\n")
    git_program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    stage = tells_full_disk(lambda _: run_git(["clone"], {}, "https://example.com/t.git"))
    with pytest.raises(SystemExit, match=told):
        stage(SimpleNamespace(data_dir=str(tmp_path)))


def test_key_copied_for_ssh_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    folder = secret(tmp_path / "secret", ssh_privatekey="k", known_hosts="h")
    git_credentials("git@example.com:t.git", folder, str(tmp_path))
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert (tmp_path / "key").read_text() == "k\n"


def test_links_in_a_repository_are_not_followed(tmp_path: Path) -> None:
    """Trap 62: a link to a token file."""
    token = tmp_path / "token"
    token.write_text("canary")
    repo = tmp_path / "repo"
    (repo / "knowledge").mkdir(parents=True)
    (repo / "knowledge" / "qna.yaml").symlink_to(token)
    git(repo, "init", "-b", "main")
    git(repo, "add", ".")
    git(repo, "commit", "-m", "link")
    clone_taxonomy(TaxonomySource(repo.as_uri()), secret_dir="", ca="", target=tmp_path / "clone")
    assert (tmp_path / "clone" / "knowledge" / "qna.yaml").read_text() == str(token)


def test_links_in_a_plain_folder_are_not_followed(tmp_path: Path) -> None:
    """A taxonomy from someone else, for example: what a link names must not become training data."""
    (tmp_path / "token").write_text("canary-1")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key").write_text("canary-2")
    source = tmp_path / "source" / "knowledge"
    source.mkdir(parents=True)
    (source / "document.md").symlink_to(tmp_path / "token")
    (source / "more").symlink_to(tmp_path / "secrets")
    clone_taxonomy(TaxonomySource(str(source.parent)), "", "", tmp_path / "taxonomy")
    assert all(path.is_symlink() for path in (tmp_path / "taxonomy" / "knowledge").iterdir())


def test_settings_that_the_environment_gives_git_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("COUNT", "1"), ("KEY_0", "http.proxy"), ("VALUE_0", "http://proxy")):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    given = safe_git()
    assert (given["GIT_CONFIG_COUNT"], given["GIT_CONFIG_KEY_1"]) == ("4", "core.symlinks")
    assert "GIT_CONFIG_KEY_0" not in given


@pytest.mark.parametrize("url", ["/srv/taxonomy", "file:///srv/taxonomy"])
def test_a_path_is_refused_in_a_pod(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    TaxonomySource(url).check()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(SystemExit, match="only a run on one machine can read"):
        TaxonomySource(url).check()


def test_other_protocols_are_refused_by_git_itself(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="transport 'ext' not allowed"):
        clone_taxonomy(TaxonomySource("ext::sh -c 'touch x'"), secret_dir="", ca="", target=tmp_path / "clone")


def test_no_hook_and_no_submodule_comes_with_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where the settings of this machine ask for them."""
    inner, repo, hooks = tmp_path / "inner", tmp_path / "repo", tmp_path / "hooks"
    for folder in (inner, repo):
        folder.mkdir()
        git(folder, "init", "-b", "main")
        git(folder, "commit", "--allow-empty", "-m", "first")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "add", str(inner), "sub")
    git(repo, "commit", "-m", "submodule")
    hooks.mkdir()
    for name in ("post-checkout", "reference-transaction"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/evil\n")
        (hooks / name).chmod(0o755)
    settings = tmp_path / "gitconfig"
    settings.write_text(f"[core]\nhooksPath = {hooks}\n[submodule]\nrecurse = true\n[protocol]\nallow = always\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    clone_taxonomy(TaxonomySource(repo.as_uri()), secret_dir="", ca="", target=tmp_path / "clone")
    assert [*(tmp_path / "clone" / "sub").iterdir()] == []
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("pod", [True, False])
def test_a_pod_asks_by_https_and_ssh_only(pod: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if pod:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert safe_git()["GIT_ALLOW_PROTOCOL"] == ("https:ssh" if pod else "https:ssh:http:file")


HASH = "0123456789" * 4


@pytest.mark.parametrize(
    ("files", "commit"),
    [
        ({"HEAD": HASH}, HASH),
        ({"HEAD": "ref: refs/heads/main\n", "refs/heads/main": HASH + "\n"}, HASH),
        (
            {
                "HEAD": "ref: refs/heads/main",
                "packed-refs": f"# pack\n{'f' * 40} refs/heads/x\n{HASH} refs/heads/main\n",
            },
            HASH,
        ),
        ({"HEAD": "ref: refs/heads/main", "packed-refs": f"{HASH} refs/heads/main2\n^{HASH}\n"}, ""),
        ({"HEAD": "ref: refs/heads/.invalid"}, ""),  # of reftable
        ({"HEAD": "ref: ../../token", "../../token": HASH}, ""),
        ({"HEAD": "ref: refs/../../../token", "../../token": HASH}, ""),
        ({"HEAD": "ref: refs/" + "a" * 5000}, ""),
        ({"HEAD": ""}, ""),
        ({}, ""),
    ],
)
def test_the_commit_of_a_checkout_is_read_without_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], commit: str
) -> None:
    """The taxonomy of an archive may have a .git whose settings name programs."""
    monkeypatch.setenv("PATH", "")
    git_dir = tmp_path / "a" / "b" / "taxonomy" / ".git"
    for name, text in {"config": "[include]\npath = /dev/zero\n", **files}.items():
        path = git_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert head_commit(git_dir.parent) == commit

"""The taxonomy from a git repository: credentials stay in the Secret's mounted files, what runs gets argv."""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from utils.messages import failure
from utils.stages.credentials import lacking, secret_keys


@dataclass(frozen=True)
class TaxonomySource:
    """A git repository, and what to check out of it: at most one of branch, pull request and commit.

    Attributes:
        url: https://, ssh://, git@host:path, or for local runs an absolute path (with or without file://); "" for none.
        branch: a branch or a tag; "" for the default branch.
        pr: number of the pull request; 0 for none.
        commit: 7 hexadecimal digits or more; "" for none.
    """

    url: str
    branch: str = ""
    pr: int = 0
    commit: str = ""

    def check(self) -> None:
        """End the stage when the address, or the choice of what to take from it, can't be used."""
        choice = {"sdg_repo_branch": self.branch, "sdg_repo_pr": self.pr, "sdg_repo_commit": self.commit}
        chosen = " and ".join(name for name, value in choice.items() if value)
        problem = ""
        if chosen and not self.url:
            problem = f"{chosen} is set, sdg_repo_url is not"
        elif " " in chosen:
            problem = f"{chosen} are set, only one of them can be"
        elif not re.fullmatch(_URL, self.url):
            problem = "sdg_repo_url must be https:// without user name or token, ssh://, git@host:path or a path"
        elif self.pr < 0 or self.branch.startswith("-") or not re.fullmatch("([0-9a-fA-F]{7,64})?", self.commit):
            problem = f"{chosen} starts with '-', or is not 7 to 64 hexadecimal digits"
        if problem:
            remedy = "correct that; credentials go into the Secret that sdg_repo_secret names"
            raise failure("the taxonomy repository can't be used", problem, remedy)


# Of https, no address with a user name or a token: everybody sees it who sees the run.
_URL = r"((https://(?![^/]*@)|ssh://|file:///|/|[\w.-]+@[\w.-]+:)[^-\s]\S*)?"


def clone_taxonomy(source: TaxonomySource, secret_dir: str, ca: str, target: Path) -> None:
    """Clone the taxonomy repository into `target` (made anew), with the wanted commit checked out.

    Args:
        secret_dir: folder of the Secret: username and password for https; ssh-privatekey and known_hosts for ssh.
        ca: PEM bundle from `ca_bundle`, "" for the public roots.
    """
    shutil.rmtree(target, ignore_errors=True)
    url, branch, pr, commit = astuple(source)
    path = Path(url.removeprefix("file://"))
    if path.is_dir() and not any(path.joinpath(name).exists() for name in (".git", "HEAD")):
        if branch or pr or commit:
            raise failure(f"{path} is not a git repository", "branch, pr and commit need one", "leave them unset")
        shutil.copytree(path, target)
        return
    with tempfile.TemporaryDirectory() as keys:
        options, environment = git_credentials(url, secret_dir, keys, ca)
        run_git([*options, "clone", "--no-checkout", "--", url, str(target)], environment)
        options += ["-C", str(target)]
        if pr or branch:
            run_git([*options, "fetch", "origin", f"refs/pull/{pr}/head" if pr else branch], environment)
            commit = "FETCH_HEAD"
        run_git([*options, "checkout", "--detach", commit or "HEAD"], environment)


def git_credentials(url: str, secret_dir: str, keys: str, ca: str = "") -> tuple[list[str], dict[str, str]]:
    """Options and environment that let git trust the host of `url`, and authenticate there with the mounted Secret.

    A password is read from its file by git's credential helper, for the url's own host only. An ssh key is copied into
    the folder `keys` since ssh refuses files that others can read; the caller removes that folder.
    """
    environment = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "false", "ILAB_GIT_SECRET": secret_dir}
    if ca:
        # Where the image sets GIT_SSL_CAINFO, git does not look at http.sslCAInfo.
        environment["GIT_SSL_CAINFO"] = ca
    names = secret_keys(secret_dir)
    web = re.match("https://[^/]+", url)
    need = ["username", "password"] if web else ["ssh-privatekey", "known_hosts"]
    ssh = ["ssh", "-oBatchMode=yes", "-oStrictHostKeyChecking=yes", "-oConnectTimeout=30"]
    options = []
    if names and not url.startswith(("/", "file:")):
        if missing := [name for name in need if name not in names]:
            raise lacking(secret_dir, missing)
        first, second = (Path(secret_dir, name) for name in need)
        if web:
            reader = '!f() { for k in username password; do echo "$k=$(cat "$ILAB_GIT_SECRET/$k")"; done; }; f'
            options = ["-c", "credential.helper=", "-c", f"credential.{web[0]}.helper={reader}"]
        else:
            key = Path(keys, "key")
            key.touch(0o600)
            # ssh takes no key whose last line does not end, as one pasted into a form often doesn't.
            key.write_text(first.read_text().rstrip() + "\n")
            ssh += ["-oIdentitiesOnly=yes", "-i", str(key), f"-oUserKnownHostsFile={second}"]
    return options, environment | {"GIT_SSH_COMMAND": shlex.join(ssh)}


def head_commit(folder: Path) -> str:
    """The commit of a checkout; "" if the folder is not a checkout with a commit, or git is not installed."""
    git_dir = folder / ".git"
    if not git_dir.exists() or not shutil.which("git"):
        return ""
    # The files may belong to another user than the one this pod runs as, which git else refuses.
    ask = ["git", "-c", "safe.directory=*", f"--git-dir={git_dir}", "rev-parse", "--verify", "HEAD"]
    return subprocess.run(ask, capture_output=True, text=True).stdout.strip()


def run_git(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run git and return what it printed; a failure ends the stage with git's last lines."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1800,
        )
    except FileNotFoundError:
        cause = "git is not installed in this image"
    except subprocess.TimeoutExpired:
        cause = "git took longer than 30 minutes"
    else:
        if not done.returncode:
            return done.stdout
        cause = " | ".join([line for line in done.stderr.splitlines() if line.strip()][-3:])
    raise failure(
        "the taxonomy can't be fetched from its git repository",
        cause,
        "correct sdg_repo_url, sdg_repo_branch, sdg_repo_pr, sdg_repo_commit or the Secret of sdg_repo_secret",
    )

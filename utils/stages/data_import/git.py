"""The taxonomy from a git repository: credentials stay in the Secret's mounted files, what runs gets argv."""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from utils.messages import failure
from utils.stages.credentials import secret_keys


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
        problem, url = "", self.url
        choice = {"sdg_repo_branch": self.branch, "sdg_repo_pr": self.pr, "sdg_repo_commit": self.commit}
        chosen = " and ".join(name for name, value in choice.items() if value)
        if chosen and not url:
            problem = f"{chosen} is set, sdg_repo_url is not"
        elif " " in chosen:
            problem = f"{chosen} are set, only one of them can be"
        elif self.pr < 0:
            problem = "sdg_repo_pr is negative; 0 means none"
        elif re.match(r"https?://[^/]*@", url):
            problem = "sdg_repo_url holds a user name or a token, which everybody would see who sees the run"
        elif url and not re.match(r"(https://|ssh://|file:///|/|[\w.-]+@[\w.-]+:)[^-\s]\S*$", url):
            problem = f"sdg_repo_url is {url!r}: only https://, ssh://, git@host:path and absolute paths are taken"
        elif self.branch.startswith("-") or not re.fullmatch("([0-9a-fA-F]{7,64})?", self.commit):
            problem = "sdg_repo_branch starts with '-', or sdg_repo_commit is not 7 to 64 hexadecimal digits"
        if problem:
            raise failure(
                "the taxonomy repository can't be used",
                problem,
                f"correct sdg_repo_url, {', '.join(choice)}; credentials go into the Secret that sdg_repo_secret names",
            )


def clone_taxonomy(source: TaxonomySource, secret_dir: str, ca: str, target: str) -> str:
    """Clone the taxonomy repository into `target` (made anew) and return the commit that is checked out.

    Args:
        secret_dir: folder of the Secret: username and password for https; ssh-privatekey and known_hosts for ssh.
        ca: PEM bundle from `ca_bundle`, "" for the public roots.
    """
    shutil.rmtree(target, ignore_errors=True)
    url, branch, pr, commit = source.url, source.branch, source.pr, source.commit
    path = url.removeprefix("file://")
    if os.path.isdir(path) and not any(os.path.exists(os.path.join(path, name)) for name in (".git", "HEAD")):
        if branch or pr or commit:
            raise failure(f"{path} is not a git repository", "branch, pr and commit need one", "leave them unset")
        shutil.copytree(path, target)
        return ""
    keys = tempfile.mkdtemp(prefix="git-")
    try:
        options, environment = git_credentials(url, secret_dir, keys, ca)
        clone = ["clone", "--no-checkout", "--", url, target]
        run_git([*options, *clone], environment)
        here = ["-C", target]
        ref = commit or "HEAD"
        if pr or branch:
            run_git([*options, *here, "fetch", "origin", f"refs/pull/{pr}/head" if pr else branch], environment)
            ref = "FETCH_HEAD"
        run_git([*here, "checkout", "--quiet", "--detach", ref], environment)
        return run_git([*here, "rev-parse", "HEAD"], environment).strip()
    finally:
        shutil.rmtree(keys)


def git_credentials(url: str, secret_dir: str, keys: str, ca: str = "") -> tuple[list[str], dict[str, str]]:
    """Options and environment that let git trust the host of `url`, and authenticate there with the mounted Secret.

    A password is read from its file by git's credential helper, for the url's own host only. An ssh key is copied into
    the folder `keys` since ssh refuses files that others can read; the caller removes that folder.
    """

    def private(path: str, flags: int) -> int:
        return os.open(path, flags, 0o600)

    environment = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "false", "ILAB_GIT_SECRET": secret_dir}
    if ca:
        # Where the image sets GIT_SSL_CAINFO, git does not look at http.sslCAInfo.
        environment["GIT_SSL_CAINFO"] = ca
    names = secret_keys(secret_dir)
    web = re.match(r"https://[^/]+", url)
    over_ssh = url.startswith("ssh://") or not (web or url.startswith(("/", "file:")))
    need = {"username", "password"} if web else {"ssh-privatekey", "known_hosts"} if over_ssh else set()
    missing = sorted(need - names)
    if names and missing:
        raise failure(
            f"the taxonomy repository's Secret, mounted at {secret_dir}, lacks: {', '.join(missing)}",
            "https needs username and password, ssh needs ssh-privatekey and known_hosts",
            "add them (known_hosts: the output of ssh-keyscan HOST, compared with what the host's owner publishes)",
        )
    if web and names:
        reader = '!f() { echo "username=$(cat "$ILAB_GIT_SECRET/username")";'
        reader += ' echo "password=$(cat "$ILAB_GIT_SECRET/password")"; }; f'
        return ["-c", "credential.helper=", "-c", f"credential.{web[0]}.helper={reader}"], environment
    ssh = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=30"]
    if over_ssh and names:
        key = os.path.join(keys, "key")
        # ssh takes no key whose last line does not end, as one pasted into a form often doesn't.
        with open(os.path.join(secret_dir, "ssh-privatekey")) as given, open(key, "w", opener=private) as copy:
            copy.write(given.read().rstrip() + "\n")
        hosts = os.path.join(secret_dir, "known_hosts")
        ssh += ["-o", "IdentitiesOnly=yes", "-i", key, "-o", f"UserKnownHostsFile={hosts}"]
    environment["GIT_SSH_COMMAND"] = shlex.join(ssh)
    return [], environment


def head_commit(folder: str) -> str:
    """The commit of a checkout; "" if the folder is not a checkout with a commit, or git is not installed."""
    git_dir = os.path.join(folder, ".git")
    if not os.path.exists(git_dir) or not shutil.which("git"):
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
        raise failure("git is not installed", "sdg_repo_url needs it", "use an image with git, or an archive") from None
    except subprocess.TimeoutExpired:
        raise failure("git took longer than 30 minutes", "the server does not answer", "check sdg_repo_url") from None
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise failure(
            "the taxonomy can't be fetched from its git repository",
            " | ".join(lines[-3:]),
            "check sdg_repo_url, sdg_repo_branch, sdg_repo_pr, sdg_repo_commit and the Secret of sdg_repo_secret",
        )
    return done.stdout

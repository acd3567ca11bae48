"""The taxonomy from a git repository: credentials stay in the Secret's mounted files, what runs gets argv."""

import errno
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
from utils.names import CLAIMS_DIR
from utils.stages.credentials import lacking, secret_keys
from utils.stages.disk import FULL
from utils.stages.patience import ONCE, OUTAGE, Patience
from utils.stages.service_errors import Rows, Service, explained


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
        path = self.url.startswith(("/", "file:"))
        problems = {
            f"{chosen} is set, sdg_repo_url is not": chosen and not self.url,
            f"{chosen} are set, only one of them can be": " " in chosen,
            f"sdg_repo_url must be {_URLS}": not re.fullmatch(_URL, self.url),
            "sdg_repo_url is a path, which only a run on one machine can read": path and in_pod(),
            "sdg_repo_pr is negative": self.pr < 0,
            "sdg_repo_branch starts with '-'": self.branch.startswith("-"),
            "sdg_repo_commit is not 7 to 64 hexadecimal digits": not re.fullmatch("([0-9a-fA-F]{7,64})?", self.commit),
        }
        if found := [problem for problem, there in problems.items() if there]:
            remedy = "correct that; credentials go into the Secret that sdg_repo_secret names"
            raise failure("the taxonomy repository can't be used", "; ".join(found), remedy)


# Of https, no address with a user name or a token: everybody sees it who sees the run.
_URLS = "https:// without user name or token, ssh://, git@host:path or a path"
_URL = r"((https://(?![^/]*@)|ssh://|[\w.-]+@[\w.-]+:)[^-\s]\S*|(file://)?/.*)?"


def clone_taxonomy(source: TaxonomySource, secret_dir: str, ca: str, target: Path, patience: Patience = OUTAGE) -> None:
    """Clone the taxonomy repository into `target` (made anew), with the wanted commit checked out.

    Args:
        secret_dir: folder of the Secret: username and password for https; ssh-privatekey and known_hosts for ssh.
        ca: PEM bundle from `ca_bundle`, "" for the public roots.
        patience: how long a server that is away is waited for.
    """
    shutil.rmtree(target, ignore_errors=True)
    url, branch, pr, commit = astuple(source)
    path = Path(url.removeprefix("file://"))
    if path.is_dir() and not any(path.joinpath(name).exists() for name in (".git", "HEAD")):
        if branch or pr or commit:
            raise failure(f"{path} is not a git repository", "branch, pr and commit need one", "leave them unset")
        shutil.copytree(path, target, symlinks=True)
        return
    with tempfile.TemporaryDirectory() as keys:
        options, environment = git_credentials(url, secret_dir, keys, ca)
        run_git([*options, "clone", "--no-checkout", "--", url, str(target)], environment, url, patience)
        options += ["-C", str(target)]
        if pr or branch:
            run_git([*options, "fetch", "origin", f"refs/pull/{pr}/head" if pr else branch], environment, url, patience)
            commit = "FETCH_HEAD"
        run_git([*options, "checkout", "--detach", commit or "HEAD"], environment, url)


def git_credentials(url: str, secret_dir: str, keys: str, ca: str = "") -> tuple[list[str], dict[str, str]]:
    """Options and environment that let git trust the host of `url`, and authenticate there with the mounted Secret.

    A password is read from its file by git's credential helper, for the url's own host only. An ssh key is copied into
    the folder `keys` since ssh refuses files that others can read; the caller removes that folder.
    """
    environment = {"LC_ALL": "C", "GIT_ASKPASS": "false", "ILAB_GIT_SECRET": secret_dir, **safe_git()}
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


def in_pod() -> bool:
    """Whether this runs in a cluster. Elsewhere, git may read repositories on this machine."""
    return "KUBERNETES_SERVICE_HOST" in os.environ and not os.environ.get(CLAIMS_DIR)


def safe_git() -> dict[str, str]:
    """Environment in which git reads foreign repositories: it asks nobody, and takes no hook, submodule or link.

    A link in a repository may name any file of the pod, for example a token. git writes a small text file instead.
    These settings count more than those of files. `head_commit` needs references in files.
    """
    count = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    found = {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_DEFAULT_REF_FORMAT": "files",
        # http is for loopback on one machine, see `address_problem`.
        "GIT_ALLOW_PROTOCOL": "https:ssh" + ("" if in_pod() else ":http:file"),
        "GIT_CONFIG_COUNT": str(count + len(_SETTINGS)),
    }
    for number, (name, value) in enumerate(_SETTINGS.items(), count):
        found |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return found


_SETTINGS = {
    "core.symlinks": "false",
    "core.hooksPath": os.devnull,
    "submodule.recurse": "false",
}


def head_commit(folder: Path) -> str:
    """The commit of a checkout; "" if the folder is not one, or git keeps its references elsewhere.

    Read without git, which would believe the settings of a repository that came in an archive.
    """
    git_dir = folder / ".git"

    def text(name: str) -> str:
        path = git_dir / name
        return path.read_text("utf-8", "replace") if path.is_file() else ""

    head = text("HEAD").strip()
    name = head.removeprefix("ref: ")
    known = text(name) if re.fullmatch(r"refs/[\w/-][\w./-]{0,200}", name) and ".." not in name else ""
    lines = "\n".join((head, known, text("packed-refs")))
    found = re.search(rf"^([0-9a-f]{{40,64}})( {re.escape(name)})?$", lines, re.M)
    return found[1] if found else ""


class GitError(Exception):
    """git failed, the text is its last lines."""


GIT_CAUSES: Rows = (
    ("host key", "known_hosts lacks this key of {host}", "put what ssh-keyscan {host} prints, checked, into {token}"),
    (
        r"denied \(|Load key|libcrypto",
        "ssh-privatekey is refused",
        "put one without passphrase, known there, into {token}",
    ),
    (
        "Authentication f|could not read|HTTP 401",
        "it wants a login, or another",
        "put username and password into {token}",
    ),
    (
        "remote ref|branch|pathspec|path argument|not a tree",
        "it has no such branch, pull request or commit",
        "correct sdg_repo_branch, sdg_repo_pr or sdg_repo_commit",
    ),
    ("not found|not exist|HTTP 404", "it is not there, or hidden from this login", "correct {address} or {token}"),
)
"""Rows of `service_errors` for git and ssh."""


_AWAY = (
    r"(?i)could ?n.t (resolve|connect)|timed out|connection|unreachable|"
    r"no route|error: (408|429|5(?!0[15]))|(HTTP|response) 5|hung up|EOF|disconnect"
)
"""What git, curl and ssh say when a server is away."""
_REFUSED = r"(?i)denied|verification|authentication|certificate|not found|error: 4(?!08|29)"
"""What they say of one that is there."""


def seconds_until_back(error: Exception) -> float | None:
    """Seconds to wait at least after an error of git that may pass, None after another one."""
    said = str(error)
    away = re.search(_AWAY, said) and not re.search(_REFUSED, said)
    return 0.0 if away else None


def ask_server(arguments: Sequence[str], environment: Mapping[str, str], patience: Patience, what: str) -> str:
    """`git_output` of a command that asks a server, which is waited for while it is away.

    Args:
        what: the repository, for the log.
    """
    return patience.outlast(lambda: git_output(arguments, environment), seconds_until_back, what)


def run_git(arguments: Sequence[str], environment: Mapping[str, str], url: str, patience: Patience = ONCE) -> str:
    """Run git for the taxonomy's repository at url and return what it printed; a failure ends the stage."""
    try:
        return ask_server(arguments, environment, patience, "the taxonomy's repository")
    except GitError as error:
        text = re.sub(r"^.*returned error: (\d+)", r"HTTP \1: ", str(error))
        place = re.sub(r"^[\w.-]+@([\w.-]+):", r"ssh://\1/", url)
        service = Service(place, "sdg_repo_url", "the Secret of sdg_repo_secret")
        what = "the taxonomy can't be fetched from its git repository"
        raise failure(what, *explained(text, service, "", GIT_CAUSES)) from None


def git_output(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run git and return what it printed.

    Raises:
        GitError: it failed, is not there, or took longer than 30 minutes.
    """
    try:
        done = subprocess.run(
            ["git", *arguments],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=1800,
        )
    except FileNotFoundError:
        raise GitError("git is not installed in this image") from None
    except subprocess.TimeoutExpired:
        raise GitError("git took longer than 30 minutes") from None
    if done.returncode:
        said = " | ".join([line for line in done.stderr.splitlines() if line.strip()][-5:])
        if re.search(rf"(^|\| )(?!remote:)[^|]*({FULL})", said):
            raise OSError(errno.ENOSPC, said)
        raise GitError(said)
    return done.stdout

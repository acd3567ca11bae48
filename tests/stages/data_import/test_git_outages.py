"""Repositories whose server is away: waited for, with a real git and a real server; refusals are told at once."""

import contextlib
from pathlib import Path

import pytest

from tests.fakes.git_http import GitServer, served
from tests.fakes.waiting import QUARTER, FakeTime
from tests.stages.data_import.test_git import commit, git
from utils.stages.data_import.git import GitError, TaxonomySource, clone_taxonomy, seconds_until_back


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repo")
    git(folder, "init", "-b", "main")
    commit(folder, "first")
    git(folder, "checkout", "-b", "more")
    commit(folder, "more")
    git(folder, "checkout", "main")
    return folder


def clone(url: str, target: Path, clock: FakeTime, branch: str = "") -> str:
    clone_taxonomy(TaxonomySource(url, branch), "", "", target, clock.patience())
    return (target / "knowledge" / "qna.yaml").read_text()


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_server_that_is_away_for_a_quarter_of_an_hour_is_waited_for(repo: Path, tmp_path: Path, status: int) -> None:
    with served(repo) as server:
        server.status, clock = status, FakeTime().at(QUARTER, lambda: setattr(server, "status", 200))
        assert clone(server.url, tmp_path / "taxonomy", clock, "more") == "more"
    assert QUARTER <= clock.now < QUARTER + 60


def test_server_that_is_down_is_waited_for(repo: Path, tmp_path: Path) -> None:
    with served(repo) as server:
        url, port = server.url, server.server_port
    later: list[GitServer] = []
    with contextlib.ExitStack() as stack:
        clock = FakeTime().at(QUARTER, lambda: later.append(stack.enter_context(served(repo, port))))
        assert clone(url, tmp_path / "taxonomy", clock) == "first"
    assert QUARTER <= clock.now < QUARTER + 60


def test_branch_whose_server_goes_away_after_the_clone_is_waited_for(repo: Path, tmp_path: Path) -> None:
    with served(repo) as server:
        clone(server.url, tmp_path / "probe", FakeTime())
        needed, clock = server.requests, FakeTime()
        server.requests = 0
        real = server.finish_request

        def finish_request(*arguments: object) -> None:
            if server.requests == needed:
                server.status = 503
            real(*arguments)  # type: ignore[arg-type]

        server.finish_request = finish_request  # type: ignore[method-assign, assignment]
        clock.at(QUARTER, lambda: setattr(server, "status", 200))
        assert clone(server.url, tmp_path / "taxonomy", clock, "more") == "more"
    assert clock.now >= QUARTER


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_refusal_is_told_at_once(repo: Path, tmp_path: Path, status: int) -> None:
    with served(repo) as server:
        server.status, clock = status, FakeTime()
        with pytest.raises(SystemExit, match="can't be fetched from its git repository"):
            clone(server.url, tmp_path / "taxonomy", clock)
    assert clock.now == 0


def test_server_that_stays_away_fails_after_half_an_hour(repo: Path, tmp_path: Path) -> None:
    with served(repo) as server:
        server.status, clock = 503, FakeTime()
        with pytest.raises(SystemExit, match="503"):
            clone(server.url, tmp_path / "taxonomy", clock)
    assert 1700 < clock.now <= 1800


@pytest.mark.parametrize(
    ("message", "away"),
    [
        ("fatal: unable to access 'https://h/': Could not resolve host: h", True),
        ("fatal: unable to access 'https://h/': Couldn't resolve host 'h'", True),
        ("fatal: unable to access 'https://h/': Failed to connect to h port 443: Connection refused", True),
        ("fatal: unable to access 'https://h/': Failed to connect to h port 443 after 2 ms: Couldn't connect", True),
        ("fatal: unable to access 'https://h/': CONNECT tunnel failed, response 503", True),
        ("error: RPC failed; HTTP 502 | fatal: the remote end hung up unexpectedly", True),
        ("error: RPC failed; curl 18 transfer closed | fatal: early EOF | fatal: fetch-pack: invalid output", True),
        ("fetch-pack: unexpected disconnect while reading sideband packet", True),
        ("fatal: unable to access 'https://h/': The requested URL returned error: 503", True),
        ("fatal: unable to access 'https://h/': The requested URL returned error: 429", True),
        ("ssh: Could not resolve hostname h: Temporary failure in name resolution | fatal: Could not read", True),
        ("ssh: connect to host h port 22: No route to host | fatal: Could not read from remote", True),
        ("kex_exchange_identification: Connection closed by remote host | fatal: Could not read", True),
        ("remote: Repository not found. | fatal: repository 'https://h/' not found", False),
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", False),
        ("fatal: unable to access 'https://h/': The requested URL returned error: 403", False),
        ("fatal: unable to access 'https://h/': The requested URL returned error: 501", False),
        ("fatal: unable to access 'https://h/': SSL certificate problem: self-signed certificate", False),
        ("fatal: Authentication failed for 'https://h/'", False),
        ("git@h: Permission denied (publickey). | fatal: the remote end hung up unexpectedly", False),
        ("Host key verification failed. | fatal: Could not read from remote repository.", False),
        ("fatal: couldn't find remote ref refs/pull/999/head", False),
    ],
)
def test_only_a_server_that_is_away_is_waited_for(message: str, away: bool) -> None:
    assert (seconds_until_back(GitError(message)) is not None) == away

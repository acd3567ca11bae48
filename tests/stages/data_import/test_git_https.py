"""A taxonomy from a real git server: by https, with a password, and a certificate authority of its own."""

import base64
import os
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.archives import MODEL, skill_leaf, write_files
from tests.fakes.tls import make_certificate, serve_tls
from tests.stages.data_import.importing import Import
from utils.stages.data_import.git import TaxonomySource, clone_taxonomy


class GitHandler(BaseHTTPRequestHandler):
    """Git's own HTTP backend behind basic authentication."""

    root: Path
    account = "Basic " + base64.b64encode(b"me:TOKEN-CANARY").decode()

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers["Content-Length"])))

    def _serve(self, body: bytes) -> None:
        if self.headers.get("Authorization") != self.account:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=True)
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        self.send_response(200)
        for line in head.decode().splitlines():
            self.send_header(*line.split(": ", 1))
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(scope="module")
def git_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A taxonomy repository over https with a password; its URL, and the file of its certificate authority."""
    folder = tmp_path_factory.mktemp("git")
    ca, chain = make_certificate(folder)
    repo = write_files(folder / "taxonomy", {"compositional_skills/writing/qna.yaml": skill_leaf()})
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "skills"]):
        subprocess.run(["git", "-C", repo, *command], check=True)
    handler = type("Handler", (GitHandler,), {"root": folder})
    with serve_tls(handler, chain) as url:
        yield f"{url}/taxonomy", ca


def test_skills_only_taxonomy_is_cloned_over_https_with_password_and_private_ca(
    stage: Import, git_server: tuple[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = write_files(tmp_path / "repo-secret", {"username": b"me", "password": b"TOKEN-CANARY"})
    source = write_files(tmp_path / "source", MODEL)
    marker = stage.run(
        base_model=str(source / "model"),
        taxonomy_url=git_server[0],
        taxonomy_secret_dir=str(secret),
        ca_file=str(git_server[1]),
    )
    assert (stage.data / "taxonomy/compositional_skills/writing/qna.yaml").exists()
    assert (stage.data / "taxonomy/knowledge").is_dir()
    assert len(marker["result"]["taxonomy_commit"]) == 40
    everything = capfd.readouterr().out.encode() + b"".join(
        p.read_bytes() for p in stage.data.rglob("*") if p.is_file()
    )
    assert b"TOKEN-CANARY" not in everything


def test_wrong_password_and_unknown_authority_show_gits_message_without_a_prompt(
    git_server: tuple[str, Path], tmp_path: Path
) -> None:
    secret = write_files(tmp_path / "secret", {"username": b"me", "password": b"WRONG-CANARY"})
    url, ca = git_server
    with pytest.raises(SystemExit) as error:
        clone_taxonomy(TaxonomySource(url), str(secret), str(ca), tmp_path / "t")
    assert "Authentication failed" in str(error.value) and "WRONG-CANARY" not in str(error.value)
    with pytest.raises(SystemExit, match="terminal prompts disabled|could not read Username"):
        clone_taxonomy(TaxonomySource(url), "", str(ca), tmp_path / "t")
    with pytest.raises(SystemExit, match="certificate"):
        clone_taxonomy(TaxonomySource(url), str(secret), "", tmp_path / "t")

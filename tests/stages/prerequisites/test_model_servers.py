"""Teacher and judge are asked for an answer: retries, tokens, TLS, and what a finding says."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.fakes.answers import Answer, Server
from tests.fakes.tls import make_certificate
from tests.stages.prerequisites.servers import CHAT, RETRY_SECONDS, TOKEN, secret
from utils.stages.prerequisites import checks
from utils.stages.prerequisites.findings import Finding

BUSY: Answer = (503, "loading model")
SLOW: Answer = (0, CHAT[1])


def judge_findings(tmp_path: Path, url: str, ca: str = "", token: str = TOKEN) -> list[Finding]:
    folder = secret(tmp_path / "judge", endpoint=url, model_name="prometheus", api_token=token)
    return checks.check_model_server("judge", "chat/completions", folder, ca, RETRY_SECONDS)


def test_without_an_archive_the_teacher_is_required(tmp_path: Path) -> None:
    assert checks.check_teacher(str(tmp_path / "absent"), "", RETRY_SECONDS, True)[0].level == "warning"
    with pytest.raises(SystemExit, match="lacks: endpoint"):
        checks.check_teacher(str(tmp_path / "absent"), "", RETRY_SECONDS, False)


@pytest.mark.parametrize(
    ("answers", "tries", "problem"),
    [
        ([BUSY, BUSY, CHAT], 3, ""),
        ([SLOW, CHAT], 2, ""),
        ([(429, "slow down"), CHAT], 2, ""),
        ([BUSY], 3, "it is not ready, or failed (HTTP 503: loading model)"),
        ([SLOW], 3, "the answer took too long (ReadTimeout: "),
        ([(401, "who?")], 1, "the token is missing, wrong or expired (HTTP 401: who?)"),
        ([(403, "no")], 1, "the token lacks the right, or a gateway forbids it (HTTP 403: no)"),
        ([(404, "no such model")], 1, "it has no such model (HTTP 404: no such model)"),
        ([(400, "n must be 1")], 1, "it refuses the request (HTTP 400: n must be 1)"),
        (
            [(200, "<html>welcome</html>")],
            1,
            "a web page or a login answers (HTTP 200: <html>welcome</html>)",
        ),
        ([(200, {"choices": []})], 1, "it gives no text as an OpenAI API would (HTTP 200: "),
        ([(200, ["nonsense"])], 1, "it gives no text as an OpenAI API would (HTTP 200: "),
        (
            [(200, {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]})],
            1,
            "it gives no text as an OpenAI API would (HTTP 200: ",
        ),
        ([(200, {"choices": [{"message": {"content": None}, "finish_reason": "length"}]})], 1, ""),
        ([(307, "http://elsewhere.example/")], 1, "a web page or a login answers (HTTP 307: "),
    ],
)
def test_model_server_gets_three_attempts_when_a_retry_can_help(
    tmp_path: Path, serve: Callable[..., Server], answers: list[Answer], tries: int, problem: str
) -> None:
    """Trap 27: three tries are three, and a cold model has time."""
    server = serve(*answers)
    findings = judge_findings(tmp_path, server.url)
    assert len(server.requests) == tries
    assert bool(findings) == bool(problem)
    if problem:
        assert problem in findings[0].problem
        assert findings[0].remedy


def test_a_refused_connection_is_tried_three_times(
    tmp_path: Path, serve: Callable[..., Server], capsys: pytest.CaptureFixture[str]
) -> None:
    """Trap 27: connection errors are retried too."""
    server = serve(CHAT)
    server.http.server_close()
    (finding,) = judge_findings(tmp_path, server.url)
    assert "nothing listens there (ConnectionError: " in finding.problem
    assert capsys.readouterr().out.count("trying again") == 2


@pytest.mark.parametrize("before", [0, 193])
def test_token_echoed_by_a_server_is_not_in_the_finding(
    tmp_path: Path, serve: Callable[..., Server], before: int
) -> None:
    (finding,) = judge_findings(tmp_path, serve((400, "x" * before + TOKEN)).url)
    assert TOKEN[:6] not in str(finding)


def test_only_the_secrets_token_is_sent_and_never_to_another_host(tmp_path: Path, serve: Callable[..., Server]) -> None:
    """Trap 28: the pod's own token goes nowhere, and a redirect takes none along."""
    other = serve(CHAT)
    server = serve((307, other.url + "/v1/chat/completions"))
    judge_findings(tmp_path, server.url)
    assert not other.requests
    open_server = serve(CHAT)
    assert judge_findings(tmp_path / "open", open_server.url, token="") == []
    assert "authorization" not in open_server.requests[0]["headers"]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    """A server's TLS context, and the file of the certificate authority that nobody else knows."""
    authority, chain = make_certificate(tmp_path_factory.mktemp("tls"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context, str(authority)


def test_unverifiable_tls_is_explained_and_the_ca_file_solves_it(
    tmp_path: Path, serve: Callable[..., Server], tls: tuple[ssl.SSLContext, str]
) -> None:
    server = serve(CHAT, context=tls[0])
    (finding,) = judge_findings(tmp_path / "a", server.url)
    assert "TLS certificate is of an unknown authority" in finding.problem
    assert "k8s_ca_configmap" in finding.remedy
    assert not server.requests
    assert judge_findings(tmp_path / "b", server.url, ca=tls[1]) == []


def test_token_in_an_exceptions_text_is_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy's or TLS library's error may quote the request, cut in the middle of the token."""

    def post(*args: object, **settings: object) -> None:
        raise requests.exceptions.ConnectionError(f"Bearer {TOKEN} {'x' * (200 - len(TOKEN) // 2)}")

    monkeypatch.setattr(requests, "post", post)
    (finding,) = judge_findings(tmp_path, "http://judge.example/v1")
    assert "xxx" in finding.problem and TOKEN[-5:] not in finding.problem

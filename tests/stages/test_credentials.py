"""Secrets that people made by hand: values that are not one plain line, and addresses with a password in them."""

from pathlib import Path

import pytest

from tests.archives import write_files
from utils.stages.credentials import ModelServer, model_server, read_secret, secret_keys
from utils.stages.object_store.client import ObjectStore
from utils.stages.patience import ONCE

CANARY = "canary-7c1e"


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (CANARY.encode("utf-16"), "it is UTF-16"),
        (CANARY.encode("utf-16-le"), "it is UTF-16"),
        (b"\xef\xbb\xbf" + CANARY.encode(), "it begins with a byte order mark"),
        (f"{CANARY}\nsecond".encode(), "it has several lines"),
        (f"{CANARY}\r\nsecond".encode(), "it has several lines"),
        (CANARY.encode() + b"\xff", "it is not UTF-8"),
    ],
)
def test_value_that_is_not_a_plain_line_is_named_with_its_key(data: bytes, cause: str, tmp_path: Path) -> None:
    (tmp_path / "api_token").write_bytes(data)
    with pytest.raises(SystemExit) as caught:
        read_secret(str(tmp_path), ["api_token"], [])
    assert f"the key api_token of the Secret mounted at {tmp_path}" in str(caught.value)
    assert f"cause: {cause}" in str(caught.value) and CANARY not in str(caught.value)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", " \n\n"])
def test_space_around_a_value_does_not_count(end: str, tmp_path: Path) -> None:
    (tmp_path / "api_token").write_bytes((CANARY + end).encode())
    assert read_secret(str(tmp_path), ["api_token"], []) == {"api_token": CANARY}


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"endpoint": "a", "JUDGE_ENDPOINT": "b"}, {"endpoint": "a", "note": ""}),
        ({"JUDGE_ENDPOINT": "b"}, {"endpoint": "b", "note": ""}),
        ({"endpoint": "a", "note": "\n"}, {"endpoint": "a", "note": ""}),
        ({"endpoint": "a", "note": "n", "other": "o"}, {"endpoint": "a", "note": "n"}),
    ],
)
def test_first_key_that_is_there_counts_and_an_optional_one_may_be_absent(
    files: dict[str, str], found: dict[str, str], tmp_path: Path
) -> None:
    write_files(tmp_path, {name: value.encode() for name, value in files.items()})
    assert read_secret(str(tmp_path), ["endpoint JUDGE_ENDPOINT"], ["note"]) == found


def test_every_required_key_that_is_absent_or_blank_is_named(tmp_path: Path) -> None:
    (tmp_path / "b").write_text(" \n")
    with pytest.raises(SystemExit, match=f"the Secret mounted at {tmp_path} lacks: a or A; b\n"):
        read_secret(str(tmp_path), ["a A", "b"], ["c"])


def test_keys_of_a_mounted_secret_are_its_files(tmp_path: Path) -> None:
    """As the kubelet mounts it: the keys are links into ..data, a link itself."""
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "api_token").write_text("x")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "api_token").symlink_to("..data/api_token")
    assert secret_keys(str(tmp_path)) == {"api_token"}
    assert secret_keys(str(tmp_path / "none")) == secret_keys("") == set()


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://x", "http://x/v1"),
        ("https://x/v1", "https://x/v1"),
        ("https://x/v1/", "https://x/v1"),
        ("https://x/llm/v1//", "https://x/llm/v1"),
    ],
)
def test_base_address_of_a_model_server_ends_in_v1(given: str, used: str, tmp_path: Path) -> None:
    write_files(tmp_path, {"endpoint": given.encode(), "model": b"m", "api_key": b"k"})
    server = model_server(str(tmp_path), "judge")
    assert (server.endpoint, server.model_name, server.api_token) == (used, "m", "k")


@pytest.mark.parametrize("given", [f"ftp://user:{CANARY}@x", f"x.example/{CANARY}", "httpx://x"])
def test_address_that_is_not_http_is_refused_without_being_shown(given: str, tmp_path: Path) -> None:
    write_files(tmp_path, {"endpoint": given.encode(), "model": b"m"})
    with pytest.raises(
        SystemExit, match="the judge's endpoint is not a URL.*\n.*\n  next: correct endpoint in the judge's"
    ) as e:
        model_server(str(tmp_path), "judge")
    assert CANARY not in str(e.value)


def test_password_in_the_address_of_a_model_server_never_shows(tmp_path: Path) -> None:
    (tmp_path / "endpoint").write_text(f"http://user:{CANARY}@teacher.example:8000/x/v1")
    (tmp_path / "model_name").write_text("m")
    server = model_server(str(tmp_path), "teacher")
    assert server.place == "http://***@teacher.example:8000/x/v1"
    assert CANARY in server.endpoint  # requests go there with it
    assert CANARY not in repr(server) + server.masked(f"no route to {server.endpoint}, user:{CANARY}, {CANARY}")
    assert server.masked(f"wrong password {CANARY}") == "wrong password ***"
    assert ModelServer("http://x", "m", "tok").masked("Bearer tok: no") == "Bearer ***: no"
    assert ModelServer("http://plain.example/v1", "m").place == "http://plain.example/v1"


def test_password_in_the_address_of_an_object_store_never_shows(capsys: pytest.CaptureFixture[str]) -> None:
    store = ObjectStore("b", "k", "s", endpoint=f"http://user:{CANARY}@127.0.0.1:1", patience=ONCE)
    with pytest.raises(SystemExit) as caught:
        store.call("head_object", Key="x")
    assert CANARY not in str(caught.value) + capsys.readouterr().out and "***@127.0.0.1:1" in str(caught.value)


def test_all_that_is_wrong_with_a_secret_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "endpoint").write_bytes(b"http://a\nhttp://b")
    (tmp_path / "api_token").write_bytes(b"\xef\xbb\xbf" + CANARY.encode())
    with pytest.raises(SystemExit) as caught:
        model_server(str(tmp_path), "judge")
    for part in ("the key endpoint of", "the key api_token of", "lacks: model_name or model or JUDGE_NAME"):
        assert part in str(caught.value)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(("role", "told"), [("teacher", False), ("judge", True)])
def test_only_the_judge_s_message_has_the_judge_s_names(tmp_path: Path, role: str, told: bool) -> None:
    with pytest.raises(SystemExit, match="lacks: endpoint") as caught:
        model_server(str(tmp_path), role)
    assert ("JUDGE_" in str(caught.value)) is told
    (tmp_path / "JUDGE_ENDPOINT").write_text("http://127.0.0.1:1")
    (tmp_path / "JUDGE_NAME").write_text("m")
    assert model_server(str(tmp_path), role).model_name == "m"

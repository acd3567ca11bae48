"""Secrets that people made by hand: values that are not one plain line, and addresses with a password in them."""

from pathlib import Path

import pytest

from utils.stages.credentials import ModelServer, model_server, read_secret
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


def test_password_in_the_address_of_a_model_server_never_shows(tmp_path: Path) -> None:
    (tmp_path / "endpoint").write_text(f"http://user:{CANARY}@teacher.example:8000/x/v1")
    (tmp_path / "model_name").write_text("m")
    server = model_server(str(tmp_path), "teacher")
    assert server.place == "http://***@teacher.example:8000/x/v1"
    assert CANARY in server.endpoint  # requests go there with it
    assert CANARY not in repr(server) + server.masked(f"no route to {server.endpoint}, user:{CANARY}, {CANARY}")
    assert ModelServer("http://plain.example/v1", "m").place == "http://plain.example/v1"


def test_password_in_the_address_of_an_object_store_never_shows(capsys: pytest.CaptureFixture[str]) -> None:
    store = ObjectStore("b", "k", "s", endpoint=f"http://user:{CANARY}@127.0.0.1:1", patience=ONCE)
    with pytest.raises(SystemExit) as caught:
        store.call("head_object", Key="x")
    assert CANARY not in str(caught.value) + capsys.readouterr().out and "***@127.0.0.1:1" in str(caught.value)

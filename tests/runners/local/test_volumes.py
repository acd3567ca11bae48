"""Mount paths, and Secrets from folders and YAML."""

import base64
import stat
from pathlib import Path

import pytest

from utils.errors import PrerequisiteError, TaskFailed
from utils.ir.model import EnvFrom, Mount, Task
from utils.runners.local.volumes import SecretFiles, rewrite

FOLDERS = [("/data", Path("/claims/c")), ("/data/cache/", Path("/scratch")), ("/mnt/judge", Path("/s/judge"))]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/data", "/claims/c"),
        ("/data/", "/claims/c/"),
        ("/data/model/x", "/claims/c/model/x"),
        ("/data/cache", "/scratch"),
        ("/data/cache/a", "/scratch/a"),
        ("/database", "/database"),
        ("/dat", "/dat"),
        ("see /data/model", "see /data/model"),
        ("s3://data/x", "s3://data/x"),
        ("/mnt/judge", "/s/judge"),
        ("", ""),
    ],
)
def test_only_a_path_at_or_under_a_mount_is_rewritten(value: str, expected: str) -> None:
    assert rewrite(value, FOLDERS) == expected


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


MANIFESTS = f"""
apiVersion: v1
kind: Secret
metadata: {{name: judge}}
data: {{api_token: {encoded("token-1")}}}
stringData: {{endpoint: "http://x"}}
---
apiVersion: v1
kind: List
items:
- kind: ConfigMap
  metadata: {{name: ca}}
  data: {{ca.crt: certificate}}
- kind: Service
  metadata: {{name: other}}
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    (folder / "teacher").mkdir(parents=True)
    (folder / "teacher" / "api_key").write_text("token-2\n")
    (folder / "all.yaml").write_text(MANIFESTS)
    return folder


def test_a_folder_serves_as_a_secret_without_a_copy(source: Path, tmp_path: Path) -> None:
    files = SecretFiles(source, tmp_path / "private")
    assert files.folder("secret", "teacher", False) == source / "teacher"


def test_secrets_from_yaml_are_files_that_only_their_owner_reads(source: Path, tmp_path: Path) -> None:
    folder = SecretFiles(source, tmp_path / "private").folder("secret", "judge", False)
    assert {f.name: f.read_text() for f in folder.iterdir()} == {"api_token": "token-1", "endpoint": "http://x"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(f.stat().st_mode) for f in folder.iterdir()} == {0o600}


def test_config_maps_hold_plain_values(source: Path, tmp_path: Path) -> None:
    folder = SecretFiles(source, tmp_path / "private").folder("config_map", "ca", False)
    assert (folder / "ca.crt").read_text() == "certificate"


@pytest.mark.parametrize(
    ("kind", "name", "optional"), [("secret", "none", True), ("config_map", "kube-root-ca.crt", False)]
)
def test_absent_optional_secret_is_an_empty_folder(
    source: Path, tmp_path: Path, kind: str, name: str, optional: bool
) -> None:
    assert list(SecretFiles(source, tmp_path / "private").folder(kind, name, optional).iterdir()) == []


def test_absent_required_secret_fails_by_name(source: Path, tmp_path: Path) -> None:
    with pytest.raises(TaskFailed, match="no Secret store") as caught:
        SecretFiles(source, tmp_path / "private").folder("secret", "store", False)
    assert "judge, teacher" in caught.value.cause
    with pytest.raises(TaskFailed, match="no --secrets was given"):
        SecretFiles(None, tmp_path / "private").folder("secret", "store", False)


def test_environment_variables_come_from_keys(source: Path, tmp_path: Path) -> None:
    files = SecretFiles(source, tmp_path / "private")
    assert files.variable(EnvFrom("secret", "judge", "api_token", "TOKEN")) == "token-1"
    assert files.variable(EnvFrom("secret", "judge", "absent", "TOKEN", optional=True)) is None
    with pytest.raises(TaskFailed, match="no key absent"):
        files.variable(EnvFrom("secret", "judge", "absent", "TOKEN"))


@pytest.mark.parametrize(
    ("key", "value", "masked"),
    [
        *(
            (key, "canary-1", {"canary-1"})
            for key in ("password", "PASSWD", "api_token", "clientSecret", "credentials")
        ),
        *((key, "canary-1", {"canary-1"}) for key in ("AWS_SECRET_ACCESS_KEY", "access_key", "api_key", "apikey")),
        *((key, "canary-1", {"canary-1"}) for key in (".dockerconfigjson", "ssh-privatekey", "private-key")),
        *((key, "canary-1", set()) for key in ("bucket", "endpoint", "model_name", "ca.crt")),
        ("token", "12345", set()),  # so short a text is in many lines that show no secret
        ("token", "123456", {"123456"}),
        ("ssh-privatekey", "-----BEGIN\n  line-of-it\n\nshort\n-----END\n", {"-----BEGIN", "line-of-it", "-----END"}),
    ],
)
@pytest.mark.parametrize("use", ["mounted", "variable"])
def test_values_to_mask_are_chosen_by_their_keys(
    tmp_path: Path, key: str, value: str, masked: set[str], use: str
) -> None:
    (tmp_path / "s" / "judge").mkdir(parents=True)
    (tmp_path / "s" / "judge" / key).write_text(value)
    mounts = (Mount("secret", "judge", "/d"),) if use == "mounted" else ()
    variables = (EnvFrom("secret", "judge", key, "X"),) if use == "variable" else ()
    task = Task("t", "t", "c", "i", (), (), mounts=mounts, env_from=variables)
    assert set(SecretFiles(tmp_path / "s", tmp_path / "private").sensitive(task)) == masked


def test_only_values_that_are_secret_are_masked(source: Path, tmp_path: Path) -> None:
    files = SecretFiles(source, tmp_path / "private")
    mounts = (Mount("secret", "judge", "/j"), Mount("secret", "teacher", "/t"))
    task = Task("t", "t", "comp-t", "", (), (), mounts=mounts)
    assert set(files.sensitive(task)) == {"token-1", "token-2"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("kind: Secret\nmetadata: {name: a}\ndata: {k: 'my plain secret'}\n", "not base64"),
        ("kind: Secret\ndata: {}\n", "without metadata.name"),
        ("kind: Secret\nstringData: {k: 'my plain secret}\n", "not valid YAML"),
    ],
)
def test_errors_name_the_file_and_never_show_a_value(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(PrerequisiteError, match=message) as caught:
        SecretFiles(tmp_path, tmp_path / "private")
    assert "a.yaml" in caught.value.render()
    assert "plain secret" not in caught.value.render()


@pytest.mark.parametrize("name", ["", "..", "a/../../b", "/etc"])
def test_name_that_is_a_path_is_refused_even_if_the_secret_is_optional(tmp_path: Path, name: str) -> None:
    with pytest.raises(TaskFailed, match="name of a Secret"):
        SecretFiles(None, tmp_path / "private").folder("secret", name, optional=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("kind: Secret\nmetadata: plain secret\n", "without metadata.name"),
        ("kind: Secret\nmetadata: {name: ../plain}\n", "not the name of a Secret"),
        ("kind: Secret\nmetadata: {name: 7}\n", "not the name of a Secret"),
        ("kind: Secret\nmetadata: {name: a}\nstringData: plain secret\n", "stringData of the Secret a is not a map"),
        ("kind: Secret\nmetadata: {name: a}\ndata: [plain secret]\n", "data of the Secret a is not a mapping"),
        ("kind: Secret\nmetadata: {name: a}\nstringData: {k: [plain secret]}\n", "value of k in the Secret a is not t"),
        ("kind: Secret\nmetadata: {name: a}\nstringData: {k: 0123456}\n", "is not text"),
        ("kind: Secret\nmetadata: {name: a}\ndata: {k: null}\n", "is not text"),
        ("kind: Secret\nmetadata: {name: a}\nstringData: {../../k: x}\n", "not a valid key"),
        ("kind: Secret\nmetadata: {name: a}\nstringData: {..: x}\n", "'..' in the Secret a is not a valid key"),
        ("kind: Secret\nmetadata: {name: a}\nstringData: {..data: x}\n", "'..data' in the Secret a is not a valid key"),
        ("kind: Secret\nmetadata: {name: a}\ndata: {k: 'plain secret ü'}\n", "not base64"),
        ("kind: ConfigMap\nmetadata: {name: a}\ndata: {k: 2}\n", "of k in the ConfigMap a is not text"),
        ("kind: List\nitems: plain secret\n", "items is not a list"),
        ("[" * 3000, "line 1, column 101: not valid YAML"),
        ("kind: Secret\nstringData: {k: !!int plain secret}\n", "not valid YAML"),
    ],
)
def test_secret_that_a_cluster_would_refuse_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(PrerequisiteError, match=message) as caught:
        SecretFiles(tmp_path, tmp_path / "private")
    assert "plain secret" not in caught.value.render() and caught.value.remedy


def test_file_of_secrets_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to(tmp_path / "absent")
    with pytest.raises(PrerequisiteError, match=r"a\.yaml can't be read"):
        SecretFiles(tmp_path, tmp_path / "private")


def test_date_in_a_secret_is_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: Secret\nmetadata: {name: a}\nstringData: {k: 2001-99-99}\n")
    folder = SecretFiles(tmp_path, tmp_path / "private").folder("secret", "a", optional=False)
    assert (folder / "k").read_text() == "2001-99-99"

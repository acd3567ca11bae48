"""`ilab-pipeline upload` to a real object store: data import accepts what arrives, and no secret is shown."""

import base64
import hashlib
import io
import os
import pty
import signal
import subprocess
import sys
import tarfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from tests.archives import DATA, MODEL, TAXONOMY, weights, write_files
from tests.fakes.s3 import S3
from tests.stages.evaluation.eval_files import TASK, write_folder
from utils.cli.main import main
from utils.stages.archive import unpack_archive
from utils.stages.data_import.tree import require_tree
from utils.stages.evaluation.task_files import read_tasks


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_files(tmp_path / "tree", {**MODEL, **TAXONOMY, **DATA})


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    return f"{request.node.name}/data.tar.gz"


def environment(s3_server: S3, **more: str) -> dict[str, str | None]:
    values = {"endpoint": s3_server.endpoint, "bucket": s3_server.bucket}
    values |= {"access_key": s3_server.access_key, "secret_key": s3_server.secret_key, "data_key": "", **more}
    return {f"SDG_OBJECT_STORE_{name.upper()}": value or None for name, value in values.items()}


def upload(
    tree: Path, *arguments: str, env: dict[str, str | None], folders: tuple[str, ...] = ("model", "taxonomy")
) -> Result:
    flags = [f"--{name}={tree / name}" for name in folders]
    return CliRunner().invoke(main, ["upload", *flags, *arguments], env=env)


def started(tree: Path, env: dict[str, str | None], **streams: Any) -> subprocess.Popen:
    """The command in a process of its own."""
    flags = [f"--{name}={tree / name}" for name in ("model", "taxonomy")]
    values = {name: value for name, value in {**os.environ, **env}.items() if value is not None}
    return subprocess.Popen([sys.executable, "-m", "utils.cli.main", "upload", *flags], env=values, **streams)


def stored(s3_server: S3, key: str) -> bytes:
    return bytes(s3_server.client().get_object(Bucket=s3_server.bucket, Key=key)["Body"].read())


def objects(s3_server: S3, key: str) -> list[str]:
    found = s3_server.client().list_objects_v2(Bucket=s3_server.bucket, Prefix=key)
    return [one["Key"] for one in found.get("Contents", [])]


def test_data_import_accepts_what_was_uploaded(s3_server: S3, tree: Path, key: str, tmp_path: Path) -> None:
    (tree / "model" / "config.json").rename(tmp_path / "blob")
    (tree / "model" / "config.json").symlink_to(tmp_path / "blob")  # as in a hub's cache
    done = upload(tree, "--key", key, env=environment(s3_server), folders=("model", "taxonomy", "data"))
    assert done.exit_code == 0, done.output
    content = stored(s3_server, key)
    digest = hashlib.sha256(content).hexdigest()
    assert done.output.splitlines()[-1] == f"uploaded s3://ilab/{key}: {len(content):,} bytes, sha256 {digest}"
    assert stored(s3_server, key + ".sha256").decode() == f"{digest}  data.tar.gz\n"
    (tmp_path / "archive").write_bytes(content)
    unpack_archive(tmp_path / "archive", tmp_path / "got", ["model", "taxonomy", "data"])
    require_tree(tmp_path / "got", ["model", "taxonomy", "data"])
    for name, expected in {**MODEL, **TAXONOMY, **DATA}.items():
        assert (tmp_path / "got" / name).read_bytes() == expected


def test_tasks_for_the_evaluation_are_packed_unless_they_bring_code(
    s3_server: S3, tree: Path, key: str, tmp_path: Path
) -> None:
    folder, folders = write_folder(tree / "eval_tasks/tea", tea=TASK), ("model", "taxonomy", "data", "eval-tasks")
    (tree / "eval-tasks").symlink_to("eval_tasks")
    done = upload(tree, "--key", key, env=environment(s3_server), folders=folders)
    assert done.exit_code == 0, done.output
    (tmp_path / "archive").write_bytes(stored(s3_server, key))
    unpack_archive(tmp_path / "archive", tmp_path / "got", ["eval_tasks"])
    assert read_tasks(tmp_path / "got/eval_tasks/tea")
    (folder / "tea.yaml").write_text("task: tea\nprocess_docs: !function utils.run\n")
    refused = upload(tree, "--key", key, "--force", env=environment(s3_server), folders=folders)
    assert refused.exit_code and "!function: Python code is not run" in str(refused.exception) + refused.output


@pytest.mark.parametrize("kind", ["folder", "data", "stringData"])
def test_settings_come_from_the_secret(s3_server: S3, tree: Path, key: str, tmp_path: Path, kind: str) -> None:
    secret = s3_server.secret(tmp_path / "secret", data_key=key)
    if kind != "folder":
        values = {path.name: path.read_bytes() for path in secret.iterdir()}
        encoded = {name: (base64.b64encode(v) if kind == "data" else v).decode() for name, v in values.items()}
        other = {"kind": "Secret", "metadata": {"name": "teacher"}, "stringData": {"endpoint": "http://x"}}
        secret = tmp_path / "secret.yaml"
        secret.write_text(yaml.safe_dump_all([other, {"kind": "Secret", "metadata": {"name": "s"}, kind: encoded}]))
    done = upload(tree, "--secret", str(secret), env=environment(s3_server, access_key="", secret_key="", bucket=""))
    assert done.exit_code == 0, done.output
    assert objects(s3_server, key) == [key, key + ".sha256"]


def test_existing_archive_is_replaced_only_with_force(s3_server: S3, tree: Path, key: str) -> None:
    env = environment(s3_server, data_key=key)
    assert upload(tree, env=env).exit_code == 0
    before = stored(s3_server, key)
    (tree / "model" / "model.safetensors").write_bytes(weights(b"other weights"))
    refused = upload(tree, env=env)
    assert refused.exit_code == 1
    assert f"error: s3://ilab/{key} already exists" in refused.output
    assert stored(s3_server, key) == before
    assert upload(tree, "--force", env=env).exit_code == 0
    after = stored(s3_server, key)
    assert after != before
    assert stored(s3_server, key + ".sha256").startswith(hashlib.sha256(after).hexdigest().encode())


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("model/config.json", None, "missing: model/config.json"),
        ("model/model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        ("taxonomy", None, "missing: taxonomy/knowledge/**/qna.yaml or taxonomy/compositional_skills/**/qna.yaml"),
    ],
)
def test_tree_that_data_import_would_refuse_is_not_uploaded(
    s3_server: S3, tree: Path, key: str, name: str, content: bytes | None, told: str
) -> None:
    (tree / name).rename(tree / "gone")
    if name == "taxonomy":
        write_files(tree, {f"taxonomy/{kind}/README.md": b"" for kind in ("knowledge", "compositional_skills")})
    elif content is not None:
        (tree / name).write_bytes(content)
    done = upload(tree, "--key", key, env=environment(s3_server))
    assert done.exit_code == 1
    assert told in done.output
    assert objects(s3_server, key) == []


def test_files_that_cannot_be_packed_are_all_named(s3_server: S3, tree: Path) -> None:
    (tree / "model" / "broken").symlink_to("nowhere")
    (tree / "taxonomy" / "up").symlink_to(tree / "taxonomy")
    os.mkfifo(tree / "taxonomy" / "pipe")
    done = upload(tree, "--dry-run", env=environment(s3_server))
    assert done.exit_code == 1
    assert "error: 3 files can't be packed" in done.output
    for told in ("broken: a broken link", "pipe: not a regular file", "up: the link points to a folder above it"):
        assert told in done.output


def test_a_dry_run_lists_the_files_and_needs_no_object_store(tree: Path, tmp_path: Path) -> None:
    write_files(tree, {"taxonomy/.git/objects/a": b"1234", "taxonomy/.git/HEAD": b"12"})
    done = upload(tree, "--dry-run", env={})
    assert done.exit_code == 0, done.output
    lines = [line.split(maxsplit=1) for line in done.output.splitlines()]
    assert ["6", "taxonomy/.git/"] in lines
    assert [f"{len(MODEL['model/model.safetensors'])}", "model/model.safetensors"] in lines
    total = sum(map(len, [*MODEL.values(), *TAXONOMY.values()])) + 6
    assert lines[-1] == [str(total), "bytes in 8 files; nothing was sent"]


def test_missing_settings_are_all_named(s3_server: S3, tree: Path) -> None:
    done = upload(tree, env=environment(s3_server, bucket="", secret_key=""))
    assert done.exit_code == 2
    assert "error: the object store's settings lack bucket, data_key, secret_key" in done.output


def test_refusal_of_the_store_does_not_reveal_keys(s3_server: S3, tree: Path, key: str, tmp_path: Path) -> None:
    secret = s3_server.secret(tmp_path / "secret", data_key=key, secret_key="canary-secret-key")
    done = upload(tree, "--secret", str(secret), env=environment(s3_server, access_key="", secret_key=""))
    assert done.exit_code == 1
    assert "SignatureDoesNotMatch" in done.output or "AccessDenied" in done.output
    assert "canary" not in done.output


OWN = "flags or SDG_OBJECT_STORE_* variables"


@pytest.mark.parametrize(
    ("by_flags", "changes", "told"),
    [
        (True, {"bucket": "none"}, "next: correct bucket in " + OWN),
        (True, {"secret_key": "wrong"}, f"next: correct access_key and secret_key in {OWN}, or the rights"),
        (True, {"endpoint": "store:9000"}, "next: correct endpoint in " + OWN),
        (False, {"bucket": "none"}, "next: correct bucket in {secret}"),
    ],
)
def test_refusal_names_the_source_of_the_settings(
    s3_server: S3, tree: Path, key: str, tmp_path: Path, by_flags: bool, changes: dict[str, str], told: str
) -> None:
    secret = s3_server.secret(tmp_path / "secret", data_key=key, **changes)
    flags = [] if by_flags else ["--secret", str(secret)]
    unset = dict.fromkeys(environment(s3_server))
    done = upload(tree, *flags, env=environment(s3_server, data_key=key, **changes) if by_flags else unset)
    assert done.exit_code == 1
    assert told.format(secret=secret) in done.output


def test_missing_keys_are_prompted_for_without_echo(s3_server: S3, tree: Path, key: str) -> None:
    terminal, other = pty.openpty()
    env = environment(s3_server, access_key="", secret_key="", data_key=key)
    command = started(tree, env, stdin=other, stdout=other, stderr=other)
    os.close(other)
    shown = b""
    for prompt, answer in ((b"access key: ", s3_server.access_key), (b"secret key: ", s3_server.secret_key)):
        while not shown.endswith(prompt):
            shown += os.read(terminal, 1024)
        os.write(terminal, answer.encode() + b"\n")
    shown += b"".join(iter(partial(_read, terminal), b""))
    os.close(terminal)
    assert command.wait(30) == 0, shown
    assert s3_server.secret_key.encode() not in shown
    assert objects(s3_server, key) == [key, key + ".sha256"]


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1024)
    except OSError:  # the other end is closed
        return b""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_interrupted_upload_leaves_nothing(
    s3_server: S3, tree: Path, key: str, tmp_path: Path, number: int, code: int
) -> None:
    with (tree / "model" / "model.safetensors").open("wb") as file:
        size = 1 << 40  # sparse: it takes an hour to pack, so it can't have been sent when the signal comes
        header = b'{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (size, size)
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    client = s3_server.client()
    command = started(tree, environment(s3_server, data_key=key), stdout=subprocess.DEVNULL)

    def unfinished() -> list[str]:
        found = client.list_multipart_uploads(Bucket=s3_server.bucket).get("Uploads", [])
        return [one["Key"] for one in found if one["Key"] == key]

    while not unfinished():
        assert command.poll() is None
        time.sleep(0.02)
    command.send_signal(number)
    assert command.wait() == code
    assert unfinished() == []
    assert objects(s3_server, key) == []


def test_the_archive_is_a_gzip_tar_whatever_its_key(s3_server: S3, tree: Path, key: str) -> None:
    key = key.removesuffix(".gz")
    assert upload(tree, "--key", key, env=environment(s3_server)).exit_code == 0
    with tarfile.open(fileobj=io.BytesIO(stored(s3_server, key)), mode="r:gz") as tar:
        assert "model/config.json" in tar.getnames()


def test_connection_of_the_dashboard_serves_as_secret(s3_server: S3, tree: Path, key: str, tmp_path: Path) -> None:
    names = {
        "AWS_S3_BUCKET": s3_server.bucket,
        "AWS_S3_ENDPOINT": s3_server.endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    names |= {"AWS_ACCESS_KEY_ID": s3_server.access_key, "AWS_SECRET_ACCESS_KEY": s3_server.secret_key}
    connection = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "aws-connection-x"}, "stringData": names}
    (tmp_path / "connection.yaml").write_text(yaml.safe_dump(connection))
    env = dict.fromkeys(environment(s3_server))
    done = upload(tree, "--secret", str(tmp_path / "connection.yaml"), "--key", key, env=env)
    assert done.exit_code == 0, done.output
    assert stored(s3_server, key)

"""`ilab-pipeline verify`: a published archive, whole, changed, damaged or hostile, wherever it lies."""

import gzip
import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.archives import targz, write_files
from tests.cli.test_results import local, make_run
from tests.docs.guides import commands
from tests.fakes.s3 import S3
from utils.cli.main import main
from utils.cli.stored_object import StoredObject
from utils.ir.model import Outputs
from utils.runners.settings import ClusterSettings
from utils.stages.archive import write_tar
from utils.stages.folders import write_result
from utils.stages.object_store.client import store_of_secret
from utils.stages.object_store.download import object_stat

FILES = {
    "model/config.json": b"{}",
    "model/model.safetensors": bytes(range(256)) * 5000,
    "model/README.md": b"# A model\n",
    "scores/mt_bench.json": b"{}",
}
OWN = {"run_id": "r1", "published": "2026-01-01T00:00:00Z", "candidate": "phase_2/hf_format/samples_8"}


def described(files: dict[str, Any], **more: Any) -> str:
    return json.dumps({**OWN, "files": files, **more})


@pytest.fixture
def packed(tmp_path: Path) -> Callable[[str], Path]:
    """What publish packs."""

    def pack(name: str) -> Path:
        source = write_files(tmp_path / "source", FILES)
        archive = tmp_path / name
        with archive.open("wb") as file:
            folders = {str(source / part): part for part in ("model", "scores")}
            write_tar(file, folders, name, {"model/README.md": "# Card\n"}, ("provenance.json", described))
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        Path(f"{archive}.sha256").write_text(f"{digest}  {name}\n")
        return archive

    return pack


def hashes(files: dict[str, bytes]) -> dict[str, Any]:
    return {name: {"size": len(c), "sha256": hashlib.sha256(c).hexdigest()} for name, c in files.items()}


def made(files: dict[str, bytes], provenance: str = described(hashes(FILES)), *special: tarfile.TarInfo) -> bytes:
    return targz({**files, "provenance.json": provenance.encode()}, special)


def verify(*words: object) -> Result:
    return CliRunner().invoke(main, ["verify", *map(str, words)])


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar"])
def test_archive_as_publish_packs_it_is_whole(packed: Callable[[str], Path], name: str) -> None:
    archive = packed(name)
    before = {file.name for file in archive.parent.iterdir()}
    done = verify(archive)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "4 files have the hashes of its provenance.json" in done.output
    assert f", as {name}.sha256 says" in done.output and "run r1, published 2026-01-01" in done.output
    assert {file.name for file in archive.parent.iterdir()} == before


def test_json_tells_what_was_compared(packed: Callable[[str], Path]) -> None:
    archive = packed("a.tar.gz")
    told = json.loads(verify(archive, "-o", "json").output)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert told == {
        **OWN, "archive": str(archive), "verified": True, "size": archive.stat().st_size, "sha256": digest,
        "sha256_compared_with": "a.tar.gz.sha256", "files": 4, "findings": [],
    }  # fmt: skip


def link(name: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


LESS = {name: content for name, content in FILES.items() if name != "model/config.json"}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (made({**FILES, "model/config.json": b"[]"}), ["model/config.json: changed: its sha256 is"]),
        (made({**FILES, "model/config.json": b""}), ["model/config.json: changed: it has 0 bytes instead of 2"]),
        (made(LESS), ["model/config.json: missing"]),
        (made({**FILES, "model/x.py": b"x"}), ["model/x.py: not listed in provenance.json: it was added"]),
        (made({**LESS, "x": b"x"}), ["model/config.json: missing", "x: not listed", "2 findings"]),
        (made({**FILES, "./model/config.json": b"[]"}), ["model/config.json: it is there twice"]),
        (made(FILES, described(hashes(FILES)), link("model/link")), ["model/link: it is a link to /etc/passwd"]),
        (made(FILES, described(hashes(FILES)), link("../up", tarfile.FIFOTYPE)), ["../up: it is a special file"]),
        (made({**FILES, "../up": b"x"}), ["../up: it leads out of the folder"]),
        (made({**FILES, "a\x1b[2Jb": b"x"}), [r"'a\x1b[2Jb': not listed"]),
        (targz(FILES), ["provenance.json: it is missing: the task publish writes it"]),
        (made(FILES, json.dumps(OWN)), ["it lists no files: the archive was made by an earlier version"]),
        (made(FILES, "{"), ["provenance.json: it can't be read"]),
        (made(FILES, "[]"), ["provenance.json: it can't be read: it is not a JSON object"]),
        (made(FILES, "[" * 100_000), ["provenance.json: it can't be read"]),
        (made(FILES, described({"a": 1})), ["its files are not each a size and a sha256"]),
        (made(FILES, json.dumps({"files": []})), ["its files are not each a size and a sha256"]),
        (made(FILES)[:-9], ["the archive: after", "it is not a whole gzip tar: Compressed file ended"]),
        (gzip.decompress(made(FILES))[:-12000], ["it is not a whole tar"]),
        (b"", ["it is not a whole tar"]),
        (b"<html>not found</html>", ["it is not a whole tar"]),
        (made(FILES) + b"more", ["it is not a whole gzip tar: Not a gzipped file"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_archive_is_told(tmp_path: Path, body: bytes, told: list[str]) -> None:
    (tmp_path / "a.tar.gz").write_bytes(body)
    done = verify(tmp_path / "a.tar.gz")
    assert done.exit_code == 1 and [text for text in told if text not in done.output] == [], done.output
    assert "\x1b" not in done.output and "have the hashes" not in done.output
    assert [file.name for file in tmp_path.iterdir()] == ["a.tar.gz"]


def test_each_changed_byte_is_noticed(packed: Callable[[str], Path]) -> None:
    """In the files, their headers, provenance.json and the shell of gzip: of the whole archive, its own hash tells."""
    archive = packed("a.tar.gz")
    whole = archive.read_bytes()
    for at in range(0, len(whole), 40_000):
        archive.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        done = verify(archive)
        assert done.exit_code == 1 and "a.tar.gz.sha256 says" in done.output, at


def test_archive_without_its_sha256_says_so(packed: Callable[[str], Path]) -> None:
    archive = packed("a.tar.gz")
    Path(f"{archive}.sha256").unlink()
    done = verify(archive)
    assert done.exit_code == 0 and ", compared with nothing" in done.output


def test_sha256_of_something_else_is_refused(packed: Callable[[str], Path]) -> None:
    archive = packed("a.tar.gz")
    Path(f"{archive}.sha256").write_text("<html>")
    done = verify(archive)
    assert done.exit_code == 1 and "does not start with 64 hexadecimal digits" in done.output


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """The result of a run on one machine, with its report."""
    source = write_files(tmp_path / "source", FILES)
    target = tmp_path / "result"
    write_result(target, "r1", {str(source / part): part for part in ("model", "scores")}, {}, described)
    return write_files(target, {"report.html": b"<p>", "report.json": b"{}"})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda folder: None, ""),
        (lambda folder: (folder / "model/config.json").write_text("[]"), "model/config.json: changed"),
        (lambda folder: (folder / "model/config.json").unlink(), "model/config.json: missing"),
        (lambda folder: (folder / "model/new").write_text(""), "model/new: not listed"),
        (lambda folder: (folder / "model/new").symlink_to("config.json"), "model/new: it is a link"),
        (lambda folder: (folder / "up").symlink_to(".."), "up: it is a link"),
        (lambda folder: os.mkfifo(folder / "pipe"), "pipe: it is a special file"),
        (lambda folder: (folder / "provenance.json").unlink(), "provenance.json: it is missing"),
    ],
)
def test_folder_of_a_result_is_compared_too(result: Path, change: Callable[[Path], object], told: str) -> None:
    change(result)
    done = verify(result)
    assert done.exit_code == bool(told) and told in done.output, done.output


def test_result_that_a_killed_try_began_is_whole(tmp_path: Path) -> None:
    write_files(tmp_path / "result.part", {"provenance.json": b"{}"})
    source = write_files(tmp_path / "source", FILES)
    write_result(tmp_path / "result", "r1", {str(source / part): part for part in ("model", "scores")}, {}, described)
    assert verify(tmp_path / "result").exit_code == 0


def test_object_of_the_store_is_read_in_ranges_and_not_kept(
    packed: Callable[[str], Path], s3_server: S3, tmp_path: Path
) -> None:
    archive, secret = packed("a.tar.gz"), s3_server.secret(tmp_path / "secret")
    for name in ("a.tar.gz", "a.tar.gz.sha256"):
        body = (archive.parent / name).read_bytes()
        s3_server.client().put_object(Bucket=s3_server.bucket, Key=f"verify/{name}", Body=body)
    before = {file.name for file in tmp_path.iterdir()}
    for given in ("verify/a.tar.gz", f"s3://{s3_server.bucket}/verify/a.tar.gz"):
        done = verify(given, "--secret", secret)
        assert done.exit_code == 0, done.output
        assert f"s3://{s3_server.bucket}/verify/a.tar.gz: " in done.output and "a.tar.gz.sha256 says" in done.output
    assert {file.name for file in tmp_path.iterdir()} == before
    store = store_of_secret(str(secret), "", data_key="verify/a.tar.gz")
    with io.BufferedReader(StoredObject(store, object_stat(store, store.data_key), 1000)) as file:
        assert file.read() == archive.read_bytes()
    s3_server.client().put_object(Bucket=s3_server.bucket, Key="verify/a.tar.gz", Body=archive.read_bytes()[:-50])
    done = verify("verify/a.tar.gz", "--secret", secret)
    assert done.exit_code == 1 and "is not a whole gzip tar" in done.output


def test_object_that_changes_meanwhile_is_an_error(s3_server: S3, tmp_path: Path) -> None:
    client = s3_server.client()
    client.put_object(Bucket=s3_server.bucket, Key="verify/c", Body=b"1" * 3000)
    store = store_of_secret(str(s3_server.secret(tmp_path / "secret")), "", data_key="verify/c")
    file = StoredObject(store, object_stat(store, "verify/c"), 1000)
    assert file.read(1000) == b"1" * 1000
    client.put_object(Bucket=s3_server.bucket, Key="verify/c", Body=b"2" * 3000)
    with pytest.raises(Exception, match="verify/c changed while it was read"):
        file.read(1000)


def test_object_that_is_not_there_is_an_error(s3_server: S3, tmp_path: Path) -> None:
    done = verify("verify/none.tar", "--secret", s3_server.secret(tmp_path / "secret"))
    assert done.exit_code == 1 and "the bucket holds no object 'verify/none.tar'" in done.output


def test_runs_of_this_machine_are_verified_by_their_id(
    packed: Callable[[str], Path], result: Path, s3_server: S3, tmp_path: Path
) -> None:
    s3_server.secret(tmp_path / "secrets" / "sdg-object-store-credentials")
    body = packed("a.tar.gz").read_bytes()
    s3_server.client().put_object(Bucket=s3_server.bucket, Key="verify/run.tar.gz", Body=body)
    home = tmp_path / "home"
    settings = local(tmp_path / "secrets")
    make_run(home, "r1", settings, publish=Outputs(parameters={"Output": "verify/run.tar.gz"}))
    assert verify("r1", "--home", home).exit_code == 0
    make_run(home, "r2", local(), publish=Outputs(parameters={"Output": str(result)}))
    done = verify("latest", "--home", home)
    assert done.exit_code == 1 and "it comes from the run r1, not from r2" in done.output


@pytest.mark.parametrize(
    ("settings", "published", "message"),
    [
        (local(), "", "it published none"),
        (ClusterSettings(namespace="lab"), "a.tar.gz", "next: ilab-pipeline verify r1 --secret FILE"),
        (local(), "/gone/result", "there is no /gone/result"),
        (local(), "a.tar.gz", "there is no Secret sdg-object-store-credentials"),
    ],
)
def test_run_whose_archive_is_out_of_reach_is_an_error_with_a_remedy(
    settings: Any, published: str, message: str, tmp_path: Path
) -> None:
    make_run(tmp_path, "r1", settings, publish=Outputs(parameters={"Output": published}))
    done = verify("r1", "--home", tmp_path)
    assert done.exit_code in (1, 2) and message in done.output, done.output


def test_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    done = verify(tmp_path / "none.tar.gz")
    assert done.exit_code == 2 and "if the object store has it: ilab-pipeline verify" in done.output


@pytest.mark.parametrize("kind", ["names", "zeros"])
def test_memory_is_bounded_whatever_the_archive_holds(tmp_path: Path, kind: str) -> None:
    """A gigabyte of zeros in a small archive, and more files than are kept."""
    archive = tmp_path / "big.tar.gz"
    with gzip.open(archive, "wb", 1) as plain:
        if kind == "zeros":
            info = tarfile.TarInfo("provenance.json")
            info.size = 1 << 30
            plain.write(info.tobuf())
            for _ in range(1 << 10):
                plain.write(bytes(1 << 20))
        else:
            for number in range(100_001):
                plain.write(tarfile.TarInfo(f"model/{number}").tobuf())
        plain.write(bytes(1024))
    command = [str(Path(sys.executable).with_name("ilab-pipeline")), "verify", str(archive)]
    limit = 700 << 20

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limited, timeout=300)
    told = "more than 67,108,864" if kind == "zeros" else "more than 100000 files"
    assert done.returncode == 1 and told in done.stdout, done.stdout + done.stderr


def test_command_of_the_guide_verifies_an_object(packed: Callable[[str], Path], s3_server: S3, tmp_path: Path) -> None:
    (line,) = commands("kubernetes.md", "test_command_of_the_guide_verifies_an_object")
    s3_server.client().put_object(Bucket="ilab", Key="verify/guide", Body=packed("a.tar").read_bytes())
    values = {file.name: file.read_text() for file in s3_server.secret(tmp_path / "s").iterdir()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store"}, "stringData": values}
    (tmp_path / "secrets.yaml").write_text(json.dumps(secret))
    words = (
        line.replace("KEY", "s3://ilab/verify/guide").replace("secrets.yaml", str(tmp_path / "secrets.yaml")).split()
    )
    assert words[:2] == ["ilab-pipeline", "verify"]
    done = verify(*words[2:])
    assert done.exit_code == 0, done.output


def test_folder_that_is_not_a_result_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.cli.archive_check.MOST_FILES", 3)
    done = verify(write_files(tmp_path / "home", {f"{number}.txt": b"" for number in range(4)}))
    assert isinstance(done.exception, SystemExit) and done.exit_code == 1
    assert "home can't be read" in done.output and "more than 3 files" in done.output

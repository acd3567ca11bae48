"""What stands between the files of an archive: headers, of which none is trusted, and the ends of tar and gzip."""

import gzip
import io
import os
import subprocess
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from tests.archives import MODEL, TAXONOMY, targz
from tests.stages.test_archive import member, names, unpack
from utils.stages import archive

LONG = "model/" + "/".join(["a" * 60] * 2) + "/weights"


def header(kind: bytes, content: bytes, size: int = -1) -> bytes:
    """A header of this type with its content, filled up to whole blocks."""
    info = member("././@Header", kind)
    info.size = len(content) if size < 0 else size
    return info.tobuf(tarfile.GNU_FORMAT) + content + b"\0" * (-len(content) % 512)


def pax(**records: str) -> bytes:
    found = b""
    for name, value in records.items():
        rest = len(f" {name}={value}\n".encode())
        length = next(n for n in range(rest, rest + 9) if n == rest + len(str(n)))
        found += f"{length} {name}={value}\n".encode()
    return found


def file(name: str = "model/x", content: bytes = b"abc") -> bytes:
    info = member(name)
    info.size = len(content)
    return info.tobuf() + content + b"\0" * (-len(content) % 512)


END = bytes(1024)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["model/config.json", LONG, "model/\u00e4\u20ac.json"])
def test_every_format_of_tar_is_read(tmp_path: Path, format: int, name: str) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=format, pax_headers={"comment": "of git archive"}) as tar:
        info = member(name)
        info.size, info.mtime = 3, 1.5 if format == tarfile.PAX_FORMAT else 1
        tar.addfile(info, io.BytesIO(b"abc"))
        tar.addfile(member("model/sub", tarfile.DIRTYPE))
    target = unpack(tmp_path, out.getvalue())
    assert target.joinpath(name).read_bytes() == b"abc"
    assert target.joinpath("model/sub").is_dir()


@pytest.mark.parametrize("format", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_what_gnu_tar_packs_is_read(tmp_path: Path, format: str) -> None:
    source = tmp_path / "source" / "model"
    source.mkdir(parents=True)
    for size in (0, 1, 511, 512, 513, 100_000):
        source.joinpath(f"{size}").write_bytes(os.urandom(size))
    packed = tmp_path / "packed"
    subprocess.run(["tar", "czf", packed, f"--format={format}", "-C", source.parent, "model"], check=True)
    target = unpack(tmp_path, packed.read_bytes())
    assert all(path.read_bytes() == target.joinpath("model", path.name).read_bytes() for path in source.iterdir())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (header(tarfile.XHDTYPE, bytes(1 << 20)) + file() + END, "an extended header has 1048576 bytes"),
        (header(tarfile.GNUTYPE_LONGNAME, bytes(1 << 20)) + file() + END, "an extended header has 1048576 bytes"),
        (header(tarfile.XGLTYPE, b"", 1 << 40), "an extended header has 1099511627776 bytes"),
        (header(tarfile.XHDTYPE, b"99 path=x\n") + file() + END, "an extended header has a wrong record"),
        (header(tarfile.XHDTYPE, b"-5 path=x\n") + file() + END, "an extended header has a wrong record"),
        (header(tarfile.XHDTYPE, b"0 path=x\n") + file() + END, "an extended header has a wrong record"),
        (header(tarfile.XHDTYPE, b"path\n") + file() + END, "invalid literal"),
        (header(tarfile.XHDTYPE, pax(path="../evil")) + file() + END, "../evil: it leads out of the folder"),
        (header(tarfile.GNUTYPE_LONGNAME, b"/evil\0") + file() + END, "/evil: it leads out of the folder"),
        (header(tarfile.XHDTYPE, pax(size="-512")) + file() + END, "model/x: its size is wrong"),
        (header(tarfile.XHDTYPE, pax(size="9" * 4000)) + file() + END, "model/x: its size is wrong"),
        (header(tarfile.XHDTYPE, pax(size="9" * 5000)) + file() + END, "can't be unpacked"),
        (header(tarfile.XHDTYPE, pax(**{"GNU.sparse.major": "1"})) + file() + END, "it has a sparse file"),
        (header(tarfile.GNUTYPE_SPARSE, b"x") + END, "it is a special file"),
        (file("model/" + "a/" * 1500 + "x") + END, "more than 100 folders deep"),
        (header(tarfile.XHDTYPE, pax(path="model/" + "a/" * 1500)) + file() + END, "more than 100 folders deep"),
    ],
)
def test_a_header_that_lies_is_the_archives_fault(tmp_path: Path, content: bytes, told: str) -> None:
    with pytest.raises(SystemExit) as error:
        unpack(tmp_path, gzip.compress(content))
    assert told in str(error.value)
    assert "next: pack it again" in str(error.value)
    assert not (tmp_path / "tree").exists()


@pytest.mark.parametrize("part", ["a" * 300, "ab/" + "b" * 4090])
def test_a_name_that_the_disk_can_not_hold_is_the_archives_fault(tmp_path: Path, part: str) -> None:
    with pytest.raises(SystemExit, match="next: pack it again"):
        unpack(tmp_path, gzip.compress(header(tarfile.XHDTYPE, pax(path=f"model/{part}")) + file() + END))


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(tmp_path: Path) -> None:
    plain = bytearray(gzip.decompress(targz({**MODEL, **TAXONOMY})))
    plain[512 * 4 + 150] ^= 1  # the third member's checksum
    with pytest.raises(SystemExit, match="bad checksum"):
        unpack(tmp_path, gzip.compress(plain))


@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
def test_a_tar_that_ends_early_in_a_whole_gzip_is_refused(tmp_path: Path, blocks: int) -> None:
    """`tar c | gzip` where tar was killed."""
    with pytest.raises(SystemExit, match="the tar ends early"):
        unpack(tmp_path, gzip.compress(gzip.decompress(targz(MODEL))[: 512 * blocks]))


def test_data_after_the_end_of_the_tar_is_refused(tmp_path: Path) -> None:
    plain = gzip.decompress(targz(MODEL))
    with pytest.raises(SystemExit, match="data after its end"):
        unpack(tmp_path, gzip.compress(plain + gzip.decompress(targz(TAXONOMY))))


@pytest.mark.parametrize("rest", [b"\0" * 5000, gzip.compress(b"\0" * 512)], ids=["plain", "compressed"])
def test_zeros_after_the_end_are_accepted(tmp_path: Path, rest: bytes) -> None:
    """A tape's, or those of a compressor that works in pieces."""
    assert names(unpack(tmp_path, targz(MODEL) + rest)) == set(MODEL)


def test_data_after_the_gzip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="Not a gzipped file"):
        unpack(tmp_path, targz(MODEL) + b"more")


@pytest.mark.parametrize(
    "bomb",
    [
        header(tarfile.XHDTYPE, bytes(300 << 20)),
        header(tarfile.XHDTYPE, pax(**{f"a{i}": "x" * 1000 for i in range(60)})) * 2000,
        b"".join(header(tarfile.XHDTYPE, pax(path=f"{i}/" + "x" * 60_000)) + file() for i in range(1000)),
        b"".join(file(f"model/{i}", b"") for i in range(20_000)),
    ],
    ids=["one header", "many records", "many names", "many members"],
)
def test_headers_take_little_memory(tmp_path: Path, bomb: bytes) -> None:  # trap 63
    """2.7 MB of headers took 1.2 GiB."""
    packed = gzip.compress(bomb + file() + END, 1)
    del bomb
    tracemalloc.start()
    try:
        unpack(tmp_path, packed)
    except SystemExit as error:
        assert "extended header" in str(error) or "path" in str(error) or "folder" in str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(packed) + (20 << 20)


def test_names_of_what_is_left_out_can_not_write_other_lines_of_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = header(tarfile.XHDTYPE, pax(path="a\nprogress: 9/9")) + file() + file("b\udcff") + END
    unpack(tmp_path, gzip.compress(content))
    assert "left out of the archive: " in (told := capsys.readouterr().out)
    assert "\nprogress: 9/9" not in told


def test_only_the_tars_own_reader_makes_files() -> None:
    """tarfile's extraction has had holes in its filters (CVE-2025-4517 and others)."""
    source = Path(archive.__file__).read_text()
    assert ".extract" not in source.replace("extract_members", "")

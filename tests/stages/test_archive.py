"""Unpacking trusts nothing in the archive."""

import errno
import gzip
import shutil
import subprocess
import tarfile
from collections import namedtuple
from pathlib import Path

import pytest

from tests.archives import DATA, MODEL, TAXONOMY, targz, write_files
from utils.stages.archive import PACK, pack_archive, require_space, unpack_archive

WANTED = ["model", "taxonomy", "data"]
Usage = namedtuple("Usage", "total used free")


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = link
    return info


def unpack(tmp_path: Path, content: bytes) -> Path:
    archive, target = tmp_path / "data.tar.gz", tmp_path / "tree"
    archive.write_bytes(content)
    unpack_archive(archive, target, WANTED)
    return target


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_members_under_the_known_folders_are_unpacked_and_the_rest_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # trap 16
    target = unpack(tmp_path, targz({**MODEL, **TAXONOMY, "README.md": b"x", "notes/a": b"x"}))
    assert names(target) == {*MODEL, *TAXONOMY}
    assert "left out of the archive: README.md, notes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "places"),
    [
        (["model/config.json", "taxonomy/knowledge/qna.yaml"], {"model": "model", "taxonomy": "taxonomy"}),
        (["config.json", "compositional_skills/a/qna.yaml"], {"model": ".", "taxonomy": "."}),
        (["x/y/config.json", "x/config.json", "x/y/z/config.json"], {"model": "x"}),
        (["a/foundational_skills/knowledge/qna.yaml"], {"taxonomy": "a"}),
        (["gen/skills_train_msgs_1.jsonl", "gen/knowledge_train_msgs_1.jsonl"], {"data": "gen"}),
        (["skills_train_1.json", "my_skills_train_1.jsonl", "skills_train_.jsonl"], {}),
    ],
)
def test_places_of_model_taxonomy_and_data_are_found_wherever_they_lie(
    tmp_path: Path, names: list[str], places: dict[str, str]
) -> None:
    (tmp_path / "archive").write_bytes(targz(dict.fromkeys(names, b"x")))
    assert unpack_archive(tmp_path / "archive", tmp_path / "tree", []) == places


def test_what_an_earlier_try_left_is_removed_first(tmp_path: Path) -> None:
    write_files(tmp_path / "tree", {"model/torn.safetensors": b"half"})
    assert names(unpack(tmp_path, targz(MODEL))) == set(MODEL)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_trouble_of_the_disk_is_not_the_archives_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def fails(*given: object) -> None:
        raise OSError(error, "the disk")

    (tmp_path / "data.tar.gz").write_bytes(targz(MODEL))
    monkeypatch.setattr("utils.stages.archive.extract_members", fails)
    with pytest.raises(
        SystemExit, match=r"data.tar.gz can't be unpacked\n  cause: .*the disk\n  next: correct the volume"
    ):
        unpack_archive(tmp_path / "data.tar.gz", tmp_path / "tree", WANTED)
    assert not (tmp_path / "tree").exists()


def test_members_that_start_with_a_dot_and_slash_are_accepted(tmp_path: Path) -> None:
    target = unpack(tmp_path, targz({f"./{name}": content for name, content in MODEL.items()}))
    assert names(target) == set(MODEL)


def test_a_git_checkout_inside_the_taxonomy_is_kept(tmp_path: Path) -> None:
    target = unpack(tmp_path, targz({**TAXONOMY, "taxonomy/.git/HEAD": b"ref: refs/heads/main\n"}))
    assert (target / "taxonomy/.git/HEAD").read_text() == "ref: refs/heads/main\n"


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (member("../evil"), "../evil: it leads out of the folder"),
        (member("model/../../evil"), "leads out of the folder"),
        (member("/etc/evil"), "/etc/evil: it leads out of the folder"),
        (member("model/null", tarfile.CHRTYPE), "model/null: it is a special file"),
        (member("disk", tarfile.BLKTYPE), "disk: it is a special file"),
        (member("model/pipe", tarfile.FIFOTYPE), "model/pipe: it is a special file"),
        (member("model/passwd", tarfile.SYMTYPE, "/etc/passwd"), "model/passwd"),
        (member("model/up", tarfile.SYMTYPE, "../../../etc"), "model/up"),
        (member("model/hard", tarfile.LNKTYPE, "/etc/passwd"), "model/hard"),
    ],
)
def test_archive_with_members_that_reach_outside_is_refused(
    tmp_path: Path, bad: tarfile.TarInfo, told: str
) -> None:  # trap 16
    with pytest.raises(SystemExit) as error:
        unpack(tmp_path, targz(MODEL, (bad,)))
    assert told in str(error.value) and "Traceback" not in str(error.value)
    assert not (tmp_path / "tree").exists() and not (tmp_path / "evil").exists()


def test_archive_with_too_many_members_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # trap 16
    monkeypatch.setattr("utils.stages.archive.MAX_MEMBERS", 3)
    with pytest.raises(SystemExit, match="more than 3 members"):
        unpack(tmp_path, targz(MODEL))
    assert not (tmp_path / "tree").exists()


def test_archive_larger_than_the_disk_is_refused_before_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # trap 16
    bomb = targz({**MODEL, "model/big": b"\0" * (8 << 20)})
    assert len(bomb) < 100_000
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10 << 20, 3 << 20, 7 << 20))
    with pytest.raises(SystemExit, match="model/big: 0.0 GiB are needed, 0.0 GiB are free"):
        unpack(tmp_path, bomb)
    assert not (tmp_path / "tree").exists()


@pytest.mark.parametrize("keep", [0, 1, 20, 400, -1, -9])
def test_a_truncated_archive_is_refused_wherever_it_ends(tmp_path: Path, keep: int) -> None:
    whole = targz({**MODEL, "model/more": bytes(range(256)) * 40})
    with pytest.raises(SystemExit) as error:
        unpack(tmp_path, whole[:keep])
    assert "data.tar.gz can't be unpacked" in str(error.value)
    assert not (tmp_path / "tree").exists()


def test_an_archive_cut_between_two_members_is_refused(tmp_path: Path) -> None:
    """The tar inside ends early, its gzip shell is cut with it: a plain reader takes that for the end."""
    packer = gzip.decompress(targz(MODEL))
    cut = gzip.compress(packer[: 512 * 4])[:-8]
    with pytest.raises(SystemExit, match="ended before the end-of-stream marker"):
        unpack(tmp_path, cut)


def test_a_damaged_archive_is_refused_by_its_checksum(tmp_path: Path) -> None:
    whole = bytearray(targz(MODEL))
    whole[-6] ^= 1
    with pytest.raises(SystemExit, match="CRC check failed"):
        unpack(tmp_path, bytes(whole))
    assert not (tmp_path / "tree").exists()


@pytest.mark.parametrize("packed", [gzip.decompress(targz(MODEL)), gzip.decompress(targz({"big": bytes(3 << 20)}))])
@pytest.mark.parametrize("damage", ["checksum", "length", "cut"])
def test_gzip_is_checked_to_its_end_however_far_behind_the_tar_it_lies(
    tmp_path: Path, packed: bytes, damage: str
) -> None:
    """`tar --blocking-factor` fills up with zeros, which tarfile does not read: it stops at the end of the tar."""
    whole = bytearray(gzip.compress(packed + bytes(5 << 20)))
    whole[-6 if damage == "checksum" else -2] ^= 1
    with pytest.raises(SystemExit, match="CRC check failed|Incorrect length|ended before"):
        unpack(tmp_path, bytes(whole[:-4] if damage == "cut" else whole))
    assert not (tmp_path / "tree").exists()


@pytest.mark.parametrize(
    "content",
    [b"<html>not found</html>", b"PK\x03\x04zip", gzip.compress(b"no tar in here")],
    ids=["html", "zip", "gzip of text"],
)
def test_file_that_is_not_a_gzip_tar_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SystemExit) as error:
        unpack(tmp_path, content)
    assert "can't be unpacked" in str(error.value) and "next: pack it again" in str(error.value)


def test_a_packed_archive_unpacks_to_what_was_packed(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {**MODEL, **TAXONOMY})
    packed = tmp_path / "packed.tar.gz"
    pack_archive(str(source / "model"), str(source / "taxonomy"), "", str(packed))
    assert names(unpack(tmp_path, packed.read_bytes())) == {*MODEL, *TAXONOMY}
    assert list(tmp_path.glob("*.part")) == []


def test_generated_data_is_packed_as_data(tmp_path: Path) -> None:
    source = write_files(
        tmp_path / "source", {**MODEL, **TAXONOMY, **{f"gen/{Path(n).name}": c for n, c in DATA.items()}}
    )
    packed = tmp_path / "packed.tar.gz"
    pack_archive(str(source / "model"), str(source / "taxonomy"), str(source / "gen"), str(packed))
    assert names(unpack(tmp_path, packed.read_bytes())) == {*MODEL, *TAXONOMY, *DATA}


def test_archive_that_breaks_off_while_it_is_packed_is_not_put_in_place(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", MODEL)
    packed = tmp_path / "packed.tar.gz"
    packed.write_bytes(b"the last one")
    with pytest.raises(FileNotFoundError):
        pack_archive(str(source / "model"), str(source / "gone"), "", str(packed))
    assert packed.read_bytes() == b"the last one"


def test_links_are_packed_as_their_targets(tmp_path: Path) -> None:
    """A model in a hub's cache is a folder of links to blobs elsewhere."""
    source = write_files(tmp_path / "source", {**TAXONOMY, "blobs/abc": b"weights"})
    (source / "model").mkdir()
    (source / "model" / "model.safetensors").symlink_to("../blobs/abc")
    packed = tmp_path / "packed.tar.gz"
    pack_archive(str(source / "model"), str(source / "taxonomy"), "", str(packed))
    assert (unpack(tmp_path, packed.read_bytes()) / "model/model.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("name", "kind", "link"),
    [
        ("model/config.json", tarfile.SYMTYPE, "../../blobs/abc"),  # the snapshot of a hub's cache
        ("model", tarfile.SYMTYPE, "models--x/snapshots/1"),
        ("model/a", tarfile.SYMTYPE, "config.json"),
        ("model/b", tarfile.LNKTYPE, "model/config.json"),  # a file's second name, as tar writes it
        ("taxonomy/docs/old", tarfile.SYMTYPE, "gone"),
        ("notes/token", tarfile.SYMTYPE, "/var/run/secrets/kubernetes.io/serviceaccount/token"),
    ],
)
def test_a_link_is_refused_with_the_command_that_packs_its_target(
    tmp_path: Path, name: str, kind: bytes, link: str
) -> None:  # trap 63
    with pytest.raises(SystemExit) as error:
        unpack(tmp_path, targz({**MODEL, **TAXONOMY}, (member(name, kind, link),)))
    assert f"{name}: it is a link to {link}" in str(error.value)
    assert "next: pack it again: tar czhf data.tar.gz --hard-dereference model taxonomy" in str(error.value)


@pytest.mark.parametrize("name", ["model/config.json/x", "model/a\0b"])
def test_names_that_no_folder_can_hold_are_the_archives_fault(tmp_path: Path, name: str) -> None:
    header = member("model/x")
    header.pax_headers = {"path": name}
    with pytest.raises(SystemExit, match="next: pack it again"):
        unpack(tmp_path, targz(MODEL, (header,)))


def test_packed_command_of_the_remedy_makes_an_archive_that_is_accepted(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {**TAXONOMY, "blobs/abc": b"weights", "blobs/def": b"{}"})
    (source / "model").mkdir()
    (source / "model" / "model.safetensors").symlink_to("../blobs/abc")
    (source / "model" / "config.json").hardlink_to(source / "blobs/def")
    (source / "model" / "tokenizer.json").hardlink_to(source / "blobs/def")
    command = [*PACK.split(), "-C", str(source), "model", "taxonomy"]
    subprocess.run(command, cwd=tmp_path, check=True)
    target = unpack(tmp_path, (tmp_path / "data.tar.gz").read_bytes())
    assert (target / "model/model.safetensors").read_bytes() == b"weights"
    assert (target / "model/tokenizer.json").read_bytes() == b"{}"


def test_too_little_space_is_reported_with_both_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10 << 30, 8 << 30, 2 << 30))
    require_space(tmp_path, 2 << 30, "the archive")
    with pytest.raises(SystemExit, match="3.0 GiB are needed in .*, 2.0 GiB are free"):
        require_space(tmp_path, 3 << 30, "the archive")

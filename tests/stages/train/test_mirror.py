"""Copies of training states in the object store, against a real S3 server."""

import io
import json
import re
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.relay import Relay
from tests.fakes.s3 import S3
from tests.stages.train.phase_folders import described, save_model, save_state, save_steps, step
from utils.stages.object_store.upload import upload_file
from utils.stages.patience import ONCE
from utils.stages.train import mirror as module
from utils.stages.train.folder import checkpoints_of, prune_phase, start_phase
from utils.stages.train.mirror import NOTE, Mirror, content_key, forget, mirror_of, note_mirror
from utils.stages.train.trainer import whole_states
from utils.stages.train.training import Training


def volume(folder: Path, **changes: Any) -> Training:
    """A phase on a new volume, with the same data and model each time."""
    training = described(folder, store_secret_dir=str(folder / "secret"), **changes)
    save_model(folder / "model", shape=(2, 2))
    for kind in ("knowledge", "skills"):
        rows = folder / "processed" / kind / "data.jsonl"
        rows.parent.mkdir(parents=True)
        rows.write_text('{"messages": []}\n')
    return training


def save_epoch(training: Training, epoch: int) -> None:
    """What an epoch leaves: metrics, a checkpoint, a full state."""
    output = Path(training.output)
    save_steps(output, [step(100 * (number + 1)) for number in range(epoch + 1)])
    save_model(output / "hf_format" / f"samples_{100 * (epoch + 1)}")
    save_state(output, epoch)


@pytest.fixture
def first(tmp_path: Path, s3_server: S3, request: pytest.FixtureRequest) -> Iterator[Mirror]:
    """The copies of a phase of three epochs whose first has been trained."""
    training = volume(tmp_path / "first")
    start_phase(training)
    save_epoch(training, 0)
    yield copies(training, s3_server, re.sub(r"\W", "-", request.node.name))


def copies(training: Training, s3_server: S3, name: str) -> Mirror:
    s3_server.secret(Path(training.store_secret_dir), data_key=f"{name}/data.tar.gz")
    note_mirror(training.data_dir, True, "")
    found = mirror_of(training)
    assert found
    found.store = replace(found.store, patience=ONCE)
    return found


def there(mirror: Mirror) -> list[str]:
    found = mirror.store.call("list_objects_v2", Prefix=mirror.where).get("Contents", ())
    return sorted(one["Key"].rpartition("/")[2].removesuffix(".tar.gz") for one in found)


def sent(mirror: Mirror) -> list[str]:
    """What is there whole when all that is new has been sent."""
    mirror.look()
    mirror.thread.join()
    return [name.removesuffix(".tar.gz.sha256") for name in there(mirror) if name.endswith(".sha256")]


def another(tmp_path: Path, first: Mirror, s3_server: S3, **changes: Any) -> Mirror:
    """The copies as a run on a new volume sees them."""
    name = first.store.data_key.partition("/")[0]
    return copies(volume(tmp_path / "second", **changes), s3_server, name)


def test_a_run_on_a_new_volume_continues_after_the_newest_state(
    first: Mirror, s3_server: S3, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sent(first) == ["epoch_0", "samples_100"]
    second = another(tmp_path, first, s3_server)
    assert second.where == first.where and second.output != first.output
    assert not second.bring(), "the phase has not finished"
    start_phase(second.training)
    out = capsys.readouterr().out
    assert f"training continues from {second.place}/epoch_0.tar.gz, which an earlier run has left\n" in out
    assert "resuming after epoch_0 " in out
    for name in ("hf_format", "full_state", "training_params_and_metrics_global0.jsonl"):
        files = [(path.name, path.read_bytes()) for path in sorted(Path(first.output).rglob("*")) if path.is_file()]
        assert [path.name for path in sorted(Path(second.output, name).rglob("*"))] == [
            path.name for path in sorted(Path(first.output, name).rglob("*"))
        ]
        found = [(path.name, path.read_bytes()) for path in sorted(Path(second.output).rglob("*")) if path.is_file()]
        assert {file for file in files if file[0] != "training.json"} == {f for f in found if f[0] != "training.json"}
    assert not list(Path(second.training.data_dir).glob("*.part"))


def test_only_the_newest_state_is_kept_and_what_the_volume_has(first: Mirror) -> None:
    assert sent(first) == ["epoch_0", "samples_100"]
    save_epoch(first.training, 1)
    prune_phase(first.output, 1, first.spares)
    assert sent(first) == ["epoch_1", "samples_200"]
    assert sent(first) == ["epoch_1", "samples_200"], "nothing is sent twice"


def test_a_finished_phase_is_not_trained_again(first: Mirror, s3_server: S3, tmp_path: Path) -> None:
    sent(first)
    first.finish()
    assert sent(first) == ["finished", "samples_100"], "states are needed no more"
    second = another(tmp_path, first, s3_server)
    assert second.bring()
    assert len(checkpoints_of(second.output)) == 1 and not whole_states(second.output)
    forget(second.store, second.where)
    assert there(first) == []


@pytest.mark.parametrize(
    "changes", [{"seed": 43}, {"checkpoint_dtype": "float16"}, {"phase": 1}, {"nodes": 2}, {"algorithm": "lora"}]
)
def test_another_training_has_other_copies(first: Mirror, tmp_path: Path, changes: dict[str, Any]) -> None:
    assert content_key(volume(tmp_path / "second", **changes)) != content_key(first.training)


@pytest.mark.parametrize("path", ["processed/skills/data.jsonl", "model/config.json"])
def test_other_data_or_another_model_takes_nothing(first: Mirror, s3_server: S3, tmp_path: Path, path: str) -> None:
    sent(first)
    training = volume(tmp_path / "second")
    (tmp_path / "second" / path).write_text('{"other": 1}')
    second = copies(training, s3_server, first.store.data_key.partition("/")[0])
    assert not second.bring() and not Path(second.output).exists()


def test_what_the_volume_has_comes_before_copies(first: Mirror) -> None:
    sent(first)
    shutil.rmtree(f"{first.output}/hf_format")
    assert not first.bring() and not checkpoints_of(first.output)


def test_a_torn_copy_does_not_count(first: Mirror, s3_server: S3, tmp_path: Path) -> None:
    sent(first)
    first.store.call("delete_object", Key=f"{first.where}/epoch_0.tar.gz.sha256")  # it comes last
    second = another(tmp_path, first, s3_server)
    assert not second.bring() and not Path(second.output).exists()
    again = copies(first.training, s3_server, first.store.data_key.partition("/")[0])
    assert sent(again) == ["epoch_0", "samples_100"], "a later task sends it again"


def test_changed_content_is_refused(
    first: Mirror, s3_server: S3, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sent(first)
    first.store.put(f"{first.where}/epoch_0.tar.gz", b"something else")
    second = another(tmp_path, first, s3_server)
    assert not second.bring() and not Path(second.output).exists()
    assert "does not have the content it should have" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["../outside", "phase/../../outside", "/tmp/outside"])
def test_a_path_out_of_the_folder_is_refused(
    first: Mirror, s3_server: S3, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    sent(first)
    archive = tmp_path / "foreign.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for member in ("phase/training.json", name):
            info = tarfile.TarInfo(member)
            info.size = 2
            tar.addfile(info, io.BytesIO(b"{}"))
    forget(first.store, first.where)
    upload_file(first.store, archive, f"{first.where}/epoch_0.tar.gz")
    second = another(tmp_path, first, s3_server)
    assert not second.bring()
    assert "it leads out of the folder" in capsys.readouterr().out
    assert not list(tmp_path.rglob("outside")) and not Path(second.output).exists()


def test_foreign_names_are_left_out(first: Mirror, s3_server: S3, tmp_path: Path) -> None:
    sent(first)
    for name in ("epoch_9/epoch_9.tar.gz", "epoch_x.tar.gz", "epoch_9"):
        first.store.put(f"{first.where}/{name}.sha256", b"0" * 64)
    second = another(tmp_path, first, s3_server)
    second.bring()
    assert [Path(state).name for state in whole_states(second.output)] == ["epoch_0"]


def test_a_store_that_is_away_is_told_once_and_tried_again(
    first: Mirror, s3_server: S3, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    relay = Relay(s3_server.endpoint)
    monkeypatch.setattr(module, "PAUSE", 0.0)
    first.store = replace(first.store, endpoint=relay.endpoint)
    relay.broken = True
    (Path(first.store.secret_dir) / "endpoint").write_text(relay.endpoint)
    for _ in range(2):
        first.look()
        first.thread.join()
    out = capsys.readouterr().out
    assert out.count("is not in the object store yet") == 1 and s3_server.secret_key not in out
    relay.broken = False
    assert sent(first) == ["epoch_0", "samples_100"]
    relay.close()
    assert s3_server.secret_key not in capsys.readouterr().out


@pytest.fixture
def held(first: Mirror, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """The upload of the first state stands in the middle until the function is called."""
    reached, go = threading.Event(), threading.Event()
    write_tar = module.write_tar

    def slow(sink: Any, folders: Any, name: str, texts: Any) -> None:
        if "epoch" in name:
            reached.set()
            assert go.wait(60)
        write_tar(sink, folders, name, texts)

    monkeypatch.setattr(module, "write_tar", slow)
    first.look()
    assert reached.wait(60)
    yield go.set
    go.set()
    first.thread.join()


def test_a_state_that_is_being_sent_is_not_deleted(first: Mirror, held: Callable[[], None]) -> None:
    save_epoch(first.training, 1)
    prune_phase(first.output, 2, first.spares)
    assert [Path(state).name for state in whole_states(first.output)] == ["epoch_0", "epoch_1"]
    held()
    first.thread.join()
    prune_phase(first.output, 2, first.spares)
    assert [Path(state).name for state in whole_states(first.output)] == ["epoch_1"]
    assert sent(first) == ["epoch_1", "samples_100", "samples_200"]


def test_training_has_the_room_that_an_upload_holds(
    first: Mirror, held: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_epoch(first.training, 1)
    monkeypatch.setattr(module, "PAUSE", 0.0)
    usage = shutil.disk_usage(first.output)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1))
    prune_phase(first.output, 2, first.spares)
    assert [Path(state).name for state in whole_states(first.output)] == ["epoch_1"]
    held()
    first.thread.join()
    assert "epoch_0.tar.gz.sha256" not in there(first)
    assert sent(first) == ["epoch_1", "samples_100", "samples_200"]


def test_an_upload_that_is_interrupted_leaves_nothing(
    first: Mirror, held: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    first.close(0)
    held()
    first.thread.join()
    assert there(first) == ["samples_100", "samples_100.tar.gz.sha256"]
    pending = first.store.call("list_multipart_uploads").get("Uploads", ())
    assert not [one for one in pending if one["Key"].startswith(first.where)]
    assert "yet" not in capsys.readouterr().out


def test_a_killed_upload_is_dropped_by_the_next_task(first: Mirror) -> None:
    key = f"{first.where}/epoch_0.tar.gz"
    upload = {"Key": key, "UploadId": first.store.call("create_multipart_upload", Key=key)["UploadId"]}
    Path(f"{first.output}.upload.json").write_text(json.dumps({"upload": upload}))
    assert sent(first) == ["epoch_0", "samples_100"]
    pending = first.store.call("list_multipart_uploads").get("Uploads", ())
    assert not [one for one in pending if one["Key"].startswith(first.where)]
    assert not Path(f"{first.output}.upload.json").exists()


def test_nothing_is_copied_unless_it_is_wanted(tmp_path: Path, s3_server: S3) -> None:
    training = volume(tmp_path / "first")
    s3_server.secret(Path(training.store_secret_dir))
    assert mirror_of(training) is None
    note_mirror(training.data_dir, True, "")
    assert mirror_of(training)
    written = Path(training.data_dir, NOTE).stat().st_mtime_ns
    note_mirror(training.data_dir, True, "")
    assert Path(training.data_dir, NOTE).stat().st_mtime_ns == written
    note_mirror(training.data_dir, False, "")
    assert mirror_of(training) is None and not Path(training.data_dir, NOTE).exists()


def test_training_needs_no_secret_for_copies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = volume(tmp_path / "first")
    note_mirror(training.data_dir, True, "")
    assert mirror_of(training) is None
    assert "states are not copied to the object store: error: " in capsys.readouterr().out

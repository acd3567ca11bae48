"""Components of the small pipelines in pipelines.py: each does one thing that tests of the local runner look at.

They know their surroundings through parameters alone; their files on the volume show what happened.
"""

from typing import Any

from kfp import dsl

IMAGE = "quay.io/example/python:3.11"


def component(func: Any) -> Any:
    return dsl.component(func, base_image=IMAGE, install_kfp_package=False)


@component
def note(data_dir: str, name: str, given: str = "") -> str:
    """Adds a line to the file `name`; prints `half` in the middle of its work."""
    from pathlib import Path

    with Path(data_dir, name).open("a") as file:
        file.write("ran\n")
    print("half")
    return f"{given}{name} "


@component
def finish(status: dsl.PipelineTaskFinalStatus, data_dir: str) -> None:
    from pathlib import Path

    with Path(data_dir, "finish").open("a") as file:
        file.write(f"{status.state}\n")


@component
def remove_claim(status: dsl.PipelineTaskFinalStatus, claim: str) -> None:
    import os
    import shutil

    shutil.rmtree(f"{os.environ['ILAB_CLAIMS_DIR']}/{claim}")


@component
def hang(data_dir: str, name: str) -> None:
    """Starts a child in a session of its own, writes both ids, and works until it is stopped, or `go` is there."""
    import os
    import signal
    import subprocess
    import sys
    from pathlib import Path

    folder = Path(data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "go").exists():
        return
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
    if (folder / "stubborn").exists():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (folder / "ids.part").with_suffix(f".{name}").write_text(f"{os.getpid()} {child.pid}")
    (folder / "ids.part").with_suffix(f".{name}").rename(folder / name)
    print("half")
    while True:
        signal.pause()


@component
def meet(data_dir: str, me: str, other: str, seconds: float) -> None:
    """Leaves `met` when the other task is there at the same time, or comes within these seconds."""
    import time
    from pathlib import Path

    folder = Path(data_dir)
    (folder / me).touch()
    deadline = time.monotonic() + seconds
    while not (folder / "met").exists() and time.monotonic() < deadline:
        if (folder / other).exists():
            (folder / "met").touch()
        time.sleep(0.01)
    (folder / me).unlink()


@component
def fail_first(data_dir: str, times: int) -> str:
    """Fails that many times."""
    from pathlib import Path

    tries = len(list(Path(data_dir).iterdir()))
    Path(data_dir, f"try-{tries}").touch()
    if tries < times:
        raise ValueError(f"this is try {tries}")
    return f"try {tries}"


@component
def prerequisites(ok: bool) -> None:
    if not ok:
        raise SystemExit("error: the bucket is gone\n  cause: deleted\n  next: make it")


@component
def read_secrets(folder: str, maps: str, absent: str) -> dict:
    """Digests of what it was given, and, carelessly, the values themselves on its output."""
    import hashlib
    import os
    from pathlib import Path

    token, variable = Path(folder, "api_token").read_text(), os.environ["TOKEN"]
    print("token:", token, variable)
    return {
        "file": hashlib.sha256(token.encode()).hexdigest(),
        "variable": hashlib.sha256(variable.encode()).hexdigest(),
        "map": Path(maps, "region").read_text(),
        "map_variable": os.environ["REGION"],
        "absent": len(list(Path(absent).iterdir())),
    }


@dsl.component(base_image=IMAGE, packages_to_install=["no-such-package-at-all>=3"])
def wants_a_package() -> None:
    pass


@dsl.component(base_image=IMAGE, packages_to_install=["pytest>=7"])
def wants_pytest() -> str:
    import pytest

    return pytest.__name__


@component
def name_paths(given: str, listed: list) -> dict:
    """Names the paths of its volumes in its code, and says what it finds there."""
    import os
    from pathlib import Path

    Path("/ilab-claim/file").write_text("on the claim")
    Path("/mnt/ilab-part/deep").mkdir()
    Path("/ilab-scratch/file").touch()
    try:
        Path("/run/ilab-secret/new").touch()
        writable = True
    except OSError:
        writable = False
    return {
        "secret": len(Path("/run/ilab-secret/api_token").read_text()),
        "secret is writable": writable,
        "given": given,
        "listed": [Path(path).exists() for path in listed],
        "home": len(list(Path(os.environ["ILAB_CLAIMS_DIR"]).iterdir())),
        "folders": sorted(path.name for path in Path("/").glob("ilab-*")),
    }


@component
def keep_in_tmp(model: dsl.Output[dsl.Model], number: int) -> str:
    """Writes where another execution writes at the same time, and calls that its artifact."""
    from pathlib import Path

    path = Path("/tmp/ilab-test-model")
    before = path.exists()
    path.write_text(f"model {number}")
    model.set_path(str(path))
    return str(before)


@component
def read_model(model: dsl.Input[dsl.Model]) -> str:
    from pathlib import Path

    return Path(model.path).read_text()


@component
def ask(data_dir: str) -> None:
    """Ends as a stage does that waits for someone to review something, until that is done."""
    from pathlib import Path

    folder = Path(data_dir)
    with (folder / "ask").open("a") as file:
        file.write("ran\n")
    if not (folder / "decided").exists():
        raise SystemExit("error: waiting for review of 2 samples: /page.html\n  cause: none yet\n  next: decide")


@component
def tell(cause: str) -> None:
    """Fails as a stage that knows why."""
    raise SystemExit(f"error: no teacher\n  cause: {cause}\n  next: correct its Secret")


@component
def read_variables(names: list) -> dict:
    import os

    return {name: os.environ.get(name) for name in names}


@component
def fill(data_dir: str) -> str:
    """Fills the disk, once, and then prints more than a pipe holds."""
    from pathlib import Path

    if not Path(data_dir, "filled").exists():
        Path(data_dir, "filled").touch()
        with Path(data_dir, "filler").open("wb", buffering=0) as file:
            try:
                while file.write(bytes(1024)):
                    pass
            except OSError as error:
                print(error)
        for number in range(20000):
            print("a line of a log without room", number)
    return "done"

"""The Python interpreter that tasks run in: whether it is there and has what they need."""

import json
import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from utils.errors import PrerequisiteError

_VERSIONS = """
import importlib.metadata, json, sys
found = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in importlib.metadata.distributions()}
print(json.dumps(found))
"""


def check_interpreter(python: str, packages: Sequence[str], install: bool) -> None:
    """See that the interpreter starts, has kfp, and every package that the pipeline's components install.

    Args:
        python: path of the interpreter.
        packages: requirements, as in `packages_to_install`.
        install: install what is missing instead of refusing.

    Raises:
        PrerequisiteError: it can't be started, lacks something, or the installation failed.
    """
    present = _installed(python)
    missing = [package for package in packages if not _satisfied(package, present)]
    if missing and install:
        _install(python, missing)
        missing = []
    if missing:
        raise PrerequisiteError(
            f"components of this pipeline install packages that {python} lacks: {', '.join(missing)}",
            "on one machine the tasks share this interpreter, so nothing is installed unasked",
            "install them there, name another interpreter with --python, or pass --install-packages",
        )
    if "kfp" not in present and not any(_name(package) == "kfp" for package in packages):
        raise PrerequisiteError(
            f"the interpreter {python} has no kfp",
            "KFP components are started by kfp's own executor",
            f"{shlex.quote(python)} -m pip install kfp, or name another interpreter with --python",
        )


def python3_folder(python: str, private: Path) -> Path:
    """A folder for the front of PATH in which `python3` is this interpreter: its own, or one made below `private`."""
    path = Path(os.path.abspath(python))  # noqa: PTH100 - resolve() would follow the link out of a virtual environment
    own = path.with_name("python3")
    if own.exists() and own.resolve() == path.resolve():
        return path.parent
    # A link would lose the virtual environment that the interpreter finds through its own path.
    folder = private / "bin"
    folder.mkdir()
    for name in ("python3", "python"):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(str(path))} "$@"\n')
        script.chmod(0o700)
    return folder


def _installed(python: str) -> dict[str, str]:
    try:
        done = subprocess.run([python, "-c", _VERSIONS], capture_output=True, text=True, check=True, timeout=60)
    except OSError as error:
        raise PrerequisiteError(
            f"the interpreter {python} can't be started", error.strerror or "", "name another one with --python"
        ) from error
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        last = str(error.stderr or error).strip().splitlines()[-1:]
        raise PrerequisiteError(
            f"the interpreter {python} does not work", "".join(last), "name another one with --python"
        ) from error
    versions: dict[str, str] = json.loads(done.stdout)
    return versions


def _satisfied(package: str, present: dict[str, str]) -> bool:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        wanted = Requirement(package)
    except InvalidRequirement:
        return False  # a URL or a path: only an installation can tell
    if wanted.marker and not wanted.marker.evaluate():
        return True
    version = present.get(_name(package))
    return version is not None and not wanted.url and wanted.specifier.contains(version, prereleases=True)


def _name(package: str) -> str:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    try:
        return canonicalize_name(Requirement(package).name)
    except InvalidRequirement:
        return ""


def _install(python: str, packages: Sequence[str]) -> None:
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PrerequisiteError(
            f"could not install {', '.join(packages)} with {python}",
            "\n".join(done.stderr.strip().splitlines()[-5:]),
            "install them by hand, or name another interpreter with --python",
        )

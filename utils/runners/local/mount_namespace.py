"""Runs a command with folders mounted where it expects them, as in its container: a script that runs alone.

    python -I -S mount_namespace.py SPEC COMMAND...

SPEC is JSON: `binds` is a list of [mount path, folder, read-only], `kept` lists folders that stay visible if a mount
hides them, `scratch` is an empty folder for what has to be built. Without a command it mounts and ends: a probe.

The mounts are in a mount namespace of their own: nothing else on the machine sees them. Root makes one; other users get
one together with a user namespace, where the system allows that. Nothing is created outside of `scratch`: a mount path
that does not exist gets a copy of the folder that would hold it, whose entries are bind mounts of the original ones. It
imports nothing but the standard library. Sources: mount(2), pivot_root(2), user_namespaces(7).
"""

import ctypes
import errno
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_NEWNS, _NEWUSER = 0x20000, 0x10000000
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_DETACH = 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "ppc64le": 203, "s390x": 217}
_ROOT = Path("/")
_LIBC = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """The mount namespace of this process, once it has entered one of its own."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._mounted: list[Path] = []
        self._made: set[Path] = set()
        self._copies = 0

    def enter(self) -> None:
        """Leave the machine's mount namespace.

        Raises:
            OSError: this user may not.
        """
        user, group = os.getuid(), os.getgid()
        try:
            _call("unshare", _NEWNS)
        except PermissionError:
            _call("unshare", _NEWUSER | _NEWNS)
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        _mount(None, _ROOT, _REC | _PRIVATE)

    def copy_root(self, paths: Iterable[Path]) -> None:
        """Make place for those paths that belong at the top of the file system. Folders opened before are lost."""
        if any(_existing(path).resolve() == _ROOT for path in paths):
            self._copy(_ROOT)

    def bind(self, folder: int, path: Path, read_only: bool) -> None:
        """Mount an open folder at a path, which need not exist."""
        self._make(path)
        _mount(Path(f"/proc/self/fd/{folder}"), path, _BIND | _REC)
        self._mounted.append(path.resolve())
        if read_only:
            # In a user namespace a mount keeps the flags that it has.
            kept = os.statvfs(path).f_flag & (_NOSUID | _NODEV | _NOEXEC)
            _mount(None, path, _REMOUNT | _BIND | _RDONLY | kept)

    def _make(self, path: Path) -> None:
        """See that a folder is there, without a trace outside of the namespace."""
        existing = _existing(path)
        parent = existing.resolve()
        if existing == path:
            return
        if parent not in self._made and not any(parent.is_relative_to(one) for one in self._mounted):
            self._copy(parent)
        for name in path.relative_to(existing).parts:
            parent /= name
            parent.mkdir()
            self._made.add(parent)

    def _copy(self, folder: Path) -> None:
        """Put a folder of our own over `folder`, with the same entries."""
        self._copies += 1
        copy = self._scratch / str(self._copies)
        copy.mkdir()
        _mount(copy, copy, _BIND)
        for entry in folder.iterdir():
            target = copy / entry.name
            if entry.is_symlink():
                target.symlink_to(entry.readlink())
                continue
            if entry.is_dir():
                target.mkdir()
            else:
                target.touch()
            _mount(entry, target, _BIND | _REC)
        copy.chmod(folder.stat().st_mode & 0o7777)
        if folder == _ROOT:
            _change_root(copy)
        else:
            _mount(copy, folder, _BIND | _REC)
        self._made.add(folder)


def _existing(path: Path) -> Path:
    """The innermost folder of a path that is there."""
    while not path.is_dir():
        path = path.parent
    return path


def _change_root(folder: Path) -> None:
    number = _PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, f"pivot_root: not known on {os.uname().machine}")
    os.chdir(folder)
    try:
        _call("syscall", number, b".", b".")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        os.chroot(".")  # the present root is not a mount: we are in a chroot already
    else:
        _call("umount2", b".", _DETACH)
    os.chdir("/")


def _mount(source: Path | None, target: Path, flags: int) -> None:
    names = (os.fsencode(source) if source else None, os.fsencode(target))
    _call("mount", *names, None, ctypes.c_ulong(flags), None, where=str(target))


def _call(name: str, *words: Any, where: str = "") -> None:
    if getattr(_LIBC, name)(*words) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}", where or None)


def _open(path: Path) -> int:
    return os.open(path, os.O_PATH | os.O_CLOEXEC)


def prepare(binds: Sequence[tuple[str, str, bool]], kept: Iterable[str], scratch: str) -> None:
    """Mount everything.

    Raises:
        OSError: a mount is not possible.
    """
    here = Path.cwd()
    namespace = Namespace(Path(scratch))
    namespace.enter()
    namespace.copy_root(Path(path) for path, _, _ in binds)
    # A mount may hide what a later one needs: everything is opened before.
    volumes = [(Path(path), _open(Path(folder)), read_only) for path, folder, read_only in binds]
    visible = [(Path(path), _open(Path(path))) for path in sorted(set(kept), key=len)]
    for path, folder, read_only in sorted(volumes, key=lambda volume: len(volume[0].parts)):
        hidden = [one for one in visible if path.resolve() in one[0].resolve().parents]
        namespace.bind(folder, path, read_only)
        for own, original in hidden:
            namespace.bind(original, own, False)
    os.chdir(here)


def main(spec: str, *command: str) -> None:
    """Mount what the specification says, then become the command."""
    given = json.loads(spec)
    try:
        prepare(given["binds"], given["kept"], given["scratch"])
    except OSError as error:
        at = f" at {error.filename}" if error.filename else ""
        sys.exit(
            f"error: the task's volumes can't be mounted\n  cause: {error.strerror}{at}\n"
            "  next: give the mount path as a parameter of the component, or run it on Kubeflow Pipelines"
        )
    if command:
        try:
            os.execvp(command[0], command)
        except OSError as error:
            sys.exit(f"error: {command[0]} can't be started\n  cause: {error.strerror}")


if __name__ == "__main__":
    main(*sys.argv[1:])

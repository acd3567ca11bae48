"""dist/standalone.py: the command as one file, a Python zip application that fits into a ConfigMap."""

import ast
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from utils.files import ROOT

LARGEST = 900_000
"""Bytes; a ConfigMap can hold at most 1 MiB."""
_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can store


def build(root: Path) -> bytes:
    """The zip application of the checkout at `root`: the same bytes for the same files.

    Raises:
        ValueError: it is too large for a ConfigMap.
    """
    members = {
        "__main__.py": (root / "standalone.py").read_bytes(),
        "pipeline.yaml": (root / "pipeline.yaml").read_bytes(),
    }
    members |= {str(file.relative_to(root)): file.read_bytes() for file in modules(root)}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in sorted(members):
            member = zipfile.ZipInfo(name, _TIME)
            member.external_attr = 0o644 << 16
            archive.writestr(member, members[name], zipfile.ZIP_DEFLATED, 9)
    packed = b"#!/usr/bin/env python3\n" + content.getvalue()
    if len(packed) > LARGEST:
        raise ValueError(f"standalone.py has {len(packed)} bytes, at most {LARGEST} fit into a ConfigMap")
    return packed


def modules(root: Path) -> list[Path]:
    """Our modules that standalone.py imports, anywhere in its code, and their packages."""
    found: set[Path] = set()
    queue = [root / "standalone.py"]
    while queue:
        for name in _imports(queue.pop()):
            file = _file_of(root, name)
            if file and file not in found:
                packages = {folder / "__init__.py" for folder in file.parents if root in folder.parents}
                queue += [file, *packages - found]
                found |= {file, *packages}
    return sorted(found)


def _imports(file: Path) -> Iterator[str]:
    """Our names that a module imports: modules, and names that may be modules in a package."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "utils":
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "utils")


def _file_of(root: Path, module: str) -> Path | None:
    place = root / module.replace(".", "/")
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


def main() -> None:
    """Write dist/standalone.py of this checkout."""
    target = ROOT / "dist" / "standalone.py"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(build(ROOT))
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

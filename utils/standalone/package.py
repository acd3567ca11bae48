"""dist/standalone.py: the command as one file, a Python zip application that fits into a ConfigMap."""

import io
import zipfile
from pathlib import Path

from utils.files import ROOT
from utils.packing import closure

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
    members |= {str(file.relative_to(root)): file.read_bytes() for file in closure([root / "standalone.py"])}
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


def main() -> None:
    """Write dist/standalone.py of this checkout."""
    target = ROOT / "dist" / "standalone.py"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(build(ROOT))
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

"""dist/standalone.py: one file, the same bytes each time, small enough for a ConfigMap."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from utils.standalone.package import LARGEST, build, modules

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("dist") / "standalone.py"
    file.write_bytes(build(ROOT))
    return file


def run(packed: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the file with no site-packages but those of this interpreter, in a folder with nothing of the checkout."""
    command = [sys.executable, str(packed), *args]
    return subprocess.run(command, cwd=packed.parent, capture_output=True, text=True, env={"PATH": "/usr/bin", **env})


def test_it_fits_into_a_config_map_and_is_reproducible(packed: Path) -> None:
    assert packed.stat().st_size <= LARGEST
    assert packed.read_bytes() == build(ROOT)


def test_no_member_tells_when_or_where_it_was_made(packed: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(packed.read_bytes())) as archive:
        members = archive.infolist()
    assert {member.date_time for member in members} == {(1980, 1, 1, 0, 0, 0)}
    assert [member.filename for member in members] == sorted(member.filename for member in members)


def test_only_what_the_command_uses_is_in_it() -> None:
    names = {str(file.relative_to(ROOT)) for file in modules(ROOT)}
    assert {"utils/__init__.py", "utils/ir/walk.py", "utils/standalone/commands.py", "utils/cluster/watch.py"} <= names
    assert not {name for name in names if name.startswith(("utils/lint", "utils/demo", "utils/report", "utils/cpu"))}


def test_help_asks_no_cluster(packed: Path) -> None:
    """Trap 8: --help, show and --dry-run needed a kubeconfig."""
    for args in (["--help"], ["run", "--help"], ["run", "train", "--help"], ["show", "--help"]):
        done = run(packed, *args, KUBECONFIG="/nonexistent")
        assert done.returncode == 0 and "Usage: standalone.py" in done.stdout, done.stderr

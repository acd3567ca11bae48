"""dist/standalone.py: one file, the same bytes each time, small enough for a ConfigMap."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from utils.files import ROOT
from utils.packing import closure
from utils.standalone.package import LARGEST, build


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("dist") / "standalone.py"
    file.write_bytes(build(ROOT))
    return file


def run(packed: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the file with no site-packages but those of this interpreter, in a folder with nothing of the checkout."""
    command = [sys.executable, str(packed), *args]
    return subprocess.run(command, cwd=packed.parent, capture_output=True, text=True, env={"PATH": "/usr/bin", **env})


def test_standalone_file_fits_into_a_config_map_and_is_reproducible(packed: Path) -> None:
    assert packed.stat().st_size <= LARGEST
    assert packed.read_bytes() == build(ROOT)


def test_members_do_not_reveal_when_or_where_they_were_built(packed: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(packed.read_bytes())) as archive:
        members = archive.infolist()
    assert {member.date_time for member in members} == {(1980, 1, 1, 0, 0, 0)}
    assert [member.filename for member in members] == sorted(member.filename for member in members)


def test_only_modules_that_the_command_uses_are_included() -> None:
    names = {str(file.relative_to(ROOT)) for file in closure([ROOT / "standalone.py"])}
    assert {"utils/__init__.py", "utils/ir/walk.py", "utils/standalone/commands.py", "utils/cluster/watch.py"} <= names
    assert not {
        name for name in names if name.startswith(("utils/lint", "utils/demo", "utils/stages/report", "utils/cpu"))
    }


def test_help_contacts_no_cluster(packed: Path) -> None:
    """Trap 8: --help, show and --dry-run needed a kubeconfig."""
    for args in (["--help"], ["run", "--help"], ["run", "train", "--help"], ["show", "--help"]):
        done = run(packed, *args, KUBECONFIG="/nonexistent")
        assert done.returncode == 0 and "Usage: standalone.py" in done.stdout, done.stderr


# Imports nothing but the standard library and what the four packages bring along; then runs the file as a script does.
_ONLY = """\
import runpy, sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from packaging.requirements import Requirement

wanted, allowed = ["click", "pyyaml", "kubernetes", "boto3"], set()
while wanted:
    name = wanted.pop().lower().replace("_", "-")
    try:
        needs = [] if name in allowed else [Requirement(text) for text in requires(name) or []]
    except PackageNotFoundError:
        continue
    allowed.add(name)
    wanted += [need.name for need in needs if not need.marker or need.marker.evaluate({"extra": ""})]

class Only:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        owners = {one.lower().replace("_", "-") for one in tops.get(top, [])}
        if top not in sys.stdlib_module_names and owners and not owners & allowed:
            raise ModuleNotFoundError(f"blocked: {name}", name=top)

tops = packages_distributions()
tops.pop("utils", None)  # ours, from the file
sys.meta_path.insert(0, Only())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(
    ("args", "printed"),
    [
        (["run", "--dry-run", "--sdg-object-store-secret=s", "--judge-serving-model-secret=j"], "kind: TrainJob"),
        (["show", "--rbac", "--image=i", "--script-configmap=c", "--args=--force-pull"], "kind: RoleBinding"),
    ],
)
def test_standalone_file_needs_only_packages_of_a_workbench(packed: Path, args: list[str], printed: str) -> None:
    command = [sys.executable, "-c", _ONLY, str(packed), *args]
    done = subprocess.run(command, cwd=packed.parent, capture_output=True, text=True, env={"PATH": "/usr/bin"})
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout

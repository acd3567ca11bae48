"""The wheel, built and installed as users have it: away from the repository, in an environment of its own.

No package index is asked. The build backend comes from this environment, and so do the dependencies: a .pth file in the
new environment adds this one's site-packages. Python reads no .pth file of a folder that is added this way, so the
editable installation here, itself a .pth file, stays unseen.
"""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ilab_pipeline import __version__
from tests.fakes.kfp_server import KfpServer
from utils.files import COMPILED, ROOT

PACKAGE = Path("lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages", "ilab_pipeline")


@dataclass(frozen=True)
class Installed:
    """The installed command.

    Attributes:
        environment: folder of the virtual environment.
        cwd: a working directory with modules that have the names of ours.
    """

    environment: Path
    cwd: Path

    def run(self, *arguments: str, code: int = 0) -> str:
        """What a program of the environment prints; it must end with `code`."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        own = {"HOME": str(self.cwd), "ILAB_HOME": str(self.cwd / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [self.environment / "bin" / arguments[0], *arguments[1:]],
            cwd=self.cwd,
            env=kept | own,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def files(self) -> dict[Path, int]:
        """Everything that is installed, and when it was written."""
        return {path: path.stat().st_mtime_ns for path in (self.environment / PACKAGE).rglob("*")}


def build(source: Path, target: Path, kind: str) -> Path:
    """Build the wheel or the sdist of the repository at `source`."""
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", target], cwd=source, check=True)
    (built,) = target.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    environment, cwd = tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(environment), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True)
    (environment / PACKAGE).with_name("dependencies.pth").write_text(sysconfig.get_path("purelib"))
    for name in ("utils.py", "pipeline.py", "components/__init__.py"):
        (cwd / name).parent.mkdir(exist_ok=True)
        (cwd / name).write_text('raise SystemExit("this is not our module")')
    return Installed(environment, cwd)


@pytest.fixture
def installed(installation: Installed) -> Iterator[Installed]:
    """The wheel in an environment of its own, to which no command writes."""
    before = installation.files()
    yield installation
    assert installation.files() == before


def test_the_wheel_has_one_top_level_package_and_the_license(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    info = f"ilab_pipeline-{__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"ilab_pipeline", info}
    assert f"{info}/licenses/LICENSE" in names
    examples = [path for path in (ROOT / "examples").rglob("*") if path.is_file()]
    assert {f"ilab_pipeline/{path.relative_to(ROOT)}" for path in examples} <= {*names}
    assert not [name for name in names if "/tests/" in name or name.endswith((".pyc", ".png"))]


def test_the_sdist_builds_the_same_wheel_without_what_git_ignores(wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build(ROOT, tmp_path, "sdist")) as archive:
        archive.extractall(tmp_path, filter="data")
    source = tmp_path / f"ilab_pipeline-{__version__}"
    assert (source / "tests" / "test_wheel.py").is_file()
    (source / "manifests" / "openshift" / "teacher.env").write_text("api_token=secret")
    assert build(source, tmp_path, "wheel").read_bytes() == wheel.read_bytes()


def test_command_prints_its_version(installed: Installed) -> None:
    assert __version__ in installed.run("ilab-pipeline", "--version")
    assert __version__ in installed.run("python", "-m", "ilab_pipeline", "--version")


def test_import_of_the_package_has_no_side_effect(installed: Installed) -> None:
    program = "import sys; before = sys.path[:]; import ilab_pipeline; assert sys.path == before, sys.path"
    assert installed.run("python", "-c", program) == ""


def test_the_installed_pipeline_passes_lint(installed: Installed) -> None:
    assert f"{installed.environment / PACKAGE}/pipeline.yaml: understood by" in installed.run("ilab-pipeline", "lint")


def test_compile_writes_the_committed_file_to_the_working_directory(installed: Installed) -> None:
    installed.run("python", "-m", "ilab_pipeline", "compile")
    assert (installed.cwd / "pipeline.yaml").read_bytes() == COMPILED.read_bytes()


def test_compile_prints_the_source_of_a_component(installed: Installed) -> None:
    assert "def sdg" in installed.run("ilab-pipeline", "compile", "--source", "sdg")


def test_a_local_run_starts_and_names_missing_prerequisites(installed: Installed) -> None:
    printed = installed.run("ilab-pipeline", "run", "--on", "local", "--run-id", "here", code=3)
    assert "lacks: bucket or AWS_S3_BUCKET; access_key or AWS_ACCESS_KEY_ID" in printed
    assert "clean-up         SUCCEEDED" in printed
    assert "prerequisites" in installed.run("ilab-pipeline", "status", "here")


def test_a_run_is_submitted_to_kubeflow_pipelines(installed: Installed) -> None:
    server = KfpServer()
    try:
        installed.run("ilab-pipeline", "run", "--on", "kfp", "--host", server.url, "--wait")
        assert server.runs[0].request["pipeline_version_reference"]
    finally:
        server.stop()


def test_the_demo_says_what_its_interpreter_lacks(installed: Installed) -> None:
    assert "--quick" in installed.run("ilab-pipeline", "demo", "--help")
    stages = installed.environment / PACKAGE / "requirements" / "stages.txt"
    python = installed.environment / "bin" / "python"
    printed = installed.run("ilab-pipeline", "demo", "--python", str(python), code=3)
    assert str(stages) in printed and stages.is_file()


def test_docs_are_written_only_in_the_repository(installed: Installed) -> None:
    assert "the pages belong to the repository" in installed.run("ilab-pipeline", "docs", code=2)

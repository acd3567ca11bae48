"""Trap 49: every package that a task's code can reach is in the image that the task runs in."""

import importlib
from types import FunctionType
from typing import Any

import pytest
from kfp import dsl

from tests.images.environments import NAMES, REQUIREMENTS, packages_of
from tests.images.imports import needed_at_once, our_names, programs, sources, third_party
from utils import images
from utils.files import ROOT
from utils.packing import stage_files

# Programs beside Python that both images bring: the notebook for its git extension, RHEL AI for `ilab taxonomy`.
PROGRAMS = {"git"}


def component_objects() -> dict[str, Any]:
    found = {}
    for path in sorted((ROOT / "components").glob("*.py")):
        module = importlib.import_module(f"components.{path.stem}")
        for name, value in vars(module).items():
            if isinstance(value, dsl.python_component.PythonComponent):
                found[name] = value
    return found


COMPONENTS = component_objects()


def lacking(func: FunctionType, image: str) -> set[str]:
    """Distributions that the function or a helper of it imports, kfp's own executor included, and the image lacks."""
    needed = {"kfp"}.union(*(third_party(source) for source in sources(func)))
    return needed - packages_of(image).keys()


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_import_that_a_task_can_reach_is_in_its_image(name: str) -> None:
    component = COMPONENTS[name]
    image = component.component_spec.implementation.container.image
    assert image in NAMES, f"requirements/images has no list of packages for {image}"
    assert lacking(component.python_func, image) == set(), f"not in {NAMES[image]}.list"
    all_files = stage_files(name for one in COMPONENTS.values() for name in our_names(one.python_func))
    assert needed_at_once(component.python_func, all_files) - packages_of(image).keys() == set()


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_program_that_a_task_starts_is_known_to_be_in_its_image(name: str) -> None:
    found = set().union(*(programs(source) for source in sources(COMPONENTS[name].python_func)))
    assert found - PROGRAMS == set()


def test_check_finds_a_package_missing_from_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first choice for data import was an image with kfp, kubernetes and requests, without boto3."""
    monkeypatch.setitem(globals(), "packages_of", lambda image: {"kfp": "2.13.0", "requests": "2.32.3"})
    assert lacking(COMPONENTS["data_import"].python_func, images.NOTEBOOK) >= {"boto3", "botocore"}


IMPORTING = """
import os, yaml
from google.cloud import storage
from instructlab.sdg.pipeline import Pipeline
import matplotlib.figure
def start(path):
    import importlib, subprocess, sys
    importlib.import_module("instructlab.training.main_ds")
    command = ["git", "clone", path]
    subprocess.run(command)
    subprocess.Popen(["ssh", path])
    return [sys.executable, "-m", "vllm.entrypoints", path]
"""


def test_imports_and_programs_are_found_in_every_form() -> None:
    distributions = {"pyyaml", "google-cloud-storage", "instructlab-sdg", "matplotlib", "instructlab-training", "vllm"}
    assert third_party(IMPORTING) == distributions
    assert programs(IMPORTING) == {"git", "ssh"}


@pytest.mark.parametrize("image", NAMES)
def test_local_environment_of_an_image_has_its_versions(image: str) -> None:
    known, locked = packages_of(image), {}
    for line in (REQUIREMENTS / f"{NAMES[image]}.txt").read_text().splitlines():
        if "==" in line and not line.startswith((" ", "#")):
            name, _, version = line.split()[0].partition("==")
            locked[name] = version
    assert {name: version for name, version in locked.items() if known.get(name, version) != version} == {}
    assert len(locked.keys() & known.keys()) > 0.9 * len(locked)

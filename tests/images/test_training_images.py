"""OpenShift AI's own training images: their packages, as far as the program of the training pods reaches."""

from pathlib import Path

import pytest

from tests.images.environments import REQUIREMENTS
from tests.images.imports import third_party
from utils.cpu import PROGRAMS
from utils.stages.train.hub import HUB
from utils.stages.train.trainer import LIBRARY, TRAINER

LISTS = ["training-cuda", "training-rocm", "training-cpu"]
INSTRUCTLAB = "instructlab"
"""The list of the default of train_image."""
BESIDE = {"packing", "progress_server"}
"""Modules of ours whose copies lie beside the program."""
OPTIONAL = {"flash-attn"}
"""What training does without where an image lacks it."""


def packages(name: str) -> dict[str, str]:
    lines = (REQUIREMENTS / f"{name}.list").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def needed() -> set[str]:
    """Distributions that the pods' programs import, and the library, which they import by a name made at run time."""
    beside = [Path(TRAINER).with_name(f"{name}.py") for name in BESIDE]
    programs = [Path(TRAINER), *beside, PROGRAMS / "main_ds.py"]
    found = set().union(*(third_party(path.read_text()) for path in programs)) - BESIDE
    return {name.replace("_", "-") for name in found} | {LIBRARY.replace(".", "-")}


@pytest.mark.parametrize("name", [*LISTS, INSTRUCTLAB])
def test_every_import_of_the_training_program_is_in_the_image(name: str) -> None:
    assert {"torch", "instructlab-training"} <= needed()
    assert needed() - OPTIONAL - packages(name).keys() == set()


@pytest.mark.parametrize("name", LISTS)
def test_osft_and_lora_have_what_they_import_in_the_image(name: str) -> None:
    found = packages(name)
    imported = third_party(Path(HUB).read_text()) - {"trainer"}  # beside it
    assert "peft" in imported and imported <= found.keys()
    major, minor = found["rhai-innovation-mini-trainer"].split(".")[:2]
    assert (int(major), int(minor)) >= (0, 8)


def test_the_default_image_has_no_mini_trainer() -> None:
    """The prerequisites refuse it for osft and lora."""
    assert "rhai-innovation-mini-trainer" not in packages(INSTRUCTLAB)


@pytest.mark.parametrize("name", LISTS)
def test_the_guide_names_the_versions_of_the_image(name: str) -> None:
    found = packages(name)
    versions = [found[one] for one in ("instructlab-training", "torch", "transformers", "accelerate", "training-hub")]
    image = f"odh-th-torch-{name.removeprefix('training-')}-py312-rhel9"
    guide = Path("docs/images.md").read_text().splitlines()
    (row,) = [line for line in guide if f"`{image}`" in line and line.startswith("| 3.5")]
    assert row.endswith(" | ".join(["", *versions, ""]).rstrip())


def test_images_for_gpus_have_flash_attention_and_the_one_for_cpus_has_not() -> None:
    assert ["flash-attn" in packages(name) for name in LISTS] == [True, True, False]

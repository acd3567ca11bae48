"""The list of images in docs/disconnected.md."""

import subprocess
from pathlib import Path

import pytest

from tests.docs.guides import commands
from utils import images
from utils.docs.image_list import BEGIN, END, image_uses, with_image_list
from utils.errors import PipelineError
from utils.files import ROOT

SOURCE = '''"""Images."""
# What the
# stages need.
STAGES = (
    "registry.example/a"
    "@sha256:1"
)

# A heading.

# Serving.
SERVING = "registry.example/b"
'''


def test_purpose_of_an_image_is_the_comment_above_it() -> None:
    assert image_uses(SOURCE) == {
        "registry.example/a@sha256:1": "What the stages need.",
        "registry.example/b": "Serving.",
    }


def test_table_is_written_between_the_marks_and_is_reproducible() -> None:
    page = with_image_list(f"before\n{BEGIN}\nold\n{END}\nafter\n", {"a": "use"})
    assert page == f"before\n{BEGIN}\n\n| image | for |\n|---|---|\n| `a` | use |\n\n{END}\nafter\n"
    assert with_image_list(page, {"a": "use"}) == page


def test_a_page_without_the_marks_is_refused() -> None:
    with pytest.raises(PipelineError, match="no place"):
        with_image_list("nothing", {})


def test_the_list_of_images_as_a_file(tmp_path: Path) -> None:
    (command,) = commands("disconnected.md", "test_the_list_of_images_as_a_file")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    subprocess.run(["bash", "-euc", command], cwd=tmp_path, check=True)
    expected = {value for name, value in vars(images).items() if name.isupper()}
    assert set((tmp_path / "images.txt").read_text().split()) == expected

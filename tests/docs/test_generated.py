"""Generated pages agree with the code."""

import subprocess
import sys

import pytest

from utils.docs.command import parameter_groups, parameters_page
from utils.errors import PipelineError
from utils.files import ROOT
from utils.ir.model import Parameter

SOURCE = '''
def other(x): ...

def ours(
    # First
    a: str = "x|y",
    b: int = 3,  # noqa: B006
    # Second thing
    c: list = [],
) -> None:
    """# Not a heading"""
'''


def test_groups_come_from_the_comments_between_the_parameters() -> None:
    assert parameter_groups(SOURCE, "ours") == {"First": ["a", "b"], "Second thing": ["c"]}


def test_the_page_has_type_default_and_meaning_of_each_parameter() -> None:
    parameters = {
        "a": Parameter("a", "STRING", "x|y", True, True, "This | that,\n  or both."),
        "b": Parameter("b", "NUMBER_INTEGER", 3, True, True, "How many."),
        "c": Parameter("c", "LIST"),
    }
    page = parameters_page(parameters, parameter_groups(SOURCE, "ours"))
    assert '| `a` | text | `"x\\|y"` | This \\| that, or both. |' in page
    assert "| `b` | whole number | `3` | How many. |" in page
    assert "| `c` | list | `required` |" in page
    assert page.index("## First") < page.index("`b`") < page.index("## Second thing") < page.index("`c`")


def test_a_stale_pipeline_file_is_refused() -> None:
    with pytest.raises(PipelineError, match="not up to date"):
        parameters_page({"a": Parameter("a", "STRING")}, {"First": ["a", "b"]})


def test_generated_pages_in_the_repository_are_up_to_date() -> None:
    """When this fails: make docs. A process of its own, as click keeps what earlier tests made of a command's help."""
    command = [sys.executable, "-m", "utils.cli.main", "docs", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

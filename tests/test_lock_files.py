"""What `make lock` writes has every dependency that the project names."""

import re
import tomllib

import pytest

from utils.files import ROOT


@pytest.mark.parametrize("name", ["base", "dev", "mutation"])
def test_lock_file_holds_every_dependency_of_the_project(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {re.split(r"[\[<>=~!; ]", one)[0].lower() for one in project["dependencies"]}
    locked = (ROOT / "requirements" / f"{name}.txt").read_text()
    assert named - {*re.findall(r"^([a-z0-9._-]+)==", locked, re.MULTILINE)} == set()
    assert re.findall(r"https?://\S+", locked) == []

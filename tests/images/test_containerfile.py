"""images/Containerfile as far as it can be checked without building it."""

import ast
import re
import shlex
from pathlib import Path

from tests.images.environments import packages_of
from tests.images.imports import sources, third_party
from tests.images.test_imports import COMPONENTS, PROGRAMS
from utils import images
from utils.files import ROOT

LOCKS = ROOT / "requirements" / "images"


def instructions() -> list[tuple[str, str]]:
    """Keyword and rest of each instruction, continued lines joined, comments gone."""
    lines = [line for line in (ROOT / "images/Containerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(keyword, rest) for keyword, rest in found]


def of(keyword: str) -> list[str]:
    return [rest for found, rest in instructions() if found == keyword]


def test_only_known_instructions_are_used() -> None:
    assert {keyword for keyword, _ in instructions()} == {"ARG", "FROM", "ENV", "RUN", "COPY", "USER", "WORKDIR"}


def test_base_images_are_those_of_our_list_by_digest() -> None:
    """Trap 43."""
    defaults = dict(rest.split("=", 1) for rest in of("ARG"))
    assert (defaults["BUILD_BASE"], defaults["RUN_BASE"]) == (images.CUDA_BUILD, images.CUDA_RUN)
    assert of("FROM") == ["${BUILD_BASE} AS build", "${RUN_BASE}"]


def test_python_packages_come_only_from_lock_files_with_hashes() -> None:
    commands = [
        words
        for rest in of("RUN")
        for part in rest.split("&&")
        if "install" in (words := shlex.split(part)) or "sync" in words
    ]
    python = [words for words in commands if "apt-get" not in words]
    assert len(python) == 3
    assert [words for words in python if "--require-hashes" not in words] == []
    locks = {Path(word).name for words in python for word in words if word.endswith(".txt")}
    assert locks == {"uv.txt", "container.txt", "flash-attn.txt"}


def test_copied_files_exist_in_the_repository() -> None:
    copied = [word for rest in of("COPY") if "--from" not in rest for word in rest.split()[:-1]]
    assert len(copied) == 4
    assert [name for name in copied if not (ROOT / name).is_file()] == []


def test_image_user_can_be_replaced_by_openshift() -> None:
    assert of("USER") == ["1001"]
    final = of("RUN")[3]
    assert "useradd --uid 1001 --gid 0" in final
    assert "chmod -R g=u /home/ilab" in final


def test_every_program_that_a_task_starts_is_installed() -> None:
    assert {*PROGRAMS, "openssh-client", "tesseract-ocr-eng", "gcc"} <= set(of("RUN")[3].split())


def test_the_lock_holds_every_package_that_a_task_imports() -> None:
    locked = set(re.findall(r"^([a-z0-9._-]+)==", (LOCKS / "container.txt").read_text(), re.MULTILINE))
    needed = set().union(*(third_party(text) for one in COMPONENTS.values() for text in sources(one.python_func)))
    assert needed - locked == set()
    assert {"vllm", "kfp", "torch", "ninja", "packaging", "setuptools", "wheel"} <= locked


def test_the_check_in_the_image_imports_every_package_that_a_task_imports() -> None:
    (assigned,) = [
        node.value
        for node in ast.parse((ROOT / "images/check_imports.py").read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MODULES"
    ]
    checked = third_party(
        "".join(
            f"import {text.value}\n"
            for text in ast.walk(assigned)
            if isinstance(text, ast.Constant) and isinstance(text.value, str)
        )
    )
    needed = set().union(*(third_party(text) for one in COMPONENTS.values() for text in sources(one.python_func)))
    assert needed - checked == set()


def test_the_versions_are_those_of_the_instructlab_image() -> None:
    """So that what `make e2e-images` runs says something about this image."""
    locked = dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (LOCKS / "container.txt").read_text(), re.MULTILINE))
    known = packages_of(images.INSTRUCTLAB)
    assert {name: version for name, version in locked.items() if known.get(name, version) != version} == {}
    assert len(locked.keys() & known.keys()) > 180

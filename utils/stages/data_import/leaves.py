"""Leaves of a taxonomy, held against the rules of instructlab-schema and yamllint, which data import's image lacks.

The SDG stage has both libraries and asks them again. A test compares the two.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.stages.data_import.yaml_style import style_errors
from utils.stages.leaves import KINDS

ERROR, WARNING = "error", "warning"
CORRECT = "correct it"
"""The remedy where the cause says everything."""


@dataclass(frozen=True)
class LeafFinding:
    """What is wrong with a leaf.

    Attributes:
        leaf: knowledge/a/b; "" where no leaf is concerned.
        file: below the taxonomy, or in the repository of the leaf's documents.
        line: counted from 1; 0 for the whole file.
        remedy: what to do about it.
        level: error, or warning: the library continues without what the finding names.
    """

    leaf: str
    file: str
    line: int
    cause: str
    remedy: str
    level: str = ERROR

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.cause}{'' if self.remedy == CORRECT else '; ' + self.remedy}"


TEXT = "text"
_QA = {"question": TEXT, "answer": TEXT}
_SKILL = {
    "version": int, "created_by": TEXT, "task_description": TEXT,
    "seed_examples": (5, _QA | {"context?": TEXT}),
}  # fmt: skip
_KNOWLEDGE = {
    "version": int, "created_by": TEXT, "domain": TEXT, "document_outline": TEXT,
    "document": {"repo": TEXT, "commit": TEXT, "patterns": (1, TEXT)},
    "seed_examples": (5, {"context": TEXT, "questions_and_answers": (3, _QA | {"*": None})}),
}  # fmt: skip
"""A mapping's keys (`?`: optional, `*`: others are allowed), a list's smallest length and items, or text."""
# Version 1 of skills: one example is enough, and examples may repeat.
_FIRST_SKILL = {
    "version?": int, "created_by": TEXT, "task_description": str,
    "seed_examples": (-1, _QA | {"context?": TEXT}),
}  # fmt: skip
_SCHEMAS = {KINDS[0]: {3: _KNOWLEDGE}, KINDS[1]: {1: _FIRST_SKILL, 2: _SKILL, 3: _SKILL}}


def find_leaves(taxonomy: Path) -> tuple[list[str], list[LeafFinding]]:
    """The leaves (knowledge/a/b), sorted, and what looks like one and is none. No symbolic link is followed."""
    leaves, found = [], []
    for place, folders, files in os.walk(taxonomy):
        folders[:] = [name for name in folders if name != ".git"]
        here = os.path.relpath(place, taxonomy)
        inside = here.split("/")[0] in KINDS
        for name in folders:
            if os.path.islink(f"{place}/{name}") and (inside or name in KINDS):
                cause, remedy = "a symbolic link to a folder, its leaves are not read", "put the folder itself there"
                found.append(LeafFinding("", os.path.normpath(f"{here}/{name}"), 0, cause, remedy, WARNING))
        for name in files:
            if name.lower() not in ("qna.yaml", "qna.yml"):
                continue
            file, problem, level = f"{here}/{name}", "", WARNING
            if not inside:
                problem, remedy = "it is not read", f"move it below {' or '.join(KINDS)}"
            elif name != "qna.yaml":
                problem, remedy = "it is not read", "name it qna.yaml"
            elif os.path.islink(f"{place}/{name}"):
                problem, remedy, level = "a symbolic link, which is not followed", "put the file itself there", ERROR
            else:
                leaves.append(here)
            if problem:
                found.append(LeafFinding(here if inside else "", file, 0, problem, remedy, level))
    return sorted(leaves), found


def check_leaf(taxonomy: Path, leaf: str) -> tuple[Any, Any, list[LeafFinding]]:
    """The content of a leaf's qna.yaml, its YAML nodes, and what is wrong; content is None if it can't be used."""
    import yaml

    file = f"{leaf}/qna.yaml"

    def finding(line: int, cause: str, remedy: str = CORRECT, level: str = ERROR) -> LeafFinding:
        return LeafFinding(leaf, file, line, cause, remedy, level)

    try:
        text = (taxonomy / file).read_text(encoding="utf-8")
        content, root = yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return None, None, [finding(line, f"not YAML: {error.problem}")]
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError, OSError) as error:  # `!!bool 2`
        return None, None, [finding(0, f"it can't be read: {error}")]
    if not isinstance(content, dict):
        return None, None, [finding(1, "not a mapping with version, created_by, seed_examples, …")]
    version, schemas = content.get("version", 1), _SCHEMAS[leaf.split("/")[0]]
    if isinstance(version, bool) or not isinstance(version, int | float) or version not in schemas:
        remedy = f"write {' or '.join(map(str, schemas))}, as a number"
        return None, None, [finding(yaml_line(root, ".version"), f"version is {version!r:.40}", remedy)]
    found = [finding(*one) for one in (style_errors(text, root) if version > 1 else [])]
    differences = [*_differences(content, schemas[int(version)], "")]
    if differences:
        return None, None, [*(finding(yaml_line(root, path), f"{path} {text}") for path, text in differences), *found]
    return content, root, found


def _differences(value: Any, rule: Any, path: str) -> Iterator[tuple[str, str]]:
    """Where a value differs from a rule: `.seed_examples[1]` and in which way."""
    if rule in (TEXT, str):
        if not isinstance(value, str):
            yield path, "is empty" if value is None else f"is {type(value).__name__}, not text; put it in quotes"
        elif rule == TEXT and not value:
            yield path, "is empty"
    elif isinstance(rule, tuple):
        least, item = rule
        if not isinstance(value, list):
            yield path, "must be a list"
            return
        if len(value) < abs(least):
            yield path, f"has {len(value)} items, {abs(least)} are needed"
        for i, one in enumerate(value):
            if least > 0 and one in value[:i]:
                yield f"{path}[{i}]", f"repeats item {value.index(one)}"
            yield from _differences(one, item, f"{path}[{i}]")
    elif isinstance(rule, dict):
        if not isinstance(value, dict):
            yield path, f"must have {', '.join(rule)}"
            return
        names = {name.rstrip("?"): name for name in rule}
        for name in [name for name in rule if name[-1] not in "?*" and name not in value]:
            yield path or ".", f"lacks {name}"
        for name, one in value.items():
            if name in names:
                yield from _differences(one, rule[names[name]], f"{path}.{name}")
            elif "*" not in rule:
                yield path or ".", f"has {name!r:.40}, which is not known here"


def yaml_line(node: Any, path: str) -> int:
    """Line (from 1) of `.seed_examples[2].question` in a composed YAML document, or of the nearest part there is."""
    import yaml

    for key, index in re.findall(r"\.([^.\[]+)|\[(\d+)\]", path):
        if key and isinstance(node, yaml.MappingNode):
            node = next((value for name, value in node.value if name.value == key), node)
        elif index and isinstance(node, yaml.SequenceNode):
            node = next(iter(node.value[int(index) :]), node)
    return int(node.start_mark.line) + 1

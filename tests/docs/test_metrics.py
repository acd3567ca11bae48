"""Each metric has one name and one task: docs/metrics.md lists all names that a task logs."""

import ast
import itertools
import re

import pytest

from utils.files import ROOT

COMPONENTS = {file.stem: ast.parse(file.read_text()) for file in sorted((ROOT / "components").glob("*.py"))}


def documented() -> dict[str, list[str]]:
    """Metrics of each component as the page lists them."""
    found: dict[str, list[str]] = {}
    headline, others = (ROOT / "docs/metrics.md").read_text().split("## All others")
    for text in (headline, others):
        for line in re.findall(r"^\| (?!metric|task)(.*) \|$", text, re.MULTILINE):
            cells = [cell.strip() for cell in line.split("|")]
            task = cells[0] if text is others else "report"
            found.setdefault(task, []).extend(re.findall("`(.+?)`", cells[1 if text is others else 0]))
    return found


def logged(tree: ast.Module) -> list[str]:
    """Names that a component's source logs; what only the run knows is .+ in them."""
    values: dict[str, list[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.For) and isinstance(node.target, ast.Name) and isinstance(node.iter, ast.Tuple):
            values[node.target.id] = [str(one.value) for one in node.iter.elts if isinstance(one, ast.Constant)]
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.IfExp) and isinstance(node.targets[0], ast.Name):
            values[node.targets[0].id] = [
                str(one.value) for one in (node.value.body, node.value.orelse) if isinstance(one, ast.Constant)
            ]
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
    found = []
    for name in (call.args[0] for call in calls if getattr(call.func, "attr", "") == "log_metric"):
        parts = name.values if isinstance(name, ast.JoinedStr) else [name]
        choices = []
        for part in parts:
            if isinstance(part, ast.Constant):
                choices.append([str(part.value)])
            else:
                choices.append(values.get(ast.unparse(getattr(part, "value", part)), [".+"]))
        found += ["".join(chosen) for chosen in itertools.product(*choices)]
    return found


def test_each_name_is_logged_by_one_task() -> None:
    names = [name for listed in documented().values() for name in listed]
    assert len(names) > 40
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("component", [name for name, tree in COMPONENTS.items() if logged(tree)])
def test_every_metric_is_documented_for_its_task(component: str) -> None:
    patterns, listed = logged(COMPONENTS[component]), documented()
    for pattern in patterns:
        assert any(re.fullmatch(pattern, name) for name in listed[component]), pattern
    for name in listed.pop(component):
        assert any(re.fullmatch(pattern, name) for pattern in patterns), name
    exact = {pattern for pattern in patterns if ".+" not in pattern}
    assert not exact & {name for names in listed.values() for name in names}


def test_page_names_no_unknown_task() -> None:
    assert {*documented()} == {name for name, tree in COMPONENTS.items() if logged(tree)}


def test_metric_names_are_read_from_literals_loops_and_conditionals() -> None:
    source = """
kind = "a" if phase else "b"
for name in ("x", "y"):
    metrics.log_metric(f"{kind}_{name}", 1)
metrics.log_metric(f"{one['key']}_z", 1)
metrics.log_metric("plain", 1)
"""
    assert sorted(logged(ast.parse(source))) == [".+_z", "a_x", "a_y", "b_x", "b_y", "plain"]

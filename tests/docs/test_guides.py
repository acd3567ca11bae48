"""Every command in the guides is run by a test, or the guide says that it needs a GPU cluster."""

import ast
import re

import pytest

from tests.docs.guides import GUIDES, Block, blocks
from utils.files import ROOT

COMMANDS = [block for guide in GUIDES for block in blocks(guide) if not block.kind]


def test_every_fence_is_found() -> None:
    for guide in GUIDES:
        assert (ROOT / "docs" / guide).read_text().count("```") == 2 * len(blocks(guide))


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block.text.splitlines()[0][:60])
def test_a_command_names_the_test_that_runs_it_or_why_none_does(block: Block) -> None:
    assert block.mark in ("tested", "gpu")
    assert block.what
    if block.mark == "tested":
        file, _, test = block.what.partition("::")
        functions = {node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if hasattr(node, "name")}
        assert test in functions


def test_links_in_the_guides_resolve() -> None:
    for guide in GUIDES:
        page = (ROOT / "docs" / guide).read_text()
        for target in [part.partition(")")[0] for part in page.split("](")[1:]]:
            if target.startswith("https://"):
                continue
            path, _, anchor = target.partition("#")
            file = (ROOT / "docs" / path) if path else ROOT / "docs" / guide
            assert file.exists(), f"{guide}: {target}"
            headings = [
                line.lstrip("# ").lower().replace(" ", "-").replace(",", "").replace("`", "").replace("'", "")
                for line in (file.read_text().splitlines() if file.is_file() else [])
                if line.startswith("#")
            ]
            assert not anchor or anchor in headings, f"{guide}: {target}"


@pytest.mark.parametrize(("guide", "least"), [("kubernetes.md", 10), ("openshift.md", 5)])
def test_messages_in_the_troubleshooting_table_exist_in_the_code(guide: str, least: int) -> None:
    table = (ROOT / "docs" / guide).read_text().partition("| message | cause | what to do |")[2]
    said = re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)
    assert len(said) > least
    code = "\n".join(path.read_text() for room in ("utils", "components") for path in (ROOT / room).rglob("*.py"))
    assert [message for message in said if message not in code] == []

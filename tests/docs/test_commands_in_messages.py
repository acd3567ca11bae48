"""Every command that a message, a help text or a page names exists, with its flags: a remedy can be followed."""

import ast
import re
from collections.abc import Iterator

import click
import pytest

from utils.cli.main import main
from utils.files import ROOT

CODE = [*(ROOT / "utils").rglob("*.py"), *(ROOT / "components").rglob("*.py"), ROOT / "pipeline.py"]
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
    *ROOT.glob("manifests/**/*.md"),
    *ROOT.glob("examples/**/*.md"),
]
CALL = re.compile(r"(?<!--service-account )(?<!--name )ilab-pipeline((?: +[^\s`|;()]+)*)")
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def texts(tree: ast.AST) -> Iterator[str]:
    """The texts of a module, with X for what is filled in."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


def sources() -> Iterator[tuple[str, str]]:
    for path in CODE:
        for text in texts(ast.parse(path.read_text())):
            yield str(path.relative_to(ROOT)), text
    for path in PAGES:
        yield str(path.relative_to(ROOT)), path.read_text().replace("\\\n", " ")


def calls() -> list[tuple[str, str]]:
    """(place, words after the program's name) of each call of our command."""
    found = {(place, match[1].strip()) for place, text in sources() for match in CALL.finditer(text)}
    return sorted(found)


def fault(words: str) -> str:
    """What is wrong with a call of our command, "" for nothing."""
    context, command = click.Context(main), main
    given = words.split()
    while given and isinstance(command, click.Group) and re.fullmatch(r"[a-z][a-z-]*", given[0]):
        found = command.get_command(context, given[0])
        if found is None:
            return f"there is no command {given[0]}"
        command = found  # type: ignore[assignment]
        given = given[1:]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"--help", "-h", "--version"}
    flags = [word.rstrip(".,:").partition("=")[0] for word in given if re.match(r"--?[a-z]", word)]
    return next((f"it has no {flag}" for flag in flags if flag not in known), "")


NOT_COMMANDS = ("run", "command", "is", "itself", "and", "as", "does")


def test_commands_are_found() -> None:
    assert len(calls()) > 60
    assert fault("resume latest") == fault("run --on kfp -p a=b") == ""
    assert fault("resume latest -p a=b") and fault("run --no-such-flag") and fault("runn")


@pytest.mark.parametrize(("place", "words"), [call for call in calls() if call[1]])
def test_command_in_a_text_exists_with_its_flags(place: str, words: str) -> None:
    assert fault(words) == "" or (words.split()[0] in NOT_COMMANDS and not re.search("-[-a-z]", words)), place


def test_make_targets_in_texts_exist() -> None:
    said = {
        (place, name)
        for place, text in sources()
        for name in re.findall(r"(?:`|: |run )make ([a-z][\w-]+)(?=[`,;.]|$)", text)
    }
    assert len(said) > 10
    assert [(place, name) for place, name in said if name not in TARGETS] == []


def test_folders_of_manifests_in_texts_exist() -> None:
    said = {(place, name) for place, text in sources() for name in re.findall(r"-k (manifests/[\w/-]+)", text)}
    assert len(said) > 3
    wrong = [(place, name) for place, name in said if not (ROOT / name / "kustomization.yaml").is_file()]
    assert [one for one in wrong if not re.search("/(X|FOLDER)$", one[1])] == []

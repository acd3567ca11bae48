"""The command blocks of the guides, each with the mark above it that says what runs it."""

import re
from dataclasses import dataclass

from utils.files import ROOT

GUIDES = ("kubernetes.md", "openshift.md", "disconnected.md", "images.md")
_FENCE = re.compile(r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        kind: what stands after the fence; "" for commands.
        mark: `tested` (`what` is FILE::TEST, which runs the text), `gpu` (`what` is the reason why none does), or "".
    """

    guide: str
    kind: str
    mark: str
    what: str
    text: str


def blocks(guide: str) -> list[Block]:
    """All fenced blocks of a guide in docs/, in order."""
    page = (ROOT / "docs" / guide).read_text()
    found = []
    for match in _FENCE.finditer(page):
        mark, _, what = (match["mark"] or "").partition(": ")
        found.append(Block(guide, match["kind"], mark, what, match["text"]))
    return found


def commands(guide: str, test: str) -> list[str]:
    """The texts that a test is to run, in order; `test` is its name without the file."""
    return [one.text for one in blocks(guide) if one.mark == "tested" and one.what.endswith(f"::{test}")]

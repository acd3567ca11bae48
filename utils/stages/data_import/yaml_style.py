"""The style of a qna.yaml, by yamllint's rules as instructlab-schema sets them (relaxed; any finding is an error).

Flow collections (in brackets) are not looked at here: the library, which the SDG stage asks, does.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any


def style_errors(text: str, root: Any) -> list[tuple[int, str]]:
    """Lines, counted from 1, and what is wrong with them.

    Args:
        root: the composed YAML document.
    """
    return sorted({*_line_errors(text), *_space_errors(text), *_Indentation().errors(root), *_repeated_keys(root)})


def _line_errors(text: str) -> Iterator[tuple[int, str]]:
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if line != line.rstrip(" \t\r\v\f"):
            yield number, "spaces at the end of the line"
    if lines[-1]:
        yield len(lines), "the last line does not end with a line break"
    for blank in re.finditer(r"\A\n+|\n{4,}|\n\n+\Z", text):
        yield max(text.count("\n", 0, blank.end()), 1), "too many empty lines"


def _space_errors(text: str) -> Iterator[tuple[int, str]]:
    """Spaces around `:` and after `-`."""
    import yaml

    # These have no text of their own.
    markers = (yaml.KeyToken, yaml.BlockMappingStartToken, yaml.BlockSequenceStartToken, yaml.BlockEndToken)
    tokens = [token for token in yaml.scan(text, yaml.SafeLoader) if not isinstance(token, markers)]
    for before, after in pairwise(tokens):
        between = text[before.end_mark.index : after.start_mark.index]
        line, spaces = before.end_mark.line + 1, len(between)
        if between.strip(" ") or isinstance(before, yaml.StreamStartToken):
            continue
        if isinstance(before, yaml.ValueToken) and spaces > 1:
            yield line, "too many spaces after the colon"
        elif isinstance(after, yaml.ValueToken) and spaces and not isinstance(before, yaml.AliasToken):
            yield line, "space before the colon"
        elif isinstance(before, yaml.BlockEntryToken) and spaces > 1:
            yield line, "too many spaces after the hyphen"


class _Indentation:
    """One width for the whole file, which the first indented line sets; lists are indented everywhere or nowhere."""

    width = 0
    lists: bool | None = None

    def errors(self, root: Any) -> Iterator[tuple[int, str]]:
        """Findings below a node that stands at the left edge."""
        if root.start_mark.column and not root.flow_style:
            yield root.start_mark.line + 1, f"indented by {root.start_mark.column} spaces, expected 0"
        yield from self._below(root)

    def _below(self, node: Any) -> Iterator[tuple[int, str]]:
        import yaml

        if isinstance(node, yaml.SequenceNode) and not node.flow_style:
            for item in node.value:
                yield from self._below(item)
        if isinstance(node, yaml.MappingNode) and not node.flow_style:
            for key, value in node.value:
                mark, indent = value.start_mark, value.start_mark.column - key.start_mark.column
                is_list = isinstance(value, yaml.SequenceNode) and not value.flow_style
                if mark.line > key.end_mark.line and (indent or is_list):
                    yield from self._judge(mark.line + 1, indent, is_list)
                yield from self._below(value)

    def _judge(self, line: int, indent: int, is_list: bool) -> Iterator[tuple[int, str]]:
        if is_list and self.lists is None:
            self.lists = indent > 0
        expected = 0 if is_list and not self.lists else self.width
        if expected == 0 and not (is_list and not self.lists):
            expected = self.width = indent
        if indent != expected:
            yield line, f"indented by {indent} spaces, expected {expected}"


def _repeated_keys(node: Any) -> Iterator[tuple[int, str]]:
    import yaml

    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for number, (key, _) in enumerate(node.value):
            if key.value in keys[:number]:
                yield key.start_mark.line + 1, f"the key {key.value!r:.40} is there twice"
    if isinstance(node, yaml.CollectionNode):
        for part in node.value:
            for one in part if isinstance(part, tuple) else [part]:
                yield from _repeated_keys(one)

"""Texts of a compiled pipeline that a server reads as numbers.

The server reads YAML with gopkg.in/yaml.v3, whose plain scalars are numbers where Python's are texts: it parses them
with Go's ParseInt(…, 0, 64) and ParseFloat (resolve.go). 008 and 1e5 in a list of arguments pass the upload, and
creating a run answers 500, "invalid value for string field" (seen on 2.16.1).
"""

import re
from collections.abc import Iterator

import yaml

from utils.lint.findings import Finding, Severity

_NUMBER = re.compile(
    r"[-+]?(0[xX][0-9a-fA-F_]+|0[oO]?[0-7_]+|0[bB][01_]+|[0-9][0-9_]*)"
    r"|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
)
_TEXT = "tag:yaml.org,2002:str"
_SHOWN = 3


def check(text: str) -> Iterator[Finding]:
    """A finding if there are such texts.

    Args:
        text: YAML that can be read.
    """
    resolve = yaml.resolver.Resolver().resolve
    found = [
        token
        for token in yaml.scan(text, Loader=yaml.CSafeLoader)
        if isinstance(token, yaml.ScalarToken)
        and token.plain
        and _NUMBER.fullmatch(token.value)
        and resolve(yaml.ScalarNode, token.value, (True, False)) == _TEXT
    ]
    if found:
        shown = ", ".join(f"{token.value} (line {token.start_mark.line + 1})" for token in found[:_SHOWN])
        yield Finding(
            Severity.ERROR,
            "the file",
            f"{shown}{' and others' if len(found) > _SHOWN else ''}: texts without quotes, which the server reads as "
            "numbers; where it expects a text it creates no run",
            "put such texts into quotes",
        )

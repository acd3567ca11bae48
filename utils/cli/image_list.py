"""The list of images in docs/disconnected.md, made from utils/images.py: constants and the comments above them."""

import ast

from utils.errors import PipelineError

BEGIN = "<!-- Made by `make docs` from utils/images.py. -->"
END = "<!-- End of what is made. -->"


def image_uses(source: str) -> dict[str, str]:
    """Image to what it is for: each constant of `source` and the lines of comment above it."""
    lines = source.splitlines()
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            first = node.lineno - 1
            while first and lines[first - 1].startswith("# "):
                first -= 1
            comment = " ".join(line.removeprefix("# ") for line in lines[first : node.lineno - 1])
            found[str(ast.literal_eval(node.value))] = comment
    return found


def with_image_list(page: str, uses: dict[str, str]) -> str:
    """`page` with a table of the images between its two marks.

    Raises:
        PipelineError: the marks are not there.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise PipelineError("the page has no place for the images", f"it lacks {BEGIN} or {END}", "put them back")
    table = ["| image | for |", "|---|---|", *(f"| `{image}` | {use} |" for image, use in uses.items())]
    return "\n".join([before + begin, "", *table, "", end]) + after

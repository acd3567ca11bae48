"""Taxonomy leaves, and the names of the files that belong to them.

instructlab-sdg names everything that belongs to a leaf by its path with _ for /: two leaves may get one name, and a
long path gets one that no file can have.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

KINDS = ("knowledge", "compositional_skills")
"""The folders of a taxonomy that have leaves."""


def taxonomy_leaves(taxonomy: Path) -> list[str]:
    """The leaves of a taxonomy, like knowledge/a/b, sorted."""
    return sorted(
        str(qna.parent.relative_to(taxonomy)) for kind in KINDS for qna in (taxonomy / kind).rglob("qna.yaml")
    )


def leaf_id(leaf: str) -> str:
    """A short name that no other leaf has, whatever leaves there are: for what an unfinished run keeps."""
    readable = re.sub("[^a-zA-Z0-9.-]+", "_", leaf.partition("/")[2])[:60]
    return f"{readable}-{hashlib.sha256(os.fsencode(leaf)).hexdigest()[:12]}"


def leaf_names(leaves: Iterable[str]) -> dict[str, str]:
    """The name of each leaf's files and tasks: knowledge_a_b for knowledge/a/b, as the library has it, where that does.

    Leaves that would share a name get others; so do a path too long for a file's name, and one with characters that
    mean something in patterns of files.
    """
    flat = {leaf: leaf.replace("/", "_") for leaf in leaves}
    times = Counter(map(str.casefold, flat.values()))
    return {
        leaf: name
        if times[name.casefold()] == 1 and len(os.fsencode(name)) <= 150 and re.fullmatch(r"[\w ,.+-]+", name)
        else f"{leaf.partition('/')[0]}_{leaf_id(leaf)}"
        for leaf, name in flat.items()
    }


def leaf_of_dataset(stem: str) -> str:
    """A leaf's name from that of a file in node_datasets: a knowledge leaf has two, for each phase of training."""
    return re.sub("_p(07|10)$", "", stem) if stem.startswith("knowledge_") else stem

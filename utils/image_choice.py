"""`--image NAME=REF`: put other images than those of utils/images.py into a compiled pipeline."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import yaml

from utils import images
from utils.errors import PipelineError, UsageError
from utils.foreign_text import TextError, read_nodes
from utils.ir.load import parse
from utils.ir.model import Pipeline

_BOM = "\ufeff"

IMAGES = {name.lower(): str(value) for name, value in vars(images).items() if name.isupper()}
"""Every image by its name in utils/images.py, in lowercase."""

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:[A-Za-z0-9.-]+(?::[0-9]+)?/)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?P<digest>@sha256:[0-9a-f]{64})?"
)


def with_images(pipeline: Pipeline, pairs: Sequence[str], warn: Callable[[str], object]) -> Pipeline:
    """The pipeline with other images, wherever it names the old ones: in tasks, and in what they pass to other pods.

    Args:
        pairs: NAME=REF. NAME is one of utils/images.py, an image that the pipeline names, the
            name of a task, for its own pod, or `all`: every one of ours. A task takes precedence over an image, and
            both over `all`.
        warn: called with a line for each image that is not named by digest.

    Raises:
        UsageError: a name is unknown or not in this pipeline, or a reference is not valid.
    """
    text = replaced(pipeline.text, pairs, warn)
    return pipeline if text == pipeline.text else parse(text, pipeline.name)


def replaced(text: str, pairs: Sequence[str], warn: Callable[[str], object]) -> str:
    """The text of a compiled pipeline with other images; everything else is unchanged. See `with_images`."""
    if not pairs:
        return text
    if text.startswith(_BOM):  # the parser's places do not count it
        return _BOM + replaced(text.removeprefix(_BOM), pairs, warn)
    documents = _documents(text)
    texts = list(_texts(documents))
    there, tasks = {node.value for node in texts}, _tasks(documents)
    chosen: dict[str | int, str] = {}
    # A name takes precedence over `all`, in any order.
    for name, reference in sorted(map(_pair, pairs), key=lambda pair: pair[0] != "all"):
        for old in [tasks[name]] if name in tasks.keys() - IMAGES.keys() else _old(name, there, tasks):
            chosen[old] = reference
        if "@" not in reference:
            warn(
                f"warning: the image {reference} is not named by digest: tasks of one run may use different images, "
                "and a later run another one"
            )
    return _put(text, texts, chosen)


def _pair(pair: str) -> tuple[str, str]:
    name, equals, reference = pair.partition("=")
    if not equals or not _REFERENCE.fullmatch(reference):
        raise UsageError(
            f"--image {pair}: {reference!r} is not an image reference" if equals else f"--image {pair}: no NAME=REF",
            "NAME is instructlab, notebook or all; REF is [REGISTRY/]REPOSITORY[:TAG][@sha256:DIGEST]",
            "docs/images.md lists which image runs which task",
        )
    return name if "/" in name else name.lower(), reference


def _old(name: str, there: set[str], tasks: Iterable[str]) -> list[str]:
    """The images of the pipeline that NAME selects.

    Args:
        there: every text in the pipeline.
        tasks: the names of its tasks.
    """
    ours = {known: image for known, image in IMAGES.items() if image in there}
    found = list(ours.values()) if name == "all" else [IMAGES.get(name, name)]
    if found and all(image in there for image in found):
        return found
    known = f"it names {', '.join(ours)} of utils/images.py" if ours else "it names none of utils/images.py"
    raise UsageError(
        f"--image {name}=…: the pipeline does not name such an image",
        f"{known}; manifests/ names the others" if name in IMAGES and ours else known,
        f"use {', '.join([*ours, 'all'])}, or a task: {', '.join(tasks)}"
        if ours
        else "give an image as written in the pipeline as NAME",
    )


def _tasks(documents: Sequence[yaml.Node]) -> dict[str, int]:
    """Where the image of each task's own pod stands in the text; none that stands there for several tasks."""
    found: dict[str, int] = {}
    for document in documents:
        for label, executor in _mapping(document, "deploymentSpec", "executors").items():
            image = _mapping(executor, "container").get("image")
            if isinstance(image, yaml.ScalarNode):
                found[label.removeprefix("exec-")] = image.start_mark.index
    count = Counter(found.values())
    return {name: place for name, place in found.items() if count[place] == 1}


def _mapping(node: yaml.Node, *keys: str) -> dict[str, yaml.Node]:
    """The mapping at these keys below a node; {} where there is none."""
    pairs = {key.value: value for key, value in node.value} if isinstance(node, yaml.MappingNode) else {}
    if not keys:
        return pairs
    return _mapping(pairs[keys[0]], *keys[1:]) if keys[0] in pairs else {}


def _documents(text: str) -> list[yaml.Node]:
    """The YAML documents of the text.

    Raises:
        PipelineError: the text can't be read.
    """
    try:
        return read_nodes(text)
    except TextError as error:
        raise PipelineError("the pipeline can't be read", str(error), "compile it again") from error


def _texts(documents: Sequence[yaml.Node]) -> Iterator[yaml.ScalarNode]:
    """Every scalar of the YAML documents, each once."""
    seen: set[int] = set()
    queue = list(documents)
    while queue:
        node = queue.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            yield node
        elif isinstance(node, yaml.SequenceNode):
            queue += node.value
        else:
            queue += [part for pair in node.value for part in pair]


def _put(text: str, texts: Sequence[yaml.ScalarNode], chosen: Mapping[str | int, str]) -> str:
    """The text with each scalar whose place or text is in `chosen` replaced in place; an anchor before it is kept."""
    spots = [(n.start_mark.index, n.end_mark.index, n.value) for n in texts]
    for start, end, old in sorted(spots, reverse=True):
        new = chosen.get(start, chosen.get(old))
        if new is None:
            continue
        before, found, after = text[start:end].partition(old)
        if found:
            text = text[:start] + before + _safe(new, bool(before[-1:] in ("'", '"'))) + after + text[end:]
        else:  # written with escapes
            text = text[:start] + json.dumps(new) + text[end:]
    return text


def _safe(reference: str, quoted: bool) -> str:
    """The reference as YAML that means this text: `12` alone would be a number."""
    return reference if quoted or yaml.safe_load(reference) == reference else json.dumps(reference)

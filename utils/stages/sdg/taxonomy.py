"""A taxonomy is checked before the teacher is asked: every error is listed with its file and line."""

import logging
import re
from pathlib import Path

from utils.messages import failure
from utils.stages.data_import.leaves import yaml_line
from utils.stages.leaves import KINDS, taxonomy_leaves


def check_taxonomy(taxonomy: Path) -> list[str]:
    """The leaves of the taxonomy (knowledge/a/b), sorted, all of them valid by instructlab-schema.

    Raises:
        SystemExit: there is none, or some are not valid; the message lists every error with file and line.
    """
    leaves = taxonomy_leaves(taxonomy)
    if not leaves:
        raise failure(
            f"the taxonomy at {taxonomy} has no leaf",
            f"no qna.yaml under {' or '.join(KINDS)}",
            "add one (see examples/taxonomy), and import the taxonomy again",
        )
    errors = [f"{leaf}/qna.yaml:{error}" for leaf in leaves for error in leaf_errors(taxonomy / leaf / "qna.yaml")]
    if errors:
        raise failure(
            f"the taxonomy has {len(errors)} error(s)",
            "\n    ".join(errors),
            "correct them, and import the taxonomy again",
        )
    return leaves


def leaf_errors(qna: Path) -> list[str]:
    """Errors of one qna.yaml, each as `line: message`; empty when it is valid."""
    import yaml
    from instructlab.schema.taxonomy import TaxonomyMessageFormat, TaxonomyParser, TaxonomyReadingException

    records: list[logging.LogRecord] = []
    found: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: records.append(record)  # type: ignore[method-assign]
    logger = logging.getLogger("instructlab.schema.taxonomy")
    logger.addHandler(handler)
    try:
        # Version 0: the one that the file names. Lint warnings are errors, as instructlab-sdg takes them.
        parser = TaxonomyParser(schema_version=0, yamllint_strict=True, message_format=TaxonomyMessageFormat.LOGGING)
        parser.yq_available = False
        parsed = parser.parse(str(qna))
    except TaxonomyReadingException as error:
        mark = getattr(error.__cause__, "problem_mark", None)
        problem = getattr(error.__cause__, "problem", "") or str(error.__cause__ or error)
        return [f"{mark.line + 1 if mark else 1}: {problem}"]
    finally:
        logger.removeHandler(handler)
    if not (parsed.errors or parsed.warnings):
        return []
    for record in records:
        if match := re.fullmatch(r".*?:(\d+):\d+ (?:\[(\.\S*)\] )?(.*)", record.getMessage(), re.DOTALL):
            line, place, text = match.groups()
            if text.startswith("Cannot load schema file"):
                text = f"no schema for version {parsed.version} in this image's instructlab-schema"
            if place:
                line, text = yaml_line(yaml.compose(qna.read_text()), place), f"{place}: {text}"
            found.append(f"{line}: {text}")
    return found or ["1: not valid"]

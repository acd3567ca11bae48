"""Whether every supported Kubeflow Pipelines backend understands a compiled pipeline."""

from pathlib import Path
from typing import Any

import yaml

from utils.errors import PipelineError
from utils.lint import rules
from utils.lint.backends import BACKENDS, Backend
from utils.lint.findings import Finding, Severity, merged
from utils.lint.parse import parse_platform, parse_spec

__all__ = ["BACKENDS", "Backend", "Finding", "Severity", "lint_file", "lint_text"]


def lint_file(path: Path) -> list[Finding]:
    """`lint_text` of a file.

    Raises:
        PipelineError: it can't be read, or is no compiled pipeline.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"{path} can't be read", str(error), "name a compiled pipeline (.yaml)") from error
    return lint_text(text, str(path))


def lint_text(text: str, name: str = "the pipeline", backends: tuple[Backend, ...] = BACKENDS) -> list[Finding]:
    """Every finding of the given backends on a compiled pipeline, errors first; the same one of several as one.

    Raises:
        PipelineError: the text is no compiled pipeline.
    """
    spec, platform = _documents(text, name)
    findings: list[Finding] = []
    for backend in backends:
        findings += parse_spec(spec, backend)
        findings += parse_platform(platform, backend)
    findings += rules.check(spec, platform)
    return merged(findings)


def _documents(text: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        documents = [part for part in yaml.load_all(text, yaml.CSafeLoader) if part is not None]
    except yaml.YAMLError as error:
        raise PipelineError(f"{name} is no valid YAML", str(error), "compile the pipeline again") from error
    specs = [part for part in documents if isinstance(part, dict) and "root" in part and "pipelineInfo" in part]
    platforms = [part for part in documents if isinstance(part, dict) and "platforms" in part]
    if len(specs) != 1 or len(platforms) > 1 or len(documents) != len(specs) + len(platforms):
        raise PipelineError(
            f"{name} is no compiled pipeline",
            f"expected one pipeline spec (root, pipelineInfo) and at most one platform document, got {len(documents)} "
            "documents",
            "compile it with the kfp SDK 2.x: ilab-pipeline compile",
        )
    return specs[0], platforms[0] if platforms else {}

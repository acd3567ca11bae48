"""Whether every supported Kubeflow Pipelines backend understands a compiled pipeline and runs it as written."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import PipelineError
from utils.ir.load import parse as load_text
from utils.ir.package import read_documents, read_package
from utils.lint import rules, scalars, tasks, versions
from utils.lint.backends import BACKENDS, Backend
from utils.lint.findings import Finding, Severity, merged
from utils.lint.parse import parse_platform, parse_spec
from utils.lint.size import Estimate, check_size, estimate

__all__ = ["BACKENDS", "Backend", "Estimate", "Finding", "Report", "Severity", "examine", "examine_file", "lint_text"]


@dataclass(frozen=True)
class Report:
    """Findings, errors first, and the size of the run's Argo Workflow; None if the file can't be read that far.

    The same finding of several backends is reported once.
    """

    findings: list[Finding]
    workflow: Estimate | None


def examine_file(path: Path) -> Report:
    """`examine` of a file.

    Raises:
        PipelineError: it can't be read, or is not a compiled pipeline.
    """
    return examine(read_package(path), str(path))


def examine(text: str, name: str = "the pipeline", backends: tuple[Backend, ...] = BACKENDS) -> Report:
    """The findings of the given backends about a compiled pipeline, and its size.

    Raises:
        PipelineError: the text is not a compiled pipeline.
    """
    spec, platform = read_documents(text, name)
    findings: list[Finding] = []
    for backend in backends:
        findings += parse_spec(spec, backend)
        findings += parse_platform(platform, backend)
    findings += [*_by_rules(spec, platform, backends), *scalars.check(text)]
    deeper, size = _with_defaults(text, name, spec, platform)
    return Report(merged([*findings, *deeper]), size)


def lint_text(text: str, name: str = "the pipeline", backends: tuple[Backend, ...] = BACKENDS) -> list[Finding]:
    """The findings of `examine`."""
    return examine(text, name, backends).findings


def _by_rules(spec: Mapping[str, Any], platform: Mapping[str, Any], backends: tuple[Backend, ...]) -> list[Finding]:
    """Findings of the rules that expect parts of the file where the compiler puts them."""
    try:
        found = [finding for backend in backends for finding in versions.check(spec, platform, backend)]
        return [*found, *rules.check(spec, platform)]
    except (KeyError, TypeError, AttributeError) as error:
        what = f"is not as the KFP compiler writes it ({type(error).__name__}: {error}): rules can't be checked"
        return [Finding(Severity.ERROR, "the file", what, "compile the pipeline again")]


def _with_defaults(
    text: str, name: str, spec: Mapping[str, Any], platform: Mapping[str, Any]
) -> tuple[list[Finding], Estimate | None]:
    """Findings that appear only when the pipeline is followed from task to task."""
    try:
        pipeline = load_text(text, name)
        size = estimate(pipeline, spec, platform)
        return [*tasks.check(pipeline), *check_size(size)], size
    except PipelineError as error:
        return [_unchecked(error.cause)], None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        return [_unchecked(f"{type(error).__name__}: {error}")], None


def _unchecked(cause: str) -> Finding:
    what = f"can't be followed from task to task ({cause}): names of volumes and the size are not checked"
    return Finding(Severity.WARNING, "the file", what, "compile the pipeline again")

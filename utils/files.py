"""The project's own files, wherever it runs: in a checkout, an installed package, or the zip of standalone.py."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The folder that holds utils/, pipeline.py, pipeline.yaml and examples/."""

COMPILED = ROOT / "pipeline.yaml"
"""The compiled pipeline."""


def in_checkout() -> bool:
    """Whether this is the repository. Elsewhere nothing is written to ROOT."""
    return (ROOT / "pyproject.toml").is_file()


def read_text(name: str) -> str:
    """Text of a file below ROOT, which may be a member of a zip.

    Args:
        name: its path from there, such as `pipeline.yaml`.
    """
    # The loader of a module can read beside it, be it in a folder or in a zip.
    data: bytes = __loader__.get_data(str(ROOT / name))  # type: ignore[name-defined]
    return data.decode()


def default_output() -> Path:
    """Where a compiled pipeline goes: to the repository's own file, else to the working directory."""
    return COMPILED if in_checkout() else Path("pipeline.yaml")

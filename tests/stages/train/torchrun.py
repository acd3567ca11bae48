"""A torchrun without torch, where the process launcher finds it."""

import os
from pathlib import Path

import pytest

from utils.files import ROOT


def put_in_place(program: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `python -m torch.distributed.run` be this program, in processes that the test starts."""
    package = folder / "fake" / "torch" / "distributed"
    package.mkdir(parents=True)
    for one in (package, package.parent):
        (one / "__init__.py").touch()
    (package / "run.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder / "fake"), str(ROOT)]))

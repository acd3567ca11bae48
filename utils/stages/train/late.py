"""A training that took longer than it may, which is not repeated by itself.

Kubeflow Pipelines tries a failed task again whatever has failed: it has no exit code or message that would end it. Each
attempt would then take as long as the first: in the queue, for GPUs, or training. Our own runners repeat no failure
whose cause a stage has told.
"""

import os
from pathlib import Path
from typing import Any

from utils.messages import failure
from utils.stages.marker import inputs_hash, read_json, write_json

RETRIES = 2
"""How often a training's task is tried again by itself, see pipeline.py."""


class TooLate(SystemExit):
    """A training took longer than it may; the message says where."""


def note_late(output: str, given: dict[str, Any], error: TooLate) -> None:
    """Note beside a phase's folder that the attempts that follow by themselves must not train.

    Args:
        given: the stage's parameters.
    """
    if "KFP_POD_NAME" in os.environ:
        write_json(_note(output), {"given": inputs_hash(given), "told": str(error), "left": RETRIES})


def refuse_repeat(output: str, given: dict[str, Any]) -> None:
    """End an attempt that follows by itself on one that took too long; the next one, or one with other parameters, is
    somebody's wish.

    They are counted, since a stage does not know its attempt's number (the server tells it from 2.16 on).

    Raises:
        SystemExit: nobody asked for this attempt.
    """
    noted = read_json(_note(output))
    if noted.get("left") and noted["given"] == inputs_hash(given):
        write_json(_note(output), noted | {"left": noted["left"] - 1})
        raise failure("training is not tried again by itself", noted["told"], "then retry or resume the run")


def _note(output: str) -> Path:
    return Path(f"{output}.late.json")

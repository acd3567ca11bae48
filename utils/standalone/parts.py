"""Which tasks of the pipeline each subcommand runs, and which credentials they need."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A part of the run.

    Attributes:
        name: as typed; "" for the whole run.
        tasks: names of its tasks; () for all.
        needs: the roles (utils/standalone/secrets.py) whose credentials its tasks read.
    """

    name: str
    tasks: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


PARTS = ("sdg-data-fetch", "sdg", "train", "evaluation", "upload-trained-model")
"""The subcommands of `run`, in the order in which they make a whole run."""

PART_RUN_ID = "standalone"
"""Default run id of subcommands: each runs its part on the volume of the one before."""

_FETCH = ("create-volume", "prerequisites", "data-import", "sdg", "data-processing")
_STORE, _JUDGE, _TEACHER = "object-store", "judge", "teacher"


def part_of(command: str, training_phase: str | None, eval_type: str | None, sdg_in_cluster: bool) -> Part:
    """The part that a subcommand runs; "" is the whole run.

    create-volume is in each part: it reuses the existing claim, and tasks get its name from it. The task clean-up
    always runs; by default it keeps the volume of a part.

    Args:
        training_phase: of `train`: 1 or 2.
        eval_type: of `evaluation`: mt-bench or final.
        sdg_in_cluster: whether the whole run generates data.
    """
    if command == "train":
        return Part(command, ("create-volume", "train-knowledge" if training_phase == "1" else "train-skills"))
    if command == "evaluation":
        task = "mt-bench" if eval_type == "mt-bench" else "final-eval"
        return Part(command, ("create-volume", task), (_JUDGE,))
    teacher = (_TEACHER,) if command == "sdg" or (not command and sdg_in_cluster) else ()
    return {
        "": Part("", (), (_STORE, _JUDGE, *teacher)),
        "sdg": Part(command, _FETCH, (_STORE, _JUDGE, *teacher)),
        "sdg-data-fetch": Part(command, _FETCH, (_STORE, _JUDGE)),
        "upload-trained-model": Part(command, ("create-volume", "publish", "report"), (_STORE,)),
    }[command]


def skipped(part: Part, task_ids: Iterable[str]) -> frozenset[str]:
    """Ids of the tasks that are not in the part."""
    if not part.tasks:
        return frozenset()
    kept = {*part.tasks, "clean-up"}
    return frozenset(task_id for task_id in task_ids if task_id.rsplit("/", 1)[-1] not in kept)

"""An existing run: whether it is the requested one, and whether it can be continued."""

from utils.cluster.errors import ForbiddenError
from utils.cluster.kinds import VOLUME_CLAIM
from utils.cluster.objects import get
from utils.errors import UsageError
from utils.ir.model import BROKEN, TaskState
from utils.runners.kubernetes.run_object import RunObject, RunRecord
from utils.runners.kubernetes.tidy import tidy_up
from utils.runners.lost_volume import lost_volume_error


def take_up(run: RunObject, wanted: RunRecord, resume: bool) -> bool:
    """Prepare an existing run to be continued; True if there is nothing left to do.

    Raises:
        UsageError: it is another run, or what its finished tasks wrote is gone.
    """
    found = run.record
    differing = _differences(found, wanted)
    ended = found.state is not TaskState.RUNNING
    part = bool(found.skip or wanted.skip)
    if part and ended and (differing or found.state is not TaskState.CANCELED):
        tidy_up(run, keep_jobs=False)
        run.forget(list(run.tasks))
        run.update(**{**vars(wanted), "created": found.created})
        return False
    if differing:
        raise UsageError(
            f"there is a run {found.run_id} already, and it is another one",
            "\n".join(differing),
            "choose another --run-id, or start it as before",
        )
    if found.state is TaskState.SUCCEEDED or (found.state in BROKEN and not resume):
        return True
    if ended:
        _refuse_lost_claims(run)
        tidy_up(run, keep_jobs=False)  # Jobs that were kept are not results of this start
        run.update(state=TaskState.RUNNING, error="")
    return False


def _differences(found: RunRecord, wanted: RunRecord) -> list[str]:
    names = sorted({*found.arguments, *wanted.arguments})
    return [
        *(["another pipeline file"] if found.package != wanted.package else []),
        *(["another part of the pipeline"] if found.skip != wanted.skip else []),
        *(
            f"{name}: {found.arguments.get(name, 'not given')!r}, now {wanted.arguments.get(name, 'not given')!r}"
            for name in names
            if found.arguments.get(name) != wanted.arguments.get(name)
        ),
    ]


def lost_and_kept_claims(run: RunObject) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Claims of a run that has ended: those that a run that failed would need and that are gone; those that stay."""
    failed = run.record.state in BROKEN
    try:
        kept = tuple(name for name in run.mounted_claims() if _is_there(run, name))
    except ForbiddenError:
        if failed:
            raise
        return (), ()  # the run has its result
    return tuple(name for name in run.claims() if failed and name not in kept), kept


def _refuse_lost_claims(run: RunObject) -> None:
    if lost := [name for name in run.claims() if not _is_there(run, name)]:
        raise lost_volume_error(run.record.run_id, lost)


def _is_there(run: RunObject, claim: str) -> bool:
    """Whether a claim is there, and not about to go."""
    found = get(run.cluster, VOLUME_CLAIM, claim)
    return found is not None and "deletionTimestamp" not in found["metadata"]

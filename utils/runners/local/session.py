"""A run on this machine from its start, or its resumption, to its end."""

from collections.abc import Callable

from utils.ir.model import Event, Pipeline, RunIds, RunResult, TaskState
from utils.ir.walk import Walker
from utils.runners.interrupt import interruptible
from utils.runners.journal import History, Journal
from utils.runners.local.runner import LocalRunner
from utils.runners.lost_volume import lost_volume_error
from utils.runners.run_folder import RunFolder


def work_on(
    folder: RunFolder,
    pipeline: Pipeline,
    on_event: Callable[[Event], None],
    on_interrupt: Callable[[], None] = lambda: None,
) -> RunResult:
    """Run the tasks that have not finished. Ctrl-C or SIGTERM stops them all and leaves a run that can be resumed.

    Args:
        folder: a new run's folder, or that of one to resume.
        on_event: told of every task's state; called from several threads, one at a time.
        on_interrupt: called when the tasks are being stopped; a second Ctrl-C would kill them.

    Returns:
        The result; its state is CANCELED when the run was interrupted.

    Raises:
        UsageError: another process works on the run, or it can't be resumed.
        PipelineError, PrerequisiteError: it can't run here; nothing has been started.
    """
    settings = folder.local_settings()
    with folder.locked():
        history = folder.history()
        refuse_lost_volumes(folder, history)
        ids = RunIds(name=folder.run_id, id=folder.run_id, root=str(folder.path / "artifacts"), created=folder.created)
        with Journal(folder.journal) as journal, LocalRunner(folder, settings, ids, journal) as runner:

            def tell(event: Event) -> None:
                journal.on_event(event)
                on_event(event)

            walker = Walker(pipeline, folder.arguments, runner, ids, on_event=tell, finished=history.finished)
            with interruptible(walker, runner.kill, on_interrupt) as interrupted:
                result = walker.run()
            if interrupted.is_set():
                result = RunResult(TaskState.CANCELED, "interrupted", result.outputs)
            journal.append("end", state=result.state.value, error=result.error)
        return result


def lost_volumes(folder: RunFolder, history: History) -> list[str]:
    """Claims that finished tasks of the run wrote to and that are gone: without them a resume starts from nothing."""
    used = {claim for task_id in history.finished for claim in history.tasks[task_id].claims}
    return sorted(claim for claim in used if not (folder.claims / claim).is_dir())


def refuse_lost_volumes(folder: RunFolder, history: History) -> None:
    """Refuse to resume a run that lost what its finished tasks had written.

    Raises:
        UsageError: something is lost.
    """
    lost = lost_volumes(folder, history)
    if lost and history.state is not TaskState.SUCCEEDED:
        raise lost_volume_error(folder.run_id, lost)

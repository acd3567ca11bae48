"""A run on a cluster without Kubeflow Pipelines, from its start, or its resumption, to its end."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from utils.cluster.cluster import Cluster
from utils.cluster.connection import connect
from utils.cluster.errors import AwayError, ClusterError, ForbiddenError, UnreachableError
from utils.cluster.kinds import CONFIG_MAP
from utils.cluster.objects import delete
from utils.errors import IlabError, NotFollowed, PipelineError, UsageError
from utils.ir.check import check
from utils.ir.model import BROKEN, EARLIER, Event, Outputs, RunIds, RunResult, TaskState
from utils.ir.schedule import exit_tasks
from utils.ir.walk import Walker
from utils.runners.interrupt import interruptible
from utils.runners.journal import Journal, JournalCopy
from utils.runners.kubernetes.extras import make_extras
from utils.runners.kubernetes.refused import is_for_good
from utils.runners.kubernetes.request import RunRequest
from utils.runners.kubernetes.resume import lost_and_kept_claims, take_up
from utils.runners.kubernetes.run_object import RunGone, RunObject, TakenOver, open_run
from utils.runners.kubernetes.runner import KubernetesRunner
from utils.runners.kubernetes.tidy import tidy_up
from utils.runners.run_folder import RunFolder, check_run_id, create_run

# An upgrade of a control plane takes minutes, and so does a login that someone has to renew; a week of training is not
# given up for it.
_PATIENCE = 1800.0


@dataclass(frozen=True)
class ClusterResult(RunResult):
    """How a run on a cluster ended.

    Attributes:
        folder: its folder on this machine, with the logs.
        earlier: it had ended before; nothing was done now.
        tasks: outputs of the tasks that succeeded.
        lost: claims that these wrote to and that are gone: a run that failed can't be resumed without them.
        kept: claims that they wrote to and that stay after the run's end.
        left: says what the run had made and could not delete, for lack of a right.
    """

    folder: RunFolder = RunFolder(Path(), "")
    earlier: bool = False
    tasks: Mapping[str, Outputs] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    left: ForbiddenError | None = None


@dataclass(frozen=True)
class Listener:
    """Who is told how a run goes.

    Attributes:
        on_event: of every task's state; called from several threads, one at a time.
        on_interrupt: when the tasks are being stopped; a second Ctrl-C would no longer wait for their Jobs to go.
        on_notice: when the API server has gone away for a while, and when it is back.
    """

    on_event: Callable[[Event], None] = lambda event: None
    on_interrupt: Callable[[], None] = lambda: None
    on_notice: Callable[[str], None] = lambda text: None


def run_on_cluster(request: RunRequest, listener: Listener) -> ClusterResult:
    """Start a run, or continue the one of this id, and follow it to its end.

    Ctrl-C or SIGTERM deletes its Jobs and leaves a run that continues when it is started again. So does one whose
    process was killed: its Jobs that still run, or have ended, are found. One that has ended is not repeated.

    Raises:
        UsageError: there is another run of this id, or one that can't be continued.
        PipelineError: the pipeline can't run there; nothing has been started.
        PrerequisiteError: the run lacks something there, such as a right.
        ClusterError: it could not be started.
        NotFollowed: it can no longer be followed. What it has started runs on; started again, it continues.
        TakenOver: it was started somewhere else, too, and continues there.
        RunGone: someone deleted it.
    """
    check_run_id(request.run_id)
    check(request.pipeline, containers=True)
    where = request.settings
    place = (where.namespace, where.kubeconfig, where.context)
    hurry = threading.Event()
    cluster = connect(
        *place,
        notify=listener.on_notice,
        patience=_PATIENCE,
        regrant_seconds=_PATIENCE,
        in_a_hurry=hurry.is_set,
    )
    record = request.record()
    try:
        run, made = open_run(cluster, record)
    except UnreachableError as error:
        if cluster.account:  # this pod was started by the cluster: it is the right one, and the run may be under way
            raise AwayError(error.what, error.cause, error.remedy) from error
        raise
    with _left_as_it_is(run, made), _undone_unless_started(run, made, request.home):
        folder = _folder(request, run, cluster)
        with folder.locked(), Journal(folder.journal) as original:
            if not made and take_up(run, record, request.resume):
                return _told_again(run, folder, listener)
            journal = JournalCopy(original, listener.on_notice)
            run.hold()
            journal.append("run", pid=os.getpid())
            make_extras(run, request.extras)
            result = _walk(request, run, folder, journal, listener, hurry)
            run.check_held()
            left = _tidied(run, request.keep_jobs)
            run.update(state=result.state, error=result.error)
            journal.append("end", state=result.state.value, error=result.error)
            ended = (result.state, result.error, result.outputs)
            return ClusterResult(*ended, folder, False, run.finished, *lost_and_kept_claims(run), left)


@contextmanager
def _left_as_it_is(run: RunObject, made: bool) -> Iterator[None]:
    """Whatever ends the walk of a run that has started, its record says that it runs, and the message how to continue.

    What can't be otherwise when it is started again is raised as it is.
    """
    tasks = run.tasks.copy()
    try:
        yield
    except (NotFollowed, TakenOver, RunGone, UsageError, PipelineError):
        raise
    except Exception as error:
        started = not made or run.tasks != tasks
        if not started or run.record.state is not TaskState.RUNNING:
            raise
        if isinstance(error, ClusterError) and is_for_good(error):
            raise
        known = isinstance(error, IlabError | OSError)
        again = f"start it again with the same run id, {run.record.run_id}: it continues"
        raise NotFollowed(
            f"the run {run.record.run_id} can no longer be followed; it was left as it is",
            str(error) if known else f"a defect: {type(error).__name__}: {error}",
            f"{error.remedy}\n{again}" if isinstance(error, IlabError) and error.remedy else again,
        ) from error


def _tidied(run: RunObject, keep_jobs: bool) -> ForbiddenError | None:
    """Tidy up; if a missing right prevents it, the run's end is still recorded."""
    try:
        tidy_up(run, keep_jobs)
    except ForbiddenError as error:
        return error
    return None


@contextmanager
def _undone_unless_started(run: RunObject, made: bool, home: Path) -> Iterator[None]:
    """A start that fails before its first task leaves nothing, or a run that can be started again, and otherwise."""
    folder = RunFolder(home, run.record.run_id)
    new, ended, tasks = not folder.path.is_dir(), run.record.state is not TaskState.RUNNING, run.tasks.copy()
    try:
        yield
    except TakenOver:
        raise
    except (IlabError, OSError) as error:
        if any(tasks.get(task_id) != task for task_id, task in run.tasks.items()) or isinstance(error, AwayError):
            raise
        if made:
            delete(run.cluster, CONFIG_MAP, run.name)
            if new and folder.path.is_dir():
                folder.remove()
        elif ended and run.record.state is TaskState.RUNNING:
            tidy_up(run, keep_jobs=True)
            run.update(state=TaskState.CANCELED, error=str(error))
        raise


def _walk(
    request: RunRequest,
    run: RunObject,
    folder: RunFolder,
    journal: JournalCopy,
    listener: Listener,
    hurry: threading.Event,
) -> RunResult:
    """Execute what has not finished; its state is CANCELED when it was interrupted.

    A second interrupt sets `hurry`, and no longer waits for what is being deleted.
    """
    run_id, cluster = run.record.run_id, run.cluster
    pods = request.pod_settings(cluster.namespace, run.owner, cluster.account)
    ids = RunIds(name=run_id, id=run_id, created=run.record.created)
    finished = {**{task_id: Outputs() for task_id in run.record.skip}, **run.finished}
    exits, tolerant = exit_tasks(request.pipeline)

    def note(task_id: str, claims: list[str]) -> None:
        run.mounted(task_id, claims)
        journal.append("process", sync=False, task=task_id, claims=claims)

    with KubernetesRunner(cluster, pods, ids, folder.log, note, request.resume, exits, run.check_held) as runner:

        def tell(event: Event) -> None:
            run.on_event(event)
            journal.on_event(event)
            listener.on_event(event)
            if event.state in BROKEN and not tolerant:
                runner.stop_for_failure()

        walker = Walker(request.pipeline, request.arguments, runner, ids, on_event=tell, finished=finished)

        def kill() -> None:
            hurry.set()
            runner.kill()

        with interruptible(walker, kill, listener.on_interrupt) as interrupted:
            result = walker.run()
    return RunResult(TaskState.CANCELED, "interrupted", result.outputs) if interrupted.is_set() else result


def _folder(request: RunRequest, run: RunObject, cluster: Cluster) -> RunFolder:
    """The run's folder on this machine, made where there is none: another machine may have started the run."""
    kubeconfig = request.settings.kubeconfig
    settings = replace(
        request.settings,
        namespace=cluster.namespace,
        kubeconfig=str(Path(kubeconfig).absolute()) if kubeconfig else "",
    )
    record, pipeline = run.record, request.pipeline
    folder = RunFolder(request.home, record.run_id)
    if not folder.path.is_dir():
        return create_run(request.home, record.run_id, pipeline.text, dict(record.arguments), settings)
    there = folder.cluster_settings
    if there is None or there.namespace != cluster.namespace:
        raise UsageError(
            f"there is a run {record.run_id} already in {request.home}",
            f"it lives in {there or 'this machine'}",
            "choose another --run-id, or another --home",
        )
    folder.package.write_text(pipeline.text)
    folder.store(record.run_id, dict(record.arguments), settings, folder.created)
    return folder


def _told_again(run: RunObject, folder: RunFolder, listener: Listener) -> ClusterResult:
    """A run that has ended, told as if it had ended now."""
    for task in sorted(run.tasks.values(), key=lambda one: one.ended):
        message = EARLIER if task.state is TaskState.SUCCEEDED else task.message
        listener.on_event(Event(time.time(), task.id, task.state, message, outputs=task.outputs))
    ended = (run.record.state, run.record.error, Outputs())
    return ClusterResult(*ended, folder, True, run.finished, *lost_and_kept_claims(run))

"""A run on a cluster without Kubeflow Pipelines, from its start, or its resumption, to its end."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.cluster import Cluster, ForbiddenError, connect, create_or_attach, delete, get
from utils.errors import IlabError, UsageError
from utils.ir.check import check
from utils.ir.model import EARLIER, Event, Outputs, Pipeline, RunIds, RunResult, TaskState
from utils.ir.schedule import is_exit_task
from utils.ir.walk import Walker
from utils.names import HASH_LABEL, RUN_LABEL, run_object_name
from utils.runners.interrupt import interruptible
from utils.runners.journal import Journal
from utils.runners.kubernetes.dry_run import planned_manifests
from utils.runners.kubernetes.manifests import PodSettings, fingerprint
from utils.runners.kubernetes.run_object import RunObject, RunRecord, TakenOver, find_object, open_run
from utils.runners.kubernetes.runner import KubernetesRunner
from utils.runners.kubernetes.tidy import tidy_up
from utils.runners.run_folder import Place, RunFolder, check_run_id, create_run, new_run_id
from utils.runners.timestamps import timestamp

Manifest = dict[str, Any]
Make = Callable[[Mapping[str, Any]], list[Manifest]]

_LONGEST_HOSTNAME = 50
# An upgrade of a control plane takes minutes; a week of training is not given up for it.
_PATIENCE = 900.0


@dataclass(frozen=True)
class ClusterSettings:
    """How a run works on a cluster.

    Attributes:
        namespace, kubeconfig, context: which cluster and where in it; "" as `utils.cluster.connect` says.
        service_account: of the pods; "" for the namespace's default.
        overlay: a patch for every pod.
        pending_seconds: how long a pod may wait before it starts.
        queue_seconds: how long a queue may hold it back before that.
        home: folder for logs and a copy of the journal.
        resume: repeat what failed in a run that failed, and keep what finished.
        keep_jobs: leave the Jobs, and with them pods and logs, when the run has ended.
    """

    namespace: str = ""
    kubeconfig: str = ""
    context: str = ""
    service_account: str = ""
    overlay: Mapping[str, Any] = field(default_factory=dict)
    pending_seconds: float = 3600.0
    queue_seconds: float = 86400.0
    home: Path = Path()
    resume: bool = False
    keep_jobs: bool = False


@dataclass(frozen=True)
class ClusterResult(RunResult):
    """How a run on a cluster ended.

    Attributes:
        folder: its folder on this machine, with the logs.
        earlier: it had ended before; nothing was done now.
        tasks: outputs of the tasks that succeeded.
        lost: claims that these wrote to and that are gone: a run that failed can't go on without them.
        kept: claims that they wrote to and that stay after the run's end.
        left: says what the run had made and could not delete, for lack of a right.
    """

    folder: RunFolder = RunFolder(Path(), "")
    earlier: bool = False
    tasks: Mapping[str, Outputs] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    left: ForbiddenError | None = None


def default_run_id(pipeline_name: str, arguments: Mapping[str, Any]) -> str:
    """An id for a run that was given none.

    In a pod it is made of the pod's name and the arguments: a pod that is started again goes on with its run.
    Elsewhere every start is a new run.
    """
    host = os.environ.get("HOSTNAME", "").lower().partition(".")[0]
    if not host or "KUBERNETES_SERVICE_HOST" not in os.environ:
        return new_run_id(pipeline_name)
    return f"{host[:_LONGEST_HOSTNAME].strip('-')}-{fingerprint([host, dict(arguments)])[:6]}"


def dry_run(
    pipeline: Pipeline,
    arguments: Mapping[str, Any],
    settings: ClusterSettings,
    run_id: str,
    skip: frozenset[str] = frozenset(),
    make: Make | None = None,
) -> list[Manifest]:
    """Manifests of all that the run would make, in order; no cluster is asked. See `planned_manifests`.

    Raises:
        IlabError: as the run itself would.
    """
    check_run_id(run_id)
    record = new_record(pipeline, arguments, run_id, skip)
    return planned_manifests(pipeline, record, pod_settings(settings, run_id, settings.namespace, {}), make)


def run_on_cluster(
    pipeline: Pipeline,
    arguments: Mapping[str, Any],
    settings: ClusterSettings,
    run_id: str,
    on_event: Callable[[Event], None],
    on_interrupt: Callable[[], None] = lambda: None,
    skip: frozenset[str] = frozenset(),
    make: Make | None = None,
    on_notice: Callable[[str], None] = lambda text: None,
) -> ClusterResult:
    """Start a run, or go on with the one of this id, and follow it to its end.

    Ctrl-C or SIGTERM deletes its Jobs and leaves a run that goes on when it is started again. One whose process was
    killed goes on too: its Jobs that still run, or have ended, are found. One that has ended is not repeated.

    Args:
        on_event: told of every task's state; called from several threads, one at a time.
        on_interrupt: called when the tasks are being stopped.
        skip: ids of tasks that are left out, as if they had succeeded without outputs. Such a part of a run starts
            anew, on the same volume, however an earlier part ended.
        make: gives, for the owner's reference, further objects that the run needs (Secrets, ConfigMaps).
        on_notice: told when the API server goes away, and when it is back.

    Returns:
        how it ended; CANCELED when it was interrupted.

    Raises:
        UsageError: the run of this id is another one (pipeline file, arguments), or can't go on.
        PipelineError, PrerequisiteError: it can't run there; nothing has started.
        ClusterError: the cluster refuses something, or was away for too long. What runs goes on there.
        TakenOver: the run was started elsewhere, too, and goes on there.
    """
    check_run_id(run_id)
    check(pipeline, containers=True)
    cluster = connect(settings.namespace, settings.kubeconfig, settings.context, notify=on_notice, patience=_PATIENCE)
    record = new_record(pipeline, arguments, run_id, skip)
    run, made = open_run(cluster, record)
    with _undone_unless_started(run, made, settings.home):
        folder = _folder(pipeline, run, settings, cluster)
        with folder.locked(), Journal(folder.journal) as journal:
            if not made and take_up(run, record, settings.resume):
                return _told_again(run, folder, on_event)
            run.hold()
            journal.append("run", pid=os.getpid())
            make_extras(run, make)
            result = _walk(pipeline, arguments, settings, run, folder, journal, on_event, on_interrupt)
            run.check_held()
            left = _tidied(run, settings.keep_jobs)
            run.update(state=result.state, error=result.error)
            journal.append("end", state=result.state.value, error=result.error)
            ended = (result.state, result.error, result.outputs)
            return ClusterResult(*ended, folder, False, run.finished, *_lost_and_kept(run), left)


def _tidied(run: RunObject, keep_jobs: bool) -> ForbiddenError | None:
    """Tidy up; what a right that is missing leaves is no reason not to record how the run ended."""
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
    except IlabError as error:
        if any(tasks.get(task_id) != entry for task_id, entry in run.tasks.items()):
            raise
        if made:
            delete(run.cluster, "ConfigMap", run.name)
            if new and folder.path.is_dir():
                folder.remove()
        elif ended and run.record.state is TaskState.RUNNING:
            tidy_up(run, keep_jobs=True)
            run.update(state=TaskState.CANCELED, error=str(error))
        raise


def _walk(
    pipeline: Pipeline,
    arguments: Mapping[str, Any],
    settings: ClusterSettings,
    run: RunObject,
    folder: RunFolder,
    journal: Journal,
    on_event: Callable[[Event], None],
    on_interrupt: Callable[[], None],
) -> RunResult:
    """Execute what has not finished; its state is CANCELED when it was interrupted."""
    run_id, cluster = run.record.run_id, run.cluster
    pods = pod_settings(settings, run_id, cluster.namespace, run.owner, cluster.account)
    ids = RunIds(name=run_id, id=run_id, created=run.record.created)
    finished = {**{task_id: Outputs() for task_id in run.record.skip}, **run.finished}
    exits, tolerant = exit_tasks(pipeline)

    def note(task_id: str, claims: list[str]) -> None:
        run.mounted(task_id, claims)
        journal.append("process", sync=False, task=task_id, claims=claims)

    with KubernetesRunner(cluster, pods, ids, folder.log, note, settings.resume, exits, run.check_held) as runner:

        def tell(event: Event) -> None:
            run.on_event(event)
            journal.on_event(event)
            on_event(event)
            if event.state is TaskState.FAILED and not tolerant:
                runner.stop_for_failure()

        walker = Walker(pipeline, arguments, runner, ids, on_event=tell, finished=finished)
        with interruptible(walker, runner.kill, on_interrupt) as interrupted:
            result = walker.run()
    return RunResult(TaskState.CANCELED, "interrupted", result.outputs) if interrupted.is_set() else result


def pod_settings(
    settings: ClusterSettings, run_id: str, namespace: str, owner: Mapping[str, Any], account: str = ""
) -> PodSettings:
    """What all pods have in common; in a pod, theirs is its own service account unless another is given."""
    return PodSettings(
        run_id=run_id,
        namespace=namespace,
        owner=owner,
        service_account=settings.service_account or account,
        overlay=settings.overlay,
        pending_seconds=settings.pending_seconds,
        queue_seconds=settings.queue_seconds,
    )


def new_record(pipeline: Pipeline, arguments: Mapping[str, Any], run_id: str, skip: frozenset[str]) -> RunRecord:
    package = hashlib.sha256(pipeline.text.encode()).hexdigest()
    return RunRecord(run_id, pipeline.name, package, dict(arguments), timestamp(time.time()), tuple(sorted(skip)))


def take_up(run: RunObject, wanted: RunRecord, resume: bool) -> bool:
    """Make a run that already exists ready to go on; True when there is nothing left to do.

    Raises:
        UsageError: it is another run, or what its finished tasks wrote is gone.
    """
    found = run.record
    differing = [
        *(["another pipeline file"] if found.package != wanted.package else []),
        *(["another part of the pipeline"] if found.skip != wanted.skip else []),
        *(
            f"{name}: {found.arguments.get(name, 'not given')!r}, now {wanted.arguments.get(name, 'not given')!r}"
            for name in sorted({*found.arguments, *wanted.arguments})
            if found.arguments.get(name) != wanted.arguments.get(name)
        ),
    ]
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
    if found.state is TaskState.SUCCEEDED or (found.state is TaskState.FAILED and not resume):
        return True
    if ended:
        _refuse_lost_claims(run)
        tidy_up(run, keep_jobs=False)  # Jobs that were kept are no results of this start
        run.update(state=TaskState.RUNNING, error="")
    return False


def exit_tasks(pipeline: Pipeline) -> tuple[frozenset[str], bool]:
    """Ids of the exit tasks; and whether other tasks ignore the failure of those before them."""
    found: set[str] = set()
    tolerant = False
    queue = [("", pipeline.root)]
    while queue:
        prefix, component = queue.pop()
        for node in component.dag.nodes if component.dag else ():
            if is_exit_task(node):
                found.add(prefix + node.key)
            tolerant = tolerant or (node.always and not is_exit_task(node))
            queue.append((f"{prefix}{node.key}/", pipeline.components[node.component]))
    return frozenset(found), tolerant


def lost_claims(run: RunObject) -> tuple[str, ...]:
    """Claims that finished tasks wrote to and that are gone, or about to go."""
    return tuple(name for name in run.claims() if not _is_there(run, name))


def _is_there(run: RunObject, claim: str) -> bool:
    """Whether a claim is there, and not about to go."""
    found = get(run.cluster, "PersistentVolumeClaim", claim)
    return found is not None and "deletionTimestamp" not in found["metadata"]


def _lost_and_kept(run: RunObject) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Claims of a run that has ended: those that a run that failed would need and that are gone; those that stay."""
    failed = run.record.state is TaskState.FAILED
    try:
        kept = tuple(name for name in run.mounted_claims() if _is_there(run, name))
    except ForbiddenError:
        if failed:
            raise
        return (), ()  # the run has its result
    return tuple(name for name in run.claims() if failed and name not in kept), kept


def _refuse_lost_claims(run: RunObject) -> None:
    if lost := lost_claims(run):
        raise UsageError(
            f"the run {run.record.run_id} can't go on: its volume {', '.join(lost)} is gone",
            "the pipeline's exit task deleted it, or somebody else did",
            "start a new run; without k8s_keep_volume=never a failed one keeps its volume",
        )


def _folder(pipeline: Pipeline, run: RunObject, settings: ClusterSettings, cluster: Cluster) -> RunFolder:
    """The run's folder on this machine, made where there is none: another machine may have started the run."""
    kubeconfig = str(Path(settings.kubeconfig).absolute()) if settings.kubeconfig else ""
    place = Place(
        cluster.namespace,
        kubeconfig,
        settings.context,
        settings.service_account,
        settings.overlay,
        settings.pending_seconds,
        settings.queue_seconds,
    )
    record = run.record
    folder = RunFolder(settings.home, record.run_id)
    if not folder.path.is_dir():
        return create_run(settings.home, record.run_id, pipeline.text, dict(record.arguments), place)
    there = folder.place
    if there is None or there.namespace != cluster.namespace:
        raise UsageError(
            f"there is a run {record.run_id} already in {settings.home}",
            f"it lives in {there or 'this machine'}",
            "choose another --run-id, or another --home",
        )
    folder.package.write_text(pipeline.text)
    folder.store(record.run_id, dict(record.arguments), place, folder.created)
    return folder


def _told_again(run: RunObject, folder: RunFolder, on_event: Callable[[Event], None]) -> ClusterResult:
    """A run that has ended, told as if it had ended now."""
    for entry in sorted(run.tasks.values(), key=lambda one: one.ended):
        message = EARLIER if entry.state is TaskState.SUCCEEDED else entry.message
        on_event(Event(time.time(), entry.id, entry.state, message, outputs=entry.outputs))
    return ClusterResult(
        run.record.state, run.record.error, Outputs(), folder, True, run.finished, *_lost_and_kept(run)
    )


def make_extras(run: RunObject, make: Make | None) -> None:
    """Make the objects that come with the run; those of a process that was killed are found.

    Raises:
        ConflictError: one already exists and differs, for instance a Secret with other values.
    """
    manifests = [owned_extra(run, one) for one in make(run.owner)] if make else []
    extras = tuple((one["kind"], one["metadata"]["name"]) for one in manifests)
    if extras != run.record.extras:
        run.update(extras=extras)
    for manifest in manifests:
        create_or_attach(run.cluster, manifest)


def owned_extra(run: RunObject, manifest: Manifest) -> Manifest:
    """The manifest with the run's label, owner and a hash, where it lacks them.

    The hash is salted with the owner's uid: two runs with one secret do not show that it is one.
    """
    metadata = manifest["metadata"]
    content = {key: manifest.get(key) for key in ("data", "stringData", "spec")}
    own = {RUN_LABEL: run.record.run_id, HASH_LABEL: fingerprint([run.uid, content])}
    labels = {**own, **metadata.get("labels", {})}
    owners = metadata.get("ownerReferences") or [run.owner]
    return {**manifest, "metadata": {**metadata, "labels": labels, "ownerReferences": owners}}


def remove_run(place: Place, run_id: str) -> bool:
    """Delete a run's object, and with it all that belongs to it, volume included; False when there is none."""
    cluster = connect(place.namespace, place.kubeconfig, place.context)
    return find_object(cluster, run_id) is not None and delete(cluster, "ConfigMap", run_object_name(run_id))

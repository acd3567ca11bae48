"""Walk a compiled pipeline: parallel tasks, conditions, loops, exit handlers and retries as in KFP.

Within one DAG, nothing new starts once a task has failed; running tasks finish. Tasks that ignore upstream failures,
exit tasks, and tasks that depend on them run nevertheless. A task whose upstream was skipped is skipped too.

Only what a runner says of a task's own end fails the task. Any other error, of the runner, of a listener or of the
walker itself, ends the walk: nothing more starts, exit tasks included, no event is passed on, and the runner leaves
what executes.
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

from utils.errors import IlabError, PrerequisiteError, TaskFailed, TaskWaits, UsageError
from utils.ir.check import CREATE_CLAIM, check
from utils.ir.claims import ClaimNames, checked_name
from utils.ir.code import with_parameters
from utils.ir.execute import (
    Prepared,
    import_artifact,
    is_claim_task,
    make_task,
    prepare,
    with_retries,
)
from utils.ir.expression import ExpressionError, evaluate
from utils.ir.model import (
    BROKEN,
    EARLIER,
    Artifact,
    Component,
    Event,
    Node,
    Outputs,
    Pipeline,
    RunIds,
    RunResult,
    Task,
    TaskState,
)
from utils.ir.placeholders import job_values, resolve_inputs
from utils.ir.runner import Runner
from utils.ir.schedule import CANCELED, dag_outputs, is_exit_task, obstacle, run_nodes, telling, whole_result
from utils.ir.sources import MISSING, NodeResult, Scope, find_artifacts, find_parameter
from utils.ir.values import parameter_value, text

# Parallel iterations of a loop without a limit of its own; the runner limits what executes.
_ITERATIONS_AT_ONCE = 32
# A signal that arrives just before a wait is noticed only after it.
_SIGNAL_SECONDS = 1.0


class Walker:
    """One walk through a pipeline."""

    def __init__(
        self,
        pipeline: Pipeline,
        arguments: Mapping[str, Any],
        runner: Runner,
        run_ids: RunIds,
        on_event: Callable[[Event], None] = lambda event: None,
        finished: Mapping[str, Outputs] | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        """
        Args:
            pipeline: the pipeline.
            arguments: values of its parameters; the others have their defaults.
            runner: where its tasks execute.
            run_ids: values of the placeholders of the run.
            on_event: receives events; never called by two threads at once.
            finished: outputs of the tasks that an earlier walk finished, by task id: they are not executed again,
                except tasks that run however their upstream ends, if something upstream is executed again.
            clock: seconds since the epoch.
            sleep: waits between attempts; by default the wait ends early when the walk is canceled.
        """
        self._pipeline, self._arguments, self._runner, self._ids = pipeline, arguments, runner, run_ids
        self._on_event, self._finished = on_event, finished or {}
        self._clock, self._sleep = clock, sleep
        self._slots = threading.BoundedSemaphore(max(1, runner.max_parallel))
        self._event_lock = threading.Lock()
        self._state = threading.Condition()
        self._executing: dict[str, bool] = {}
        self._stops = (threading.Event(), threading.Event())
        self._crash: BaseException | None = None
        self._deadline = float(pipeline.settings.get("activeDeadlineSeconds", 0))
        self._late = False
        self._claims = ClaimNames(run_ids, self._finished)
        self._parameters: Mapping[str, Any] = {}

    def run(self) -> RunResult:
        """Walk to the end. A KeyboardInterrupt cancels, a second one also cancels exit tasks.

        A walk longer than the pipeline's deadline (PipelineConfig.active_deadline_seconds) is stopped and counts as
        failed.

        Raises:
            PipelineError: the pipeline contains something that can't be run here; nothing has started.
            UsageError: an argument is unknown, missing or of the wrong type; nothing has started.
            PrerequisiteError: the runner lacks something; nothing has started.
            Exception: the walk broke down, or the runner does not know how a task ended. Tasks were left as they are,
                if the runner can leave them.
        """
        check(self._pipeline, self._runner.runs_containers)
        self._runner.check(self._pipeline)
        parameters = self._parameters = self._root_parameters()
        scope = self._child(self._pipeline.root, Scope("", {}, {}), "", parameters, {})
        timer = threading.Timer(self._deadline, self._out_of_time) if self._deadline else None
        if timer:
            timer.daemon = True
            timer.start()
        with ThreadPoolExecutor(max_workers=1) as pool:
            future = pool.submit(self._dag, self._pipeline.root, scope)
            while True:
                try:
                    if wait([future], _SIGNAL_SECONDS).done:
                        break
                except KeyboardInterrupt:
                    self.cancel()
            result = future.result()
        if timer:
            timer.cancel()
        if self._crash:
            raise self._crash
        if self._late and result.state is TaskState.CANCELED:
            reason = f"the run was stopped after the {text(self._deadline)} s that the pipeline gives it"
            return RunResult(TaskState.FAILED, reason, result.outputs)
        return RunResult(result.state, result.error, result.outputs)

    def _out_of_time(self) -> None:
        self._late = True
        self.cancel()

    def cancel(self) -> None:
        """Stop running tasks; start nothing new except exit tasks, which see the state CANCELLED. Returns immediately.

        A second call also stops the exit tasks.
        """
        first, second = self._stops
        (second if first.is_set() else first).set()
        threading.Thread(target=self._stop_executing, daemon=True).start()

    def _stop_executing(self) -> None:
        """Repeat the runner's cancel until everything has stopped: a task may have been about to start."""
        with telling(self._crashed):
            while True:
                with self._state:
                    if not any(self._stopped(exiting) for exiting in self._executing.values()):
                        return
                (self._runner.leave if self._crash else self._runner.cancel)()
                with self._state:
                    self._state.wait(0.2)

    def _stopped(self, exiting: bool) -> bool:
        return bool(self._crash) or self._stops[1 if exiting else 0].is_set()

    def _crashed(self, error: BaseException) -> None:
        """End the walk: what is known of the tasks no longer holds."""
        with self._state:
            if self._crash:
                return
            self._crash = error
        for stop in self._stops:  # end the pauses before retries
            stop.set()
        threading.Thread(target=self._stop_executing, daemon=True).start()

    def _emit(self, task_id: str, state: TaskState, message: str = "", outputs: Outputs | None = None) -> None:
        self._pass_on(Event(self._clock(), task_id, state, message, outputs=outputs))

    def _pass_on(self, event: Event) -> None:
        with self._event_lock:
            if self._crash:
                return
            with telling(self._crashed):
                self._on_event(event)

    def _root_parameters(self) -> dict[str, Any]:
        known = self._pipeline.parameters
        problems = [f"{name}: not a parameter of the pipeline" for name in self._arguments if name not in known]
        values: dict[str, Any] = {}
        for name, parameter in known.items():
            try:
                if self._arguments.get(name) is not None:
                    values[name] = parameter_value(self._arguments[name], parameter)
                elif parameter.has_default:
                    values[name] = parameter.default
                elif not parameter.optional:
                    problems.append(f"{name}: it has no default, and no value is given")
            except ValueError as error:
                problems.append(f"{name}: {error}")
        if problems:
            raise UsageError(f"the arguments don't fit the pipeline {self._pipeline.name}", "\n".join(problems))
        return values

    def _child(
        self,
        component: Component,
        parent: Scope,
        path: str,
        parameters: Mapping[str, Any],
        artifacts: Mapping[str, list[Artifact]],
        reuse: bool = True,
        exiting: bool = False,
    ) -> Scope:
        names = {node.key: node.name for node in component.dag.nodes} if component.dag else {}
        reuse, exiting = parent.reuse and reuse, parent.exiting or exiting
        return Scope(path, parameters, artifacts, {}, names, parent.items, reuse, exiting)

    def _dag(self, component: Component, scope: Scope) -> NodeResult:
        """Walk the DAG of a component."""
        assert component.dag is not None
        nodes = component.dag.nodes

        def skip(node: Node) -> NodeResult | None:
            canceled = self._stopped(scope.exiting or is_exit_task(node))
            reason = CANCELED if canceled else obstacle(node, nodes, scope.results)
            if not reason:
                return None
            self._emit(f"{scope.path}{node.key}", TaskState.SKIPPED, reason)
            return NodeResult(TaskState.CANCELED if canceled else TaskState.SKIPPED, error=reason)

        run_nodes(nodes, scope.results, lambda node: self._node(node, scope), skip, self._crashed)
        return whole_result(list(scope.results.values()), dag_outputs(component.dag, scope.results))

    def _node(self, node: Node, scope: Scope) -> NodeResult:
        """Run one task of a DAG: an execution, a DAG or a loop."""
        task_id = f"{scope.path}{node.key}"
        component = self._pipeline.components[node.component]
        exiting = scope.exiting or is_exit_task(node)
        try:
            parameters, artifacts = self._inputs(node, component, scope, task_id)
            if node.condition and not evaluate(node.condition, parameters):
                self._emit(task_id, TaskState.SKIPPED, "its condition does not hold")
                return NodeResult(TaskState.SKIPPED, error="its condition does not hold")
            child = self._child(
                component, scope, f"{task_id}/", parameters, artifacts, self._may_reuse(node, scope), exiting
            )
            if node.loop:
                return self._loop(node, component, child)
            if component.dag:
                return self._dag(component, child)
            return self._execution(node, component, scope, child, task_id)
        except (TaskFailed, PrerequisiteError, ExpressionError) as error:
            broken = TaskState.WAITING if isinstance(error, TaskWaits) else TaskState.FAILED
            state = TaskState.CANCELED if self._stopped(exiting) else broken
            remedy = error.remedy if isinstance(error, IlabError) else ""
            self._emit(task_id, state, f"{error}\n  next: {remedy}" if remedy else str(error))
            return NodeResult(state, error=f"task {task_id}: {error}")

    def _may_reuse(self, node: Node, scope: Scope) -> bool:
        """Whether an earlier result counts: for a task that always runs, only if nothing upstream is new."""
        upstream = [scope.results[key] for key in node.after]
        return not node.always or all(one.state is TaskState.SUCCEEDED and not one.ran for one in upstream)

    def _inputs(
        self, node: Node, component: Component, scope: Scope, task_id: str
    ) -> tuple[dict[str, Any], dict[str, list[Artifact]]]:
        """The task's inputs. An input without value is left out: its default, or an execution's check, follows.

        (The compiler passes DAGs inputs of inner loops that have no value outside these loops.)
        """
        job = job_values(self._ids, task_id, node.name)
        try:
            found = {name: find_parameter(source, scope, job, self._ids) for name, source in node.parameters.items()}
        except ValueError as error:
            raise TaskFailed("an input has no value", str(error)) from error
        values = {name: value for name, value in found.items() if value is not MISSING}
        for name, source in node.parameters.items():
            try:
                if source.kind == "constant":
                    values[name] = resolve_inputs(values[name], values)
            except KeyError as error:
                raise TaskFailed(f"its input {name} refers to {error}, which has no value") from error
        if component.dag:
            inputs = component.inputs.parameters.values()
            values = {**{one.name: one.default for one in inputs if one.has_default}, **values}
        return values, {name: find_artifacts(source, scope) for name, source in node.artifacts.items()}

    def _loop(self, node: Node, component: Component, scope: Scope) -> NodeResult:
        """Run a DAG for each item; its outputs become lists, always flat for artifacts."""
        loop = node.loop
        assert loop is not None
        items: Any = loop.items
        if items is None:
            items = (scope.artifacts if loop.artifacts else scope.parameters).get(loop.source)
        if not isinstance(items, list | tuple):
            raise TaskFailed(f"it loops over {text(items)[:200]}, which is not a list")
        broken = threading.Event()

        def iteration(index: int) -> NodeResult:
            path = f"{scope.path}{index}"
            if broken.is_set() or self._stopped(scope.exiting):
                state, reason = (TaskState.SKIPPED, "another iteration failed")
                if self._stopped(scope.exiting):
                    state, reason = TaskState.CANCELED, CANCELED
                self._emit(path, TaskState.SKIPPED, reason)
                return NodeResult(state, error=reason)
            parameters, artifacts = dict(scope.parameters), dict(scope.artifacts)
            (artifacts if loop.artifacts else parameters)[loop.item] = (
                [items[index]] if loop.artifacts else items[index]
            )
            child = self._child(component, scope, f"{path}/", parameters, artifacts)
            within = {} if loop.artifacts else {loop.item: items[index]}
            result = self._dag(component, replace(child, items={**scope.items, **within}))
            if result.state in BROKEN:
                broken.set()
            return result

        limit = loop.parallelism or _ITERATIONS_AT_ONCE
        with ThreadPoolExecutor(max_workers=max(1, min(limit, len(items)))) as pool:
            results = list(pool.map(iteration, range(len(items))))
        return whole_result(results, _collected(component, results))

    def _execution(self, node: Node, component: Component, scope: Scope, child: Scope, task_id: str) -> NodeResult:
        """Run a container, importer or claim task."""
        given = prepare(component, child.parameters, child.artifacts)
        if component.importer:
            outputs = import_artifact(component.importer, given, next(iter(component.outputs.artifacts), "artifact"))
            self._emit(task_id, TaskState.SUCCEEDED, outputs=outputs)
            return NodeResult(TaskState.SUCCEEDED, outputs)
        if child.reuse and task_id in self._finished:
            outputs = self._finished[task_id]
            self._emit(task_id, TaskState.SUCCEEDED, EARLIER, outputs)
            return NodeResult(TaskState.SUCCEEDED, outputs)
        assert component.container is not None
        job = job_values(self._ids, task_id, node.name)
        task = make_task(
            node,
            component,
            component.container,
            given,
            task_id,
            lambda source: find_parameter(source, scope, job, self._ids),
        )
        task = with_parameters(task, self._parameters)

        def attempt(one: Task) -> Outputs:
            if is_claim_task(component):
                return self._claim(one, given, node.key)
            return self._attempt(one, child.exiting)

        def pause(seconds: float, reason: str) -> bool:
            self._emit(task_id, TaskState.RETRYING, f"{reason}; retrying in {text(seconds)} s")
            (self._sleep or self._stops[1 if child.exiting else 0].wait)(seconds)
            return not self._stopped(child.exiting)

        outputs = with_retries(node, task, attempt, pause, self._clock)
        self._emit(task_id, TaskState.SUCCEEDED, outputs=outputs)
        return NodeResult(TaskState.SUCCEEDED, outputs, ran=True)

    def _attempt(self, task: Task, exiting: bool) -> Outputs:
        self._emit(task.id, TaskState.PENDING)
        with self._slots:
            with self._state:
                if self._stopped(exiting):
                    raise TaskFailed(CANCELED)
                self._executing[task.id] = exiting
            try:
                self._emit(task.id, TaskState.RUNNING)
                return self._runner.execute(task, self._pass_on)
            finally:
                with self._state:
                    del self._executing[task.id]
                    self._state.notify_all()

    def _claim(self, task: Task, given: Prepared, key: str) -> Outputs:
        """CreatePVC and DeletePVC, which on a server run in the driver."""
        self._emit(task.id, TaskState.RUNNING)
        inputs = given.parameters
        if task.image != CREATE_CLAIM:
            self._runner.delete_claim(checked_name(inputs["pvc_name"]))
            return Outputs()
        name = self._claims.name(inputs, key, task.id)
        self._runner.create_claim(name, inputs["size"], inputs["access_modes"], inputs.get("storage_class_name", ""))
        return Outputs({"name": name})


def _collected(component: Component, results: list[NodeResult]) -> Outputs:
    """The value of dsl.Collected: parameters nested one level per loop, artifacts in one flat list."""
    made = [result.outputs for result in results if result.state is TaskState.SUCCEEDED]
    return Outputs(
        {
            name: [one.parameters[name] for one in made if name in one.parameters]
            for name in component.outputs.parameters
        },
        {
            name: [artifact for one in made for artifact in one.artifacts.get(name, [])]
            for name in component.outputs.artifacts
        },
    )

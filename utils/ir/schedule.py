"""Which tasks of a DAG may start, and when; how the DAG as a whole ended."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from utils.ir.model import BROKEN, Dag, Node, Outputs, Pipeline, TaskState
from utils.ir.sources import NodeResult

CANCELED = "the run was canceled"


def run_nodes(
    nodes: Sequence[Node],
    results: dict[str, NodeResult],
    start: Callable[[Node], NodeResult],
    skip: Callable[[Node], NodeResult | None],
    crashed: Callable[[BaseException], None],
) -> None:
    """Run the tasks of a DAG, each as soon as those before it have ended, and fill `results` in the order they end.

    Args:
        nodes: in topological order.
        results: of the tasks that have ended so far, by key.
        start: runs a task to its end, in its own thread.
        skip: returns the result of a task that must not start, None for any other.
        crashed: receives what `start` raised, which is not a failure of the task; called in this thread.
    """
    waiting = list(nodes)
    running: dict[Future[NodeResult], Node] = {}
    with ThreadPoolExecutor(max_workers=max(1, len(waiting))) as pool, telling(crashed):
        while waiting or running:
            for node in [node for node in waiting if all(key in results for key in node.after)]:
                waiting.remove(node)
                skipped = skip(node)
                if skipped:
                    results[node.key] = skipped
                else:
                    running[pool.submit(start, node)] = node
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                node, error = running.pop(future), future.exception()
                if error:
                    crashed(error)
                results[node.key] = NodeResult(TaskState.FAILED, error=str(error)) if error else future.result()


@contextmanager
def telling(crashed: Callable[[BaseException], None]) -> Iterator[None]:
    """Tell of what the block raises, before a pool around it waits for the tasks that run."""
    try:
        yield
    except BaseException as error:
        crashed(error)
        raise


def obstacle(node: Node, nodes: Sequence[Node], results: dict[str, NodeResult]) -> str:
    """Why a task whose upstream tasks have all ended does not start; empty if it does."""
    if node.always:
        return ""
    for key in node.after:
        state = results[key].state
        if state is not TaskState.SUCCEEDED:
            return _broken(key, state) if state in BROKEN else f"{key} was {state.lower()}"
    broken = next((_broken(key, result.state) for key, result in results.items() if result.state in BROKEN), "")
    return "" if _tolerant(node, {one.key: one for one in nodes}) else broken


def _broken(key: str, state: TaskState) -> str:
    return f"{key} failed" if state is TaskState.FAILED else f"{key} is waiting"


def _tolerant(node: Node, by_key: dict[str, Node]) -> bool:
    """Whether the task, or one before it, runs however its upstream ended."""
    return node.always or any(_tolerant(by_key[key], by_key) for key in node.after)


def is_exit_task(node: Node) -> bool:
    """Whether the task is the exit task of an ExitHandler, whose DAG the compiler names exit-handler-N."""
    return node.always and any(key.startswith("exit-handler") for key in node.after)


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


def whole_result(results: Sequence[NodeResult], outputs: Outputs) -> NodeResult:
    """How a DAG or loop ended, from its parts in the order they ended."""
    broken = next((one for one in results if one.state in BROKEN), None)
    if any(result.state is TaskState.CANCELED for result in results):
        return NodeResult(TaskState.CANCELED, outputs, broken.error if broken else CANCELED)
    if broken:  # others may have been stopped because of it
        return NodeResult(broken.state, outputs, broken.error)
    return NodeResult(TaskState.SUCCEEDED, outputs, ran=any(result.ran for result in results))


def dag_outputs(dag: Dag, results: dict[str, NodeResult]) -> Outputs:
    """The DAG's outputs: of each output's producers the first that succeeded and made it."""
    parameters, artifacts = {}, {}
    ended = {key: result.outputs for key, result in results.items() if result.state is TaskState.SUCCEEDED}
    for name, selectors in dag.parameters.items():
        for one in reversed(selectors):
            if one.task in ended and one.output in ended[one.task].parameters:
                parameters[name] = ended[one.task].parameters[one.output]
    for name, selectors in dag.artifacts.items():
        for one in reversed(selectors):
            if one.task in ended and one.output in ended[one.task].artifacts:
                artifacts[name] = ended[one.task].artifacts[one.output]
    return Outputs(parameters, artifacts)

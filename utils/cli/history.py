"""What the journal of a run on this machine says about it, for `status`, `logs` and `clean`."""

from utils.cli.board import Board
from utils.ir.load import load
from utils.ir.model import TaskState
from utils.runners.journal import History
from utils.runners.run_folder import RunFolder


def run_state(folder: RunFolder, history: History) -> str:
    """running, succeeded, failed or interrupted (stopped or killed before its end)."""
    if folder.is_running():
        return "running"
    ends = {TaskState.SUCCEEDED: "succeeded", TaskState.FAILED: "failed"}
    return ends.get(history.state, "interrupted") if history.state else "interrupted"


def run_board(folder: RunFolder, history: History) -> Board:
    """The rows of a run from its journal; a task that was running when the run was killed counts as stopped."""
    board = Board.of(load(folder.package))
    for task in (history if folder.is_running() else history.interrupted()).tasks.values():
        board.put(task)
    return board

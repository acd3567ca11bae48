"""What the journal of a run on this machine says about it, for `status`, `logs` and `clean`."""

from utils.cli.board import Board
from utils.ir.load import load
from utils.ir.model import TaskState
from utils.runners.journal import History
from utils.runners.run_folder import RunFolder

INTERRUPTED = "INTERRUPTED"
"""The state of a run that was killed before it could note an end."""


def run_state(folder: RunFolder, history: History) -> str:
    """RUNNING, SUCCEEDED, FAILED, CANCELED (stopped by its user) or INTERRUPTED."""
    if folder.is_running():
        return TaskState.RUNNING
    return history.state or INTERRUPTED


def run_board(folder: RunFolder, history: History) -> Board:
    """The rows of a run from its journal; a task that was running when the run was killed counts as stopped."""
    board = Board.of(load(folder.package))
    for task in (history if folder.is_running() else history.interrupted()).tasks.values():
        board.put(task)
    return board

"""How the progress of a run is shown: a live table on a terminal, plain lines everywhere else."""

import sys
import termios
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from utils.cli.board import Board, Row, count
from utils.durations import format_duration
from utils.ir.model import BROKEN, EARLIER, Event, Progress, TaskState

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

_PROGRESS_EVERY = 10.0
_STOPPING = "stopping every task; Ctrl-C again kills them"
_BAR, _SHORT_BAR = 16, 10
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_GLYPHS = {
    TaskState.PENDING: ("○", "bright_black"),
    TaskState.SUCCEEDED: ("✓", "green"),
    TaskState.FAILED: ("✗", "bold red"),
    TaskState.SKIPPED: ("–", "bright_black"),
    TaskState.CANCELED: ("■", "yellow"),
    TaskState.RETRYING: ("↻", "yellow"),
    TaskState.WAITING: ("‖", "yellow"),
}


class View(ABC):
    """Shows a run; a context manager around it. `on_event` comes from several threads."""

    def __init__(self, board: Board, run_id: str) -> None:
        self.board = board
        self.run_id = run_id
        self.stopping = False
        self.notice = ""

    @abstractmethod
    def on_event(self, event: Event) -> None: ...

    def on_interrupt(self) -> None:
        """The tasks are being stopped."""
        self.stopping = True

    def on_notice(self, text: str) -> None:
        """Something that concerns the whole run, such as an unreachable API server."""
        self.notice = text

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None


class SilentView(View):
    """Keeps the board, prints nothing: for `--output json`."""

    def on_event(self, event: Event) -> None:
        self.board.update(event)


class PlainView(View):
    """One line per change of state; progress at most every ten seconds, and when it is complete."""

    def __init__(self, board: Board, run_id: str, out: TextIO | None = None) -> None:
        super().__init__(board, run_id)
        self._out = out or sys.stdout
        self._printed: dict[str, tuple[float, Progress | None]] = {}
        self._states = {row.id: row.state for row in board.snapshot()}
        self._width = max((len(row.label) for row in board.snapshot()), default=0)

    def __enter__(self) -> Self:
        earlier = sum(row.reused for row in self.board.snapshot())
        self._print(f"run {self.run_id}" + (f": {earlier} tasks finished earlier" if earlier else ""))
        return self

    def on_event(self, event: Event) -> None:
        for row in self.board.update(event):
            self._tell(row, event)

    def on_interrupt(self) -> None:
        self._print(_STOPPING)

    def on_notice(self, text: str) -> None:
        self._print(f"{time.strftime('%H:%M:%S')}  {text}")

    def _tell(self, row: Row, event: Event) -> None:
        if event.state is not self._states.get(row.id, TaskState.PENDING):
            self._states[row.id] = event.state
            if event.state is not TaskState.PENDING:
                self._line(row, event, _change(row))
            elif event.message:
                self._line(row, event, f"waiting: {_reason(row)}")
        elif event.state is TaskState.PENDING and event.message:
            self._line(row, event, f"waiting: {_reason(row)}")
        elif event.progress:
            done, total, what = event.progress
            at, shown = self._printed.get(row.id, (row.started, None))
            if event.progress != shown and (event.time - at >= _PROGRESS_EVERY or done >= total):
                self._printed[row.id] = (event.time, event.progress)
                left = row.seconds_left(event.time)
                eta = f", {format_duration(left)} left" if left and done < total else ""
                self._line(row, event, f"{done:g}/{total:g} {what}{eta}")

    def _line(self, row: Row, event: Event, text: str) -> None:
        clock = time.strftime("%H:%M:%S", time.localtime(event.time))
        self._print(f"{clock}  {row.label:<{self._width}}  {text}")

    def _print(self, text: str) -> None:
        print(text, file=self._out, flush=True)


def _change(row: Row) -> str:
    """The state in the one spelling that all commands use, how long it took, and why."""
    if row.state is TaskState.SUCCEEDED and row.reused:
        return EARLIER
    took = f" after {format_duration(row.seconds(row.ended))}" if row.ended and row.started else ""
    explained = row.state in (*BROKEN, TaskState.SKIPPED, TaskState.RETRYING)
    return f"{row.state}{took}: {_reason(row) if explained else ''}".removesuffix(": ")


def _reason(row: Row) -> str:
    """The first line of the row's message; "" for the repetitive `the one before it was skipped`."""
    text = row.message.splitlines()[0] if row.message else ""
    return "" if text.endswith("was skipped") else text


class LiveView(View):
    """A table that changes in place, with the state, time and progress of each task."""

    def __init__(self, board: Board, run_id: str, console: "Console | None" = None) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(board, run_id)
        self._console = console or Console()
        self._started = time.time()
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=8, transient=False)

    def __enter__(self) -> Self:
        self._show_control_keys(False)
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stopping, self.notice = False, ""  # the summary at the end is shown instead
        self._live.stop()
        self._show_control_keys(True)

    @staticmethod
    def _show_control_keys(on: bool) -> None:
        """Set whether the terminal prints ^C when it is pressed: inside the table it would shift a line."""
        if not sys.stdin.isatty():
            return
        settings = termios.tcgetattr(sys.stdin)
        settings[3] = settings[3] | termios.ECHOCTL if on else settings[3] & ~termios.ECHOCTL
        termios.tcsetattr(sys.stdin, termios.TCSANOW, settings)

    def on_event(self, event: Event) -> None:
        self.board.update(event)

    def _render(self) -> "RenderableType":
        size = self._console.size
        now = time.time()
        note = _STOPPING if self.stopping else self.notice
        return render(self.board.snapshot(), self.run_id, now - self._started, now, size.width, size.height, note)


def render(
    rows: list[Row], run_id: str, seconds: float, now: float, width: int, height: int, note: str = ""
) -> "RenderableType":
    """The table at one moment; ended and waiting rows are left out if it would have more than `height` lines."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    failed = sum(row.state is TaskState.FAILED for row in rows)
    header = Text.assemble(
        (run_id, "bold"),
        ("   ", ""),
        (f"tasks {count(rows)}", "red" if failed else "cyan"),
        (f"   {format_duration(seconds)}", "bright_black"),
        (f"   {note}", "yellow"),
    )
    header.truncate(width, overflow="ellipsis")
    name_width = min(max((len(row.label) for row in rows), default=4), 26 if width < 100 else 40)
    table = Table.grid(padding=(0, 1, 0, 0), expand=False)
    table.add_column(width=1)
    table.add_column(width=name_width, no_wrap=True, overflow="ellipsis")
    table.add_column(width=6, justify="right", no_wrap=True)
    rest = width - name_width - 1 - 6 - 4
    table.add_column(width=rest, no_wrap=True, overflow="ellipsis")
    shown, before, after = _fit(rows, height - 4)
    if before:
        table.add_row("", "", "", Text(f"… {before} more above", style="bright_black"))
    for row in shown:
        table.add_row(*_cells(row, now, rest))
    if after:
        table.add_row("", "", "", Text(f"… {after} more below", style="bright_black"))
    return Group(header, Text("─" * width, style="bright_black"), table)


def _fit(rows: list[Row], room: int) -> tuple[list[Row], int, int]:
    """The rows that fit, with active ones in the middle, and how many are left out before and after them."""
    if len(rows) <= room:
        return rows, 0, 0
    room = max(room - 2, 1)
    active = [i for i, row in enumerate(rows) if row.state in (TaskState.RUNNING, TaskState.RETRYING, *BROKEN)]
    ended = [i for i, row in enumerate(rows) if row.state is not TaskState.PENDING]
    focus = active[0] if active else (ended[-1] if ended else 0)
    first = min(max(0, focus - room // 3), len(rows) - room)
    return rows[first : first + room], first, len(rows) - room - first


def _cells(row: Row, now: float, rest: int) -> tuple["Text", "Text", "Text", "Text"]:
    from rich.text import Text

    glyph, style = _GLYPHS.get(row.state, (_SPINNER[int(now * 8) % len(_SPINNER)], "cyan"))
    idle = row.state in (TaskState.PENDING, TaskState.SKIPPED)
    quiet = "bright_black" if idle or row.reused else ""
    took = format_duration(row.seconds(now)) if row.started and not idle else ""
    name_style = "bold" if row.state in (TaskState.RUNNING, TaskState.RETRYING) else quiet
    return (
        Text(glyph, style=style),
        Text(row.label, style=name_style),
        Text(took, style="bright_black"),
        _detail(row, now, rest),
    )


def _detail(row: Row, now: float, rest: int) -> "Text":
    """Progress bar, count and time left while there is something to count; then the last message."""
    from rich.text import Text

    message = _reason(row)
    if row.reused:
        return Text(EARLIER, style="bright_black")
    if row.state is TaskState.SUCCEEDED:
        return Text("")
    if row.state is TaskState.CANCELED:
        return Text(row.state, style="yellow")
    if row.state is not TaskState.RUNNING or not row.progress:
        return Text(message, style="red" if row.state is TaskState.FAILED else "bright_black")
    done, total, what = row.progress
    part = min(done / total, 1.0) if total else 0.0
    bar = _BAR if rest >= 60 else _SHORT_BAR
    full = int(part * bar + 0.5)
    left = row.seconds_left(now)
    text = Text.assemble(
        ("━" * full, "cyan"),
        ("━" * (bar - full), "grey30"),
        f" {done:g}/{total:g}",
        (f" {what}", ""),
        (f" · {format_duration(left)} left" if left is not None and part < 1 else "", "cyan"),
    )
    if message and len(text) + 12 < rest:
        text.append(f" · {message}", style="bright_black")
    return text

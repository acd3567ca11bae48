"""The interface of a launcher, which runs a training to its end and owns what it starts."""

from collections.abc import Callable
from typing import Any, Protocol


class Launcher(Protocol):
    """Where a training runs: pods (trainjob.py, pytorchjob.py), or this machine (process.py)."""

    @property
    def title(self) -> str:
        """The value of train_launcher that names it."""

    @property
    def nodes(self) -> int:
        """Machines or pods that train together."""

    @property
    def gpus(self) -> int:
        """GPUs of each node; 0: CPU."""

    @property
    def waiting(self) -> int:
        """Seconds that the nodes may take to start."""

    @property
    def timeout(self) -> int:
        """Seconds that they may train from then on."""

    def running(self) -> bool:
        """Whether what an earlier launch of this phase started is still there: launching attaches to it.

        Nothing in the phase's folder may be touched then.
        """

    def manifests(self, arguments: list[str]) -> list[dict[str, Any]]:
        """What it starts to run torchrun with these arguments, as JSON for people."""

    def launch(self, arguments: list[str], timeout: int, tick: Callable[[], None]) -> SystemExit | None:
        """Run torchrun with these arguments to its end. When it fails, takes too long or is stopped, nothing of it is
        left. What can't be seen for too long is left alone: `running` finds it.

        Args:
            timeout: seconds that are left to train.
            tick: called now and then.

        Returns:
            None when it succeeded; the failure to raise when it may help to launch it again.

        Raises:
            TooLate: it took too long.
            SystemExit: it can no longer be seen.
        """

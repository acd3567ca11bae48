"""The names of the volume claims that a pipeline's CreatePVC tasks create."""

import hashlib
import threading
from collections.abc import Mapping
from typing import Any

from utils.errors import TaskFailed
from utils.ir.model import Outputs, RunIds
from utils.names import is_object_name

_DIGITS = 6


def checked_name(name: str, kind: str = "volume claim") -> str:
    """The name of an object, which becomes part of a path: of a folder, or in a request to the API server.

    Raises:
        TaskFailed: a cluster would not take it either: empty, a path, an upper-case letter, too long.
    """
    if is_object_name(name):
        return name
    raise TaskFailed(
        f"{str(name)[:80]!r} is not the name of a {kind}" if name else f"the name of a {kind} is empty",
        "names have at most 253 lowercase letters, digits, - and ., a letter or digit at both ends",
        "correct the parameter that it comes from",
    )


class ClaimNames:
    """Gives each task a claim of its own: a suffix is the same in every iteration of a loop, a claim is not.

    A server puts a random id before the suffix. Here, names follow from the run: a resumed run finds its claims.

    Args:
        ids: the run.
        finished: outputs of the tasks that an earlier walk finished, by task id.
    """

    def __init__(self, ids: RunIds, finished: Mapping[str, Outputs]) -> None:
        self._ids = ids
        self._owners = {str(one.parameters.get("name")): task_id for task_id, one in finished.items()}
        self._lock = threading.Lock()

    def name(self, inputs: Mapping[str, Any], key: str, task_id: str) -> str:
        """The name of the claim that a CreatePVC creates: as given, or the run's id with the suffix or the task's key.

        Raises:
            TaskFailed: both a name and a suffix are given, it is not a name, or another task of the run has created a
                claim of that name.
        """
        name, suffix = inputs.get("pvc_name") or "", inputs.get("pvc_name_suffix") or ""
        if name and suffix:
            raise TaskFailed("both pvc_name and pvc_name_suffix are given", remedy="give at most one of them")
        wanted = checked_name(name or f"{self._ids.id}-{(suffix or key).lstrip('-')}")
        if self._own(wanted, task_id):
            return wanted
        if name:
            raise TaskFailed(
                f"there is a volume claim {name} already",
                "another task of this run created it",
                "give the claim another name, or a suffix",
            )
        wanted = f"{wanted}-{hashlib.sha256(task_id.encode()).hexdigest()[:_DIGITS]}"
        self._own(wanted, task_id)
        return wanted

    def _own(self, name: str, task_id: str) -> bool:
        with self._lock:
            return self._owners.setdefault(name, task_id) == task_id

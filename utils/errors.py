"""Errors for users: what failed, the likely cause, the next command."""


class IlabError(Exception):
    """A failure with a message for users. `exit_code` is the exit code of the command."""

    exit_code = 1

    def __init__(self, what: str, cause: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.cause = cause
        self.remedy = remedy

    def render(self) -> str:
        """The message as printed on stderr: `error: what`, then `cause:` and `next:` if they are known."""
        lines = [f"error: {self.what}"]
        for label, text in (("cause", self.cause), ("next", self.remedy)):
            if text:
                lines.append(f"  {label}: " + text.replace("\n", "\n    "))
        return "\n".join(lines)

    def __str__(self) -> str:
        return f"{self.what}: {self.cause}" if self.cause else self.what


class UsageError(IlabError):
    """Wrong flags or arguments."""

    exit_code = 2


class PipelineError(IlabError):
    """The pipeline file can't be read, or contains something that can't be run."""

    exit_code = 2


class PrerequisiteError(IlabError):
    """Something that the run needs is missing."""

    exit_code = 3


class TaskFailed(IlabError):
    """One execution of a task failed; the walker may retry it.

    An error of another kind does not say that the task failed: how it ended, or whether, is not known.
    """

    exit_code = 1


class NotFollowed(IlabError):
    """A run can no longer be followed: its place is out of sight, or this command broke down. It is left as it is."""

    exit_code = 4


class TaskRefused(TaskFailed):
    """A task failed, and trying again would not help."""


class TaskWaits(TaskRefused):
    """A task has not failed: it waits for a person, and continues when the run is resumed."""

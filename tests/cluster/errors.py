"""What goes wrong with the test cluster, told to the person who started it."""


class ClusterError(Exception):
    """A step of bringing the cluster up or down failed.

    Args:
        what: what failed, and where.
        cause: the likely cause.
        remedy: the next command or step.
    """

    def __init__(self, what: str, cause: str, remedy: str) -> None:
        super().__init__(f"error: {what}\n  cause: {cause}\n  next: {remedy}")

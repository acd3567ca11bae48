"""Errors of a cluster, with messages for users."""

from utils.errors import IlabError, PrerequisiteError


class ClusterError(IlabError):
    """The cluster refuses a request, or did not answer in time.

    Attributes:
        status: the HTTP status of the last answer, 0 if there was none.
        retried: the request was sent more than once; an earlier one may have succeeded unnoticed.
        absent: there is no object of that name.
    """

    def __init__(self, what: str, cause: str = "", remedy: str = "", status: int = 0, retried: bool = False) -> None:
        super().__init__(what, cause, remedy)
        self.status = status
        self.retried = retried
        self.absent = status == 404


class AwayError(ClusterError):
    """The cluster has answered before, but was then unreachable for too long. Started again, a run resumes."""

    exit_code = 4


class UnreachableError(ClusterError, PrerequisiteError):
    """The cluster has never answered: it is down, or the wrong one."""


class MissingKindError(ClusterError):
    """404: the cluster does not know this kind of object, which says nothing about one object."""

    def __init__(self, what: str, cause: str = "", remedy: str = "", status: int = 404) -> None:
        super().__init__(what, cause, remedy, status)
        self.absent = False


class ForbiddenError(ClusterError):
    """403: the account lacks a right. The message names verb, resource, namespace and the Role that gives it."""


class ConflictError(ClusterError):
    """409: an object of that name already exists and is not the one wanted."""


class GoneError(ClusterError):
    """410: the version from which to continue is no longer known; list again."""

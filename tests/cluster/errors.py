"""Errors of the test cluster, for the person who started it."""

from utils.errors import IlabError


class ClusterError(IlabError):
    """A step of bringing the cluster up or down failed, or something asked of it."""


class NotOursError(ClusterError):
    """What a test asks of the cluster of ILAB_TEST_KUBECONFIG can't be had there. Such tests are skipped."""

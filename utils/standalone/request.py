"""From a plan to what the runner is asked to do."""

from utils.cli.cluster_options import read_overlay
from utils.cli.options import default_home
from utils.durations import parse_duration
from utils.errors import UsageError
from utils.queues import longest_wait
from utils.runners.kubernetes.request import RunRequest
from utils.runners.settings import ClusterSettings
from utils.standalone.plan import Plan


def run_request(plan: Plan) -> RunRequest:
    """What the runner is asked to do.

    Raises:
        UsageError: the pod overlay or a duration can't be read.
    """
    given = plan.given
    try:
        pending = float(parse_duration(given["pending_timeout"]))
    except ValueError as error:
        raise UsageError(f"--pending-timeout: {error}") from None
    settings = ClusterSettings(
        namespace=given["namespace"] or "",
        kubeconfig=given["kubeconfig"] or "",
        context=given["context"] or "",
        service_account=given["service_account"] or "",
        overlay=read_overlay(given["pod_overlay"]),
        pending_seconds=pending,
        queue_seconds=longest_wait(plan.pipeline, plan.arguments),
    )
    return RunRequest(
        plan.pipeline,
        plan.arguments,
        plan.run_id,
        settings,
        home=(given["home"] or default_home()).absolute(),
        skip=plan.skip,
        extras=plan.own_objects,
        resume=given["resume"],
        keep_jobs=given["keep_jobs"],
    )

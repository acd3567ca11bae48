"""A PyTorchJob in the cluster, which belongs to the stage that started it: created, followed, and deleted."""

import signal
import time
from collections.abc import Callable

from utils.messages import failure
from utils.names import INPUTS_LABEL, QUEUE_LABEL
from utils.stages.volume.claims import kube_call, kube_namespace, pod_owners


def job_state(found: dict) -> str:
    """Succeeded, Failed, Running or "" (not started) from a PyTorchJob's conditions."""
    conditions = (found.get("status") or {}).get("conditions") or []
    true = {c["type"] for c in conditions if c["status"] == "True"}
    return next((state for state in ("Succeeded", "Failed", "Running") if state in true), "")


def pod_news(namespace: str, name: str) -> tuple:
    """What is known of a job's pods: whether all have started (None: pods can't be read), and what is wrong with them.

    The second is text: the scheduler's and the containers' messages, and the warnings among the events.
    """
    from kubernetes import client

    core, ours = client.CoreV1Api(), f"training.kubeflow.org/job-name={name}"
    try:
        pods = core.list_namespaced_pod(namespace, label_selector=ours, _request_timeout=30).items
    except client.ApiException as error:
        return None, f"the pods can't be read ({error.status})"
    news = []
    for pod in pods:
        news += [c.message for c in pod.status.conditions or [] if c.status == "False" and c.reason == "Unschedulable"]
        for container in pod.status.container_statuses or []:
            waiting = container.state and container.state.waiting
            if waiting and waiting.message:
                news.append(f"{pod.metadata.name}: {waiting.reason}: {waiting.message}")
    try:
        events = core.list_namespaced_event(namespace, field_selector="type=Warning", _request_timeout=30).items
        for event in [one for one in events if (one.involved_object.name or "").startswith(name)]:
            # Warnings stay for an hour: one of a second that has passed must not read like one of now.
            seen = event.last_timestamp or event.event_time
            news.append(f"{seen:%H:%M:%S} UTC {event.message}" if seen else event.message)
    except client.ApiException as error:
        news.append(f"the events can't be read ({error.status})")
    started = bool(pods) and all(pod.status.phase != "Pending" for pod in pods)
    return started, "\n".join(dict.fromkeys(filter(None, news)))


def trainer_lines(log: str) -> str:
    """The last lines of a pod's log up to where torchrun tells, at length, how a trainer has ended."""
    lines = log.splitlines()
    ends = [n for n, line in enumerate(lines) if "torch/distributed/elastic" in line and "failed" in line]
    return "\n".join(lines[: ends[0] + 1 if ends else None][-25:])


def last_pod_lines(namespace: str, name: str) -> str:
    """The end of the logs of a job's failed pods, or of all when none has failed."""
    import urllib3
    from kubernetes import client

    core, ours, parts = client.CoreV1Api(), f"training.kubeflow.org/job-name={name}", []
    try:
        pods = core.list_namespaced_pod(namespace, label_selector=ours, _request_timeout=30).items
        for pod in [p for p in pods if p.status.phase == "Failed"] or pods:
            log = core.read_namespaced_pod_log(pod.metadata.name, namespace, tail_lines=200, _request_timeout=30)
            parts.append(f"{pod.metadata.name}:\n{trainer_lines(log)}")
    except (client.ApiException, urllib3.exceptions.HTTPError) as error:
        parts.append(f"the logs can't be read ({getattr(error, 'status', None) or type(error).__name__})")
    return "\n".join(parts)


def job_is_there(name: str, pending: int, poll: float = 10.0) -> bool:
    """Whether a PyTorchJob of this name is there. One that is being deleted is waited for, and its pods with it.

    Raises:
        SystemExit: it can't be read, or is still being deleted after `pending` seconds.
    """
    from kubernetes import client

    namespace, deadline = kube_namespace(), time.monotonic() + pending
    jobs = ("kubeflow.org", "v1", namespace, "pytorchjobs")
    while True:
        try:
            found = kube_call(client.CustomObjectsApi().get_namespaced_custom_object, *jobs, name)
        except client.ApiException as error:
            if error.status == 404:
                return False
            raise failure(
                f"PyTorchJobs can't be read in {namespace} ({error.status})",
                str(error.body),
                "let the service account get pytorchjobs",
            ) from None
        if "deletionTimestamp" not in found["metadata"]:
            return True
        if time.monotonic() > deadline:
            raise failure(f"an earlier PyTorchJob {name} is still being deleted", "its pods do not end", "see to them")
        time.sleep(poll)


def create_or_attach(jobs: tuple, manifest: dict) -> None:
    """Create the job. One of its name that already exists is this job when its hash is the same.

    Raises:
        SystemExit: the API refuses the job, or the one there is another one.
    """
    from kubernetes import client

    api, name, key = client.CustomObjectsApi(), manifest["metadata"]["name"], INPUTS_LABEL
    try:
        kube_call(api.create_namespaced_custom_object, *jobs, manifest)
        print(f"PyTorchJob {name} created; kubectl -n {jobs[2]} logs -f {name}-master-0", flush=True)
        return
    except client.ApiException as error:
        if error.status != 409:
            raise failure(
                f"the PyTorchJob {name} could not be created in {jobs[2]} ({error.status})",
                str(error.body),
                "404: install the Kubeflow training operator; 403: let the service account create pytorchjobs",
            ) from None
    found = kube_call(api.get_namespaced_custom_object, *jobs, name)
    if found["metadata"].get("labels", {}).get(key) != manifest["metadata"]["labels"][key]:
        raise failure(
            f"a PyTorchJob {name} already exists in {jobs[2]}",
            "it was created with other inputs, or by someone else",
            f"look at it, then: kubectl -n {jobs[2]} delete pytorchjob {name}",
        )
    print(f"PyTorchJob {name} already exists ({job_state(found) or 'pending'}): attaching to it", flush=True)


def queue_news(namespace: str, found: dict) -> str:
    """What a suspended job waits for: its queue, and what that said last."""
    from kubernetes import client

    name = found["metadata"]["name"]
    queue = found["metadata"].get("labels", {}).get(QUEUE_LABEL, "")
    news = f"waiting in the queue {queue}" if queue else "suspended; a queue, or whoever suspended it, lets it start"
    try:
        events = client.CoreV1Api().list_namespaced_event(namespace, _request_timeout=30).items
    except client.ApiException as error:
        return f"{news} (its events can't be read: {error.status})"
    # Kueue's own object for the job has the job's name in its own.
    told = [e for e in events if e.involved_object.kind == "Workload" and name in (e.involved_object.name or "")]
    last = max(told, key=lambda e: str(e.last_timestamp or e.event_time or ""), default=None)
    return f"{news}: {last.message}" if last else news


def job_phase(namespace: str, found: dict, before: str) -> tuple:
    """Where a job is that has not ended, and news of it.

    Returns:
        queued (suspended: Kueue has not admitted it, or took it back), pending (pods that have not started) or running;
        and what it waits for, as text.
    """
    if found["spec"].get("runPolicy", {}).get("suspend"):
        return "queued", queue_news(namespace, found)
    if before == "running":
        return "running", ""
    started, news = pod_news(namespace, found["metadata"]["name"])
    if started or (started is None and job_state(found) == "Running"):
        return "running", news
    return "pending", news


def job_failure(namespace: str, found: dict) -> SystemExit:
    """The failure of a job that failed: the operator's reasons, its pods' news and last lines."""
    name = found["metadata"]["name"]
    reasons = [c.get("message", "") for c in found["status"]["conditions"] if c["type"] == "Failed"]
    cause = "\n".join([*reasons, pod_news(namespace, name)[1], last_pod_lines(namespace, name)])
    return failure(f"the PyTorchJob {name} failed", cause, "correct that and run again: it goes on from there")


def job_too_late(name: str, phase: str, seconds: int, told: str) -> SystemExit:
    """The failure of a job that stayed in a phase for longer than it may."""
    what, remedy = {
        "queued": ("was not admitted by its queue", "free quota, name another k8s_queue, or raise k8s_queue_timeout"),
        "pending": ("did not start", "free GPUs, or raise train_pending_timeout"),
        "running": ("did not end", "raise train_timeout, or train less"),
    }[phase]
    return failure(f"the PyTorchJob {name} {what} in {seconds} s", told or "unknown", remedy)


def follow_job(jobs: tuple, name: str, limits: dict, tick: Callable, poll: float) -> SystemExit | None:
    """Wait until the job has ended. An API server that is away for a while is waited for.

    Args:
        limits: seconds that the job may be queued, pending and running.

    Returns:
        None when the job succeeded, the failure to raise when it failed.

    Raises:
        SystemExit: the job was deleted, or was in one of these phases for too long.
    """
    import urllib3
    from kubernetes import client

    api, told, phase, since, refused = client.CustomObjectsApi(), "", "pending", time.monotonic(), 0
    while True:
        news = ""
        try:
            found = api.get_namespaced_custom_object(*jobs, name, _request_timeout=30)
            state, refused = job_state(found), 0
            if state == "Succeeded":
                return None
            if state == "Failed":
                return job_failure(jobs[2], found)
            now, news = job_phase(jobs[2], found, phase)
            if now != phase:
                taken = "the queue took the job back" if phase == "running" else "the job is in a queue"
                known = {"running": "all training pods have started", "pending": "the queue has admitted the job"}
                print(known.get(now, taken), flush=True)
                phase, since = now, time.monotonic()
        except client.ApiException as error:
            refused += error.status in (401, 403, 404)
            if refused == 3:  # an API server that has just started refuses what it grants a moment later
                raise failure(
                    f"the PyTorchJob {name} can't be read any more ({error.status})",
                    "someone deleted it, or the service account's rights changed",
                    "run again",
                ) from None
            news = f"the API server answers {error.status}; still waiting"
        except urllib3.exceptions.HTTPError as error:
            news = f"the API server is away ({type(error).__name__}); still waiting"
        if news and news != told:
            print(news, flush=True)
            told = news
        tick()
        if time.monotonic() - since > limits[phase]:
            raise job_too_late(name, phase, limits[phase], told)
        time.sleep(poll)


def launch_pytorchjob(
    manifest: dict, pending: int, timeout: int, tick: Callable, poll: float = 10.0, queued: int = 86400
) -> SystemExit | None:
    """Run a PyTorchJob to its end. Whatever else happens (failure, deadline, SIGTERM, Ctrl-C), it is deleted;
    but by SIGTERM not when it belongs to the Job of this pod.

    Returns:
        None when it succeeded, the failure to raise when it failed.

    Args:
        pending, timeout: seconds until all pods have started, and from then to the end.
        tick: called at every look at the job.
        poll: seconds between looks.
        queued: seconds that it may wait in a queue, which are counted apart from these.
    """
    from kubernetes import client

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    namespace = kube_namespace()
    jobs, name, ours = ("kubeflow.org", "v1", namespace, "pytorchjobs"), manifest["metadata"]["name"], True
    owned = {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": pod_owners(namespace)}}
    before = signal.signal(signal.SIGTERM, end)
    try:
        try:
            create_or_attach(jobs, owned)
        except SystemExit:
            ours = False
            raise
        error = follow_job(jobs, name, {"queued": queued, "pending": pending, "running": timeout}, tick, poll)
        ours = error is not None
        return error
    except KeyboardInterrupt:
        # An evicted pod's Job makes another, which goes on with this PyTorchJob; a deleted Job takes it along.
        ours = all(owner["kind"] != "Job" for owner in owned["metadata"]["ownerReferences"])
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        if ours:
            print(f"deleting PyTorchJob {name}", flush=True)
            try:
                delete = client.CustomObjectsApi().delete_namespaced_custom_object
                kube_call(delete, *jobs, name, propagation_policy="Foreground")
            except (client.ApiException, SystemExit) as error:
                print(f"it could not be deleted ({error}); kubectl -n {namespace} delete pytorchjob {name}", flush=True)

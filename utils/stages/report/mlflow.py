"""The run in MLflow, where the environment names a server; by its REST API, since the image has no client of it.

https://mlflow.org/docs/latest/api_reference/rest-api.html; artifacts: mlflow/store/artifact/mlflow_artifacts_repo.py.
The variables are those of MLflow's client. Kubeflow Pipelines 2.17 and OpenShift AI 3.5 set them where a run is logged
to MLflow (kubeflow/pipelines, proposals/12862-mlflow-integration): MLFLOW_RUN_ID is then the task's own nested run, to
which the launcher logs the metrics and ends it.
"""

import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from utils.messages import shown
from utils.stages.report.page import checkpoint_points
from utils.stages.report.text import plain

TAG = "ilab_pipeline.run_id"
"""Names our run, so that a report that is made again goes to the same run of MLflow."""
MOST = {"metrics": 1000, "params": 100}
"""Of a request to log-batch."""
LONGEST = {"params": 6000, "tags": 5000}
WAIT = 300.0
"""Seconds for all of it, since a server may send a byte now and then."""
TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


@dataclass(frozen=True)
class Tracked:
    """What MLflow gets.

    Attributes:
        note: what became of the run, a line.
        scores: the metrics of the task.
        curves: (name, value, step).
        milliseconds: since the epoch, the same when the report is made again: MLflow keeps equal metrics once.
    """

    run_id: str
    note: str
    parameters: Mapping[str, str]
    scores: Mapping[str, float]
    curves: Sequence[tuple[str, float, int]]
    page: str
    milliseconds: int


def tracked(facts: Mapping[str, Any], scores: Mapping[str, float], page: str, ended: float) -> Tracked:
    """The same from the facts of the report. ended: seconds since the epoch."""
    done = facts["done"]
    parameters = {
        f"{stage}.{name}": plain(value)
        for stage, marker in done.items()
        for name, value in (marker.get("inputs") or {}).items()
        if name != "upstream"
    }
    curves: list[tuple[str, float, int]] = []
    for stage, kind in (("train_phase_1", "knowledge"), ("train_phase_2", "skills")):
        loss = (done.get(stage, {}).get("result") or {}).get("loss", [])
        curves += [(f"{kind}_train_loss", value, int(step)) for step, value in loss if value is not None]
    if bench := facts["scores"].get("mt_bench"):
        curves += [("mt_bench_by_samples", score, samples) for samples, score, _ in checkpoint_points(bench)]
    note = f"{facts['headline']}. {facts['fate']}."
    return Tracked(facts["run_id"], note, parameters, scores, curves, page, int(ended * 1000))


def track(run: Tracked, env: Mapping[str, str], ca: str = "") -> None:
    """Log a run to MLflow, if the environment names a server. What fails is a warning: no run fails for it, or waits.

    Args:
        ca: PEM bundle; "" for the public roots.
    """
    if uri := env.get("MLFLOW_TRACKING_URI", "").strip().rstrip("/"):
        thread = threading.Thread(target=send, args=(uri, run, env, ca), daemon=True)
        thread.start()
        thread.join(WAIT)
        if thread.is_alive():
            warn(uri, f"it has not taken it in {WAIT:g} s")


def send(uri: str, run: Tracked, env: Mapping[str, str], ca: str) -> None:
    """The same, for as long as the server takes."""
    try:
        if not uri.startswith(("http://", "https://")):
            raise ValueError("MLFLOW_TRACKING_URI is not the address of a server")
        verify = ssl.create_default_context(cafile=ca) if ca else True
        with httpx.Client(verify=verify, timeout=60, headers=headers(env), auth=account(env)) as client:
            server = MlflowServer(client, uri)
            info = server.run(run, env)
            server.log(info["run_id"], run, everything=not env.get("MLFLOW_RUN_ID"))
            print(f"MLflow: {shown(uri)}/#/experiments/{info['experiment_id']}/runs/{info['run_id']}", flush=True)
            server.upload(info.get("artifact_uri") or "", "report.html", run.page)
    except (httpx.LocalProtocolError, UnicodeEncodeError):  # their texts repeat the header, and so the token
        warn(uri, "MLFLOW_TRACKING_TOKEN or MLFLOW_WORKSPACE has characters that can't be sent")
    except (LookupError, TypeError, AttributeError) as error:
        warn(uri, f"it answers as no MLflow does: {error!r}")
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        warn(uri, str(error))


def warn(uri: str, cause: str) -> None:
    """A line in the log."""
    print(f"warning: MLflow at {shown(uri)} does not have all of the run: {shown(cause)}", flush=True)


def account(env: Mapping[str, str]) -> tuple[str, str] | None:
    """User and password, None without."""
    user = env.get("MLFLOW_TRACKING_USERNAME", "")
    return (user, env.get("MLFLOW_TRACKING_PASSWORD", "")) if user else None


def headers(env: Mapping[str, str]) -> dict[str, str]:
    """Token and workspace; on Kubernetes that of the pod's account, if the server takes such."""
    token, workspace = env.get("MLFLOW_TRACKING_TOKEN", ""), env.get("MLFLOW_WORKSPACE", "")
    if not token and env.get("MLFLOW_TRACKING_AUTH", "").startswith("kubernetes"):
        token = TOKEN.read_text()
    token = token.strip()  # a Secret's value often ends a line
    found = {"Authorization": token and f"Bearer {token}", "X-MLFLOW-WORKSPACE": workspace.strip()}
    return {name: value for name, value in found.items() if value}


@dataclass(frozen=True)
class MlflowServer:
    """The API of one server.

    Raises:
        httpx.HTTPError: it is away.
        ValueError: it refuses.
    """

    client: httpx.Client
    uri: str

    def call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """Its answer; {} where there is no experiment of a name."""
        response = self.client.request(method, f"{self.uri}/api/2.0/{path}", **request)
        if response.status_code == httpx.codes.NOT_FOUND and path.endswith("get-by-name"):
            return {}
        if not response.is_success:
            raise ValueError(f"{path}: HTTP {response.status_code}: {' '.join(response.text.split())[:300]}")
        answer: dict[str, Any] = response.json() if response.content else {}
        return answer

    def run(self, run: Tracked, env: Mapping[str, str]) -> dict[str, Any]:
        """The run of MLflow's that ours goes to, made if there is none: its info."""
        if given := env.get("MLFLOW_RUN_ID"):
            return dict(self.call("GET", "mlflow/runs/get", params={"run_id": given})["run"]["info"])
        experiment = env.get("MLFLOW_EXPERIMENT_ID") or self.experiment(env.get("MLFLOW_EXPERIMENT_NAME") or "ilab")
        query = {"experiment_ids": [experiment], "filter": f"tags.`{TAG}` = '{run.run_id}'", "max_results": 1}
        if found := self.call("POST", "mlflow/runs/search", json=query).get("runs"):
            return dict(found[0]["info"])
        new = {"experiment_id": experiment, "run_name": run.run_id, "start_time": run.milliseconds}
        new["tags"] = [{"key": TAG, "value": run.run_id}]
        return dict(self.call("POST", "mlflow/runs/create", json=new)["run"]["info"])

    def experiment(self, name: str) -> str:
        """The id of an experiment, made if there is none."""
        found = self.call("GET", "mlflow/experiments/get-by-name", params={"experiment_name": name})
        if found:
            return str(found["experiment"]["experiment_id"])
        return str(self.call("POST", "mlflow/experiments/create", json={"name": name})["experiment_id"])

    def log(self, run_id: str, run: Tracked, everything: bool) -> None:
        """Parameters, metrics and a note; MLflow keeps the first value of a parameter.

        Args:
            everything: the scores too, and the end of the run; else the launcher does that.
        """
        known = self.call("GET", "mlflow/runs/get", params={"run_id": run_id})["run"]["data"].get("params", [])
        given = {one["key"] for one in known}
        parameters = [
            {"key": name, "value": value[: LONGEST["params"]]}
            for name, value in run.parameters.items()
            if name not in given
        ]
        scores = [(name, value, 0) for name, value in run.scores.items()] if everything else []
        metrics = [
            {"key": name, "value": value, "timestamp": run.milliseconds, "step": step}
            for name, value, step in (*scores, *run.curves)
        ]
        for batch in batches(params=parameters, metrics=metrics):
            self.call("POST", "mlflow/runs/log-batch", json={"run_id": run_id, **batch})
        note = {"run_id": run_id, "key": "mlflow.note.content", "value": run.note[: LONGEST["tags"]]}
        self.call("POST", "mlflow/runs/set-tag", json=note)
        if everything:
            end = {"run_id": run_id, "status": "FINISHED", "end_time": run.milliseconds}
            self.call("POST", "mlflow/runs/update", json=end)

    def upload(self, place: str, name: str, text: str) -> None:
        """Put a file to a run's artifacts, if the server takes them."""
        scheme, _, path = place.partition(":")
        if scheme != "mlflow-artifacts" or path.startswith("//"):
            raise ValueError(f"the page is not there: the server keeps artifacts at {place}, and does not take them")
        self.call(
            "PUT",
            f"mlflow-artifacts/artifacts/{path.strip('/')}/{name}",
            content=text.encode("utf-8", "replace"),
            headers={"Content-Type": "text/html"},
        )


def batches(**entries: Sequence[Any]) -> Iterator[dict[str, list[Any]]]:
    """Bodies of requests to log-batch."""
    for kind, of in entries.items():
        for at in range(0, len(of), MOST[kind]):
            yield {kind: [*of[at : at + MOST[kind]]]}

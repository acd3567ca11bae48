"""One Kubeflow Pipelines server: start a run, follow it, explain how it ended."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import kfp_server_api as api

from utils.ir.model import Pipeline
from utils.ir.package import read_documents
from utils.runners.kfp.causes import Cause, Causes
from utils.runners.kfp.connection import Connection, Refused, Server, ServerAway
from utils.runners.kfp.discovery import find_ui
from utils.runners.kfp.report import RunReport, TaskReport, read_run
from utils.runners.kfp.versions import Version, ensure_version, named

Templates = Mapping[str, Sequence[str]]
_TOKEN_REFUSED = 401
_MOST_FAILURES = 40


@dataclass(frozen=True)
class Submitted:
    """A run that was started. `version` is None when the server would not take the file as one: `unlinked` says why."""

    id: str
    version: Version | None
    unlinked: str = ""


class KfpServer:
    """The API of one server; every refusal becomes a message for people."""

    def __init__(self, server: Server) -> None:
        """Prepare the connection; nothing is sent yet.

        Raises:
            UsageError: the host is not a URL, the CA file is missing, or a token would travel unencrypted.
        """
        self._connection = Connection(server)
        self._runs = api.RunServiceApi(self._connection.client)

    def submit(
        self, pipeline: Pipeline, arguments: Mapping[str, Any], experiment: str, name: str, mlflow: str = ""
    ) -> Submitted:
        """Start a run of a compiled pipeline, from the version on the server that holds this file.

        Args:
            arguments: typed values of the pipeline's parameters.
            experiment: made when the server does not have it.
            mlflow: experiment of MLflow; "" for the server's default. Servers before 2.17 refuse the field.

        Raises:
            IlabError: the server refuses, or is away.
        """
        experiment_id = self._experiment(experiment)
        version, unlinked = self._version(pipeline)
        if version:
            source = {
                "pipeline_version_reference": api.V2beta1PipelineVersionReference(
                    pipeline_id=version.pipeline_id, pipeline_version_id=version.id
                )
            }
        else:
            spec, platform = read_documents(pipeline.text)
            source = {"pipeline_spec": {"pipeline_spec": spec, "platform_spec": platform} if platform else spec}
        run = api.V2beta1Run(
            display_name=name,
            experiment_id=experiment_id,
            runtime_config=api.V2beta1RuntimeConfig(parameters=dict(arguments)),
            plugins_input={"mlflow": {"experiment_name": mlflow}} if mlflow else None,
            **source,
        )
        return Submitted(self._connection.call(self._runs.run_service_create_run, run).run_id, version, unlinked)

    def _version(self, pipeline: Pipeline) -> tuple[Version | None, str]:
        """The version to run; None and the reason when it can't be uploaded.

        That does not prevent the run: the user may have no right to upload, and about a malformed file, answered
        with 500 there, the creation of a run says more.
        """
        try:
            return ensure_version(self._connection, pipeline), ""
        except (Refused, ServerAway) as error:
            if isinstance(error, Refused) and error.status == _TOKEN_REFUSED:
                raise
            return None, str(error)

    def report(self, run_id: str, templates: Templates = MappingProxyType({})) -> RunReport:
        """How the run stands now.

        Args:
            templates: of the pipeline's tasks, from `pod_templates`.
        """
        return read_run(self._connection.call(self._runs.run_service_get_run, run_id), templates)

    def follow(
        self,
        run_id: str,
        templates: Templates = MappingProxyType({}),
        sleep: Callable[[float], None] = time.sleep,
    ) -> Iterator[RunReport]:
        """Reports of a run until it has ended, the last one final.

        The server may be away for up to ten minutes; what does not pass, such as a token that expired, is raised.

        Args:
            templates: of the pipeline's tasks, from `pod_templates`.
            sleep: takes seconds.
        """
        failures, last = 0, None
        while True:
            try:
                last = self.report(run_id, templates).after(last)
            except ServerAway:
                failures += 1
                if failures > _MOST_FAILURES:
                    raise
            else:
                failures = 0
                # A stop that took effect between two looks is in no state of the server.
                if last.state == "FAILED" and not last.stopped and Causes(self._connection, run_id).stopped():
                    last = last.as_stopped()
                yield last
                if last.final:
                    return
            sleep(15.0 if failures else 5.0)

    def causes(self, report: RunReport) -> dict[str, Cause]:
        """Why the failed tasks of a run failed, by the task's name; under `root` when it came to no task."""
        failed = [task for task in report.tasks if task.state == "FAILED"]
        return Causes(self._connection, report.id).of(failed or [TaskReport("root", "FAILED")])

    def page(self, run_id: str) -> str:
        """Where the run is shown to people; "" when no such place is known."""
        return f"{self._ui}/#/runs/details/{run_id}" if self._ui else ""

    @cached_property
    def _ui(self) -> str:
        return find_ui(self._connection.server)

    def _experiment(self, name: str) -> str:
        """Id of the experiment of that name."""
        experiments = api.ExperimentServiceApi(self._connection.client)
        namespace = self._connection.namespace
        listing = experiments.experiment_service_list_experiments
        found = self._connection.call(listing, filter=named(name), **namespace).experiments
        if found:
            return str(found[0].experiment_id)
        new = api.V2beta1Experiment(display_name=name, **namespace)
        return str(self._connection.call(experiments.experiment_service_create_experiment, new).experiment_id)

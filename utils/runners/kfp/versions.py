"""The version of a pipeline that a run is created from: uploaded once, found again by the hash of the file.

Only runs that refer to a version can be duplicated, compared and scheduled in the dashboard.
"""

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp_server_api as api

from utils.ir.model import Pipeline
from utils.ir.package import as_yaml
from utils.runners.kfp.connection import Connection, Refused

# Names have at most 127 characters there; where pipelines are kept as Kubernetes objects they are names of objects.
_LONGEST_NAME = 100
_ALREADY_THERE = 409


@dataclass(frozen=True)
class Version:
    """A version of a pipeline on the server. `uploaded`: by this command, now."""

    pipeline_id: str
    id: str
    name: str
    uploaded: bool = False


def ensure_version(connection: Connection, pipeline: Pipeline) -> Version:
    """The version with exactly this file, which is uploaded when the server does not have it.

    Raises:
        IlabError: the server refuses, or is away.
    """
    text = as_yaml(pipeline.text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    pipelines = api.PipelineServiceApi(connection.client)
    parent = pipeline.name[:_LONGEST_NAME]
    name = f"{parent}-{digest[:12]}"
    pipeline_id = _find_pipeline(connection, pipelines, parent) or _create(connection, pipelines, pipeline, parent)
    found = _find_version(connection, pipelines, pipeline_id, name)
    if found:
        return Version(pipeline_id, found, name)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pipeline.yaml")
        file.write_text(text)
        try:
            made = connection.call(
                api.PipelineUploadServiceApi(connection.client).upload_pipeline_version,
                str(file),
                name=name,
                pipelineid=pipeline_id,
                description=f"uploaded by ilab-pipeline; sha256 {digest}",
            )
        except Refused as error:
            found = _found_after(error, _find_version, connection, pipelines, pipeline_id, name)
            return Version(pipeline_id, found, name)
    return Version(pipeline_id, made.pipeline_version_id, name, uploaded=True)


def _create(connection: Connection, pipelines: Any, pipeline: Pipeline, name: str) -> str:
    # Older servers know display_name alone, newer ones take it as the name.
    new = api.V2beta1Pipeline(display_name=name, description=pipeline.description or None, **connection.namespace)
    try:
        made = connection.call(pipelines.pipeline_service_create_pipeline, new)
    except Refused as error:
        return _found_after(error, _find_pipeline, connection, pipelines, name)
    return str(made.pipeline_id)


def _found_after(error: Refused, find: Any, *arguments: Any) -> str:
    """What somebody else made at the same time, after which ours was refused; else the refusal is raised."""
    found = find(*arguments) if error.status == _ALREADY_THERE else ""
    if not found:
        raise error
    return str(found)


def _find_pipeline(connection: Connection, pipelines: Any, name: str) -> str:
    listed = connection.call(pipelines.pipeline_service_list_pipelines, filter=named(name), **connection.namespace)
    return str(listed.pipelines[0].pipeline_id) if listed.pipelines else ""


def _find_version(connection: Connection, pipelines: Any, pipeline_id: str, name: str) -> str:
    listed = connection.call(pipelines.pipeline_service_list_pipeline_versions, pipeline_id, filter=named(name))
    return str(listed.pipeline_versions[0].pipeline_version_id) if listed.pipeline_versions else ""


def named(name: str) -> str:
    """The filter of a list: those with this display name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})

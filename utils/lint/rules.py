"""What no parser detects: things that every supported backend accepts but does not execute as written."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from utils.ir.check import CREATE_CLAIM
from utils.lint.findings import Finding, Severity

# A run starts a driver pod and an executor pod for each; an earlier generation had 30 and was very slow.
MAX_EXECUTORS = 12
_SCHEMA_VERSION = "2.1.0"
_RUN_PLACEHOLDER = re.compile(r"\{\{\$\.pipeline_(job|task|root)\w*\}\}")
_INPUT_PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")


def check(spec: Mapping[str, Any], platform: Mapping[str, Any]) -> Iterator[Finding]:
    """Findings on both documents, the same for every backend."""
    yield from _head(spec)
    yield from _placeholders(spec, "")
    yield from (_in_platform(finding) for finding in _placeholders(platform, ""))
    yield from _parameters(spec)
    yield from _executors(spec)
    for path, component in dags(spec):
        for name, task in component["dag"].get("tasks", {}).items():
            yield from _task(f"{path}.dag.tasks.{name}", task, component, spec)


def _head(spec: Mapping[str, Any]) -> Iterator[Finding]:
    """What a server requires before it reads any further (backend/src/apiserver/template/v2_template.go, all
    versions)."""
    info = spec.get("pipelineInfo")
    name = info.get("name") if isinstance(info, Mapping) else None
    if not isinstance(name, str) or not re.search("[a-z0-9]", name):
        yield Finding(
            Severity.ERROR,
            "pipelineInfo.name",
            f"{'the name has no lowercase letter' if name else 'no name'}: the server rejects the pipeline",
            'give it a name of lowercase letters, digits, - and .: @dsl.pipeline(name="…")',
        )
    if spec.get("schemaVersion") != _SCHEMA_VERSION:
        yield Finding(
            Severity.ERROR,
            "schemaVersion",
            f"{spec.get('schemaVersion')}: the server accepts only {_SCHEMA_VERSION}",
            "compile the pipeline with kfp 2",
        )


def _in_platform(finding: Finding) -> Finding:
    return Finding(finding.severity, f"platform: {finding.where}", finding.what, finding.remedy)


def dags(spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Path and component of every DAG in a pipeline spec."""
    candidates = {"root": spec.get("root", {})}
    candidates.update({f"components.{name}": part for name, part in spec.get("components", {}).items()})
    yield from ((path, part) for path, part in candidates.items() if "dag" in part)


def _placeholders(node: Any, path: str) -> Iterator[Finding]:
    """Placeholders of the run inside a longer constant: the server does not resolve them."""
    if isinstance(node, Mapping):
        for key, item in node.items():
            here = f"{path}.{key}" if path else str(key)
            if key == "constant" and isinstance(item, str):
                match = _RUN_PLACEHOLDER.search(item)
                if match and match[0] != item:
                    yield Finding(
                        Severity.ERROR,
                        here,
                        f"{match[0]} inside a longer constant is not resolved: it must be the entire value",
                        "pass it as a separate argument and build the text inside the component",
                    )
            yield from _placeholders(item, here)
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from _placeholders(item, f"{path}[{index}]")


def _parameters(spec: Mapping[str, Any]) -> Iterator[Finding]:
    for name, parameter in spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {}).items():
        if parameter.get("defaultValue") is None:
            yield Finding(
                Severity.WARNING,
                f"root.inputDefinitions.parameters.{name}",
                'no default, or None: "duplicate run" in the dashboard loses it',
                'give it a default; "", [] and {} can mean unset',
            )


def _executors(spec: Mapping[str, Any]) -> Iterator[Finding]:
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    if len(executors) > MAX_EXECUTORS:
        yield Finding(
            Severity.WARNING,
            "deploymentSpec.executors",
            f"{len(executors)} executors: each starts two pods; a run with more than {MAX_EXECUTORS} is slow",
            "do more in fewer tasks",
        )
    for name, executor in executors.items():
        image = executor.get("container", {}).get("image", "")
        if image and not image.startswith("argostub/") and "@sha256:" not in image and "{{" not in image:
            yield Finding(
                Severity.WARNING,
                f"deploymentSpec.executors.{name}.container.image",
                f"{image} is not pinned by digest: two runs of the same file can use different images",
                "name the image as NAME@sha256:DIGEST",
            )


def _task(path: str, task: Mapping[str, Any], parent: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[Finding]:
    component = spec.get("components", {}).get(task.get("componentRef", {}).get("name", ""), {})
    executor = spec.get("deploymentSpec", {}).get("executors", {}).get(component.get("executorLabel", ""), {})
    inputs = task.get("inputs", {}).get("parameters", {})
    if executor and task.get("cachingOptions", {}).get("enableCache"):
        yield Finding(
            Severity.WARNING,
            f"{path}.cachingOptions",
            "caching is on: a cached task does not run again and returns the outputs of an earlier run",
            "set_caching_options(False), unless the task has no side effect at all",
        )
    if executor.get("container", {}).get("image") == CREATE_CLAIM:
        given = inputs.get("storage_class_name", {})
        if not given or given.get("runtimeValue", {}).get("constant") == "":
            yield Finding(
                Severity.WARNING,
                f"{path}.inputs.parameters.storage_class_name",
                "CreatePVC without a storage class uses the class `standard`, not the cluster's default",
                "name the storage class",
            )
    yield from _inputs(path, inputs, parent)
    yield from _resources(path, executor, inputs)


def _inputs(path: str, inputs: Mapping[str, Any], parent: Mapping[str, Any]) -> Iterator[Finding]:
    definitions = parent.get("inputDefinitions", {})
    known = {*definitions.get("parameters", {}), *definitions.get("artifacts", {})}
    for name, source in inputs.items():
        wanted = source.get("componentInputParameter", "")
        if wanted and wanted not in known:
            yield Finding(
                Severity.ERROR,
                f"{path}.inputs.parameters.{name}",
                f"takes {wanted}, which is not an input of the DAG around it: the task's driver fails",
                "also pass this parameter to a component in the same DAG as an ordinary argument",
            )


def _resources(path: str, executor: Mapping[str, Any], inputs: Mapping[str, Any]) -> Iterator[Finding]:
    """Resources may come from parameters only as the entire value, and only from inputs of the task."""
    for key, value in _leaves(executor.get("container", {}).get("resources", {})):
        names = _INPUT_PLACEHOLDER.findall(value)
        if not names:
            continue
        whole = _INPUT_PLACEHOLDER.fullmatch(value) is not None
        missing = [name for name in names if name not in inputs]
        if missing or not whole:
            yield Finding(
                Severity.ERROR,
                f"{path}: resources.{key}",
                f"{value}: the task has no input {missing[0]}" if missing else f"{value}: more than one placeholder",
                "set it from one parameter of the pipeline, or to a constant",
            )


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for key, item in node.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(node, str):
        yield path, node

"""The plan of a command line: pipeline, arguments, run id, and the objects that belong to the run."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from utils.arguments import load_arguments
from utils.cli.board import leaf_ids
from utils.errors import PrerequisiteError, UsageError
from utils.files import read_text
from utils.image_choice import with_images
from utils.ir.load import parse
from utils.ir.model import Pipeline
from utils.queues import in_queue
from utils.runners.kubernetes.request import default_run_id
from utils.runners.run_folder import is_run_id
from utils.standalone.ca import Authority, authorities, ca_arguments, ca_manifest, read_authorities
from utils.standalone.mapping import out_of_range, pipeline_arguments
from utils.standalone.options import Given
from utils.standalone.parts import PART_RUN_ID, Part, part_of, skipped
from utils.standalone.secrets import (
    NO_SECRET,
    ROLES,
    Credentials,
    Read,
    credentials_of,
    flag_name,
    read_credentials,
    secret_manifest,
)


@dataclass(frozen=True)
class Plan:
    """A run, or a part of one, before it touches a cluster.

    `extra` are the pipeline parameters that the user gave directly: they override flags.
    """

    pipeline: Pipeline
    part: Part
    run_id: str
    arguments: Mapping[str, Any]
    skip: frozenset[str]
    given: Given
    extra: Mapping[str, Any]
    credentials: tuple[Credentials, ...] = ()
    authorities: tuple[Authority, ...] = ()
    certificates: tuple[str, ...] = field(default=(), repr=False)

    def own_objects(self, owner: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Secrets and ConfigMap that the run creates from flags, owned by the run."""
        where = (self.run_id, self.given["namespace"] or "", owner)
        made = [secret_manifest(one, *where) for one in self.credentials if one.values]
        return made + ca_manifest(self.authorities, self.certificates, *where)


def our_pipeline() -> Pipeline:
    """pipeline.yaml of the repository, or of the zip application that this runs from."""
    return parse(read_text("pipeline.yaml"), "pipeline.yaml")


def make_plan(given: Given, command: str = "") -> Plan:
    """The plan for `run`, or for its subcommand `command`.

    Raises:
        UsageError: flags are missing or wrong; names all of them.
    """
    pipeline = with_images(our_pipeline(), given["image"], lambda line: print(line, file=sys.stderr))
    extra = load_arguments(pipeline.parameters, given["params"], given["param"])
    given = _with_secrets(given, extra)
    part = part_of(command, given["training_phase"], given["eval_type"], given["sdg_in_cluster"])
    findings = _missing(given, command)
    credentials, wrong = credentials_of(given, part.needs)
    arguments, more = pipeline_arguments(given, part)
    defaults = {name: parameter.default for name, parameter in pipeline.parameters.items()}
    findings += wrong + more + out_of_range({**defaults, **arguments, **extra})
    if findings:
        raise UsageError(
            f"{len(findings)} flag{'s are' if len(findings) > 1 else ' is'} missing or wrong",
            "\n".join(findings),
            f"correct them; {' '.join(('run', command)).strip()} --help explains every flag",
        )
    arguments |= {role.parameter: NO_SECRET for role in ROLES.values()}
    arguments |= {one.role.parameter: one.secret or one.role.name for one in credentials} | extra
    pipeline = in_queue(pipeline, arguments)
    run_id = given["run_id"] or (
        PART_RUN_ID if command else default_run_id(pipeline.name, {**arguments, **_images(given)})
    )
    skip = skipped(part, leaf_ids(pipeline))
    return _with_names(Plan(pipeline, part, run_id, arguments, skip, given, extra, tuple(credentials)), {})


def resolve(plan: Plan, read: Read, namespace: str = "") -> Plan:
    """The plan completed from the user's Secrets and ConfigMaps.

    Args:
        namespace: where `read` looks, for the message.

    Raises:
        PrerequisiteError: an object is missing, or lacks a key; names all of them.
    """
    credentials, secrets, findings = read_credentials(plan.credentials, read)
    plan = _with_names(replace(plan, credentials=tuple(credentials)), secrets)
    texts, missing = read_authorities(plan.authorities, read)
    findings += missing
    if findings:
        raise PrerequisiteError(
            f"{len(findings)} thing{'s are' if len(findings) > 1 else ' is'} missing or wrong in the namespace "
            f"{namespace}".rstrip(),
            "\n".join(findings),
            "create or correct them, or correct the flags that name them, or --namespace; nothing has been started",
        )
    return replace(plan, certificates=tuple(texts))


def _with_names(plan: Plan, secrets: Mapping[str, Mapping[str, str]]) -> Plan:
    """The plan with the names of Secrets and of the CA among its arguments."""
    found = authorities(plan.given, plan.credentials, secrets)
    names = {one.role.parameter: one.name(plan.run_id) for one in plan.credentials}
    arguments = {**plan.arguments, **names, **ca_arguments(found, plan.run_id), **plan.extra}
    return replace(plan, authorities=tuple(found), arguments=arguments)


def _with_secrets(given: Given, extra: dict[str, Any]) -> Given:
    """Secrets that are named by pipeline parameters count as named by their flags."""
    named = {role.flag: extra.pop(role.parameter) for role in ROLES.values() if role.parameter in extra}
    return Given({**given.values, **named}, given.typed)


def _images(given: Given) -> dict[str, Any]:
    """Besides arguments, other images make another run in the same pod."""
    return {"--image": list(given["image"])} if given["image"] else {}


def _missing(given: Given, command: str) -> list[str]:
    findings = []
    if command == "train" and not given["training_phase"]:
        findings.append("train: --training-phase 1 or 2")
    if command == "evaluation" and not given["eval_type"]:
        findings.append("evaluation: --eval-type mt-bench or final")
    if given["run_id"] and not is_run_id(given["run_id"]):
        findings.append(f"--run-id: {given['run_id']!r} can't be the id of a run: 1 to 57 small letters, digits and -")
    for flag, only in (("training_phase", "train"), ("eval_type", "evaluation")):
        if flag in given.typed and command != only:
            findings.append(f"{flag_name(flag)} requires the subcommand {only}")
    return findings

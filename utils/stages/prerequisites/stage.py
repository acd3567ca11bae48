"""Stage 1: all that can be checked before a GPU is used."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from utils.stages.authorities import ca_bundle, certificates_of
from utils.stages.data_import.git import TaxonomySource
from utils.stages.data_import.model import check_base_model
from utils.stages.prerequisites.checks import (
    check_backends,
    check_folders,
    check_model_server,
    check_object_store,
    check_rights,
    check_taxonomy_repo,
    check_teacher,
)
from utils.stages.prerequisites.dry_run import check_gpu_pods
from utils.stages.prerequisites.findings import Checks, Finding, findings_table, outcome_of_checks, run_checks
from utils.stages.prerequisites.parameters import OBJECTS, check_object_names, check_parameters
from utils.stages.prerequisites.queues import check_queue
from utils.stages.run_parameters import note_parameters
from utils.stages.train.mirror import note_mirror
from utils.stages.volume.claims import REVIEWED, UNFINISHED
from utils.stages.volume.ending import mark_outcome


@dataclass(frozen=True)
class Prerequisites:
    """What the stage is given: the inputs of the component `prerequisites`."""

    data_dir: str
    run_id: str
    store_secret_dir: str
    teacher_secret_dir: str
    judge_secret_dir: str
    taxonomy_secret_dir: str
    ca_file: str
    labelled_queue: str
    retry_seconds: float


def check_run(given: Prerequisites, parameters: Mapping[str, object], table_path: str) -> None:
    """Run all checks, side by side, and write the table of findings; some parameters go to the volume.

    Args:
        parameters: values of all parameters of the pipeline, by name.

    Raises:
        SystemExit: a finding is an error.
    """
    values = {name: str(value) for name, value in parameters.items()}
    objects = {name: values[name] for name in OBJECTS}
    mounted = objects if os.environ.get("KUBERNETES_SERVICE_HOST") else {}
    ca = ca_bundle(given.ca_file, strict=False)
    base_model, sdg_pipeline, queue = values["sdg_base_model"], values["sdg_pipeline"], values["k8s_queue"]
    archive = not base_model or not values["sdg_repo_url"]
    keys = {name: values[name] for name in ("sdg_data_key", "output_data_key")}
    number = parameters["sdg_repo_pr"]
    pull_request = int(number) if isinstance(number, int | float) else 0  # else the check of parameters says so
    source = TaxonomySource(values["sdg_repo_url"], values["sdg_repo_branch"], pull_request, values["sdg_repo_commit"])
    mirror = parameters["train_mirror_states"] is True
    note_mirror(given.data_dir, mirror, ca)
    tasks = parameters["eval_tasks"]
    names = [str(one) for one in tasks] if isinstance(tasks, list) else []  # the same
    launcher, secret = values["train_launcher"], given.teacher_secret_dir
    checks: Checks = {
        "parameters": lambda: [
            *check_parameters(parameters),
            *check_object_names(mounted, on_kfp="KFP_POD_NAME" in os.environ),
        ],
        "certificate authorities": lambda: [] if certificates_of(given.ca_file) else None,
        "queue": lambda: check_queue(queue, given.labelled_queue),
        "base model": partial(check_base_model, base_model),
        "taxonomy": lambda: check_taxonomy_repo(source, given.taxonomy_secret_dir, ca),
        "object store": lambda: check_object_store(
            given.store_secret_dir, ca, base_model, archive, [*keys.values()], mirror
        ),
        "folders": lambda: check_folders(keys, names, archive),
        "teacher": lambda: check_teacher(
            secret, ca, given.retry_seconds, archive, sdg_pipeline, values["sdg_teacher_family"]
        ),
        "judge": lambda: check_model_server(
            "judge", "chat/completions", given.judge_secret_dir, ca, given.retry_seconds
        ),
        "rights": lambda: check_rights(launcher),
        "GPU pods": lambda: check_gpu_pods(launcher, queue, parameters),
        "training and serving": lambda: check_backends(
            launcher, values["eval_engine"], sdg_pipeline, values["train_algorithm"], values["train_image"]
        ),
    }
    found = [named(finding, given, objects.values()) for finding in run_checks(checks)]
    table = findings_table(list(checks), found)
    print(table, flush=True)
    with open(table_path, "w") as file:
        file.write(table)
    error = outcome_of_checks(found)
    if error:
        raise error
    note_parameters(given.data_dir, parameters)
    mark_outcome(given.run_id, REVIEWED if parameters.get("sdg_review") == "stop" else UNFINISHED)


def named(finding: Finding, given: Prerequisites, objects: Iterable[str]) -> Finding:
    """The finding with the names of mounted Secrets and the ConfigMap beside their folders.

    Args:
        objects: the names, in the order of OBJECTS.
    """
    folders = [given.store_secret_dir, given.teacher_secret_dir, given.judge_secret_dir]
    folders += [given.taxonomy_secret_dir, os.path.dirname(given.ca_file)]
    problem = finding.problem
    for name, folder in zip(objects, folders, strict=True):
        problem = problem.replace(f"mounted at {folder}", f"{name} mounted at {folder}")
    return replace(finding, problem=problem)

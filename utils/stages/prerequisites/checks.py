"""What can be known of a run before a GPU is used, but for what has a module of its own."""

import importlib.util
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from utils.messages import failure, together
from utils.stages.credentials import model_server, secret_keys
from utils.stages.data_import.git import TaxonomySource, git_credentials, in_pod, run_git
from utils.stages.folders import own_path
from utils.stages.object_store.client import ObjectStore, store_of_secret
from utils.stages.patience import ONCE
from utils.stages.prerequisites.findings import WARNING, Finding
from utils.stages.prerequisites.model_servers import check_model_server, listed_models
from utils.stages.prerequisites.rights import check_launcher, missing_rights
from utils.stages.sdg.formats import Formats, cards_of, path_of
from utils.stages.train.choice import choose_launcher


def check_teacher(
    secret_dir: str, ca: str, retry_seconds: float, archive: bool, sdg_pipeline: str = "", family: str = "auto"
) -> list[Finding]:
    """The teacher answers in its format, and so does every model that the SDG pipeline names; without its Secret only
    an archive that brings generated data can be used.

    Args:
        archive: this run imports an archive, which may bring data.
        family: sdg_teacher_family.
    """
    if archive and not secret_keys(secret_dir):
        problem = "no Secret of the teacher: right only if the archive brings data/"
        return [Finding(problem, "create the Secret that sdg_teacher_secret names", WARNING)]
    server = model_server(secret_dir, "teacher")
    listing = listed_models(server, ca, retry_seconds * 6) if family == "auto" else None
    requests = Formats(family, server.model_name, cards_of(listing)).requests(sdg_pipeline)
    for (model, name), why in requests.items():
        print(f"{model} is asked in format {name}: {why}", flush=True)
    found: list[Finding] = []
    for model, path in dict.fromkeys((model, path_of(name)) for model, name in requests):
        other = "" if model == server.model_name else model
        found += check_model_server("teacher", path, secret_dir, ca, retry_seconds, other)
    return found


def check_object_store(
    secret_dir: str, ca: str, base_model: str, archive: bool, keys: Sequence[str], mirror: bool = False
) -> list[Finding]:
    """The store lets us in, has the archive (or the base model), and takes an upload: nothing is left behind.

    A run for which folders do all that needs no store.

    Args:
        archive: the run imports one.
        keys: sdg_data_key and output_data_key.
        mirror: training copies its states to the store.
    """
    archive, result = archive and not own_path(keys[0]), own_path(keys[1])
    if result and not archive and not mirror and not base_model.startswith("s3://"):
        return []
    faults: list[SystemExit] = []
    try:
        store = store_of_secret(secret_dir, ca, archive, keys[0])
    except SystemExit as error:
        faults.append(error)
        try:
            store = store_of_secret(secret_dir, ca, False, keys[0])
        except SystemExit:
            raise error from None  # it lacks more than the archive's key
    store = replace(store, patience=ONCE)
    tries = [
        *([partial(require_archive, store)] if archive and not faults else []),
        *([partial(require_model, store, base_model)] if base_model.startswith("s3://") else []),
        *([] if result else [partial(try_upload, store, keys[1])]),
        *([partial(try_upload, store, "")] if mirror else []),
    ]
    for attempt in tries:
        try:
            attempt()
        except SystemExit as error:
            faults.append(error)
            if not re.search("NoSuchKey|AccessDenied|is empty|no base model", str(error)):
                break  # not about one key
    if faults:
        raise together(faults)
    return []


def require_archive(store: ObjectStore) -> None:
    """End the check when the archive is not there, or empty."""
    if not store.call("head_object", Key=store.data_key)["ContentLength"]:
        raise failure(f"the archive {store.data_key} is empty", "its upload broke off", "upload it again")


def require_model(store: ObjectStore, base_model: str) -> None:
    """End the check when no object has the prefix of the base model."""
    bucket, _, prefix = base_model.removeprefix("s3://").partition("/")
    if not replace(store, bucket=bucket).call("list_objects_v2", Prefix=prefix, MaxKeys=1).get("Contents"):
        raise failure(f"no base model at {base_model}", "no object has this prefix", "correct sdg_base_model")


def try_upload(store: ObjectStore, name: str) -> None:
    """Begin an upload where the result goes after days: better to know now whether that may be.

    Args:
        name: output_data_key.
    """
    key = os.path.join((name or store.data_key).rpartition("/")[0], "ilab-write-check").strip("/")
    upload = store.call("create_multipart_upload", Key=key)["UploadId"]
    store.call("abort_multipart_upload", Key=key, UploadId=upload)


def check_folders(keys: Mapping[str, str], tasks: Sequence[str], archive: bool) -> list[Finding]:
    """No pod can use a path that takes the object store's place on one machine; there, the command has looked at it.

    Args:
        keys: parameter to a key in the object store, or a path.
        tasks: the parameter eval_tasks.
        archive: whether the run imports one.
    """
    found = [
        Finding(f"{name} is {key}, a path that only a run on one machine can use", f"give a key with -p {name}=KEY")
        for name, key in keys.items()
        if own_path(key) and in_pod()
    ]
    if in_pod() and any(map(own_path, tasks)):
        problem = f"eval_tasks is {tasks}: only a run on one machine can use a path"
        found.append(Finding(problem, "pack it with ilab-pipeline upload --eval-tasks, and name eval_tasks/NAME"))
    if not archive and any(one.startswith("eval_tasks/") for one in tasks):
        problem = f"eval_tasks is {tasks}, and no archive is imported"
        found.append(Finding(problem, "take base model or taxonomy from the archive that has the tasks"))
    return found


def check_taxonomy_repo(source: TaxonomySource, secret_dir: str, ca: str) -> list[Finding]:
    """The taxonomy's repository answers and has the branch or pull request."""
    source.check()
    url, branch, pr = source.url, source.branch, source.pr
    folder = url.removeprefix("file://")
    if not url or (os.path.isdir(folder) and not os.path.exists(f"{folder}/.git")):
        return []
    refs, missing = ["HEAD"], "no commit"
    if pr:
        refs, missing = [f"refs/pull/{pr}/head"], f"no pull request {pr}"
    elif branch:
        refs, missing = [f"refs/heads/{branch}", f"refs/tags/{branch}"], f"no branch or tag {branch!r}"
    with tempfile.TemporaryDirectory() as keys:
        options, environment = git_credentials(url, secret_dir, keys, ca)
        if run_git([*options, "ls-remote", "--", url, *refs], environment, url).strip():
            return []
    return [Finding(f"{url} has {missing}", "correct sdg_repo_branch or sdg_repo_pr")]


def check_backends(launcher: str, engine: str, sdg_pipeline: str, algorithm: str, image: str) -> list[Finding]:
    """What trains and what serves is there: Kubeflow Trainer or the training operator, or this machine's libraries.

    Args:
        algorithm: the parameter train_algorithm.
        image: of the training pods.
    """
    choice = choose_launcher(launcher)
    print(f"train_launcher is {choice.launcher}: {choice.why}", flush=True)
    found = check_launcher(choice)
    if algorithm != "sft" and choice.launcher != "process" and "rhelai1/instructlab" in image:
        problem = f"train_algorithm {algorithm} needs mini-trainer 0.8 in the training pods, and {image} has none"
        remedy = "give OpenShift AI's training image, 3.5 or newer, with -p train_image=IMAGE: docs/images.md names it"
        found.append(Finding(problem, remedy))
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        # The stages' own image has the libraries, this one need not.
        return found
    needs = {"process": ["torch", "instructlab.training"], "llama.cpp": ["xllamacpp", "gguf"], "vllm": ["vllm"]}
    if algorithm != "sft":
        needs["process"] += ["mini_trainer", *["peft"] * (algorithm == "lora")]
    for user in (choice.launcher, engine):
        for module in needs.get(user, []):
            # A module in a package that is not there can't be looked for.
            if not all(map(importlib.util.find_spec, (module.partition(".")[0], module))):
                problem = f"{user} needs the Python package {module}, which is missing"
                remedy = "run make stages, and name its interpreter (make -s stages-python) with --python"
                if module == "vllm":
                    remedy = "name an interpreter that has it with --python, or start with -p eval_engine=llama.cpp"
                found.append(Finding(problem, remedy))
    if sdg_pipeline not in ("simple", "full") and not os.path.isdir(sdg_pipeline):
        problem = f"sdg_pipeline is {sdg_pipeline!r}, expected simple, full, or a folder that is there"
        found.append(Finding(problem, "give it with -p sdg_pipeline=VALUE"))
    return found


def check_rights(launcher: str) -> list[Finding]:
    """The account of the run may do what later tasks do; on one machine there is nothing to ask."""
    return missing_rights(choose_launcher(launcher).launcher) if os.environ.get("KUBERNETES_SERVICE_HOST") else []

"""Everything about a run that can be known before a GPU is used; each check gives findings, none stops the others.

A finding is {"check", "level", "problem", "remedy"}: level is "error" (the run would fail or be worthless) or
"warning". A check without findings passed.
"""

import importlib.util
import os
import shutil
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from utils.messages import FINDINGS_HEADER, failure
from utils.stages.credentials import secret_keys
from utils.stages.data_import.git import TaxonomySource, git_credentials, run_git
from utils.stages.object_store.client import store_of_secret
from utils.stages.prerequisites.model_servers import check_model_server
from utils.stages.prerequisites.rights import missing_rights, training_operator


def run_checks(checks: dict) -> list:
    """Findings of all checks, which run side by side.

    Args:
        checks: name of a check to a function that returns findings, or raises `failure(…)` for one.
    """

    def run(name: str) -> list:
        try:
            return [{"check": name, "level": "error", **found} for found in checks[name]() or []]
        except SystemExit as error:
            what, _, rest = str(error).removeprefix("error: ").partition("\n  cause: ")
            cause, _, remedy = rest.partition("\n  next: ")
            return [{"check": name, "level": "error", "problem": f"{what}: {cause}", "remedy": remedy}]
        except Exception as error:  # noqa: BLE001 - whatever it is, the other checks' findings must be shown
            traceback.print_exc()
            problem = f"the check itself broke off ({type(error).__name__}: {error})"
            return [{"check": name, "level": "error", "problem": problem, "remedy": remedy_of_exception(error)}]

    with ThreadPoolExecutor(len(checks)) as pool:
        return [found for findings in pool.map(run, checks) for found in findings]


def remedy_of_exception(error: Exception) -> str:
    """What to do about an exception that no check foresaw."""
    if isinstance(error, ImportError):
        return f"run prerequisites in an image that has the Python package {error.name}"
    if isinstance(error, OSError) and error.filename:
        return f"look at {error.filename}: it must be readable for the pod's user"
    return "the task's log has the traceback; if the value that it names is right, report it as a fault of the pipeline"


def findings_table(names: list, findings: list) -> str:
    """Markdown table of all checks: what each found with its remedy, or that it passed."""

    def cell(text: str) -> str:
        return " ".join(text.replace("|", "\\|").split())

    rows = [FINDINGS_HEADER, "|---|---|---|---|"]
    for name in names:
        own = [f for f in findings if f["check"] == name] or [{"level": "passed", "problem": "", "remedy": ""}]
        rows += [f"| {name} | {f['level']} | {cell(f['problem'])} | {cell(f['remedy'])} |" for f in own]
    return "\n".join(rows) + "\n"


def check_teacher(secret_dir: str, ca: str, retry_seconds: float, archive: bool) -> list:
    """The teacher answers; without its Secret only an archive that brings generated data can be used.

    Args:
        archive: this run imports an archive, which may bring data.
    """
    if archive and not secret_keys(secret_dir):
        problem = "no Secret of the teacher: right only if the archive brings data/, which is then used instead"
        return [{"level": "warning", "problem": problem, "remedy": "create the Secret that sdg_teacher_secret names"}]
    # SDG's LLM blocks use plain completions.
    return check_model_server("teacher", "completions", secret_dir, ca, retry_seconds)


def check_object_store(secret_dir: str, ca: str, base_model: str, taxonomy_url: str) -> list:
    """The store lets us in, has the archive (or the base model), and takes an upload: nothing is left behind."""
    store = store_of_secret(secret_dir, ca)
    if not base_model or not taxonomy_url:
        if not store.data_key:
            raise failure(
                f"the Secret mounted at {secret_dir} lacks: data_key",
                "the archive is needed, since sdg_base_model or sdg_repo_url is blank",
                "add data_key, the archive's key in the bucket",
            )
        if not store.call("head_object", Key=store.data_key)["ContentLength"]:
            raise failure(f"the archive {store.data_key} is empty", "a torn upload", "upload it again")
    if base_model.startswith("s3://"):
        bucket, _, prefix = base_model.removeprefix("s3://").partition("/")
        listing = replace(store, bucket=bucket).call("list_objects_v2", Prefix=prefix, MaxKeys=1)
        if not listing.get("Contents"):
            raise failure(f"no base model at {base_model}", "no object has this prefix", "correct sdg_base_model")
    # The result goes back there after days: better to know now whether it may.
    key = store.data_key.rpartition("/")[0].strip("/") + "/ilab-write-check"
    upload = store.call("create_multipart_upload", Key=key.strip("/"))["UploadId"]
    store.call("abort_multipart_upload", Key=key.strip("/"), UploadId=upload)
    return []


def check_taxonomy_repo(source: TaxonomySource, secret_dir: str, ca: str) -> list:
    """The taxonomy's repository answers and has the branch or pull request."""
    source.check()
    url, branch, pr = source.url, source.branch, source.pr
    plain = url.removeprefix("file://")
    if not url or (os.path.isdir(plain) and not os.path.exists(os.path.join(plain, ".git"))):
        return []
    keys = tempfile.mkdtemp(prefix="git-")
    try:
        options, environment = git_credentials(url, secret_dir, keys, ca)
        refs = [f"refs/pull/{pr}/head"] if pr else [f"refs/heads/{branch}", f"refs/tags/{branch}"] if branch else []
        listed = run_git([*options, "ls-remote", "--", url, *(refs or ["HEAD"])], environment)
    finally:
        shutil.rmtree(keys)
    if listed.strip():
        return []
    missing = f"no pull request {pr}" if pr else f"no branch or tag {branch!r}" if branch else "no commit at all"
    return [{"problem": f"{url} has {missing}", "remedy": "correct sdg_repo_branch or sdg_repo_pr"}]


def check_backends(launcher: str, engine: str, sdg_pipeline: str) -> list:
    """What trains and what serves is there: the training operator in a cluster, the libraries on one machine."""
    found = training_operator() if launcher == "pytorchjob" else []
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        # The stages' own image has the libraries, this one need not.
        return found
    needs = {"process": ["torch", "instructlab.training"], "llama.cpp": ["xllamacpp", "gguf"], "vllm": ["vllm"]}
    for user in (launcher, engine):
        for module in needs.get(user, []):
            top = module.partition(".")[0]
            if not importlib.util.find_spec(top) or not importlib.util.find_spec(module):
                remedy = "make stages installs what a laptop runs; --python names the interpreter that has it"
                found.append(
                    {"problem": f"{user} needs the Python package {module}, which is missing", "remedy": remedy}
                )
    if sdg_pipeline not in ("simple", "full") and not os.path.isdir(sdg_pipeline):
        problem = f"sdg_pipeline is {sdg_pipeline!r}, expected simple, full, or a folder that is there"
        found.append({"problem": problem, "remedy": "give it with -p sdg_pipeline=VALUE"})
    return found


def check_rights(launcher: str) -> list:
    """The account of the run may do what later tasks do; on one machine there is nothing to ask."""
    return missing_rights(launcher) if os.environ.get("KUBERNETES_SERVICE_HOST") else []


def outcome_of_checks(findings: list) -> Any:
    """The failure to raise when a finding is an error, else None.

    It repeats the errors in short: a log's end, and the 2048 bytes of a container's message, are all that some people
    see. The table before it has them in full.
    """

    def cut(text: str, most: int) -> str:
        text = " ".join(text.split())
        return text if len(text) <= most else text[: most - 1] + "…"

    errors = [f for f in findings if f["level"] == "error"]
    if not errors:
        return None
    lines = [f"{f['check']}: {cut(f['problem'], 240)}\n      {cut(f['remedy'], 160)}" for f in errors]
    shown = [line for i, line in enumerate(lines) if sum(map(len, lines[: i + 1])) <= 1500] or lines[:1]
    more = [f"and {len(lines) - len(shown)} more"] if len(shown) < len(lines) else []
    return failure(
        f"{len(errors)} prerequisite{'s are' if len(errors) > 1 else ' is'} not met",
        "\n    - ".join([cut(", ".join(dict.fromkeys(f["check"] for f in errors)), 120), *shown, *more]),
        "correct them and start again; nothing has been changed yet (the table above has every finding in full)",
    )
